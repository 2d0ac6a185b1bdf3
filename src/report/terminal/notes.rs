//! What went wrong or limits the answer, each thing once: contestants that do not run, rounds that do not count, the
//! generator at its limit, warnings, losses.

use super::super::datagrams;
use super::super::figures::{CellFigures, Figures};
use super::super::stopping;
use super::super::verdict::short_name;
use super::setting;
use crate::record::{Bound, CellRecord, CompareReport, ContestantRecord, JudgedRatioRecord, Reason, TrialRecord};
use crate::units::counted;

/// Different reasons listed per contestant; more are counted.
const MAX_REASONS: usize = 3;

/// A note for each thing; what a process wrote follows its line by line.
pub fn notes(report: &CompareReport, figures: &[CellFigures], verbose: bool) -> Vec<String> {
    let most = if verbose { usize::MAX } else { MAX_REASONS };
    let failures = placed(report, |cell| cell.contestants.iter().flat_map(|one| failures(one, most)).collect());
    let stopped = placed(report, |cell| stopping::line(report, cell).into_iter().collect());
    let lost = placed(report, datagrams::losses);
    [failures, shared_cores(report), limits(figures), warnings(report), lost, stopped].concat()
}

/// What each cell has to say; what all say alike only once, the rest with its cell.
fn placed(report: &CompareReport, of: impl Fn(&CellRecord) -> Vec<String>) -> Vec<String> {
    let cells: Vec<(String, Vec<String>)> = report.cells.iter().map(|cell| (place(report, cell), of(cell))).collect();
    let mut notes: Vec<(String, Vec<&str>)> = Vec::new();
    for (place, said) in &cells {
        for note in said {
            match notes.iter_mut().find(|(known, _)| known == note) {
                Some((_, places)) => places.push(place),
                None => notes.push((note.clone(), vec![place])),
            }
        }
    }
    let place = |places: &[&str]| match places.len() {
        all if all == cells.len() => String::new(),
        1 => format!("{}: ", places[0]),
        some => format!("In {some} of {} cells: ", cells.len()),
    };
    notes.into_iter().map(|(note, places)| place(&places) + &note).collect()
}

fn place(report: &CompareReport, cell: &CellRecord) -> String {
    setting::cell(report, cell).join(", ")
}

/// Why a contestant, or some of its rounds, do not count.
fn failures(contestant: &ContestantRecord, most: usize) -> Vec<String> {
    let name = short_name(&contestant.name);
    if let Some(reason) = &contestant.unavailable {
        return vec![format!("{name} cannot run here: {reason}")];
    }
    let broken = contestant.broken.as_ref().map(|reason| format!("{name} is broken: {reason}"));
    if let (Some(broken), MAX_REASONS) = (&broken, most) {
        return vec![broken.clone()];
    }
    let reasons = by_round(contestant);
    let rounds = contestant.trials.len() as u64;
    let lines = reason_lines(&name, rounds, reasons, most);
    // What it is broken by is among them.
    let is_new = |line: &String| contestant.broken.as_ref().is_none_or(|reason| !line.ends_with(&reason.to_string()));
    broken.into_iter().chain(lines.into_iter().filter(is_new)).collect()
}

fn reason_lines(name: &str, of: u64, reasons: Vec<(&Reason, Vec<u64>)>, most: usize) -> Vec<String> {
    let more = reasons.len().saturating_sub(most);
    let line = |(reason, rounds): &(&Reason, Vec<u64>)| format!("{name}, {}: {reason}", not_counted(rounds, of));
    let lines = reasons.iter().take(most).map(line);
    lines.chain((more > 0).then(|| format!("{name}: {more} more reasons (-v lists them)"))).collect()
}

/// `round 2 of 7 does not count`
fn not_counted(rounds: &[u64], of: u64) -> String {
    let list: Vec<String> = rounds.iter().map(u64::to_string).collect();
    match rounds {
        [one] => format!("round {one} of {of} does not count"),
        all if all.len() as u64 == of && of > 1 => format!("none of {of} rounds counts"),
        _ => format!("rounds {} of {of} do not count", list.join(", ")),
    }
}

/// The reasons that a contestant's trials give, each once, with the rounds that gave it.
fn by_round(contestant: &ContestantRecord) -> Vec<(&Reason, Vec<u64>)> {
    grouped(contestant.trials.iter().flat_map(|trial| trial.problems().map(|reason| (reason, trial.round))))
}

/// Each reason once, with what came with it. Of those that are alike the first speaks for all.
fn grouped<'a, T>(reasons: impl Iterator<Item = (&'a Reason, T)>) -> Vec<(&'a Reason, Vec<T>)> {
    let mut groups: Vec<(&Reason, Vec<T>)> = Vec::new();
    for (reason, with) in reasons {
        match groups.iter_mut().find(|(known, _)| known.is_like(reason)) {
            Some((_, all)) => all.push(with),
            None => groups.push((reason, vec![with])),
        }
    }
    groups
}

fn shared_cores(report: &CompareReport) -> Vec<String> {
    let said = match (report.context.cores_shared, report.context.siblings_shared) {
        (true, _) => "server and generator SHARED a core: each took time from the other",
        (false, true) => "server and generator ran on hardware threads of the SAME CORE: each slowed the other",
        (false, false) => return Vec::new(),
    };
    vec![said.to_owned()]
}

/// Where the generator was at its limit, so that the servers may differ by more than is shown.
fn limits(figures: &[CellFigures]) -> Vec<String> {
    let names = |bound| {
        let mut names: Vec<&str> = Vec::new();
        let all = figures.iter().flat_map(|cell| &cell.all).filter(|one| is_bound(one, bound));
        for one in all {
            if !names.contains(&one.name.as_str()) {
                names.push(&one.name);
            }
        }
        names.join(", ")
    };
    let base = figures.first().map(|cell| cell.baseline.clone()).unwrap_or_default();
    let line = |names: String, said: String| (!names.is_empty()).then(|| format!("{names}: {said}"));
    let decides = "CPU per request decides";
    [
        line(names(Bound::AtLeast), format!("at least (>): the generator was at its limit, not the server; {decides}")),
        line(names(Bound::AtMost), format!("at most (<): the generator was at its limit with {base}; {decides}")),
        line(
            names(Bound::Either),
            format!("about (~): the generator was at its limit with it and with {base}; {decides}"),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn is_bound(one: &Figures, bound: Bound) -> bool {
    one.speed.is_some_and(|speed: JudgedRatioRecord| speed.bound == Some(bound))
}

/// What the rounds that count warn of: the same of all contestants in one line.
fn warnings(report: &CompareReport) -> Vec<String> {
    let contestants = || report.cells.iter().flat_map(|cell| &cell.contestants);
    let valid = |one: &'_ ContestantRecord| one.trials.iter().filter(|trial| trial.valid().is_some()).count();
    let rounds: usize = contestants().map(valid).sum();
    let all = contestants().flat_map(|one| {
        let loads = one.trials.iter().filter_map(TrialRecord::valid);
        loads.flat_map(|load| &load.warnings).map(move |warning| (warning, one.name.as_str()))
    });
    grouped(all).into_iter().map(|(warning, names)| warning_line(warning, &names, rounds)).collect()
}

fn warning_line(warning: &Reason, names: &[&str], rounds: usize) -> String {
    let mut whose: Vec<String> = Vec::new();
    for name in names.iter().map(|name| short_name(name)) {
        if !whose.contains(&name) {
            whose.push(name);
        }
    }
    match (warning, &whose[..]) {
        (Reason::StoppedBetweenSlices { .. } | Reason::BusyBetweenSlices { .. }, whose) => {
            format!("{}: {warning}", whose.join(", "))
        }
        (_, whose) => {
            let all = counted(rounds as u64, "trial");
            format!("{} ({} of {all}): {warning}", whose.join(", "), names.len())
        }
    }
}

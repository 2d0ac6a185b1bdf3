//! What a comparison says, in a sentence: what is broken first, then who is faster and by how much, then the rest. Where no
//! difference was shown it says how small a one would have been.

use super::figures::{CellFigures, Figures, Standing};
use super::percent::{Percent, at_least_percent, bound_words, detectable, is_shown, less_or_more};
use super::verdict::short_name;
use crate::record::{CompareReport, JudgedRatioRecord, Stopped, Verdict};
use crate::stats::MIN_PAIRS;
use crate::units::{Nanos, counted, three_digits};

/// The answer of the whole comparison.
pub fn conclusion(report: &CompareReport) -> String {
    let cells: Vec<CellFigures> = report.cells.iter().map(|cell| CellFigures::of(report, cell)).collect();
    let said = match &cells[..] {
        [cell] => clauses(cell),
        cells => of_cells(cells, &short_name(&report.baseline)),
    };
    let said = said.join("; ");
    match report.stopped {
        Stopped::Interrupted => format!("INTERRUPTED after {}: {said}.", counted(trials(report), "trial")),
        _ => capitalised(&said) + ".",
    }
}

/// The answer of one of its cells.
pub fn of_cell(figures: &CellFigures) -> String {
    capitalised(&clauses(figures).join("; ")) + "."
}

fn trials(report: &CompareReport) -> u64 {
    report.cells.iter().flat_map(|cell| &cell.contestants).map(|one| one.trials.len() as u64).sum()
}

fn clauses(figures: &CellFigures) -> Vec<String> {
    let mut clauses = unfit(figures);
    let CellFigures { baseline, .. } = figures;
    let Some(base) = figures.of_standing(Standing::Baseline).next() else {
        clauses.push(format!("nothing can be compared: {baseline}, the baseline, {}", why_missing(figures)));
        return clauses;
    };
    let compared: Vec<Judged> =
        figures.of_standing(Standing::Compared).filter_map(|one| judged(figures, one)).collect();
    clauses.extend(match &compared[..] {
        [] => vec![alone(base)],
        [one] => vec![one.clause(baseline)],
        several => of_several(several, baseline),
    });
    clauses
}

/// A baseline without its figures.
fn why_missing(figures: &CellFigures) -> &'static str {
    let base = figures.all.iter().find(|one| one.name == figures.baseline);
    match base.map(|base| base.standing) {
        Some(Standing::Broken) => "is broken",
        Some(Standing::Unavailable) => "cannot run here",
        _ => "has no valid round",
    }
}

/// A contestant to which nothing was compared.
fn alone(base: &Figures) -> String {
    let rate = base.throughput_per_s.map(|rate| format!("{} requests/s", short_rate(rate)));
    let cpu = base.server_cpu_ns.map(|nanos| format!("{} of server CPU each", Nanos(nanos.round() as u64)));
    let figures: Vec<String> = rate.into_iter().chain(cpu).collect();
    format!("{}: {}; nothing was compared to it", base.name, figures.join(", "))
}

fn short_rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 999_500.0 => format!("{}M", three_digits(rate / 1e6)),
        rate if rate >= 999.5 => format!("{}k", three_digits(rate / 1e3)),
        rate => three_digits(rate),
    }
}

/// Who is not compared, the baseline left out, which is told of in any case.
fn unfit(figures: &CellFigures) -> Vec<String> {
    let names = |standing| {
        let those = figures.of_standing(standing).filter(|one| one.name != figures.baseline);
        those.map(|one| one.name.clone()).collect::<Vec<_>>()
    };
    let (broken, absent) = (names(Standing::Broken), names(Standing::Unavailable));
    let silent = names(Standing::NotMeasured);
    let is = |names: &[String]| if names.len() == 1 { "is" } else { "are" };
    let has = |names: &[String]| if names.len() == 1 { "has" } else { "have" };
    [
        (!broken.is_empty()).then(|| format!("{} {} broken", listed(&broken), is(&broken))),
        (!silent.is_empty()).then(|| format!("{} {} no valid round", listed(&silent), has(&silent))),
        (!absent.is_empty()).then(|| format!("{} cannot run here", listed(&absent))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `a`, `a and b`, `a, b and c`
fn listed(names: &[String]) -> String {
    match names {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        names => names.concat(),
    }
}

/// A contestant and what is said of it.
struct Judged<'a> {
    name: &'a str,
    /// What its speed is.
    of: &'static str,
    speed: JudgedRatioRecord,
    /// Only where a difference was shown.
    cpu: Option<String>,
}

fn judged<'a>(cell: &CellFigures, one: &'a Figures) -> Option<Judged<'a>> {
    let cpu = one.server_cpu.filter(|cpu| is_shown(cpu.verdict));
    Some(Judged {
        name: &one.name,
        of: if cell.paced { "p99 response time" } else { "requests/s" },
        speed: one.speed?,
        cpu: cpu.map(|cpu| less_or_more(&cpu, "server CPU")),
    })
}

impl Judged<'_> {
    fn clause(&self, baseline: &str) -> String {
        let Judged { name, .. } = self;
        let cpu = self.cpu.as_ref();
        match self.speed.verdict {
            verdict @ (Verdict::Faster | Verdict::Slower) => {
                let cpu = cpu.map(|cpu| format!(", {cpu}")).unwrap_or_default();
                format!("{name} is {} than {baseline}: {}{cpu}", verdict.text(), self.amount())
            }
            Verdict::NoDifferenceShown => {
                let cpu = cpu.map(|cpu| format!(", but {name} takes {cpu}")).unwrap_or_default();
                let amount = self.amount();
                format!("no difference between {name} and {baseline} is shown: {amount}, {}{cpu}", self.unseen())
            }
            _ => format!("{}{}", few_rounds(), self.brief()),
        }
    }

    /// `at least +3.8 % requests/s (+2.4..+5.1)`
    fn amount(&self) -> String {
        format!("{}{}", bound_words(self.speed.bound), Percent::of(&self.speed).sentence(self.of))
    }

    /// How small a difference could have been seen.
    fn unseen(&self) -> String {
        match self.speed.bound {
            Some(_) => "with the generator at its limit, so they may differ by more".to_owned(),
            None => format!("one of {} would have been", at_least_percent(detectable(&self.speed))),
        }
    }

    /// `uring (+3.8 %)`; where no difference was shown only what was shown of the CPU time.
    fn brief(&self) -> String {
        let speed = format!("{}{} %", bound_words(self.speed.bound), Percent::of(&self.speed).median);
        let said = match self.speed.verdict {
            Verdict::NoDifferenceShown => self.cpu.as_ref().map(|cpu| format!("but {cpu}")),
            _ => Some(speed),
        };
        format!("{}{}", self.name, said.map(|said| format!(" ({said})")).unwrap_or_default())
    }
}

fn few_rounds() -> String {
    format!("fewer than {MIN_PAIRS} rounds, so nothing shown: ")
}

/// The fastest at length, the others by what was shown.
fn of_several(all: &[Judged], baseline: &str) -> Vec<String> {
    let of = |verdict| all.iter().filter(move |one| one.speed.verdict == verdict);
    let list = |those: &mut dyn Iterator<Item = &Judged>| those.map(Judged::brief).collect::<Vec<_>>().join(", ");
    let group = |start: &str, list: String| (!list.is_empty()).then(|| format!("{start}{list}"));
    let first = of(Verdict::Faster).next().map(|first| first.clause(baseline));
    let than = if first.is_some() { String::new() } else { format!(" than {baseline}") };
    let none = group(&format!("no difference to {baseline} shown: "), list(&mut of(Verdict::NoDifferenceShown)));
    [
        first,
        group("faster too: ", list(&mut of(Verdict::Faster).skip(1))),
        group(&format!("slower{than}: "), list(&mut of(Verdict::Slower))),
        none.map(|none| format!("{none}{}", unseen(of(Verdict::NoDifferenceShown)))),
        group(&few_rounds(), list(&mut of(Verdict::TooFewRounds))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How small a difference would have been seen with each of them.
fn unseen<'a>(those: impl Iterator<Item = &'a Judged<'a>>) -> String {
    let unbound = those.filter(|one| one.speed.bound.is_none());
    let most = unbound.map(|one| detectable(&one.speed)).fold(0.0, f64::max);
    if most > 0.0 { format!(" (one of {} would have been)", at_least_percent(most)) } else { String::new() }
}

// Several cells

/// What is shown of a contestant in how many cells.
fn of_cells(cells: &[CellFigures], baseline: &str) -> Vec<String> {
    let Some(first) = cells.first() else { return vec!["nothing was measured".to_owned()] };
    let missing = cells.iter().filter(|cell| cell.of_standing(Standing::Baseline).next().is_none()).count();
    let missing = (missing > 0).then(|| {
        format!(
            "nothing can be compared in {}: {baseline}, the baseline, has no valid round",
            part(missing, cells.len())
        )
    });
    let mut names: Vec<&str> = first.all.iter().map(|one| one.name.as_str()).filter(|name| *name != baseline).collect();
    names.sort_by_cached_key(|name| std::cmp::Reverse(count(cells, name, Verdict::Faster)));
    let unfit = names.iter().filter_map(|name| unfit_in(cells, name)).collect::<Vec<_>>();
    let judged = names.iter().filter_map(|name| judged_in(cells, name, baseline)).collect::<Vec<_>>();
    let nothing = (judged.is_empty() && missing.is_none()).then(|| format!("nothing was compared to {baseline}"));
    unfit.into_iter().chain(missing).chain(judged).chain(nothing).collect()
}

/// `9 of 15 cells`, or `all 15 cells`.
fn part(count: usize, all: usize) -> String {
    if count == all { format!("all {all} cells") } else { format!("{count} of {all} cells") }
}

fn standings<'a>(cells: &'a [CellFigures], name: &'a str) -> impl Iterator<Item = &'a Figures<'a>> {
    cells.iter().flat_map(|cell| &cell.all).filter(move |one| one.name == name)
}

fn unfit_in(cells: &[CellFigures], name: &str) -> Option<String> {
    let of = |standing| standings(cells, name).filter(|one| one.standing == standing).count();
    let said = [
        (of(Standing::Broken), "is broken"),
        (of(Standing::NotMeasured), "has no valid round"),
        (of(Standing::Unavailable), "cannot run"),
    ];
    let said: Vec<String> = said
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, said)| format!("{said} in {}", part(*count, cells.len())))
        .collect();
    (!said.is_empty()).then(|| format!("{name} {}", said.join(", ")))
}

fn speeds<'a>(cells: &'a [CellFigures], name: &'a str, of: Verdict) -> impl Iterator<Item = JudgedRatioRecord> + 'a {
    standings(cells, name).filter_map(|one| one.speed).filter(move |speed| speed.verdict == of)
}

fn count(cells: &[CellFigures], name: &str, of: Verdict) -> usize {
    speeds(cells, name, of).count()
}

/// `uring is faster than epoll in 9 of 15 cells (+2.1 to +31 % requests/s), slower in 1 (-3.0 %), …`
fn judged_in(cells: &[CellFigures], name: &str, baseline: &str) -> Option<String> {
    let of = if cells.first()?.paced { "p99 response time" } else { "requests/s" };
    let mut parts = Vec::new();
    for verdict in [Verdict::Faster, Verdict::Slower] {
        let all: Vec<JudgedRatioRecord> = speeds(cells, name, verdict).collect();
        if !all.is_empty() {
            let than = if parts.is_empty() { format!(" than {baseline}") } else { String::new() };
            let place = if parts.is_empty() { part(all.len(), cells.len()) } else { all.len().to_string() };
            parts.push(format!("{}{than} in {place} ({} % {of})", verdict.text(), range(&all)));
        }
    }
    let none = count(cells, name, Verdict::NoDifferenceShown);
    let few = count(cells, name, Verdict::TooFewRounds);
    let is = if parts.is_empty() { ":" } else { " is" };
    parts.extend((none > 0).then(|| format!("no difference shown in {}", part(none, cells.len()))));
    parts.extend((few > 0).then(|| format!("too few rounds in {}", part(few, cells.len()))));
    (!parts.is_empty()).then(|| format!("{name}{is} {}", parts.join(", ")))
}

/// `+2.1 to +31`
fn range(all: &[JudgedRatioRecord]) -> String {
    let mut all: Vec<&JudgedRatioRecord> = all.iter().collect();
    all.sort_by(|one, other| (one.ratio.median - 1.0).abs().total_cmp(&(other.ratio.median - 1.0).abs()));
    let ends = [all.first(), all.last()].map(|one| one.map(|one| Percent::of(one).median).unwrap_or_default());
    if all.len() == 1 || ends[0] == ends[1] { ends[0].clone() } else { ends.join(" to ") }
}

fn capitalised(text: &str) -> String {
    // A contestant's name stays as it is typed.
    let is_word = ["no ", "nothing ", "slower ", "fewer "].iter().any(|word| text.starts_with(word));
    let mut chars = text.chars();
    match is_word {
        true => chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, failed, report, steady, trial};
    use super::super::percent::tests::judged;
    use super::*;
    use crate::record::{Bound, CellRecord, RatiosRecord, Reason};

    /// A comparison of contestants that are so much faster and take so much of the server's CPU time.
    fn compared(all: &[(&str, JudgedRatioRecord, Option<JudgedRatioRecord>)]) -> CompareReport {
        let mut report = report(
            [contestant("epoll", steady(1e5))]
                .into_iter()
                .chain(all.iter().map(|(name, ..)| contestant(name, steady(1e5))))
                .collect(),
        );
        for (one, (_, throughput, server_cpu)) in report.cells[0].contestants[1..].iter_mut().zip(all) {
            one.ratios =
                RatiosRecord { throughput: Some(*throughput), server_cpu: *server_cpu, ..RatiosRecord::default() };
        }
        report
    }

    fn faster() -> JudgedRatioRecord {
        judged(1.038, 1.024, 1.051, Verdict::Faster)
    }

    fn none() -> JudgedRatioRecord {
        judged(0.997, 0.987, 1.007, Verdict::NoDifferenceShown)
    }

    fn less() -> Option<JudgedRatioRecord> {
        Some(judged(0.92, 0.901, 0.942, Verdict::Less))
    }

    #[test]
    fn one_contestant_is_told_of_at_length() {
        for (speed, cpu, said) in [
            (
                faster(),
                less(),
                "uring is faster than epoll: +3.8 % requests/s (+2.4..+5.1), 8.0 % less server CPU (5.8..9.9).",
            ),
            (
                none(),
                None,
                "No difference between uring and epoll is shown: -0.3 % requests/s (-1.3..+0.7), one of 1.5 % would \
                 have been.",
            ),
            (
                JudgedRatioRecord { bound: Some(Bound::AtLeast), ..none() },
                less(),
                "No difference between uring and epoll is shown: at least -0.3 % requests/s (-1.3..+0.7), with the \
                 generator at its limit, so they may differ by more, but uring takes 8.0 % less server CPU (5.8..9.9).",
            ),
            (
                JudgedRatioRecord { bound: Some(Bound::AtLeast), ..faster() },
                Some(judged(1.0, 0.9, 1.1, Verdict::NoDifferenceShown)),
                "uring is faster than epoll: at least +3.8 % requests/s (+2.4..+5.1).",
            ),
        ] {
            assert_eq!(conclusion(&compared(&[("uring", speed, cpu)])), said);
        }
    }

    #[test]
    fn of_several_the_fastest_comes_first() {
        let slower = judged(0.63, 0.51, 0.71, Verdict::Slower);
        let few = JudgedRatioRecord { verdict: Verdict::TooFewRounds, ..faster() };
        let all = compared(&[
            ("threads", slower, None),
            ("few", few, None),
            ("same", none(), less()),
            ("uring", faster(), less()),
        ]);
        assert_eq!(
            conclusion(&all),
            "uring is faster than epoll: +3.8 % requests/s (+2.4..+5.1), 8.0 % less server CPU (5.8..9.9); slower: \
             threads (-37 %); no difference to epoll shown: same (but 8.0 % less server CPU (5.8..9.9)) (one of 1.5 % \
             would have been); fewer than 6 rounds, so nothing shown: few (+3.8 %)."
        );
        let none_faster = compared(&[("threads", slower, None), ("tokio", slower, None)]);
        assert_eq!(conclusion(&none_faster), "Slower than epoll: threads (-37 %), tokio (-37 %).");
    }

    #[test]
    fn what_is_broken_or_missing_is_said_first() {
        let mut all = compared(&[("uring", faster(), None), ("dead", faster(), None), ("absent", faster(), None)]);
        all.cells[0].contestants[2].broken = Some(Reason::NoFreePort);
        all.cells[0].contestants[3].unavailable = Some(Reason::NoFreePort);
        let said = conclusion(&all);
        assert!(said.starts_with("dead is broken; absent cannot run here; uring is faster than epoll: "), "{said}");
        all.stopped = Stopped::Interrupted;
        assert!(conclusion(&all).starts_with("INTERRUPTED after 28 trials: dead is broken; "));
        let silent = report(vec![contestant("epoll", vec![failed(1, "x")]), contestant("uring", steady(1.0))]);
        assert_eq!(conclusion(&silent), "Nothing can be compared: epoll, the baseline, has no valid round.");
        let alone = report(vec![contestant("epoll", vec![trial(1, 5e4, &[])])]);
        assert_eq!(conclusion(&alone), "epoll: 50k requests/s, 20ns of server CPU each; nothing was compared to it.");
    }

    #[test]
    fn several_cells_are_counted() {
        let slower = judged(0.97, 0.96, 0.98, Verdict::Slower);
        let more = judged(1.31, 1.29, 1.33, Verdict::Faster);
        let mut all = compared(&[("uring", faster(), None)]);
        let cell = |speed| {
            let mut cell: CellRecord = compared(&[("uring", speed, None)]).cells.swap_remove(0);
            cell.shape.size = 4096;
            cell
        };
        all.cells.extend([cell(more), cell(slower), cell(none())]);
        assert_eq!(
            conclusion(&all),
            "uring is faster than epoll in 2 of 4 cells (+3.8 to +31 % requests/s), slower in 1 (-3.0 % requests/s), no \
             difference shown in 1 of 4 cells."
        );
        all.cells[3].contestants[1].broken = Some(Reason::NoFreePort);
        assert!(
            conclusion(&all).starts_with("uring is broken in 1 of 4 cells; uring is faster "),
            "{}",
            conclusion(&all)
        );
    }
}

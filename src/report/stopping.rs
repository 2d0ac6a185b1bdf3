//! When enough rounds were run: how narrow the intervals are, and a line that tells which rule ended the rounds.

use super::schema::{CellRecord, CompareReport, ContestantRecord, LoadReport, RatioRecord, Stopped, TrialRecord};
use crate::stats::{Interval, MIN_PAIRS, relative_half_width};
use crate::units::{Nanos, counted, three_digits};

/// So many trials in a row without an answer: the contestant is not waited for.
const SILENT_TRIALS: usize = 2;

/// Whether the interval of every ratio to the baseline reaches at most `precision` (a share of the ratio) to each side.
pub fn is_precise(cell: &CellRecord, baseline: &str, precision: f64) -> bool {
    compared(cell, baseline).all(|one| one.ratio.is_some_and(|ratio| half_width(&ratio) <= precision))
}

/// The widest of these, where all ratios have an interval.
fn widest(cell: &CellRecord, baseline: &str) -> Option<f64> {
    compared(cell, baseline)
        .map(|one| one.ratio.as_ref().map(half_width))
        .try_fold(0.0, |widest: f64, half| half.filter(|half| half.is_finite()).map(|half| widest.max(half)))
}

fn compared<'a>(cell: &'a CellRecord, baseline: &'a str) -> impl Iterator<Item = &'a ContestantRecord> {
    let silent = |trials: &[TrialRecord]| {
        let answered = |load: &LoadReport| load.requests > 0;
        let last = trials.iter().rev().take(SILENT_TRIALS);
        trials.len() >= SILENT_TRIALS && !last.into_iter().any(|trial| trial.load.as_ref().is_some_and(answered))
    };
    let measured = move |one: &&ContestantRecord| one.unavailable.is_none() && !silent(&one.trials);
    cell.contestants.iter().filter(move |one| one.name != baseline).filter(measured)
}

/// Endless where there are too few pairs for an interval.
fn half_width(ratio: &RatioRecord) -> f64 {
    match ratio.pairs >= MIN_PAIRS as u64 {
        true => relative_half_width(ratio.median, Interval { low: ratio.low, high: ratio.high }),
        false => f64::INFINITY,
    }
}

/// Rounds that a cell was to have, as far as is known: the fixed number, or those that were run.
pub fn rounds(report: &CompareReport, cell: &CellRecord) -> u64 {
    let run = cell.contestants.iter().flat_map(|one| &one.trials).map(|trial| trial.round).max().unwrap_or(0);
    if report.limits.is_none() { report.rounds } else { run }
}

/// Which rule ended the rounds of a cell; nothing where their number was fixed.
pub fn line(report: &CompareReport, cell: &CellRecord) -> Option<String> {
    let limits = report.limits.as_ref()?;
    let percent = |share: f64| format!("{} %", three_digits((share * 1e4).round() / 1e2));
    let reached = match widest(cell, &report.baseline) {
        Some(widest) => format!("the widest interval is +-{}", percent(widest)),
        None => "not every ratio has an interval".to_owned(),
    };
    let asked = limits.precision.map(|share| format!(" of +-{} asked for", percent(share))).unwrap_or_default();
    let rule = match cell.stopped? {
        Stopped::Precision => format!("every interval is narrow enough (--precision): {reached}{asked}"),
        Stopped::MaxRounds => format!("no more rounds were allowed (--max-rounds): {reached}{asked}"),
        Stopped::MaxTime => {
            format!("{} were over (--max-time): {reached}{asked}", Nanos(limits.max_time_ns.unwrap_or_default()))
        }
        Stopped::Rounds | Stopped::Interrupted => return None,
    };
    Some(format!("Stopped after {}: {rule}.", counted(rounds(report, cell), "round")))
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, failed, report, steady};
    use super::super::schema::LimitsRecord;
    use super::*;

    #[test]
    fn the_widest_interval_decides_and_who_never_answers_is_not_waited_for() {
        let ratio = |low, high, pairs| RatioRecord { median: 1.0, low, high, pairs };
        let mut report = report(vec![
            contestant("epoll", steady(1e5)),
            contestant("uring", steady(1e5)),
            contestant("dead", vec![failed(1, "x"), failed(2, "x")]),
        ]);
        for (ratio, precise) in [
            (ratio(0.99, 1.01, 7), true),
            (ratio(0.97, 1.03, 7), false),
            (ratio(0.99, 1.01, MIN_PAIRS as u64 - 1), false),
            // What the interval says does not matter, only how wide it is.
            (ratio(1.01, 1.03, 7), true),
        ] {
            report.cells[0].contestants[1].ratio = Some(ratio);
            assert_eq!(is_precise(&report.cells[0], "epoll", 0.02), precise, "{ratio:?}");
        }
        report.limits = Some(LimitsRecord { precision: Some(0.02), max_rounds: 50, max_time_ns: None });
        report.cells[0].stopped = Some(Stopped::Precision);
        let line = line(&report, &report.cells[0]).unwrap();
        assert!(line.starts_with("Stopped after 7 rounds: every interval is narrow enough"), "{line}");
        assert!(line.ends_with("the widest interval is +-1 % of +-2 % asked for."), "{line}");
    }
}

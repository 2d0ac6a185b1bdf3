//! When enough rounds were run: how narrow the intervals are, and a line that names the rule that ended the rounds.

use crate::record::{
    CellRecord, CompareReport, ContestantRecord, JudgedRatioRecord, LoadReport, RatioRecord, RatiosRecord, Stopped,
    TrialRecord,
};
use crate::stats::{MIN_PAIRS, median, median_interval, relative_half_width};
use crate::units::{Nanos, counted, three_digits};

/// So many trials in a row without an answer: the contestant is not waited for.
const SILENT_TRIALS: usize = 2;
/// Decides the resamples of a median's interval: the same trials always end the rounds, or never.
const SEED: u64 = 1;

/// Whether every interval that there is to be reaches at most `precision` (a share of the figure) to each side: those of
/// the ratios of throughput and of CPU time per request; where nothing can be compared, those of the medians of whoever
/// answers. Never where nobody does. Percentiles are not waited for: a 99th has a hundredth of the requests behind it, and
/// may not get there in a day.
pub fn is_precise(cell: &CellRecord, baseline: &str, precision: f64) -> bool {
    widest(cell, baseline).is_some_and(|widest| widest <= precision)
}

/// How far the widest of these reaches, where there are some and all are intervals.
fn widest(cell: &CellRecord, baseline: &str) -> Option<f64> {
    let measured = || cell.contestants.iter().filter(|one| is_measured(one));
    let widths: Vec<f64> = match compares(cell, baseline) {
        true => measured().filter(|one| one.name != baseline).map(of_ratios).collect(),
        false => measured().map(of_median).collect(),
    };
    widths.into_iter().reduce(f64::max).filter(|widest| widest.is_finite())
}

/// Whether the baseline and another answer, so that there is, or will be, a ratio.
fn compares(cell: &CellRecord, baseline: &str) -> bool {
    let answers =
        |is_baseline| cell.contestants.iter().any(|one| (one.name == baseline) == is_baseline && is_measured(one));
    answers(true) && answers(false)
}

/// Whether it is worth waiting for: it runs here and works, and not all of its last trials were without an answer.
fn is_measured(contestant: &ContestantRecord) -> bool {
    let trials = &contestant.trials;
    let answered = |trial: &TrialRecord| trial.load.as_ref().is_some_and(|load| load.requests > 0);
    let silent = trials.len() >= SILENT_TRIALS && !trials.iter().rev().take(SILENT_TRIALS).any(answered);
    contestant.unavailable.is_none() && contestant.broken.is_none() && !silent
}

/// The figures whose ratios are to be known well; CPU time only where it is known at all.
fn of_ratios(contestant: &ContestantRecord) -> f64 {
    let RatiosRecord { throughput, server_cpu, total_cpu, .. } = &contestant.ratios;
    let reaches = [server_cpu, total_cpu].into_iter().flatten().map(reach);
    throughput.iter().map(reach).reduce(f64::max).map_or(f64::INFINITY, |first| reaches.fold(first, f64::max))
}

/// How far the interval reaches to its longer side, as a share of the ratio; endless where there are too few pairs for an
/// interval.
fn reach(judged: &JudgedRatioRecord) -> f64 {
    let RatioRecord { median, low, high, pairs } = judged.ratio;
    let longer = (median - low).max(high - median) / median;
    if pairs >= MIN_PAIRS as u64 { longer } else { f64::INFINITY }
}

/// Half the length of the interval of the median of what it is compared by, as a share of it.
fn of_median(contestant: &ContestantRecord) -> f64 {
    let valid = contestant.trials.iter().filter_map(TrialRecord::valid);
    let speeds: Vec<f64> = valid.map(LoadReport::score).collect();
    let interval = median_interval(&speeds, SEED).filter(|_| speeds.len() >= MIN_PAIRS);
    let half = |(middle, interval)| relative_half_width(middle, interval);
    median(&speeds).zip(interval).map_or(f64::INFINITY, half)
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
    let reached = match (widest(cell, &report.baseline), compares(cell, &report.baseline)) {
        (Some(widest), true) => format!("the widest interval is +-{}", percent(widest)),
        (None, true) => "not every ratio has an interval".to_owned(),
        (Some(widest), false) => {
            format!("there is nothing to compare, and the widest interval of a median is +-{}", percent(widest))
        }
        (None, false) => "there is nothing to compare, and not every median has an interval".to_owned(),
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
    use super::super::derive::tests::{contestant, failed, report, steady, trial};
    use super::*;
    use crate::record::{LimitsRecord, Verdict};

    #[test]
    fn the_widest_interval_decides_and_who_never_answers_is_not_waited_for() {
        let ratio = |low, high, pairs| RatioRecord { median: 1.0, low, high, pairs };
        let mut report = report(vec![
            contestant("epoll", steady(1e5)),
            contestant("uring", steady(1e5)),
            contestant("dead", vec![failed(1, "x"), failed(2, "x")]),
        ]);
        let judged =
            |ratio| Some(JudgedRatioRecord { ratio, p_value: None, bound: None, verdict: Verdict::NoDifferenceShown });
        let narrow = ratio(0.99, 1.01, 7);
        for (throughput, cpu, precise) in [
            (narrow, narrow, true),
            (ratio(0.97, 1.03, 7), narrow, false),
            (narrow, ratio(0.97, 1.03, 7), false),
            // Two percent on the average are not two percent to each side.
            (ratio(1.0, 1.03, 7), narrow, false),
            (ratio(0.99, 1.01, MIN_PAIRS as u64 - 1), narrow, false),
            // What the interval says does not matter, only how wide it is.
            (RatioRecord { median: 1.02, low: 1.01, high: 1.03, pairs: 7 }, narrow, true),
            (narrow, narrow, true),
        ] {
            let ratios = &mut report.cells[0].contestants[1].ratios;
            (ratios.throughput, ratios.server_cpu, ratios.p99) =
                (judged(throughput), judged(cpu), judged(ratio(0.5, 1.5, 7)));
            assert_eq!(is_precise(&report.cells[0], "epoll", 0.02), precise, "{throughput:?} {cpu:?}");
        }
        report.limits = Some(LimitsRecord { precision: Some(0.02), max_rounds: 50, max_time_ns: None });
        report.cells[0].stopped = Some(Stopped::Precision);
        let line = line(&report, &report.cells[0]).unwrap();
        assert!(line.starts_with("Stopped after 7 rounds: every interval is narrow enough"), "{line}");
        assert!(line.ends_with("the widest interval is +-1 % of +-2 % asked for."), "{line}");
    }

    /// A comparison with limits that was stopped because it was precise.
    fn stopped(contestants: Vec<ContestantRecord>) -> CompareReport {
        let mut report = report(contestants);
        report.limits = Some(LimitsRecord { precision: Some(0.02), max_rounds: 50, max_time_ns: None });
        report.cells[0].stopped = Some(Stopped::Precision);
        report
    }

    #[test]
    fn who_is_alone_is_as_precise_as_its_own_median() {
        let rates = |spread: f64| (1..=8).map(|round| trial(round, 1e5 * (1.0 + spread * round as f64), &[])).collect();
        for (trials, precise) in [
            (rates(0.001), true),
            (rates(0.05), false),
            (steady(1e5)[..MIN_PAIRS - 1].to_vec(), false),
            (vec![failed(1, "x"), failed(2, "x")], false),
            (Vec::new(), false),
        ] {
            let alone = stopped(vec![contestant("epoll", trials)]);
            assert_eq!(is_precise(&alone.cells[0], "epoll", 0.02), precise, "{:?}", widest(&alone.cells[0], "epoll"));
        }
        let alone = stopped(vec![contestant("epoll", rates(0.001))]);
        let line = line(&alone, &alone.cells[0]).unwrap();
        assert!(line.contains("nothing to compare, and the widest interval of a median is +-0."), "{line}");
    }

    #[test]
    fn without_its_baseline_or_without_others_nothing_is_compared() {
        let dead = || vec![failed(1, "x"), failed(2, "x")];
        for (baseline, other, precise) in
            [(steady(1e5), dead(), true), (dead(), steady(1e5), true), (dead(), dead(), false)]
        {
            let report = stopped(vec![contestant("epoll", baseline), contestant("uring", other)]);
            assert!(!compares(&report.cells[0], "epoll"));
            assert_eq!(is_precise(&report.cells[0], "epoll", 0.02), precise);
        }
    }
}

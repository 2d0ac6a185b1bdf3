//! How far figures can be trusted, as text: the quantiles' intervals and the rounds that stand apart.

use super::verdict::short_name;
use crate::record::{CellRecord, ContestantRecord, LoadReport, OutlierRecord, QuantileRecord, Verdict};
use crate::stats::MIN_BATCHES;
use crate::units::{Nanos, three_digits};

/// The quantiles whose intervals are shown; the others' are in the JSON.
pub const SHOWN: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")];
const INSUFFICIENT: &str = "insufficient data";
/// Below a table of quantiles with their intervals.
pub const LEGEND: &str = "[95 %]: rounds as batches; - or none: too few of them, or of the samples";

/// A line per contestant with rounds that stand apart.
pub fn outliers_of(cell: &CellRecord) -> Vec<String> {
    cell.contestants.iter().filter_map(outliers).collect()
}

/// The intervals of a run's latencies in one line; `None` where it was too short to have intervals of time.
pub fn of_run(report: &LoadReport) -> Option<String> {
    let known = report.quantiles.iter().any(|one| one.effective_samples.is_some());
    match (report.intervals.len(), known) {
        (0, _) => None,
        (_, true) => Some(quantiles(&report.quantiles).join(", ")),
        (count, false) if count >= MIN_BATCHES => {
            Some(format!("{INSUFFICIENT}: too few of the intervals of time have nearly all answers"))
        }
        (_, false) => Some(format!("{INSUFFICIENT}: a run has intervals from {MIN_BATCHES}s on")),
    }
}

/// `p50 [510us, 525us]` of each that is shown.
fn quantiles(records: &[QuantileRecord]) -> Vec<String> {
    let shown = SHOWN.iter().filter_map(|(quantile, name)| {
        records.iter().find(|record| record.quantile == *quantile).map(|record| format!("{name} {}", interval(record)))
    });
    shown.collect()
}

/// `[510us, 525us]`, or what the data cannot carry.
pub fn interval(record: &QuantileRecord) -> String {
    let bound = |bound: Option<u64>| bound.map(|nanos| Nanos(nanos).to_string());
    match (bound(record.low_ns), bound(record.high_ns)) {
        (None, None) => INSUFFICIENT.to_owned(),
        (Some(low), None) => format!("[{low}, {INSUFFICIENT}]"),
        (None, Some(high)) => format!("[{INSUFFICIENT}, {high}]"),
        (Some(low), Some(high)) => format!("[{low}, {high}]"),
    }
}

fn outliers(contestant: &ContestantRecord) -> Option<String> {
    const MAX_SHOWN: usize = 4;
    let baseline = contestant.verdict == Some(Verdict::Baseline);
    let paced = contestant.is_paced();
    let one = |outlier: &OutlierRecord| {
        let value = match (baseline, paced) {
            (true, true) => format!("p99 {}", Nanos((1e9 / outlier.value).round() as u64)),
            (true, false) => format!("{} req/s", three_digits(outlier.value.round())),
            (false, _) => format!("ratio {}", three_digits(outlier.value)),
        };
        format!("round {} ({value}, M {:+.1})", outlier.round, outlier.score)
    };
    let shown: Vec<String> = contestant.outliers.iter().take(MAX_SHOWN).map(one).collect();
    let more = contestant.outliers.len().saturating_sub(MAX_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!shown.is_empty()).then(|| {
        format!("Outliers of {}, counted all the same: {}{more}.", short_name(&contestant.name), shown.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::super::derive::fill_load;
    use super::super::derive::tests::{contestant, report, steady, trial};
    use super::*;
    use crate::record::histogram::tests::stored;
    use crate::record::{IntervalRecord, LatencyRecord};

    #[test]
    fn what_the_data_cannot_carry_is_called_insufficient() {
        let record = |low_ns, high_ns| QuantileRecord {
            quantile: 0.99,
            value_ns: 20_000,
            low_ns,
            high_ns,
            effective_samples: Some(9),
            batches: 7,
        };
        assert_eq!(quantiles(&[record(Some(10_000), Some(30_000))]), ["p99 [10us, 30us]"]);
        assert_eq!(quantiles(&[record(Some(10_000), None)]), ["p99 [10us, insufficient data]"]);
        assert_eq!(quantiles(&[record(None, None)]), ["p99 insufficient data"]);
    }

    #[test]
    fn a_runs_intervals_take_six_seconds() {
        let part = |start_ns| IntervalRecord {
            start_ns,
            length_ns: 1_000_000_000,
            requests: 100,
            histogram: stored(&(1..=100).collect::<Vec<_>>()),
            response_histogram: None,
        };
        for (seconds, said) in [(0, None), (5, Some("insufficient data: a run")), (6, Some("p50 [4"))] {
            let mut load = trial(1, 1e5, &[]).load.unwrap();
            load.intervals = (0..seconds).map(part).collect();
            load.histogram = stored(&(1..=100).collect::<Vec<_>>().repeat(6));
            fill_load(&mut load).unwrap();
            let line = of_run(&load);
            assert_eq!(line.is_some(), said.is_some(), "{line:?}");
            assert!(line.is_none_or(|line| line.starts_with(said.unwrap())), "{seconds}");
        }
    }

    #[test]
    fn rounds_that_stand_apart_are_named() {
        let mut trials = steady(120_000.0);
        trials[3] = trial(4, 60_000.0, &[]);
        let cell = &report(vec![contestant("epoll", steady(100_000.0)), contestant("uring", trials)]).cells[0];
        let lines = outliers_of(cell);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("Outliers of uring, counted all the same: round 4 (ratio 0.60, M -"), "{lines:?}");
    }

    #[test]
    fn an_open_loops_baseline_stands_apart_by_its_response_time() {
        let mut trials = steady(100_000.0);
        for (trial, p99) in trials.iter_mut().zip([80_000, 81_000, 82_000, 1_000_000, 83_000, 84_000, 85_000]) {
            let load = trial.load.as_mut().unwrap();
            load.response_ns = Some(LatencyRecord { p99, ..load.latency_ns });
        }
        let cell = &report(vec![contestant("epoll", trials)]).cells[0];
        let last = outliers_of(cell).pop().unwrap();
        assert!(last.starts_with("Outliers of epoll, counted all the same: round 4 (p99 1ms, M -"), "{last}");
    }
}

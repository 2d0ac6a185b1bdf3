//! From raw trials to figures. Everything derived in a report is computed here and only here, by `compare` and by
//! `report` alike, so a stored file renders to the same text again.
//!
//! A histogram is decoded once: on reading a file, or when its trial is over ([`RunningFigures`]).

use super::accounting::{EndOfRun, usage};
use super::outliers;
use super::quantiles::{self, Batch};
use super::verdict::verdict;
use crate::record::histogram::{self, HistogramError};
use crate::record::{
    AccountingRecord, CellRecord, CompareReport, ContestantRecord, EndRecord, IntervalRecord, LoadReport, RatioRecord,
    Reason, TrialRecord, UseRecord,
};
use crate::stats::{derive_seed, median, paired_ratio};
use hdrhistogram::Histogram;

/// Computes all figures of a report again.
pub fn fill(report: &mut CompareReport) -> Result<(), HistogramError> {
    RunningFigures::new(report).map(|_| ())
}

/// A comparison under way: what its trials so far have measured, so that a further one costs no more than itself.
pub struct RunningFigures {
    /// By cell and contestant.
    waited: Vec<Vec<WaitingTimes>>,
}

impl RunningFigures {
    /// Computes all figures of a report.
    pub fn new(report: &mut CompareReport) -> Result<RunningFigures, HistogramError> {
        let read = |cell: &CellRecord| cell.contestants.iter().map(|one| WaitingTimes::read(&one.trials)).collect();
        let waited: Vec<Vec<WaitingTimes>> = report.cells.iter().map(read).collect::<Result<_, _>>()?;
        for (index, (cell, waited)) in report.cells.iter_mut().zip(&waited).enumerate() {
            cell.contestants.iter_mut().zip(waited).for_each(|(contestant, waited)| fill_figures(contestant, waited));
            compare(cell, &report.baseline, derive_seed(report.context.seed, index as u64), |_| true);
        }
        Ok(RunningFigures { waited })
    }

    /// Adds a trial of a contestant in a cell, and computes what changes. A report that cannot be used becomes a failed
    /// trial. What the report does not have is left alone.
    pub fn add(&mut self, report: &mut CompareReport, cell: usize, contestant: usize, mut trial: TrialRecord) {
        let seed = derive_seed(report.context.seed, cell as u64);
        let waited = self.waited.get_mut(cell).and_then(|cell| cell.get_mut(contestant));
        let Some((waited, cell)) = waited.zip(report.cells.get_mut(cell)) else { return };
        let Some(grown) = cell.contestants.get_mut(contestant) else { return };
        if let Err(error) = waited.add(&trial) {
            trial.load = None;
            trial.failed = Some(Reason::ReportUnusable { problem: error.to_string() });
        }
        grown.trials.push(trial);
        fill_figures(grown, waited);
        let is_baseline = grown.name == report.baseline;
        // All others relate to the baseline.
        compare(cell, &report.baseline, seed, |index| is_baseline || index == contestant);
    }
}

/// What the clients of a contestant waited in its valid trials: together, and trial by trial.
struct WaitingTimes {
    all: Histogram<u64>,
    batches: Vec<Batch>,
}

impl WaitingTimes {
    fn read(trials: &[TrialRecord]) -> Result<WaitingTimes, HistogramError> {
        let mut waited = WaitingTimes { all: histogram::sum(&[])?, batches: Vec::new() };
        trials.iter().try_for_each(|trial| waited.add(trial))?;
        Ok(waited)
    }

    /// Adds nothing where the trial's histogram cannot be read.
    fn add(&mut self, trial: &TrialRecord) -> Result<(), HistogramError> {
        let Some(load) = trial.valid() else { return Ok(()) };
        let waited = histogram::read(load.waiting_histogram())?;
        histogram::add(&mut self.all, &waited)?;
        self.batches.push(Batch::of(&waited));
        Ok(())
    }
}

/// Computes the figures of a single run again.
pub fn fill_load(report: &mut LoadReport) -> Result<(), HistogramError> {
    report.latency_ns = histogram::latency(&report.histogram)?;
    report.response_ns = report.response_histogram.as_deref().map(histogram::latency).transpose()?;
    report.send_lag_ns = report.send_lag_histogram.as_deref().map(histogram::latency).transpose()?;
    let intervals = report.intervals.iter().map(IntervalRecord::waiting_histogram);
    let batches: Vec<Batch> = intervals.map(|one| Ok(Batch::of(&histogram::read(one)?))).collect::<Result<_, _>>()?;
    report.quantiles = quantiles::records(&histogram::read(report.waiting_histogram())?, &batches);
    Ok(())
}

/// Relates those contestants of a cell that `of_interest` picks to the baseline.
fn compare(cell: &mut CellRecord, baseline: &str, seed: u64, of_interest: impl Fn(usize) -> bool) {
    let base = cell.contestants.iter().find(|one| one.name == baseline).map(scores).unwrap_or_default();
    for (index, contestant) in cell.contestants.iter_mut().enumerate().filter(|(index, _)| of_interest(*index)) {
        fill_comparison(contestant, &base, contestant.name == baseline, derive_seed(seed, index as u64));
    }
}

/// The speed in each valid round.
fn scores(contestant: &ContestantRecord) -> Vec<(u64, f64)> {
    contestant.trials.iter().filter_map(|trial| Some((trial.round, trial.valid()?.score()))).collect()
}

/// The figures of a contestant by itself.
fn fill_figures(contestant: &mut ContestantRecord, waited: &WaitingTimes) {
    let valid: Vec<&LoadReport> = contestant.trials.iter().filter_map(TrialRecord::valid).collect();
    let rates: Vec<f64> = valid.iter().map(|load| load.throughput_per_s).collect();
    let server = per_request(valid.iter().filter_map(|load| Some((load.cpu.server_ns?, load.requests))));
    let generator = per_request(valid.iter().map(|load| (load.cpu.generator_ns, load.requests)));
    let WaitingTimes { all, batches } = waited;
    contestant.rounds = valid.len() as u64;
    contestant.datagrams = valid.iter().filter_map(|load| load.datagrams).reduce(std::ops::Add::add);
    contestant.latency_ns = (!all.is_empty()).then(|| histogram::figures(all));
    contestant.quantiles = quantiles::records(all, batches);
    contestant.throughput_per_s = median(&rates);
    contestant.server_cpu_ns_per_request = server;
    contestant.generator_cpu_ns_per_request = generator;
    contestant.server_use = use_of(&valid, |accounting| accounting.server.as_ref());
    contestant.generator_use = use_of(&valid, |accounting| Some(&accounting.generator));
}

/// What one end used per request over several runs.
pub fn use_of(runs: &[&LoadReport], end: fn(&AccountingRecord) -> Option<&EndRecord>) -> UseRecord {
    let ends = runs.iter().filter_map(|run| {
        let end = run.accounting.as_ref().and_then(end)?;
        let connections = run.workload.shape.connections + run.workload.generator.idle;
        Some(EndOfRun { end, requests: run.requests, connections })
    });
    usage(&ends.collect::<Vec<_>>())
}

/// How it relates to the baseline.
fn fill_comparison(contestant: &mut ContestantRecord, base: &[(u64, f64)], is_baseline: bool, seed: u64) {
    let pairs = pairs(&scores(contestant), base);
    let throughputs: Vec<(f64, f64)> = pairs.iter().map(|(_, both)| *both).collect();
    contestant.ratio = paired_ratio(&throughputs, seed).map(RatioRecord::from);
    contestant.verdict = contestant.unavailable.is_none().then(|| verdict(contestant.ratio.as_ref(), is_baseline));
    let of_interest = |(ours, base): (f64, f64)| if is_baseline { ours } else { ours / base };
    contestant.outliers = outliers::records(pairs.iter().map(|(round, both)| (*round, of_interest(*both))));
}

/// The speed of both in the rounds in which both are valid, and which rounds these are.
fn pairs(ours: &[(u64, f64)], base: &[(u64, f64)]) -> Vec<(u64, (f64, f64))> {
    let of_round = |wanted: u64| base.iter().find(|(round, _)| *round == wanted).map(|(_, speed)| *speed);
    ours.iter().filter_map(|(round, speed)| Some((*round, (*speed, of_round(*round)?)))).collect()
}

/// Total CPU time by total requests.
fn per_request(trials: impl Iterator<Item = (u64, u64)>) -> Option<f64> {
    let (cpu, requests) =
        trials.fold((0.0, 0.0), |(cpu, requests), (ns, count)| (cpu + ns as f64, requests + count as f64));
    (requests > 0.0).then(|| cpu / requests)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::histogram::tests::stored;
    use crate::record::*;
    use proptest::prelude::*;

    /// A trial with this throughput, every request 1 us long.
    pub fn trial(round: u64, throughput_per_s: f64, invalid: &[&str]) -> TrialRecord {
        let load = LoadReport {
            schema: LOAD_SCHEMA.into(),
            ringmark: "0".into(),
            target: "127.0.0.1:1".into(),
            workload: Workload {
                shape: Shape { connections: 1, size: 64, depth: 1, ..Shape::default() },
                generator: GeneratorSettings {
                    engine: "epoll".into(),
                    threads: 1,
                    warmup_ns: 1,
                    timeout_ns: 1,
                    ..GeneratorSettings::default()
                },
                ..Workload::default()
            },
            requests: 100,
            duration_ns: 1_000_000,
            throughput_per_s,
            latency_ns: LatencyRecord::default(),
            errors: Default::default(),
            invalid: invalid.iter().map(|reason| Reason::unclassified(*reason)).collect(),
            cpu: CpuRecord { generator_ns: 1_000, server_ns: Some(2_000), ..Default::default() },
            histogram: stored(&[1_000]),
            ..LoadReport::default()
        };
        TrialRecord { round, position: 1, load: Some(load), failed: None, connections_per_shard: None }
    }

    pub fn failed(round: u64, reason: &str) -> TrialRecord {
        TrialRecord {
            round,
            position: 1,
            load: None,
            failed: Some(Reason::unclassified(reason)),
            connections_per_shard: None,
        }
    }

    pub fn contestant(name: &str, trials: Vec<TrialRecord>) -> ContestantRecord {
        ContestantRecord { name: name.into(), words: name.into(), trials, ..Default::default() }
    }

    fn context() -> RunContext {
        RunContext {
            schema: COMPARE_SCHEMA.into(),
            ringmark: "0.1.0".into(),
            started: "2026-01-31T23:59:59Z".into(),
            command: vec!["ringmark".into(), "compare".into()],
            host: HostRecord { kernel: "6.8.0".into(), cpu: "some processor".into(), cores: 4 },
            seed: 42,
            server_cores: "0-1".into(),
            load_cores: "2-3".into(),
            cores_shared: false,
            siblings_shared: false,
            load: GeneratorSettings {
                engine: "epoll".into(),
                threads: 2,
                duration_ns: 1_000_000_000,
                warmup_ns: 300_000_000,
                timeout_ns: 5_000_000_000,
                ..GeneratorSettings::default()
            },
        }
    }

    pub fn report(contestants: Vec<ContestantRecord>) -> CompareReport {
        let mut report = CompareReport {
            context: context(),
            rounds: 7,
            limits: None,
            slices: None,
            baseline: "epoll".into(),
            stopped: Stopped::Rounds,
            cells: vec![CellRecord {
                shape: Shape { connections: 64, size: 64, depth: 1, ..Shape::default() },
                contestants,
                ..CellRecord::default()
            }],
        };
        fill(&mut report).unwrap();
        report
    }

    pub fn steady(throughput: f64) -> Vec<TrialRecord> {
        (1..=7).map(|round| trial(round, throughput + round as f64, &[])).collect()
    }

    #[test]
    fn the_figures_of_a_plain_comparison() {
        let report = report(vec![contestant("uring", steady(120_000.0)), contestant("epoll", steady(100_000.0))]);
        let [uring, epoll] = &report.cells[0].contestants[..] else { panic!() };
        assert_eq!((uring.throughput_per_s, uring.rounds), (Some(120_004.0), 7));
        assert_eq!((uring.server_cpu_ns_per_request, uring.generator_cpu_ns_per_request), (Some(20.0), Some(10.0)));
        assert_eq!(uring.latency_ns.unwrap().p50, 1_000);
        assert_eq!((uring.verdict, epoll.verdict), (Some(Verdict::Faster), Some(Verdict::Baseline)));
        assert!((uring.ratio.unwrap().median - 1.2).abs() < 1e-4);
        assert_eq!(epoll.ratio.unwrap(), RatioRecord { median: 1.0, low: 1.0, high: 1.0, pairs: 7 });
    }

    /// The rate was given, so the answers' times are what differs.
    #[test]
    fn an_open_loop_is_compared_by_its_response_times() {
        let paced = |p99: u64| {
            let mut trials = steady(10_000.0);
            for load in trials.iter_mut().filter_map(|trial| trial.load.as_mut()) {
                load.response_ns =
                    Some(LatencyRecord { p99: p99 + load.throughput_per_s as u64 % 10, ..Default::default() });
            }
            trials
        };
        let report = report(vec![contestant("uring", paced(50_000)), contestant("epoll", paced(100_000))]);
        let uring = &report.cells[0].contestants[0];
        assert!((uring.ratio.unwrap().median - 2.0).abs() < 0.01, "{:?}", uring.ratio);
        assert_eq!(uring.verdict, Some(Verdict::Faster));
    }

    #[test]
    fn trials_that_do_not_count_are_left_out_of_their_pair() {
        let mut trials = steady(120_000.0);
        trials[0] = trial(1, 9e9, &["a byte was wrong"]);
        trials[1] = failed(2, "the server ended");
        let report = report(vec![contestant("epoll", steady(100_000.0)), contestant("uring", trials)]);
        let uring = &report.cells[0].contestants[1];
        assert_eq!((uring.rounds, uring.ratio.unwrap().pairs), (5, 5));
        assert_eq!(uring.verdict, Some(Verdict::TooFewRounds));
        assert!(uring.throughput_per_s.unwrap() < 130_000.0);
    }

    #[test]
    fn a_round_that_stands_apart_is_shown_and_counts() {
        let mut trials = steady(120_000.0);
        trials[3] = trial(4, 60_000.0, &[]);
        let report = report(vec![contestant("epoll", steady(100_000.0)), contestant("uring", trials)]);
        let [epoll, uring] = &report.cells[0].contestants[..] else { panic!() };
        assert_eq!((epoll.outliers.len(), uring.outliers.len()), (0, 1));
        let outlier = uring.outliers[0];
        assert!(outlier.round == 4 && (outlier.value - 0.6).abs() < 0.01 && outlier.score < -3.5, "{outlier:?}");
        assert_eq!((uring.rounds, uring.ratio.unwrap().pairs), (7, 7));
    }

    #[test]
    fn without_a_valid_trial_there_is_no_figure() {
        let mut absent = contestant("tokio-uring", vec![]);
        absent.unavailable = Some(Reason::unclassified("no io_uring"));
        let report = report(vec![contestant("epoll", vec![failed(1, "x")]), absent]);
        let [epoll, absent] = &report.cells[0].contestants[..] else { panic!() };
        assert_eq!((epoll.throughput_per_s, epoll.latency_ns, epoll.ratio), (None, None, None));
        assert_eq!((absent.verdict, absent.rounds), (None, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn filling_again_changes_nothing(rates in prop::collection::vec(1.0f64..1e6, 1..12)) {
            let rates: Vec<TrialRecord> = (1..).zip(&rates).map(|(round, rate)| trial(round, *rate, &[])).collect();
            let first = report(vec![contestant("epoll", steady(1e5)), contestant("x", rates)]);
            let mut second = first.clone();
            fill(&mut second).unwrap();
            prop_assert_eq!(first, second);
        }
    }
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// Whatever the order in which trials come, the baseline's included, and whichever of them count.
        #[test]
        fn figures_that_grow_trial_by_trial_are_those_of_all_at_once(
            trials in prop::collection::vec((0usize..3, 0u8..4, 1.0f64..1e6), 0..30)
        ) {
            let mut grown = report(["epoll", "uring", "tokio"].map(|name| contestant(name, Vec::new())).into());
            let mut running = RunningFigures::new(&mut grown).unwrap();
            let mut rounds = [0; 3];
            for (contestant, fate, rate) in trials {
                rounds[contestant] += 1;
                let invalid: &[&str] = if fate == 0 { &["x"] } else { &[] };
                running.add(&mut grown, 0, contestant, trial(rounds[contestant], rate, invalid));
            }
            let mut at_once = grown.clone();
            fill(&mut at_once).unwrap();
            prop_assert_eq!(grown, at_once);
        }
    }

    #[test]
    fn a_trial_whose_histogram_is_damaged_becomes_a_failed_one() {
        let mut report = report(vec![contestant("epoll", steady(1e5))]);
        let before = report.cells[0].contestants[0].clone();
        let mut damaged = trial(8, 1e5, &[]);
        damaged.load.as_mut().unwrap().histogram = "x".into();
        RunningFigures::new(&mut report).unwrap().add(&mut report, 0, 0, damaged);
        let after = &report.cells[0].contestants[0];
        assert!(
            matches!(after.trials[7].failed, Some(Reason::ReportUnusable { .. })) && after.trials[7].load.is_none()
        );
        assert_eq!((after.rounds, after.latency_ns), (before.rounds, before.latency_ns));
    }
}

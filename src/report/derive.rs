//! From raw trials to figures. Everything derived in a report is computed here and only here, by `compare` and by
//! `report` alike, so a stored file renders to the same text again.
//!
//! A histogram is decoded once: on reading a file, or when its trial is over ([`RunningFigures`]).

use super::accounting::{EndOfRun, usage};
use super::broken;
use super::generator_limit;
use super::judgement::judge;
use super::outliers;
use super::pairing::{self, Figure};
use super::quantiles::{self, Batch};
use super::rates::Rates;
use crate::record::histogram::{self, HistogramError};
use crate::record::{
    AccountingRecord, CellRecord, CompareReport, ContestantRecord, EndRecord, FloorRecord, IntervalRecord,
    JudgedRatioRecord, LoadReport, OutlierRecord, RatioRecord, RatiosRecord, Reason, TrialRecord, UseRecord, Verdict,
};
use crate::stats::{PairedRatio, derive_seed, median};
use crate::units::CoreList;
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
        let scene = Scene::of(report);
        for (index, (cell, waited)) in report.cells.iter_mut().zip(&waited).enumerate() {
            cell.contestants.iter_mut().zip(waited).for_each(|(contestant, waited)| fill_figures(contestant, waited));
            compare(cell, &scene, derive_seed(report.context.seed, index as u64), |_| true);
        }
        judge(report);
        Ok(RunningFigures { waited })
    }

    /// Adds a trial of a contestant in a cell, and computes what changes. A report that cannot be used becomes a failed
    /// trial. What the report does not have is left alone.
    pub fn add(&mut self, report: &mut CompareReport, cell: usize, contestant: usize, mut trial: TrialRecord) {
        let (seed, scene) = (derive_seed(report.context.seed, cell as u64), Scene::of(report));
        let waited = self.waited.get_mut(cell).and_then(|cell| cell.get_mut(contestant));
        let Some((waited, cell)) = waited.zip(report.cells.get_mut(cell)) else { return };
        let Some(grown) = cell.contestants.get_mut(contestant) else { return };
        if let Err(error) = waited.add(&trial) {
            trial.load = None;
            trial.failed = Some(Reason::ReportUnusable { problem: error.to_string() });
        }
        grown.trials.push(trial);
        fill_figures(grown, waited);
        let is_baseline = grown.name == scene.baseline;
        // All others relate to the baseline.
        compare(cell, &scene, seed, |index| is_baseline || index == contestant);
        judge(report);
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
fn compare(cell: &mut CellRecord, scene: &Scene, seed: u64, of_interest: impl Fn(usize) -> bool) {
    let base = cell.contestants.iter().find(|one| one.name == scene.baseline && one.broken.is_none());
    let base = base.map_or_else(Base::default, |one| Base::of(&one.trials, scene));
    let compared: Vec<(usize, Comparison)> = (0..cell.contestants.len())
        .filter(|index| of_interest(*index))
        .map(|index| (index, Comparison::new(&cell.contestants[index], &base, scene, derive_seed(seed, index as u64))))
        .collect();
    let floor = cell.floor.as_mut().and_then(fill_floor);
    for (index, comparison) in compared {
        comparison.store(&mut cell.contestants[index], floor);
    }
}

/// CPU time per request, in nanoseconds.
fn fill_floor(floor: &mut FloorRecord) -> Option<f64> {
    let per_request = floor.slices.iter().map(|slice| slice.cpu_ns as f64 / slice.requests as f64);
    floor.cpu_ns_per_request = median(&per_request.filter(|cost| cost.is_finite()).collect::<Vec<_>>());
    floor.cpu_ns_per_request
}

/// What a comparison of contestants needs to know beside their trials.
struct Scene {
    baseline: String,
    server_cores: usize,
}

impl Scene {
    fn of(report: &CompareReport) -> Scene {
        let server_cores = report.context.server_cores.parse().map_or(1, |cores: CoreList| cores.len());
        Scene { baseline: report.baseline.clone(), server_cores }
    }
}

/// What contestants are compared to; nothing where there is no baseline, or a broken one.
#[derive(Default)]
struct Base<'a> {
    trials: &'a [TrialRecord],
    rates: Rates,
    is_limited: bool,
}

impl Base<'_> {
    fn of<'a>(trials: &'a [TrialRecord], scene: &Scene) -> Base<'a> {
        Base { trials, rates: Rates::of(trials), is_limited: generator_limit::is_limited(trials, scene.server_cores) }
    }
}

/// How a contestant relates to the baseline.
struct Comparison {
    ratio: Option<RatioRecord>,
    ratios: RatiosRecord,
    rates: Rates,
    outliers: Vec<OutlierRecord>,
}

impl Comparison {
    fn new(contestant: &ContestantRecord, base: &Base, scene: &Scene, seed: u64) -> Comparison {
        let is_baseline = contestant.name == scene.baseline;
        // Nothing is said of the speed of who does not work.
        let trials = if contestant.broken.is_some() { &[] } else { &contestant.trials[..] };
        let scores = pairing::pair_scores(trials, base.trials);
        let outliers = match is_baseline {
            true => outliers::records(own_scores(trials)),
            false => outliers::records(scores.rounds.iter().copied()),
        };
        let mut ratios = RatiosRecord::default();
        for (figure, stream) in Figure::ALL.into_iter().zip(0..) {
            let pairing = pairing::pair(figure, trials, base.trials);
            let ratio = match figure {
                _ if is_baseline => pairing.to_itself(),
                Figure::Throughput => pairing.main_ratio(seed),
                _ => pairing.ratio(derive_seed(seed, stream)),
            };
            *figure.in_record(&mut ratios) = ratio.map(|ratio| unjudged(ratio, is_baseline));
        }
        if let Some(throughput) = ratios.throughput.as_mut().filter(|_| !is_baseline) {
            let is_limited = generator_limit::is_limited(trials, scene.server_cores);
            throughput.bound = generator_limit::bound(is_limited, base.is_limited);
        }
        let ratio = match contestant.is_paced() {
            true if !is_baseline => scores.main_ratio(seed).map(RatioRecord::from),
            _ => ratios.throughput.map(|throughput| throughput.ratio),
        };
        let rates = Rates::of(&contestant.trials).relative_to(base.rates, &ratios);
        Comparison { ratio, ratios, rates, outliers }
    }

    fn store(self, contestant: &mut ContestantRecord, floor: Option<f64>) {
        self.rates.store(contestant);
        contestant.floor_multiple = self.rates.total_cpu_ns().zip(floor).map(|(total, floor)| total / floor);
        contestant.ratio = self.ratio;
        contestant.ratios = self.ratios;
        contestant.outliers = self.outliers;
    }
}

/// The verdict comes when all are known.
fn unjudged(ratio: PairedRatio, is_baseline: bool) -> JudgedRatioRecord {
    let p_value = ratio.p_value().filter(|_| !is_baseline);
    JudgedRatioRecord { ratio: ratio.into(), p_value, bound: None, verdict: Verdict::TooFewRounds }
}

/// The speed in each valid round.
fn own_scores(trials: &[TrialRecord]) -> impl Iterator<Item = (u64, f64)> {
    trials.iter().filter_map(|trial| Some((trial.round, trial.valid()?.score())))
}

/// The figures of a contestant by itself.
fn fill_figures(contestant: &mut ContestantRecord, waited: &WaitingTimes) {
    let valid: Vec<&LoadReport> = contestant.trials.iter().filter_map(TrialRecord::valid).collect();
    let WaitingTimes { all, batches } = waited;
    contestant.rounds = valid.len() as u64;
    contestant.datagrams = valid.iter().filter_map(|load| load.datagrams).reduce(std::ops::Add::add);
    contestant.latency_ns = (!all.is_empty()).then(|| histogram::figures(all));
    contestant.quantiles = quantiles::records(all, batches);
    contestant.server_use = use_of(&valid, |accounting| accounting.server.as_ref());
    contestant.generator_use = use_of(&valid, |accounting| Some(&accounting.generator));
    // Without a trial it is known from elsewhere: it could not be started at all.
    if !contestant.trials.is_empty() {
        contestant.broken = broken::reason(&contestant.trials).cloned();
    }
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

    /// A round of 14 slices of 50 ms, of which this many requests per second and this much server CPU time per request come,
    /// each times what the machine did in the block; the generator takes 2 us per request.
    pub fn sliced(round: u64, throughput_per_s: f64, server_cpu_ns: f64) -> TrialRecord {
        let machine = |block: u64| 1.0 + 0.2 * ((round * 14 + block) as f64).sin();
        let slice = |block: u64| {
            let requests = (throughput_per_s * 0.05 / machine(block)) as u64;
            SliceRecord {
                requests,
                counted_ns: 50_000_000,
                answers: requests,
                length_ns: 50_000_000,
                server_cpu_ns: Some((requests as f64 * server_cpu_ns * machine(block)) as u64),
                generator_cpu_ns: requests * 2_000,
            }
        };
        let mut trial = trial(round, throughput_per_s, &[]);
        let load = trial.load.as_mut().unwrap();
        load.slices = (0..14).map(slice).collect();
        load.latency_ns = LatencyRecord { p50: 1_000, p99: 1_000, ..LatencyRecord::default() };
        trial
    }

    pub fn rounds_in_slices(throughput_per_s: f64, server_cpu_ns: f64) -> Vec<TrialRecord> {
        (1..=8).map(|round| sliced(round, throughput_per_s, server_cpu_ns)).collect()
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
        assert!((uring.throughput_per_s.unwrap() - 120_004.0).abs() < 1e-6 && uring.rounds == 7);
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

    /// The machine changes by a fifth from block to block, and the ratios do not.
    #[test]
    fn slices_are_compared_block_by_block() {
        let mut report = report(vec![
            contestant("epoll", rounds_in_slices(200_000.0, 4_000.0)),
            contestant("uring", rounds_in_slices(208_000.0, 3_600.0)),
        ]);
        let slices = (1..=8).map(|round| FloorSliceRecord { round, requests: 1_000, cpu_ns: 2_000_000 }).collect();
        report.cells[0].floor = Some(FloorRecord { slices, ..FloorRecord::default() });
        fill(&mut report).unwrap();
        let [epoll, uring] = &report.cells[0].contestants[..] else { panic!() };
        let RatiosRecord { throughput, server_cpu, total_cpu, p50, .. } = &uring.ratios;
        for (judged, expected, verdict) in [
            (throughput, 1.04, Verdict::Faster),
            (server_cpu, 0.9, Verdict::Less),
            (total_cpu, 5.6 / 6.0, Verdict::Less),
            (p50, 1.0, Verdict::NoDifferenceShown),
        ] {
            let JudgedRatioRecord { ratio, verdict: said, .. } = judged.as_ref().unwrap();
            assert!((ratio.median - expected).abs() < 1e-3 && ratio.high - ratio.low < 2e-3, "{ratio:?}");
            assert_eq!((*said, ratio.pairs), (verdict, 8));
        }
        assert_eq!((uring.verdict, uring.ratio), (Some(Verdict::Faster), throughput.map(|judged| judged.ratio)));
        assert_eq!(epoll.ratios.server_cpu.unwrap().verdict, Verdict::Baseline);
        let floor = report.cells[0].floor.as_ref().unwrap().cpu_ns_per_request;
        assert!(
            floor == Some(2_000.0) && (epoll.floor_multiple.unwrap() - 3.0).abs() < 0.1,
            "{:?}",
            epoll.floor_multiple
        );
    }

    /// Rounds of which only one is valid must not make the slower one look faster.
    #[test]
    fn what_is_shown_agrees_with_the_ratios() {
        for in_slices in [false, true] {
            let round = |round: u64, speed: f64| match in_slices {
                true => sliced(round, speed, 4e8 / speed),
                false => trial(round, speed, &[]),
            };
            // The machine is half as fast from the tenth round on, in which epoll is invalid.
            let machine = |of: u64| if of < 10 { 2e5 } else { 1e5 };
            let mut base: Vec<TrialRecord> = (1..=20).map(|of| round(of, machine(of))).collect();
            base[9..].iter_mut().for_each(|trial| {
                trial.load.as_mut().unwrap().invalid.push(Reason::unclassified("x"));
            });
            let ours = (1..=20).map(|of| round(of, 1.04 * machine(of))).collect();
            let report = report(vec![contestant("epoll", base), contestant("uring", ours)]);
            let [epoll, uring] = &report.cells[0].contestants[..] else { panic!() };
            let shown = |of: fn(&ContestantRecord) -> Option<f64>| of(uring).unwrap() / of(epoll).unwrap();
            let ratio = |judged: Option<JudgedRatioRecord>| judged.unwrap().ratio.median;
            assert!((shown(|one| one.throughput_per_s) - 1.04).abs() < 1e-3);
            assert!((shown(|one| one.server_cpu_ns_per_request) - ratio(uring.ratios.server_cpu)).abs() < 1e-9);
            let total = shown(|one| Some(one.server_cpu_ns_per_request? + one.generator_cpu_ns_per_request?));
            assert!((total - ratio(uring.ratios.total_cpu)).abs() < 1e-9);
        }
    }

    #[test]
    fn who_is_broken_is_named_and_not_compared() {
        let mut trials = steady(9e5);
        let kinds = [("corrupt".to_owned(), 1)].into();
        trials[3].load.as_mut().unwrap().invalid.push(Reason::Errors { kinds });
        let all = |trials: Vec<TrialRecord>, baseline: Vec<TrialRecord>| {
            report(vec![contestant("epoll", baseline), contestant("uring", trials)])
        };
        let broken = all(trials.clone(), steady(1e5));
        let uring = &broken.cells[0].contestants[1];
        assert!(matches!(uring.broken, Some(Reason::Errors { .. })) && uring.verdict == Some(Verdict::Broken));
        assert_eq!((uring.ratio, &uring.ratios), (None, &RatiosRecord::default()));
        let nobody = all(steady(1e5), trials);
        let [epoll, uring] = &nobody.cells[0].contestants[..] else { panic!() };
        assert_eq!((epoll.verdict, uring.verdict), (Some(Verdict::Broken), Some(Verdict::TooFewRounds)));
        assert_eq!(uring.ratio, None);
        // One that could not even be tried stays what it was found to be.
        let mut never = all(Vec::new(), steady(1e5));
        never.cells[0].contestants[1].broken = Some(Reason::NothingAnswered);
        fill(&mut never).unwrap();
        assert_eq!(never.cells[0].contestants[1].verdict, Some(Verdict::Broken));
    }

    #[test]
    fn rounds_at_the_generators_limit_count_and_bound_the_ratio() {
        let limit = Reason::GeneratorBottleneck { threads: 1, busy: 0.95, server: Some(0.6) };
        let mut trials = steady(9e4);
        trials.iter_mut().for_each(|trial| trial.load.as_mut().unwrap().invalid.push(limit.clone()));
        let report = report(vec![contestant("epoll", steady(1e5)), contestant("uring", trials)]);
        let uring = &report.cells[0].contestants[1];
        let throughput = uring.ratios.throughput.unwrap();
        assert_eq!((uring.rounds, throughput.bound), (7, Some(Bound::AtLeast)));
        assert!(throughput.ratio.high < 1.0);
        assert_eq!(throughput.verdict, Verdict::NoDifferenceShown, "it may be faster than it shows");
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

    /// What is stored of it is what the version that measured it said.
    #[test]
    fn an_older_file_gives_the_ratios_that_it_has() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/results/2026-11-24-epyc-2core/single.json");
        let mut report: CompareReport = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let stored = report.clone();
        fill(&mut report).unwrap();
        let of = |report: &CompareReport| -> Vec<_> {
            report.cells[0].contestants.iter().map(|one| (one.ratio, one.verdict, one.rounds)).collect()
        };
        assert!(of(&stored).len() > 1);
        assert_eq!(of(&report), of(&stored));
        let throughput = report.cells[0].contestants.iter().map(|one| one.ratios.throughput.map(|judged| judged.ratio));
        assert!(throughput.eq(report.cells[0].contestants.iter().map(|one| one.ratio)), "the two are the same");
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

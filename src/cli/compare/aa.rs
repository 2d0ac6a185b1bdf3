//! `ringmark compare --aa`: a contestant against itself, many short comparisons, and how often one raises a false alarm.

use super::settings::Settings;
use super::{CompareArgs, EXIT_INTERRUPTED, EXIT_NOTHING_MEASURED};
use crate::cli::contestant;
use crate::cli::progress::Progress;
use crate::cli::report::{print, render};
use crate::cli::stderr::{self, error_chain};
use crate::record::{
    AA_SCHEMA, AaComparison, AaReport, AlarmsRecord, CompareReport, FloorSliceRecord, Reason, RunContext, SlicesRecord,
    Stopped, TrialRecord, Verdict, file,
};
use crate::report::json;
use crate::report::pairing::{self, Figure};
use crate::stats::{MIN_PAIRS, derive_seed};
use crate::trial::{self, Cancel, Observer, Plan, TrialSlot};
use crate::units::Nanos;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::ExitCode;

pub const DEFAULT_COMPARISONS: &str = "100";
/// Short slices, and few in a round, but as many rounds as any comparison has: a hundred comparisons take about five
/// minutes.
const SLICE: Nanos = Nanos::from_millis(20);
const DURATION: &str = "60ms";
/// Of trials, with --trials.
const TRIAL_DURATION: &str = "200ms";
const TRIAL_WARMUP: &str = "50ms";
const DEFAULT_CONTESTANT: &str = "epoll";
/// More false alarms than were allowed.
const EXIT_FALSE_ALARMS: u8 = 4;
/// Reasons kept of each comparison.
const MAX_PROBLEMS: usize = 3;

/// The settings of one of the comparisons: the contestant twice, and what was not typed short.
pub fn settings(args: &CompareArgs) -> Result<Settings> {
    let contestant = match &args.contestants[..] {
        [] => DEFAULT_CONTESTANT,
        [one] => one,
        _ => bail!("--aa compares one contestant with itself; name one"),
    };
    let workload = args.workload.clone();
    let workload = match args.trials {
        true => workload.or("duration", TRIAL_DURATION).or("warmup", TRIAL_WARMUP),
        false => workload.or("duration", DURATION),
    };
    let settings = Settings::new(&CompareArgs {
        // A name stands for one of them only.
        contestants: vec![contestant::split_name(contestant).1.to_owned(); 2],
        workload,
        slice: args.slice.or((!args.trials).then_some(SLICE)),
        ..args.clone()
    })?;
    if settings.plan.workloads.len() > 1 {
        bail!("--aa runs one workload; give one number of --connections and one --size");
    }
    if settings.plan.rounds.min < MIN_PAIRS as u64 {
        bail!("--aa needs {MIN_PAIRS} rounds at least: fewer show nothing; raise --rounds");
    }
    Ok(settings)
}

/// Runs the comparisons, or as many as come before an interrupt.
pub fn run(args: &CompareArgs, settings: Settings, count: u64, cancel: Cancel) -> Result<ExitCode> {
    let Settings { plan, report, output, .. } = settings;
    let mut report = empty_report(report, count);
    save(&output, &report)?;
    let mut progress = Progress::new(args.quiet);
    if let Ok(unavailable) = trial::check(&plan, cancel) {
        if let Some(reason) = &unavailable[0] {
            bail!("{} cannot run here: {reason}", report.words);
        }
        report.stopped = compare_all(plan, count, cancel, &mut progress, &mut report, &output);
    }
    drop(progress);
    save(&output, &report)?;
    let code = exit_code(&report);
    print(&render(&report, args.format, &args.text.style())?)?;
    stderr::print(format_args!("Saved: {}", output.display()));
    Ok(code)
}

fn compare_all(
    mut plan: Plan,
    count: u64,
    cancel: Cancel,
    progress: &mut Progress,
    report: &mut AaReport,
    output: &Path,
) -> Stopped {
    progress.expect(count * plan.rounds.min * 2);
    for index in 0..count {
        plan.seed = derive_seed(report.context.seed, index);
        let mut pair = Pair { progress, trials: [Vec::new(), Vec::new()] };
        if trial::run(&plan, &[0, 1], cancel, &mut pair) == Stopped::Interrupted {
            return Stopped::Interrupted;
        }
        report.comparisons.push(comparison(plan.seed, &pair.trials, report.slices.is_some()));
        report.count();
        progress.print(&line(report, count));
        if let Err(error) = save(output, report) {
            progress.print(&format!("{}; measuring goes on", error_chain(&error)));
        }
    }
    Stopped::Rounds
}

/// What the last comparison said, and how often one was wrong so far.
fn line(report: &AaReport, count: u64) -> String {
    let last = report.comparisons.last();
    let verdict = last.and_then(|one| one.verdict).map_or("", Verdict::text);
    let of_cpu = last.and_then(|one| one.server_cpu).map(|cpu| format!(", server CPU {}", cpu.verdict.text()));
    let alarms_of_cpu = report.server_cpu.map(|cpu| format!(" and {} of server CPU", cpu.false_alarms));
    format!(
        "comparison {} of {count}: {verdict}{}; {} false alarms{} so far",
        report.comparisons.len(),
        of_cpu.unwrap_or_default(),
        report.alarms.false_alarms,
        alarms_of_cpu.unwrap_or_default()
    )
}

/// Collects the trials of both.
struct Pair<'a> {
    progress: &'a mut Progress,
    trials: [Vec<TrialRecord>; 2],
}

impl Observer for Pair<'_> {
    fn starting(&mut self, _: TrialSlot) {}

    fn block(&mut self, _: usize, _: u64, _: u64, _: SlicesRecord) {}

    fn floor(&mut self, _: usize, _: FloorSliceRecord) {}

    fn round_over(&mut self, _: usize, _: u64) {}

    fn finished(&mut self, trial: TrialSlot, record: TrialRecord) {
        self.trials[trial.contestant].push(record);
        self.progress.finished();
    }

    fn is_precise(&self, _: usize) -> bool {
        false
    }

    fn ended(&mut self, _: usize, _: Stopped) {}
}

fn comparison(seed: u64, [base, ours]: &[Vec<TrialRecord>; 2], in_slices: bool) -> AaComparison {
    let mut problems = Vec::new();
    for reason in base.iter().chain(ours).flat_map(reasons) {
        if problems.len() < MAX_PROBLEMS && !problems.contains(&reason) {
            problems.push(reason);
        }
    }
    let mut comparison = AaComparison {
        seed,
        ratios: pairing::pair_scores(ours, base).ratios(),
        server_cpu_ratios: pairing::pair(Figure::ServerCpu, ours, base).ratios(),
        problems,
        ..AaComparison::default()
    };
    comparison.fill(in_slices);
    comparison
}

fn reasons(trial: &TrialRecord) -> Vec<Reason> {
    let invalid = trial.load.iter().flat_map(|load| load.invalid.iter().cloned());
    trial.failed.iter().cloned().chain(invalid).collect()
}

fn empty_report(setting: CompareReport, asked: u64) -> AaReport {
    let mut cells = setting.cells;
    let mut cell = cells.swap_remove(0);
    let words = cell.contestants.first().map(|contestant| contestant.words.clone()).unwrap_or_default();
    cell.contestants.clear();
    AaReport {
        context: RunContext { schema: AA_SCHEMA.into(), ..setting.context },
        cell,
        words,
        rounds: setting.rounds,
        asked,
        stopped: Stopped::Interrupted,
        slices: setting.slices,
        comparisons: Vec::new(),
        alarms: AlarmsRecord::default(),
        server_cpu: None,
    }
}

fn save(output: &Path, report: &AaReport) -> Result<()> {
    let text = json::render(report)?;
    file::write(output, &text).with_context(|| format!("cannot save to {}; choose another --output", output.display()))
}

fn exit_code(report: &AaReport) -> ExitCode {
    match report.stopped {
        Stopped::Interrupted => EXIT_INTERRUPTED.into(),
        _ if report.alarms.decided == 0 => EXIT_NOTHING_MEASURED.into(),
        _ if !report.is_within() => EXIT_FALSE_ALARMS.into(),
        _ => ExitCode::SUCCESS,
    }
}

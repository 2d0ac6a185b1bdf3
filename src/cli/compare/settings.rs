//! What was typed, checked and spelled out: the plan of the trials and the report they go into.

use super::CompareArgs;
use super::cores::{Split, split_here};
use crate::cli::{contestant, host};
use crate::clock;
use crate::load::{EngineKind, Pace};
use crate::record::{
    COMPARE_SCHEMA, CellRecord, CompareReport, ContestantRecord, LimitsRecord, RunContext, SlicesRecord, Stopped,
    Workload,
};
use crate::sys::affinity;
use crate::sys::uring;
use crate::trial::{Contestant, Plan, Rounds};
use crate::units::{Address, CoreList, Fraction, Nanos, SocketLocation, Transport};
use anyhow::{Context, Result, bail};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

const DEFAULT_CONTESTANTS: [&str; 5] = ["uring", "epoll", "threads", "tokio", "tokio-uring"];
const DEFAULT_BASELINE: &str = "epoll";
const DEFAULT_SLICE: Nanos = Nanos::from_millis(50);
const DEFAULT_ROUNDS: u64 = 12;
const DEFAULT_TRIAL_ROUNDS: u64 = 7;
const DEFAULT_MAX_ROUNDS: u64 = 80;
/// Of a trial. What a slice is, is long enough for a server to warm up.
const TRIAL_DURATION: &str = "1s";
const TRIAL_WARMUP: &str = "300ms";
const DEFAULT_FOLDER: &str = "results/local";
/// All that a comparison needs.
#[derive(Debug)]
pub struct Settings {
    pub plan: Plan,
    /// The baseline was not typed: it is to be one that can run.
    pub baseline_open: bool,
    /// Without a trial yet.
    pub report: CompareReport,
    pub output: PathBuf,
}

impl Settings {
    pub fn new(args: &CompareArgs) -> Result<Settings> {
        let contestants = contestants(&args.contestants)?;
        let baseline = baseline(args.baseline.as_deref(), &contestants)?;
        let split = split_here(args.server_cores.as_ref(), args.load_cores.as_ref())?;
        let plan = plan(args, contestants, &split)?;
        plan.protocols().iter().try_for_each(|protocol| contestant::check_places(&plan.contestants, protocol))?;
        let started = clock::utc_now();
        let output = args.output.clone().unwrap_or_else(|| default_output(&started));
        let report = empty_report(args, &plan, baseline, &split, started)?;
        Ok(Settings { plan, baseline_open: args.baseline.is_none(), report, output })
    }
}

fn contestants(typed: &[String]) -> Result<Vec<Contestant>> {
    match typed {
        [] => contestant::parse_all(&DEFAULT_CONTESTANTS.map(String::from)),
        typed => contestant::parse_all(typed),
    }
}

/// The contestant that was typed, or the default among all.
fn baseline(typed: Option<&str>, contestants: &[Contestant]) -> Result<String> {
    let found = match typed.map(str::trim) {
        Some(typed) => named(typed, contestants.iter()),
        None => default_baseline(contestants.iter()),
    };
    found.map(|contestant| contestant.name.clone()).with_context(|| {
        let names: Vec<&str> = contestants.iter().map(|contestant| contestant.name.as_str()).collect();
        let wanted = typed.unwrap_or(DEFAULT_BASELINE).trim();
        format!("no contestant is named '{wanted}'; --baseline takes one of: {}", names.join(", "))
    })
}

/// What is named so, else what was typed so.
fn named<'a>(name: &str, mut among: impl Iterator<Item = &'a Contestant> + Clone) -> Option<&'a Contestant> {
    among.clone().find(|contestant| contestant.name == name).or_else(|| among.find(|typed| typed.words == name))
}

/// epoll if it is among these, else the first.
pub fn default_baseline<'a>(among: impl Iterator<Item = &'a Contestant> + Clone) -> Option<&'a Contestant> {
    named(DEFAULT_BASELINE, among.clone()).or_else(|| among.into_iter().next())
}

fn plan(args: &CompareArgs, contestants: Vec<Contestant>, split: &Split) -> Result<Plan> {
    let workloads = workloads(args, &split.load)?;
    Ok(Plan {
        program: std::env::current_exe().context("cannot find this program's own file")?,
        contestants,
        rounds: rounds(args)?,
        slices: slices(args, &workloads)?,
        adapts_slices: args.slice.is_none(),
        workloads,
        seed: args.seed,
        server_cores: split.server.clone(),
        load_cores: split.load.clone(),
        counts: args.aa.is_none(),
    })
}

/// That of each cell, with what only this machine decides.
fn workloads(args: &CompareArgs, cores: &CoreList) -> Result<Vec<Workload>> {
    let mut workloads: Vec<Workload> = Vec::new();
    for group in args.groups() {
        let typed = group.workload.clone();
        let typed = if args.trials { typed.or("duration", TRIAL_DURATION).or("warmup", TRIAL_WARMUP) } else { typed };
        let further = typed.workloads(&address(group))?;
        workloads.extend(further.into_iter().filter(|workload| !workloads.contains(workload)).collect::<Vec<_>>());
    }
    for Workload { generator, .. } in &mut workloads {
        if generator.threads == 0 {
            generator.threads = cores.len() as u64;
        }
        if generator.engine.is_empty() {
            generator.engine = best_engine().to_owned();
        }
        if generator.threads > cores.len() as u64 {
            let threads = generator.threads;
            bail!("{threads} generator threads do not fit on its cores ({cores}); lower -t or name more --load-cores");
        }
    }
    Ok(workloads)
}

/// An address such as the contestants listen on; which port or path it will be is not known yet, and does not matter.
fn address(args: &CompareArgs) -> Address {
    let transport = if args.udp { Transport::Datagram } else { Transport::Stream };
    let location = match args.unix {
        true => SocketLocation::Unix(PathBuf::new()),
        false => SocketLocation::ip((Ipv4Addr::LOCALHOST, 0).into()),
    };
    Address { transport, location }
}

fn rounds(args: &CompareArgs) -> Result<Rounds> {
    let min = args.rounds.unwrap_or(if args.trials { DEFAULT_TRIAL_ROUNDS } else { DEFAULT_ROUNDS });
    let max = match args.precision {
        Some(_) => args.max_rounds.unwrap_or(DEFAULT_MAX_ROUNDS.max(min)),
        None => min,
    };
    if max < min {
        bail!("--max-rounds {max} is less than --rounds {min}, the least number of rounds; lower --rounds too");
    }
    Ok(Rounds { min, max, until_precise: args.precision.is_some(), max_time: args.max_time })
}

/// As many slices of a round as fill its counted time. A ramp is longer than a slice.
fn slices(args: &CompareArgs, workloads: &[Workload]) -> Result<Option<SlicesRecord>> {
    let ramps = |workload: &Workload| Ok(Pace::of(workload)?.is_some_and(Pace::is_ramp));
    if args.trials || workloads.iter().map(ramps).collect::<Result<Vec<bool>>>()?.contains(&true) {
        return Ok(None);
    }
    let length = args.slice.unwrap_or(DEFAULT_SLICE).0;
    let filling = |time: u64| time.div_ceil(length).max(1);
    let generator = workloads.first().map(|workload| workload.generator.clone()).unwrap_or_default();
    let warm_up = if args.workload.is_typed("warmup") { filling(generator.warmup_ns) } else { 1 };
    Ok(Some(SlicesRecord::new(length, warm_up, args.blocks.unwrap_or(filling(generator.duration_ns)))))
}

/// What is stored of a number of rounds that is not fixed.
fn limits(args: &CompareArgs, rounds: &Rounds) -> Option<LimitsRecord> {
    (args.precision.is_some() || args.max_time.is_some()).then(|| LimitsRecord {
        precision: args.precision.map(Fraction::value),
        max_rounds: rounds.max,
        max_time_ns: rounds.max_time.map(|time| time.0),
    })
}

/// io_uring where this kernel lets the generator have it, so that a comparison needs no option to work anywhere.
fn best_engine() -> &'static str {
    match uring::usable() {
        Ok(()) => EngineKind::Uring.name(),
        Err(_) => EngineKind::Epoll.name(),
    }
}

/// Named after the time; a name that is taken gets a number.
fn default_output(started: &str) -> PathBuf {
    let stem = started.replace(':', "");
    let named = |suffix: String| Path::new(DEFAULT_FOLDER).join(format!("{stem}{suffix}.json"));
    let mut path = named(String::new());
    let mut number = 2;
    while path.exists() {
        path = named(format!("-{number}"));
        number += 1;
    }
    path
}

fn empty_report(
    args: &CompareArgs,
    plan: &Plan,
    baseline: String,
    split: &Split,
    started: String,
) -> Result<CompareReport> {
    Ok(CompareReport {
        context: RunContext {
            schema: COMPARE_SCHEMA.into(),
            ringmark: env!("CARGO_PKG_VERSION").into(),
            started,
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            host: host::facts(affinity::available()?.len()),
            seed: plan.seed,
            server_cores: plan.server_cores.to_string(),
            load_cores: plan.load_cores.to_string(),
            cores_shared: split.shared(),
            siblings_shared: split.siblings_shared,
            load: plan.workloads.first().map(|workload| workload.generator.clone()).unwrap_or_default(),
        },
        rounds: plan.rounds.min,
        limits: limits(args, &plan.rounds),
        slices: plan.slices,
        baseline,
        stopped: Stopped::Interrupted,
        cells: plan.workloads.iter().map(|workload| empty_cell(plan, workload)).collect(),
    })
}

fn empty_cell(plan: &Plan, workload: &Workload) -> CellRecord {
    let contestant = |contestant: &Contestant| ContestantRecord {
        name: contestant.name.clone(),
        words: contestant.words.clone(),
        ..ContestantRecord::default()
    };
    let contestants = plan.contestants.iter().map(contestant).collect();
    let is_first = plan.workloads.first().is_some_and(|first| first.generator == workload.generator);
    let load = (!is_first).then(|| workload.generator.clone());
    CellRecord { shape: workload.shape.clone(), load, contestants, ..CellRecord::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_baseline_is_epoll_or_the_first_that_can_run() {
        let all = contestants(&["uring", "epoll", "threads"].map(String::from)).unwrap();
        for (able, expected) in
            [(&[0, 1, 2][..], Some("epoll")), (&[0, 2], Some("uring")), (&[2], Some("threads")), (&[], None)]
        {
            let chosen = default_baseline(able.iter().map(|index| &all[*index]));
            assert_eq!(chosen.map(|contestant| contestant.name.as_str()), expected, "{able:?}");
        }
    }

    #[derive(clap::Parser)]
    struct Compare {
        #[command(flatten)]
        args: CompareArgs,
    }

    #[test]
    fn every_size_of_a_mix_must_fit_a_datagram_and_super_packets_have_but_one() {
        let checked = |words: &[&str]| {
            let typed = <Compare as clap::Parser>::try_parse_from([&["compare", "uring"], words].concat()).unwrap();
            workloads(&typed.args, &"0-1".parse().unwrap()).map_err(|error| error.to_string())
        };
        for (words, part) in [
            (&["--udp", "-s", "64:9,15:1"][..], "from 16 to 65507 bytes, not 15"),
            (&["--udp", "-s", "64:9,65508:1"], "not 65508"),
            (&["--idle", "3", "--udp"], "--idle is for streams"),
            (&["--gso", "3"], "--gso is for datagrams: add --udp"),
            (&["--warmup", "2s", "--warmup-max", "1s"], "--warmup-max 1s is less than --warmup 2s"),
            (&["--udp", "-s", "64,8"], "not 8"),
            (&["--udp", "-s", "64:9,1400:1", "--gso", "2"], "choose one --size"),
        ] {
            let refusal = checked(words).unwrap_err();
            assert!(refusal.contains(part), "{words:?}: {refusal}");
        }
        let fine =
            [&["--udp", "-s", "16:9,65507:1"][..], &["--udp", "-s", "64,1400", "--gso", "64"], &["-s", "1:9,1M:1"]];
        assert!(fine.iter().all(|words| checked(words).is_ok()));
    }

    #[test]
    fn a_typed_baseline_must_be_there() {
        let all = contestants(&["uring", "epoll --spin 0"].map(String::from)).unwrap();
        for (typed, expected) in [(None, "epoll"), (Some(" uring "), "uring"), (Some("epoll --spin 0"), "epoll")] {
            assert_eq!(baseline(typed, &all).unwrap(), expected);
        }
        assert!(baseline(Some("threads"), &all).unwrap_err().to_string().contains("one of: uring, epoll"));
    }
}

//! What was typed, checked and spelled out: the plan of the trials and the report they go into.

use super::CompareArgs;
use super::cores::{Split, split_here};
use crate::cli::load::{MAX_DEPTH, SEGMENTS_ARE_EQUAL};
use crate::cli::{contestant, host};
use crate::clock;
use crate::load::{EngineKind, max_datagram_size};
use crate::record::{
    COMPARE_SCHEMA, CellRecord, CompareReport, ContestantRecord, GeneratorRecord, LimitsRecord, LoadSettings,
    SceneRecord, ShapeRecord, Stopped,
};
use crate::sys::affinity;
use crate::sys::uring;
use crate::trial::{Contestant, Load, Pacing, Plan, Rounds};
use crate::units::{Address, Bytes, Nanos, Rate, Share, SizeMix, Transport};
use anyhow::{Context, Result, bail};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

const DEFAULT_CONTESTANTS: [&str; 5] = ["uring", "epoll", "threads", "tokio", "tokio-uring"];
const DEFAULT_BASELINE: &str = "epoll";
const DEFAULT_DURATION: Nanos = Nanos::from_secs(1);
const DEFAULT_WARMUP: Nanos = Nanos::from_millis(300);
const DEFAULT_ROUNDS: u64 = 7;
const DEFAULT_MAX_ROUNDS: u64 = 50;
const DEFAULT_FOLDER: &str = "results/local";
/// TCP sends again by itself what was lost; a datagram that is not answered by then holds up its place in vain.
const STREAM_TIMEOUT: Nanos = Nanos::from_secs(2);
const DATAGRAM_TIMEOUT: Nanos = Nanos::from_millis(250);

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

fn named<'a>(name: &str, mut among: impl Iterator<Item = &'a Contestant>) -> Option<&'a Contestant> {
    among.find(|contestant| contestant.name == name || contestant.words == name)
}

/// epoll if it is among these, else the first.
pub fn default_baseline<'a>(among: impl Iterator<Item = &'a Contestant> + Clone) -> Option<&'a Contestant> {
    named(DEFAULT_BASELINE, among.clone()).or_else(|| among.into_iter().next())
}

fn plan(args: &CompareArgs, contestants: Vec<Contestant>, split: &Split) -> Result<Plan> {
    let cores = split.load.clone();
    let threads = args.threads.unwrap_or(cores.len() as u64);
    if threads > cores.len() as u64 {
        bail!("{threads} generator threads do not fit on its cores ({cores}); lower -t or name more --load-cores");
    }
    check_sizes(args)?;
    if args.tolerance.max_loss.is_some() && !args.udp {
        bail!("--max-loss is for datagrams: add --udp, or leave it out");
    }
    let warmup = args.warmup.unwrap_or(DEFAULT_WARMUP);
    if let Some(most) = args.warmup_max.filter(|most| *most < warmup) {
        bail!("--warmup-max {most} is less than --warmup {warmup}: raise it, or lower --warmup");
    }
    Ok(Plan {
        program: std::env::current_exe().context("cannot find this program's own file")?,
        contestants,
        cells: cells(args),
        rounds: rounds(args)?,
        seed: args.seed,
        transport: if args.udp { Transport::Datagram } else { Transport::Stream },
        server_cores: split.server.clone(),
        load: Load {
            cores,
            threads,
            duration: args.duration.unwrap_or(DEFAULT_DURATION),
            warmup,
            warmup_max: args.warmup_max.unwrap_or(warmup + warmup),
            pacing: pacing(args)?,
            idle: args.idle,
            timeout: args.timeout.unwrap_or(if args.udp { DATAGRAM_TIMEOUT } else { STREAM_TIMEOUT }),
            allow_errors: args.tolerance.allow_errors,
            max_loss: args.tolerance.max_loss,
            gso: args.gso.unwrap_or(0),
            speak: args.speak.map(|dialect| dialect.name().to_owned()),
            counts: args.aa.is_none(),
            spin: args.spin,
            engine: args.load_engine.unwrap_or_else(best_engine).name().to_owned(),
        },
    })
}

/// A datagram has to hold its number, and IP has to carry it.
fn check_sizes(args: &CompareArgs) -> Result<()> {
    let least = Bytes(args.speak.unwrap_or_default().min_size());
    let most = Bytes(max_datagram_size(&Address::udp((Ipv4Addr::LOCALHOST, 0).into())));
    let sizes = || args.size.iter().flat_map(|sizes| &sizes.0);
    if args.gso.is_some_and(|gso| gso > 1) && sizes().any(SizeMix::is_mixed) {
        bail!(SEGMENTS_ARE_EQUAL);
    }
    let mut sizes = sizes().flat_map(SizeMix::parts).map(|(size, _)| *size);
    match sizes.find(|size| args.udp && !(least..=most).contains(size)) {
        Some(size) => bail!("with --udp a request has from {least} to {most} bytes, not {size}; choose another --size"),
        None => Ok(()),
    }
}

/// `None` is a closed loop.
fn pacing(args: &CompareArgs) -> Result<Option<Pacing>> {
    let pace = args.pacing.pace()?;
    Ok(pace.map(|pace| Pacing {
        rate: args.pacing.rate.map(Rate::per_second),
        mean_rate: pace.rate.per_second(),
        arrival: pace.arrival.to_string(),
        timer: args.pacing.timer.name().to_owned(),
    }))
}

fn rounds(args: &CompareArgs) -> Result<Rounds> {
    let min = args.rounds.unwrap_or(DEFAULT_ROUNDS);
    let max = match args.precision {
        Some(_) => args.max_rounds.unwrap_or(DEFAULT_MAX_ROUNDS.max(min)),
        None => min,
    };
    if max < min {
        bail!("--max-rounds {max} is less than --rounds {min}, the least number of rounds; lower --rounds too");
    }
    Ok(Rounds { min, max, until_precise: args.precision.is_some(), max_time: args.max_time })
}

/// What is stored of a number of rounds that is not fixed.
fn limits(args: &CompareArgs, rounds: &Rounds) -> Option<LimitsRecord> {
    (args.precision.is_some() || args.max_time.is_some()).then(|| LimitsRecord {
        precision: args.precision.map(Share::fraction),
        max_rounds: rounds.max,
        max_time_ns: rounds.max_time.map(|time| time.0),
    })
}

/// io_uring where this kernel lets the generator have it, so that a comparison needs no option to work anywhere.
fn best_engine() -> EngineKind {
    match uring::usable() {
        Ok(()) => EngineKind::Uring,
        Err(_) => EngineKind::Epoll,
    }
}

/// Every number of connections with every size, each once, in the order typed.
fn cells(args: &CompareArgs) -> Vec<ShapeRecord> {
    let mut cells = Vec::new();
    let paced = args.pacing.rate.is_some() || args.pacing.arrival.is_some();
    for &connections in &args.connections {
        for size in args.size.iter().flat_map(|sizes| &sizes.0) {
            let connect_per_request = args.connect_per_request;
            let deepest = if paced && !connect_per_request { MAX_DEPTH } else { 1 };
            let depth = args.depth.or(args.gso).unwrap_or(deepest);
            let size_mix = size.is_mixed().then(|| size.to_string());
            let cell = ShapeRecord { connections, size: size.mean().0, size_mix, depth, connect_per_request };
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
    }
    cells
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
        scene: SceneRecord {
            schema: COMPARE_SCHEMA.into(),
            ringmark: env!("CARGO_PKG_VERSION").into(),
            started,
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            host: host::facts(affinity::available()?.len()),
            seed: plan.seed,
            server_cores: plan.server_cores.to_string(),
            load_cores: plan.load.cores.to_string(),
            cores_shared: split.shared(),
            siblings_shared: split.siblings_shared,
            load: LoadSettings { generator: generator(plan), duration_ns: plan.load.duration.0 },
        },
        rounds: plan.rounds.min,
        limits: limits(args, &plan.rounds),
        baseline,
        stopped: Stopped::Interrupted,
        cells: plan.cells.iter().map(|cell| empty_cell(plan, cell)).collect(),
    })
}

fn generator(plan: &Plan) -> GeneratorRecord {
    let load = &plan.load;
    let pacing = load.pacing.as_ref();
    GeneratorRecord {
        protocol: if plan.transport == Transport::Datagram { "udp" } else { "tcp" }.to_owned(),
        gso: load.gso,
        engine: load.engine.clone(),
        threads: load.threads,
        idle: load.idle,
        rate_per_s: pacing.map(|pacing| pacing.mean_rate),
        arrival: pacing.map(|pacing| pacing.arrival.clone()),
        timer: pacing.map(|pacing| pacing.timer.clone()),
        warmup_ns: load.warmup.0,
        warmup_max_ns: load.warmup_max.0,
        timeout_ns: load.timeout.0,
        allow_errors: load.allow_errors.map(Share::fraction),
        max_loss: load.max_loss.map(Share::fraction),
        spin_ns: load.spin.0,
    }
}

fn empty_cell(plan: &Plan, shape: &ShapeRecord) -> CellRecord {
    let contestant = |contestant: &Contestant| ContestantRecord {
        name: contestant.name.clone(),
        words: contestant.words.clone(),
        ..ContestantRecord::default()
    };
    let contestants = plan.contestants.iter().map(contestant).collect();
    CellRecord { shape: shape.clone(), contestants, ..CellRecord::default() }
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
            check_sizes(&typed.args).map_err(|error| error.to_string())
        };
        for (words, part) in [
            (&["--udp", "-s", "64:9,15:1"][..], "from 16 to 65507 bytes, not 15"),
            (&["--udp", "-s", "64:9,65508:1"], "not 65508"),
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

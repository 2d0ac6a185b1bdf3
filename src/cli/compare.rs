//! `ringmark compare`: contestants under the same load, round after round, and a verdict that holds up.

mod aa;
mod cores;
mod scenario;
mod session;
mod settings;

use super::output::OutputArgs;
use super::progress::Progress;
use super::report::{Format, print, render};
use super::text_args::TextArgs;
use super::workload::WorkloadArgs;
use crate::cli::stderr::{self, error_chain};
use crate::record::{CompareReport, Stopped};
use crate::sys::process;
use crate::trial::Cancel;
use crate::units::{CoreSelection, Fraction, Nanos};
use anyhow::{Context, Result};
use clap::Args;
use scenario::ScenarioArgs;
use session::Session;
use settings::Settings;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::ffi::OsString;
use std::iter;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const MIN_SLICE: Nanos = Nanos::from_millis(5);
/// No contestant could be measured.
const EXIT_NOTHING_MEASURED: u8 = 1;
const EXIT_USAGE: u8 = 2;
/// A contestant does not do what is asked of it; the others were measured.
const EXIT_BROKEN: u8 = 5;
/// What a shell reports for a program that Ctrl-C ends: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Compare servers under the same load
///
/// Starts every contestant's server once per round; all are alive at once, and the same load passes from one to the next by
/// turns, over loopback and from cores of its own. Requests per second, CPU time per request and latency are compared block
/// by block and round by round with the baseline's.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct CompareArgs {
    /// Servers: each the words after `ringmark serve` as one argument, or "exec COMMAND" with {ip} and {port} in it, with
    /// --unix {path}
    ///
    /// A name may come before (letters, digits, - _ .) and stands for the words in tables, results and --baseline:
    /// "mine=exec ./my-server {ip}:{port}", "oneshot=uring --recv oneshot". Without any: uring epoll threads tokio
    /// tokio-uring.
    #[arg(value_name = "CONTESTANT")]
    contestants: Vec<String>,
    /// UDP instead of TCP
    ///
    /// Each of the --connections is a socket with a port of its own, each request a datagram with a number. What is
    /// lost, late, doubled or out of order is counted apart.
    #[arg(short, long)]
    udp: bool,
    /// A unix socket instead of TCP, with --udp one for datagrams (unixgram)
    ///
    /// It is in a private temporary folder. A command has {path} in it instead of {ip} and {port}.
    #[arg(long)]
    unix: bool,
    #[command(flatten)]
    workload: WorkloadArgs<true>,
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Further cells: of these only what says what the load is counts.
    #[arg(skip)]
    further: Vec<CompareArgs>,
    /// Rounds, at most 10000; in each all servers are started afresh. Fewer than 6 show nothing, 6 are
    /// enough for one ratio, 8 for six, 12 for a hundred (of all contestants and cells). With --precision the least
    /// number of them [default: 12, with --trials 7]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rounds: Option<u64>,
    /// How long one contestant has the load before the next one does [default: 50ms, or 20 times what an answer takes]
    ///
    /// All servers of a round are alive at once, each with its connections; the load passes from one to the next in
    /// blocks of one slice each, in an order of its own. A tenth of a slice is for it to settle, then answers count, and
    /// it ends when all is answered. Slices of 20 to 200 ms give the same ratios; short ones give them sooner.
    #[arg(long, value_name = "TIME", value_parser = slice_length)]
    slice: Option<Nanos>,
    /// Blocks in a round [default: as many as fill --duration]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000), conflicts_with = "duration")]
    blocks: Option<u64>,
    /// Measure each contestant in a trial of its own, one after the other, instead of in slices by turns
    ///
    /// For what slices are too short for, such as stalls that come once in seconds, and for servers that cannot be there at
    /// the same time. Machines drift meanwhile, so many more rounds are needed for the same precision.
    #[arg(long, conflicts_with_all = ["slice", "blocks"])]
    trials: bool,
    /// Add rounds until every ratio's 95 % interval reaches at most this far to each side, as a share of the ratio: 2%
    ///
    /// Ratios are those of throughput and of CPU time per request; percentiles are not waited for.
    /// What the intervals say never ends the rounds, only how wide they are: a comparison that stops as soon as a
    /// difference shows finds one where there is none.
    #[arg(long, value_name = "SHARE", value_parser = some_share)]
    precision: Option<Fraction>,
    /// Rounds at most, where --precision is not reached before [default: 80, or --rounds if that is more]
    #[arg(long, value_name = "N", requires = "precision", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    max_rounds: Option<u64>,
    /// Begin no further round after this time, shared evenly by the cells
    #[arg(long, value_name = "TIME", value_parser = Nanos::parse_positive)]
    max_time: Option<Nanos>,
    /// Compare one contestant (epoll unless named) with itself N times, and report how often a difference is claimed
    ///
    /// There is none, so each is a false alarm, in throughput and in server CPU per request; 1 in 20 of each is what a 95 %
    /// interval allows. More end with exit code 4. With the short slices that are its default, 100 comparisons take about
    /// 5 minutes.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = aa::DEFAULT_COMPARISONS,
        value_parser = clap::value_parser!(u64).range(1..=100_000), conflicts_with_all = ["baseline", "precision", "max_time", "export", "fail_if", "scenario"])]
    aa: Option<u64>,
    /// Contestant that the others are compared to [default: epoll if it runs, else the first that does]
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Cores of the servers: how many (2) or which (0-1) [default: the first half of the physical ones]
    #[arg(long, value_name = "CORES")]
    server_cores: Option<CoreSelection>,
    /// Cores of the generator: how many (2) or which (2-3) [default: those the servers leave]
    #[arg(long, value_name = "CORES")]
    load_cores: Option<CoreSelection>,
    /// Decides the order in each round, the bytes sent and the resamples of the intervals
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Where the result is saved, after every round; missing folders are made [default: results/local/<UTC time>.json]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// No progress on stderr
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    outcome: OutputArgs,
}

/// Shorter ones hold too few turns of a loop.
fn slice_length(text: &str) -> Result<Nanos, String> {
    match Nanos::parse_positive(text) {
        Ok(length) if length < MIN_SLICE => Err(format!("must be at least {MIN_SLICE}")),
        Ok(length) => Ok(length),
        Err(error) => Err(error.to_string()),
    }
}

/// The whole command lines that this one stands for where it names a scenario: the same but for their cells.
///
/// # Errors
/// The scenario cannot be read, or is not what it should be.
pub fn expand(words: &[OsString]) -> Result<Option<Vec<Vec<OsString>>>> {
    scenario::expand(words)
}

impl CompareArgs {
    /// Adds the cells of a line that is otherwise the same.
    pub fn add_cells(&mut self, line: CompareArgs) {
        self.further.push(line);
    }

    /// Itself, and what has further cells.
    fn groups(&self) -> impl Iterator<Item = &CompareArgs> {
        iter::once(self).chain(&self.further)
    }
}

/// No interval is as narrow as nothing.
fn some_share(text: &str) -> Result<Fraction, String> {
    match text.parse::<Fraction>() {
        Ok(share) if share.value() > 0.0 => Ok(share),
        Ok(_) => Err("must be more than 0".into()),
        Err(error) => Err(error.to_string()),
    }
}

const AFTER_HELP: &str = "\
Durations take ns, us, ms, s, m, h (250us, 1.5s); sizes take k, M (16k, 1M = powers of 1024).

Exit codes: 0 measured; 1 nothing could be measured; 2 bad options; 4 more false alarms than --aa allows; \
5 a contestant is broken: it does not start, ends under load or answers wrong; 99 a --fail-if holds and no contestant is broken; 130 interrupted (what was measured is kept).

Examples:
  ringmark compare                                            every engine, 64 connections, 64 bytes
  ringmark compare uring \"uring --recv oneshot\" --baseline uring
  ringmark compare uring epoll -c 1,64,1000 -s 64,4k          six cells
  ringmark compare uring epoll --precision 2% --max-time 5m   as many rounds as it takes
  ringmark compare --udp uring epoll                          datagrams
  ringmark compare --unix epoll \"exec ./my-server --listen {path}\"
  ringmark compare --udp --gso 64 \"uring --gro\" \"epoll --gro\"
  ringmark compare --udp --speak sockperf uring \"exec sockperf server -i {ip} -p {port}\"
  ringmark compare --scenario bench/scenarios/matrix.toml --variant quick
  ringmark compare --aa                                       may this machine's verdicts be trusted?
  ringmark compare epoll \"mine=exec ./my-server --listen {ip}:{port}\"";

pub fn run(args: CompareArgs) -> Result<ExitCode> {
    let settings = match args.aa.map_or_else(|| Settings::new(&args), |_| aa::settings(&args)) {
        Ok(settings) => settings,
        Err(error) => {
            stderr::print(format_args!("ringmark compare: {}", error_chain(&error)));
            return Ok(EXIT_USAGE.into());
        }
    };
    let cancel = catch_signals().context("cannot catch Ctrl-C")?;
    if let Some(count) = args.aa {
        return aa::run(&args, settings, count, Cancel(&cancel));
    }
    args.outcome.check_places()?;
    let mut session = Session::new(settings, Progress::new(args.quiet))?;
    session.measure(Cancel(&cancel));
    let (report, saved) = session.close();
    print(&render(&report, args.format, &args.text.style())?)?;
    let path = saved?;
    stderr::print(format_args!("Saved: {}", path.display()));
    args.outcome.export(&report)?;
    let failed = failure(&report);
    // Beside a broken contestant the others are judged all the same.
    let judged = match failed {
        None | Some(EXIT_BROKEN) => args.outcome.verdict(&report),
        Some(_) => ExitCode::SUCCESS,
    };
    Ok(failed.map_or(judged, ExitCode::from))
}

/// The exit code of a comparison that came to nothing, or in which a contestant does not work.
fn failure(report: &CompareReport) -> Option<u8> {
    let mut contestants = report.cells.iter().flat_map(|cell| &cell.contestants);
    match report.stopped {
        Stopped::Interrupted => Some(EXIT_INTERRUPTED),
        _ if !contestants.clone().any(|contestant| contestant.rounds > 0) => Some(EXIT_NOTHING_MEASURED),
        _ => contestants.any(|contestant| contestant.broken.is_some()).then_some(EXIT_BROKEN),
    }
}

/// The first signal raises the flag: what runs is ended in order. A second one ends everything at once: the process
/// groups of the trial under way are killed, with all that a contestant started, and then this process.
fn catch_signals() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    process::stop_on(&[SIGHUP, SIGINT, SIGTERM], &flag, EXIT_INTERRUPTED.into())?;
    Ok(flag)
}

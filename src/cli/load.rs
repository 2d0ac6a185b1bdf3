//! `ringload`: its options, what they mean together, and its exit codes.

mod datagrams;
mod live;
pub mod text;

use crate::cli::output::OutputArgs;
use crate::cli::pacing::PacingArgs;
use crate::cli::told::{self, told};
use crate::cli::tolerance::ToleranceArgs;
use crate::load::{self, Config, EngineKind, LoadError, Pace, PaceError};
use crate::record::LoadReport;
use crate::report::derive;
use crate::report::file::Stored;
use crate::sys::affinity::{self, AffinityError};
use crate::units::{Address, Bytes, CoreList, CoreSelection, Nanos, Place, SizeMix, Transport};
use anyhow::Context;
use clap::{Args, Parser, ValueEnum};
use datagrams::DatagramArgs;
use live::LiveLine;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most requests in flight per connection.
pub const MAX_DEPTH: u64 = 4096;
/// The longest warm-up, in shortest ones.
const WARMUP_MAX: u64 = 5;
const MAX_SIZE: Bytes = Bytes(64 << 20);
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_INVALID: u8 = 3;
/// What a shell reports for a program that a second Ctrl-C ends: 128 + SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Puts load on an echo server, checks every byte that comes back, and measures.
///
/// Without --rate the load is a closed loop: every connection keeps --depth requests in flight and sends the next one
/// when an answer is complete. Latency is service time, from just before a request is sent until its last byte is back;
/// a closed loop slows down with the server, so it does not show how long users would queue.
///
/// With --rate it is an open loop: requests are sent by a schedule, and latency is response time, from the instant at
/// which the schedule wanted a request sent. That is what users see who do not wait for each other.
///
/// Over udp:// and unixgram: every request is a datagram on one of as many sockets as --connections says. One that is not
/// answered within --timeout makes room for the next; its answer, should it still come, is late, else it is lost. Lost,
/// late, duplicated, reordered and corrupt are counted apart, and losses are laid at the door of the end whose kernel
/// dropped them.
///
/// A run connects, has every connection answered once, warms up until throughput is steady, measures, and waits for
/// what is under way. Ctrl-C ends it early, with a report of what was counted; a second one at once.
#[derive(Debug, Parser)]
#[command(name = "ringload", version, after_long_help = AFTER_HELP)]
struct Ringload {
    #[command(flatten)]
    args: LoadArgs,
}

const AFTER_HELP: &str = "\
Durations take ns, us, ms, s, m, h (250us, 1.5s); sizes take k, M (16k, 1M = powers of 1024).

Exit codes: 0 the run is valid; 1 it could not be made; 2 bad options; 3 it was made, but its figures must not be used \
(the reasons come first in the output, and are `invalid` in the JSON); 99 it is valid, but a --fail-if holds.

Examples:
  ringload 127.0.0.1:7007                          64 connections, 64 bytes, 10 s
  ringload unix:/run/echo.sock -c 1 -n 100000      latency of a single connection
  ringload 127.0.0.1:7007 -R 20k --arrival poisson   20000 requests per second, as independent users send them
  ringload 127.0.0.1:7007 -c 256 -t 2 --cores 2-3  two threads, pinned to cores 2 and 3
  ringload 127.0.0.1:7007 -s 64:90,1400:9,16k:1 --idle 1000   small and large requests beside a silent crowd
  ringload udp://127.0.0.1:7007                    64 UDP sockets with one datagram under way each
  ringload udp://127.0.0.1:7007 --gso 64           64 datagrams per send, for servers that receive them so (--gro)
  ringload 127.0.0.1:7007 -s 16k --depth 8 --format json > run.json";

/// Options of a run.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Echo server: tcp://IP:PORT or IP:PORT, udp://IP:PORT, unix:PATH or unixgram:PATH
    pub target: Address,
    /// Connections over all threads, with datagrams sockets; at most 1000000
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,
    /// Threads, each with its share of the connections; at most 1024 [default: one per core of --cores, else 1]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// How long to measure, warm-up not included
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = positive)]
    pub duration: Nanos,
    /// Stop after exactly N counted requests, should that come before --duration
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// Bytes of a request, 1 to 64M; the answer must be the same bytes. A mix by weight: 64:90,1400:9,16k:1
    ///
    /// A datagram has at least 16, and at most 65507 over IPv4 (IPv6 65527, unix 65536). Its size follows from its number,
    /// so that each answer's length is checked too.
    #[arg(short, long, value_name = "BYTES", default_value = "64", value_parser = request_sizes)]
    pub size: SizeMix,
    /// Connections beside --connections that stay open and silent: what do they cost the others?
    ///
    /// Each is answered once before the measuring and once after it, so that all are known to be alive.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000), conflicts_with = "connect_per_request")]
    pub idle: u32,
    /// Requests in flight per connection, at most 4096 [default: 1, with --gso as many, with a rate 4096]
    ///
    /// Slots that are free at the same time are filled with one send, as a client that batches would do.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_DEPTH))]
    pub depth: Option<u64>,
    #[command(flatten)]
    pub pacing: PacingArgs,
    /// Make a new connection for every request
    ///
    /// Latency then counts from before the connection is made. Thousands of connections per second use up local ports;
    /// ringload says so if that happens.
    #[arg(long, conflicts_with = "depth")]
    pub connect_per_request: bool,
    /// Load without counting, before measuring: at least this long, and until throughput is steady
    ///
    /// Steady is a slope of less than 0.1 % of the mean per tenth of this time, over as much time. 0 is no warm-up.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub warmup: Nanos,
    /// Longest warm-up, where throughput is not steady before [default: 5 times --warmup]
    #[arg(long, value_name = "TIME")]
    pub warmup_max: Option<Nanos>,
    /// An answer that takes longer is an error and its connection is made anew; a datagram's is late or lost [default: 5s,
    /// with datagrams 250ms]
    #[arg(long, value_name = "TIME", value_parser = positive)]
    pub timeout: Option<Nanos>,
    #[command(flatten)]
    pub tolerance: ToleranceArgs,
    /// Cores for the threads: how many (2) or which (2-3; one alone as 3-3); each thread is pinned to one of its own
    ///
    /// Name cores that the server does not use. Without this option threads are pinned only if this process may use
    /// exactly as many cores as there are threads (as under taskset), because any other choice might hit the server's.
    #[arg(long, value_name = "CORES")]
    pub cores: Option<CoreSelection>,
    /// Leave the threads to the scheduler
    #[arg(long)]
    pub no_pin: bool,
    /// Seed of the bytes that are sent; the same seed sends the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Look for answers this long before sleeping
    ///
    /// Saves the wake-up, which is most of an idle machine's latency, at the price of a busy core.
    #[arg(long, value_name = "TIME", default_value = "0")]
    pub spin: Nanos,
    /// How the generator does its I/O
    #[arg(long, value_enum, default_value_t = EngineKind::Uring)]
    pub engine: EngineKind,
    /// Account the CPU time of this process and its descendants as the server's
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub server_pid: Option<u32>,
    /// What to print: text for eyes, or one JSON object (schema ringload/1, times in integer nanoseconds)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// End the load with --duration, without counting switches, system calls and instructions after it
    #[arg(long)]
    pub no_counts: bool,
    /// No live line on the terminal, no line per second in a pipe
    #[arg(long)]
    pub quiet: bool,
    #[command(flatten)]
    pub outcome: OutputArgs,
    #[command(flatten)]
    pub datagrams: DatagramArgs,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// What `ringload` and `compare` say of a mix with --gso.
pub const SEGMENTS_ARE_EQUAL: &str = "--gso sends datagrams of one size, because a super-packet is cut into equal parts \
    (UDP_SEGMENT): choose one --size, or leave out --gso";

/// The options are fine one by one, but not together or not here.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    #[error("{threads} threads cannot share {connections} connections; ask for at least one connection per thread")]
    FewConnections { threads: usize, connections: usize },
    #[error("{threads} threads cannot be pinned to {cores} cores ({list}); name more --cores, or add --no-pin")]
    FewCores { threads: usize, cores: usize, list: CoreList },
    #[error("{0} is for streams; datagrams have no connections: leave it out")]
    StreamsOnly(&'static str),
    #[error("a datagram to {target} has from {min} to {max} bytes, not {size}: choose another --size")]
    DatagramSize { target: String, size: Bytes, min: Bytes, max: Bytes },
    #[error("{0} is for datagrams: write the target as udp://IP:PORT (or unixgram:PATH), or leave it out")]
    OnlyDatagrams(&'static str),
    #[error("{0} is for UDP: a unix socket has no super-packets")]
    OnlyUdp(&'static str),
    #[error("{}", SEGMENTS_ARE_EQUAL)]
    MixedSegments,
    #[error("{0} has no port 0 to connect to: write the one that the server listens on")]
    NoPort(Address),
    #[error("--warmup-max {most} is less than --warmup {least}: raise it, or lower --warmup")]
    Warmup { least: Nanos, most: Nanos },
    #[error(transparent)]
    Pace(#[from] PaceError),
    #[error(transparent)]
    Affinity(#[from] AffinityError),
}

pub fn positive(text: &str) -> Result<Nanos, String> {
    match text.parse() {
        Ok(Nanos::ZERO) => Err("must be longer than 0".into()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

pub fn request_sizes(text: &str) -> Result<SizeMix, String> {
    let sizes: SizeMix = text.parse().map_err(|error: crate::units::ParseUnitError| error.to_string())?;
    match sizes.largest() > MAX_SIZE {
        true => Err(format!("a request has at most {MAX_SIZE} bytes")),
        false => Ok(sizes),
    }
}

/// The program: options from the command line, report on standard output, exit code.
pub fn main() -> ExitCode {
    run(&Ringload::parse().args)
}

/// Runs the load as typed; a stop signal ends it early with a report, a second one at once.
pub fn run(args: &LoadArgs) -> ExitCode {
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    if let Some(problem) = args.outcome.needs_comparison() {
        return fail(EXIT_USAGE, &problem);
    }
    if let Err(error) = args.outcome.check_places() {
        return fail(EXIT_FAILED, &told(&error));
    }
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = catch_signals(&stop) {
        return fail(EXIT_FAILED, &error);
    }
    match measure(&config, args, &stop) {
        Ok(report) => conclude(report, args).unwrap_or_else(|error| fail(EXIT_FAILED, &told(&error))),
        Err(error) => fail(EXIT_FAILED, &error),
    }
}

/// Prints and exports the report; what must not be used is not judged any further.
fn conclude(report: LoadReport, args: &LoadArgs) -> anyhow::Result<ExitCode> {
    print(&report, args.format).context("writing the report failed")?;
    let valid = report.invalid.is_empty();
    let result = Stored::Load(Box::new(report));
    args.outcome.export(&result)?;
    Ok(if valid { args.outcome.verdict(&result) } else { EXIT_INVALID.into() })
}

fn measure(config: &Config, args: &LoadArgs, stop: &AtomicBool) -> Result<LoadReport, LoadError> {
    let mut live = LiveLine::new(config, args.quiet);
    let mut report = load::run(config, stop, &mut |progress| live.show(progress))?;
    derive::fill_load(&mut report).expect("histograms just written can be read");
    Ok(report)
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    told::say(format_args!("ringload: {error}"));
    code.into()
}

fn catch_signals(stop: &Arc<AtomicBool>) -> io::Result<()> {
    stop.store(false, Ordering::Relaxed);
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down and raises it, the second finds it up and ends us.
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, Arc::clone(stop))?;
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

fn print(report: &LoadReport, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Text => out.write_all(text::render(report).as_bytes())?,
        Format::Json => {
            serde_json::to_writer(&mut out, report)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}

impl LoadArgs {
    /// Every default decided, every combination checked.
    pub fn config(&self) -> Result<Config, OptionsError> {
        let (threads, pin) = self.placement()?;
        let connections = self.connections as usize;
        if threads > connections {
            return Err(OptionsError::FewConnections { threads, connections });
        }
        if matches!(self.target.place, Place::Ip { port: 0, .. }) {
            return Err(OptionsError::NoPort(self.target.clone()));
        }
        if let Some(most) = self.warmup_max.filter(|most| *most < self.warmup) {
            return Err(OptionsError::Warmup { least: self.warmup, most });
        }
        self.check_transport()?;
        let pace = self.pacing.pace()?;
        Ok(Config {
            target: self.target.clone(),
            connections,
            threads,
            pin,
            duration: self.duration,
            requests: self.requests,
            size: self.size.mean(),
            mix: Some(self.size.clone()).filter(SizeMix::is_mixed),
            idle: self.idle as usize,
            depth: self.depth(pace),
            pace,
            timer: self.pacing.timer,
            allowed_errors: self.tolerance.allow_errors,
            counts: !self.no_counts,
            connect_per_request: self.connect_per_request,
            warmup: self.warmup,
            warmup_max: self.warmup_max.unwrap_or(Nanos(self.warmup.0.saturating_mul(WARMUP_MAX))),
            timeout: self.timeout(),
            seed: self.seed,
            spin: self.spin,
            engine: self.engine,
            datagrams: self.datagrams()?,
            server_pid: self.server_pid,
        })
    }

    fn check_transport(&self) -> Result<(), OptionsError> {
        match self.target.transport {
            Transport::Stream => Ok(()),
            Transport::Datagram if self.idle > 0 => Err(OptionsError::StreamsOnly("--idle")),
            Transport::Datagram if self.connect_per_request => Err(OptionsError::StreamsOnly("--connect-per-request")),
            Transport::Datagram => Ok(()),
        }
    }

    /// An open loop pipelines as deep as it may, so that no late answer delays a request.
    fn depth(&self, pace: Option<Pace>) -> u64 {
        match (self.depth, pace) {
            _ if self.connect_per_request => 1,
            (Some(depth), _) => depth,
            (None, Some(_)) => MAX_DEPTH,
            (None, None) => self.datagrams.gso.unwrap_or(1),
        }
    }

    /// How many threads, and on which cores.
    fn placement(&self) -> Result<(usize, Option<CoreList>), OptionsError> {
        let asked = self.threads.map(|threads| threads as usize);
        let (threads, cores) = match &self.cores {
            Some(selection) => {
                let cores = affinity::resolve(selection)?;
                (asked.unwrap_or(cores.len()), Some(cores))
            }
            None => {
                let threads = asked.unwrap_or(1);
                (threads, affinity::available().ok().filter(|cores| cores.len() == threads))
            }
        };
        let Some(cores) = cores.filter(|_| !self.no_pin) else { return Ok((threads, None)) };
        match cores.as_slice().get(..threads) {
            Some(used) => Ok((threads, CoreList::new(used.to_vec()))),
            None => Err(OptionsError::FewCores { threads, cores: cores.len(), list: cores }),
        }
    }
}

#[cfg(test)]
mod tests;

//! `ringload`: its options, what they mean together, and its exit codes.

mod commands;
mod status;

use crate::cli::output::OutputArgs;
use crate::cli::stderr::{self, error_chain};
use crate::cli::workload::{WorkloadArgs, WorkloadError};
use crate::load::{self, Config, ConfigError, LoadError, Surroundings};
use crate::record::LoadReport;
use crate::report::result::StoredResult;
use crate::report::text_style::TextStyle;
use crate::sys::affinity::{self, AffinityError};
use crate::units::{Address, CoreList, CoreSelection, SocketLocation};
use anyhow::Context;
use clap::{Args, Parser, ValueEnum};
use commands::StandardInput;
use signal_hook::consts::{SIGINT, SIGTERM};
use status::RunStatus;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
/// late, duplicated, reordered and corrupt are counted apart, and each loss is attributed to the end whose kernel
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
  ringload 127.0.0.1:7007 -s 64:90,1400:9,16k:1 --idle 1000   small and large requests beside idle connections
  ringload udp://127.0.0.1:7007                    64 UDP sockets with one datagram under way each
  ringload udp://127.0.0.1:7007 --gso 64           64 datagrams per send, for servers that receive them so (--gro)
  ringload 127.0.0.1:7007 -s 16k --depth 8 --format json > run.json";

/// Options of a run.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Echo server: tcp://IP:PORT or IP:PORT, udp://IP:PORT, unix:PATH or unixgram:PATH
    pub target: Address,
    #[command(flatten)]
    pub workload: WorkloadArgs<false>,
    /// Cores for the threads: how many (2) or which (2-3; one alone as 3-3); each thread is pinned to one of its own
    ///
    /// Name cores that the server does not use. Without this option threads are pinned only if this process may use
    /// exactly as many cores as there are threads (as under taskset), because any other choice might hit the server's.
    #[arg(long, value_name = "CORES")]
    pub cores: Option<CoreSelection>,
    /// Leave the threads to the scheduler
    #[arg(long)]
    pub no_pin: bool,
    /// Account the CPU time of this process and its descendants as the server's
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub server_pid: Option<u32>,
    /// What to print: text, or one JSON object (schema ringload/1, times in integer nanoseconds)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// End the load with --duration, without counting switches, system calls and instructions after it
    #[arg(long)]
    pub no_counts: bool,
    /// No live line on the terminal, no line per second in a pipe
    #[arg(long)]
    pub quiet: bool,
    /// Load in slices, each begun by a line on standard input, as `ringmark compare` does
    #[arg(long, hide = true)]
    pub slices: bool,
    #[command(flatten)]
    pub outcome: OutputArgs,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// The options are fine one by one, but not together or not here.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    #[error("{threads} threads cannot share {connections} connections; ask for at least one connection per thread")]
    FewConnections { threads: usize, connections: usize },
    #[error("{threads} threads cannot be pinned to {cores} cores ({list}); name more --cores, or add --no-pin")]
    FewCores { threads: usize, cores: usize, list: CoreList },
    #[error("{0} has no port 0 to connect to: write the one that the server listens on")]
    NoPort(Address),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Affinity(#[from] AffinityError),
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
        return fail(EXIT_FAILED, &error_chain(&error));
    }
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = catch_signals(&stop) {
        return fail(EXIT_FAILED, &error);
    }
    match measure(&config, args, &stop) {
        Ok(report) => conclude(report, args).unwrap_or_else(|error| fail(EXIT_FAILED, &error_chain(&error))),
        Err(error) => fail(EXIT_FAILED, &error),
    }
}

/// Prints and exports the report; what must not be used is not judged any further.
fn conclude(report: LoadReport, args: &LoadArgs) -> anyhow::Result<ExitCode> {
    print(&report, args.format).context("writing the report failed")?;
    let valid = report.invalid.is_empty();
    args.outcome.export(&report)?;
    Ok(if valid { args.outcome.verdict(&report) } else { EXIT_INVALID.into() })
}

fn measure(config: &Config, args: &LoadArgs, stop: &AtomicBool) -> Result<LoadReport, LoadError> {
    let mut report = match args.slices {
        true => load::run_slices(config, &mut StandardInput::default(), stop)?,
        false => {
            let mut live = RunStatus::new(config, args.quiet);
            load::run(config, stop, &mut |progress| live.show(progress))?
        }
    };
    report.derive().expect("histograms just written can be read");
    Ok(report)
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    stderr::print(format_args!("ringload: {error}"));
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
        Format::Text => out.write_all(report.text(&TextStyle::default()).as_bytes())?,
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
        // Of the options of `ringload` none takes several values.
        let mut workload = self.workload.workloads(&self.target)?.swap_remove(0);
        let asked = Some(workload.generator.threads as usize).filter(|threads| *threads > 0);
        let (threads, pin) = self.placement(asked)?;
        let connections = workload.shape.connections as usize;
        if threads > connections {
            return Err(OptionsError::FewConnections { threads, connections });
        }
        if matches!(self.target.location, SocketLocation::Ip { port: 0, .. }) {
            return Err(OptionsError::NoPort(self.target.clone()));
        }
        workload.generator.threads = threads as u64;
        let around = Surroundings { pin, server_pid: self.server_pid, counts: !self.no_counts };
        Ok(Config::new(self.target.clone(), workload, around)?)
    }

    /// How many threads, and on which cores.
    fn placement(&self, asked: Option<usize>) -> Result<(usize, Option<CoreList>), OptionsError> {
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

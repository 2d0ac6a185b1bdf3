//! The load generator: asks an echo server as fast as it answers, checks every byte, and measures.
//!
//! From the inside out: `pipeline` (one connection's requests in flight; what they say is the [protocol's
//! client](crate::protocol::client)), `pacer` (when requests are meant to be sent), `dispatcher` (who sends them),
//! `recorder`, `histograms`, `interval_exchange` and `timeline` (what was measured, by interval), `stream` and
//! `datagram` (one thread's connections or sockets, and how they do I/O), `context`, `tick` and `driver` (what both
//! share above them), `thread` (a thread's loop), `engines` (which loop it is), `tasks` (what each thread has to do),
//! `coordinator` (the phases of a run), `resource_usage` (what both ends use), `summary` and `validity` (the report).
//! Only `stream` and `datagram` touch sockets, only `thread`, `coordinator` and where a receive has an instant of its
//! own the pools read the clock.
//!
//! A run in slices ([`run_slices`]) goes on command instead: `slices`, and `slice_gate` where its threads wait.
//!
//! A run: every connection is made and answered once (admission), all load at full depth (warm-up), answers that arrive
//! within the counted window are recorded, the load goes on a moment for what else is counted, nothing new begins and
//! what is under way is waited for (drain).

mod config;
mod context;
mod coordinator;
mod cpu_use;
mod datagram;
mod dispatcher;
mod driver;
mod engine;
mod engines;
mod error;
mod histograms;
mod interval_exchange;
mod pacer;
mod pipeline;
mod protocols;
mod recorder;
mod resource_usage;
mod settled;
mod shared;
mod slice_gate;
mod slices;
mod stream;
mod summary;
mod tasks;
mod thread;
mod thread_plan;
mod thread_result;
mod tick;
mod timeline;
mod validity;

pub use config::{ConfigError, Surroundings};
pub use datagram::{DEFAULT_MAX_LOSS, Options as DatagramOptions, max_size as max_datagram_size};
pub use error::LoadError;
pub use pacer::{Pace, PaceError};
pub use protocols::DatagramProtocol;
pub use slices::Commander;
pub use thread::WaitMode;

use crate::record::{LoadReport, Workload};
use crate::sys::{accounting, rlimit};
use crate::units::{Address, Bytes, CoreList, Fraction, Nanos, SizeMix};
use coordinator::{Script, Window};
use slices::OnCommand;
use std::sync::atomic::AtomicBool;

/// Descriptors for other things than connections: rings, standard streams, /proc.
const SPARE_DESCRIPTORS: u64 = 64;
/// How the generator does I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineKind {
    /// io_uring: one system call sends, receives and waits for all connections.
    Uring,
    /// epoll: works everywhere, one system call per send and receive.
    Epoll,
}

impl EngineKind {
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Uring => "uring",
            EngineKind::Epoll => "epoll",
        }
    }
}

/// One run, every value decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the others are made from, as it is stored. A new property needs no twin of its own below.
    pub workload: Workload,
    pub target: Address,
    /// At least 1, and at least `threads`.
    pub connections: usize,
    pub threads: usize,
    /// Cores to pin the threads to, at least one per thread; `None` leaves them to the scheduler.
    pub pin: Option<CoreList>,
    pub duration: Nanos,
    /// Stop after so many counted requests, if `duration` has not passed before.
    pub requests: Option<u64>,
    /// Bytes of a request, at least 1; of a mix the mean.
    pub size: Bytes,
    /// Several sizes.
    pub mix: Option<SizeMix>,
    /// Connections beside the others that are open and silent; streams only, and not with `connect_per_request`.
    pub idle: usize,
    /// Requests in flight per connection, at least 1; exactly 1 with `connect_per_request`.
    pub depth: u64,
    /// When requests are sent; `None` is a closed loop.
    pub pace: Option<Pace>,
    pub timer: WaitMode,
    /// Errors that do not make the run invalid, as a share of all requests. A wrong byte always does.
    pub allowed_errors: Option<Fraction>,
    pub connect_per_request: bool,
    /// Shortest warm-up, and the longest where throughput is not steady by then.
    pub warmup: Nanos,
    pub warmup_max: Nanos,
    pub timeout: Nanos,
    pub seed: u64,
    pub spin: Nanos,
    pub engine: EngineKind,
    /// Keep the load up after the counted time for what is counted then; else it ends there.
    pub counts: bool,
    /// Without meaning where the target is one of streams.
    pub datagrams: DatagramOptions,
    /// Process whose CPU time, with its descendants', is to be accounted as the server's.
    pub server_pid: Option<u32>,
}

impl Config {
    /// The silent ones included.
    pub fn all_connections(&self) -> usize {
        self.connections + self.idle
    }

    fn largest_size(&self) -> Bytes {
        self.mix.as_ref().map_or(self.size, SizeMix::largest)
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStage {
    Connect,
    WarmUp,
    Measure,
    /// The load goes on uncounted, for counters that would have disturbed it.
    Account,
    Drain,
}

/// What the live line may show; figures may lag by a moment.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub stage: RunStage,
    /// Time since the run began.
    pub at: Nanos,
    pub admitted: usize,
    pub counted: u64,
    pub errors: u64,
    /// Datagrams that had no answer in time.
    pub overdue: u64,
    /// What clients waited, in the whole seconds so far; `None` within the first.
    pub latency: Option<LatencySnapshot>,
}

/// A few figures of what clients waited (response time in an open loop, else service time), in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencySnapshot {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// Runs the load to its end, or until `stop` is set, and reports what was measured. Calls `progress` when a stage
/// begins, about once a second within it, and once when the counting is over. A run that could be made but whose
/// figures are of no use is a report with reasons in `invalid`, not an error.
pub fn run(config: &Config, stop: &AtomicBool, progress: &mut dyn FnMut(Progress)) -> Result<LoadReport, LoadError> {
    run_script(config, Window, stop, progress)
}

/// The same of a load that comes and goes on command, and whose figures are those of all slices together.
pub fn run_slices(config: &Config, commander: &mut dyn Commander, stop: &AtomicBool) -> Result<LoadReport, LoadError> {
    run_script(config, OnCommand(commander), stop, &mut |_| {})
}

fn run_script(
    config: &Config,
    script: impl Script,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<LoadReport, LoadError> {
    check_descriptors(config)?;
    if let Some(pid) = config.server_pid {
        accounting::process_cpu(pid).map_err(|source| LoadError::ServerPid { pid, source })?;
    }
    let outcome = coordinator::run(config, &tasks::tasks(config), script, stop, progress)?;
    Ok(summary::report(config, &outcome))
}

fn check_descriptors(config: &Config) -> Result<(), LoadError> {
    let needed = config.all_connections() as u64 + SPARE_DESCRIPTORS;
    match rlimit::raise_open_files() {
        Ok(limit) if limit < needed => Err(LoadError::Descriptors { needed, limit }),
        _ => Ok(()),
    }
}

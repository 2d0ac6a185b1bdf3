//! The load generator: asks an echo server as fast as it answers, checks every byte, and measures.
//!
//! From the inside out: `pipeline` (one connection's requests in flight; what they say is the protocol's client's), `pacer` (when requests are meant to be sent), `rota` (who sends them), `recorder` and `timeline` (what was measured, by
//! interval), `fleet` (one thread's connections), `streams` (a fleet on its engine), `datagram` (all of these for
//! datagrams), `worker` and `turn` (a thread's turns), `engine` (I/O: epoll or io_uring), `conduct` (the phases), `ledger`
//! (what both ends use), `summary` and `validity` (the report). Only `engine` and `datagram` touch sockets, only `worker`
//! and `conduct` read the clock.
//!
//! A run: every connection is made and answered once (admission), all load at full depth (warm-up), answers that arrive
//! within the counted window are recorded, the load goes on a moment for what else is counted, nothing new begins and
//! what is under way is waited for (drain).

mod conduct;
mod config;
mod datagram;
mod engine;
mod error;
mod fleet;
mod ledger;
mod measures;
mod pacer;
mod pipeline;
mod protocols;
mod recorder;
mod rota;
mod shared;
mod streams;
mod summary;
mod target;
mod timeline;
mod turn;
mod validity;
mod worker;

pub use config::{ConfigError, Surroundings};
pub use datagram::{DEFAULT_MAX_LOSS, Options as DatagramOptions, max_size as max_datagram_size};
pub use error::LoadError;
pub use pacer::{Pace, PaceError};
pub use protocols::DatagramProtocol as Dialect;
pub use worker::Timer;

use crate::protocol::client::ClientConfig;
use crate::protocol::pattern::Pattern;
use crate::protocol::size_distribution::SizeDistribution;
use crate::record::{LoadReport, Workload};
use crate::stats::derive_seed;
use crate::sys::{accounting, rlimit};
use crate::units::{Address, Bytes, CoreList, Fraction, Nanos, SizeMix, Transport};
use engine::Setup;
use fleet::Orders;
use pacer::{Pacer, Plan};
use std::sync::atomic::AtomicBool;
use target::Target;
use worker::Post;

/// Connections under way at once before admission, over all threads: half the smallest usual listen backlog (128).
const ADMIT_AT_ONCE: usize = 64;
/// Descriptors for other things than connections: rings, standard streams, /proc.
const SPARE_DESCRIPTORS: u64 = 64;
/// Keeps the random numbers of the sizes apart from those of the schedule.
const SIZES_STREAM: u64 = 1 << 32;
/// Receive buffers are made for so many requests in flight per connection: an open loop's limit is far above what is.
const USUAL_DEPTH: u64 = 64;

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
    pub timer: Timer,
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
pub enum Stage {
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
    pub stage: Stage,
    /// Time since the run began.
    pub at: Nanos,
    pub admitted: usize,
    pub counted: u64,
    pub errors: u64,
    /// Datagrams that had no answer in time.
    pub overdue: u64,
    /// What clients waited, in the whole seconds so far; `None` within the first.
    pub latency: Option<Waited>,
}

/// A few figures of what clients waited (response time in an open loop, else service time), in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// Runs the load to its end, or until `stop` is set, and reports what was measured. Calls `progress` when a stage begins,
/// about once a second within it, and once when the counting is over. A run that could be made but whose figures are of
/// no use is a report with reasons in `invalid`, not an error.
pub fn run(config: &Config, stop: &AtomicBool, progress: &mut dyn FnMut(Progress)) -> Result<LoadReport, LoadError> {
    check_descriptors(config)?;
    if let Some(pid) = config.server_pid {
        accounting::process_cpu(pid).map_err(|source| LoadError::ServerPid { pid, source })?;
    }
    let outcome = conduct::conduct(config, &tasks(config)?, stop, progress)?;
    Ok(summary::report(config, &outcome))
}

fn check_descriptors(config: &Config) -> Result<(), LoadError> {
    let needed = config.all_connections() as u64 + SPARE_DESCRIPTORS;
    match rlimit::raise_open_files() {
        Ok(limit) if limit < needed => Err(LoadError::Descriptors { needed, limit }),
        _ => Ok(()),
    }
}

/// What one thread is to do.
#[derive(Clone, Debug)]
struct Task {
    sockets: Sockets,
    post: Post,
}

/// What it loads.
#[derive(Clone, Debug)]
enum Sockets {
    Streams(Setup, Orders),
    Datagrams(datagram::Setup, datagram::Orders),
}

/// Divides the connections among the threads, as evenly as can be.
fn tasks(config: &Config) -> Result<Vec<Task>, LoadError> {
    let target = Target::new(&config.target).map_err(|source| LoadError::Target(config.target.to_string(), source))?;
    let client = ClientConfig {
        pattern: Pattern::leak(config.seed),
        sizes: SizeDistribution::leak(config.size, config.mix.as_ref()),
        seed: derive_seed(config.seed, SIZES_STREAM),
    };
    let cores = config.pin.as_ref().map_or(&[][..], CoreList::as_slice);
    let tasks = (0..config.threads).map(|thread| {
        let part = Part::of(config, thread);
        let orders = Orders { pacer: pacer(config, thread), ..orders(config, client, part) };
        Task {
            sockets: match config.target.transport {
                Transport::Stream => Sockets::Streams(setup(config, &target, part.connections), orders),
                Transport::Datagram => datagrams(config, &orders),
            },
            post: Post { core: cores.get(thread).copied(), spin: config.spin, timer: config.timer },
        }
    });
    Ok(tasks.collect())
}

fn setup(config: &Config, target: &Target, connections: usize) -> Setup {
    let window = config.largest_size().0 * usual_depth(config);
    Setup { target: target.clone(), connections, window, spins: spins(config) }
}

fn datagrams(config: &Config, orders: &Orders) -> Sockets {
    let setup = datagram::setup(config, orders.connections, spins(config), usual_depth(config));
    Sockets::Datagrams(setup, datagram::orders(config, orders))
}

fn usual_depth(config: &Config) -> u64 {
    config.pace.map_or(config.depth, |_| config.depth.min(USUAL_DEPTH))
}

fn spins(config: &Config) -> bool {
    config.spin > Nanos::ZERO || (config.pace.is_some() && config.timer != Timer::Sleep)
}

fn pacer(config: &Config, thread: usize) -> Pacer {
    config.pace.map_or(Pacer::ClosedLoop, |pace| {
        let (thread, threads) = (thread as u64, config.threads as u64);
        Pacer::Open(Plan { pace, thread, threads, planned: config.duration, seed: config.seed })
    })
}

/// A thread's connections: as many of those with load and of the silent ones as of each other thread, or one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: usize,
    connections: usize,
    active: usize,
}

impl Part {
    fn of(config: &Config, thread: usize) -> Part {
        let share = |all: usize, thread: usize| thread * all / config.threads;
        let before = |thread| share(config.connections, thread) + share(config.idle, thread);
        Part {
            first: before(thread),
            connections: before(thread + 1) - before(thread),
            active: share(config.connections, thread + 1) - share(config.connections, thread),
        }
    }
}

fn orders(config: &Config, client: ClientConfig, part: Part) -> Orders {
    Orders {
        connections: part.connections,
        first: part.first,
        all: config.all_connections(),
        active: part.active,
        depth: config.depth,
        connect_per_request: config.connect_per_request,
        timeout: config.timeout,
        connect_timeout: config.timeout.min(conduct::CONNECT_DEADLINE),
        admit_at_once: (ADMIT_AT_ONCE / config.threads).max(1),
        client,
        pacer: Pacer::ClosedLoop,
    }
}

//! What each thread is to do: the connections divided among them, as evenly as can be.

use super::engine::EngineConfig;
use super::pacer::{Pacer, Plan};
use super::thread::{ThreadOptions, WaitMode};
use super::thread_plan::ThreadPlan;
use super::{Config, datagram};
use crate::protocol::client::ClientConfig;
use crate::protocol::pattern::Pattern;
use crate::protocol::size_distribution::SizeDistribution;
use crate::stats::derive_seed;
use crate::units::{CoreList, Nanos};

/// A single connection must be made within this time, so that one that hangs is named before the start is given up.
pub const CONNECT_DEADLINE: Nanos = Nanos::from_secs(9);
/// Connections under way at once before admission, over all threads: half the smallest usual listen backlog (128).
const ADMIT_AT_ONCE: usize = 64;
/// Keeps the random numbers of the sizes apart from those of the schedule.
const SIZES_STREAM: u64 = 1 << 32;
/// Receive buffers are made for so many requests in flight per connection: an open loop's limit is far above what is.
const USUAL_DEPTH: u64 = 64;

/// What one thread is to do.
#[derive(Clone, Debug)]
pub struct Task {
    pub plan: ThreadPlan,
    pub engine: EngineConfig,
    pub options: ThreadOptions,
}

/// One for each thread.
pub fn tasks(config: &Config) -> Vec<Task> {
    let client = ClientConfig {
        pattern: Pattern::leak(config.seed),
        sizes: SizeDistribution::leak(config.size, config.mix.as_ref()),
        seed: derive_seed(config.seed, SIZES_STREAM),
    };
    let cores = config.pin.as_ref().map_or(&[][..], CoreList::as_slice);
    let tasks = (0..config.threads).map(|thread| {
        let share = ConnectionShare::of(config, thread);
        Task {
            plan: ThreadPlan { pacer: pacer(config, thread), ..plan(config, client, share) },
            engine: engine(config, share.connections),
            options: ThreadOptions { core: cores.get(thread).copied(), spin: config.spin, wait: config.timer },
        }
    });
    tasks.collect()
}

fn engine(config: &Config, sockets: usize) -> EngineConfig {
    EngineConfig {
        target: config.target.clone(),
        sockets,
        size: config.largest_size().0 as usize,
        depth: config.pace.map_or(config.depth, |_| config.depth.min(USUAL_DEPTH)) as usize,
        segments: datagram::segments(config),
        spins: config.spin > Nanos::ZERO || (config.pace.is_some() && config.timer != WaitMode::Sleep),
    }
}

fn pacer(config: &Config, thread: usize) -> Pacer {
    config.pace.map_or(Pacer::ClosedLoop, |pace| {
        let (thread, threads) = (thread as u64, config.threads as u64);
        Pacer::Open(Plan { pace, thread, threads, planned: config.duration, seed: config.seed })
    })
}

/// A thread's connections: as many of those with load and of the silent ones as of each other thread, or one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ConnectionShare {
    first: usize,
    connections: usize,
    active: usize,
}

impl ConnectionShare {
    fn of(config: &Config, thread: usize) -> ConnectionShare {
        let share = |all: usize, thread: usize| thread * all / config.threads;
        let before = |thread| share(config.connections, thread) + share(config.idle, thread);
        ConnectionShare {
            first: before(thread),
            connections: before(thread + 1) - before(thread),
            active: share(config.connections, thread + 1) - share(config.connections, thread),
        }
    }
}

fn plan(config: &Config, client: ClientConfig, share: ConnectionShare) -> ThreadPlan {
    ThreadPlan {
        target: config.target.clone(),
        connections: share.connections,
        first: share.first,
        all: config.all_connections(),
        active: share.active,
        depth: config.depth,
        connect_per_request: config.connect_per_request,
        timeout: config.timeout,
        connect_timeout: config.timeout.min(CONNECT_DEADLINE),
        admit_at_once: (ADMIT_AT_ONCE / config.threads).max(1),
        client,
        pacer: Pacer::ClosedLoop,
    }
}

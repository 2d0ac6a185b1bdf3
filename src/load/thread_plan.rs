//! What the connections or datagram sockets of one thread have to do.

use super::pacer::Pacer;
use crate::protocol::client::ClientConfig;
#[cfg(test)]
use crate::protocol::{pattern::Pattern, size_distribution::SizeDistribution};
use crate::units::{Address, Nanos};

/// The share of one thread in the load.
#[derive(Clone, Debug)]
pub struct ThreadPlan {
    pub target: Address,
    /// Connections or sockets of this thread, and the number of its first among all.
    pub connections: usize,
    pub first: usize,
    /// Those of all threads.
    pub all: usize,
    /// The first so many carry the load; the others are open and silent.
    pub active: usize,
    /// Most requests in flight per connection or socket.
    pub depth: u64,
    pub connect_per_request: bool,
    /// Longest that an answer may take, and that a connection may take to be made. A datagram after that is late until
    /// as much time again has passed at the end of the run; then it is lost.
    pub timeout: Nanos,
    pub connect_timeout: Nanos,
    /// Those that may be on their way to their first answer at once: a listen backlog, or a server's receive buffer,
    /// must hold them.
    pub admit_at_once: usize,
    pub client: ClientConfig,
    pub pacer: Pacer,
}

#[cfg(test)]
impl ThreadPlan {
    /// So many connections of a closed loop, all of them with load.
    pub fn for_test(connections: usize, sizes: SizeDistribution, depth: u64) -> ThreadPlan {
        static PATTERN: std::sync::LazyLock<Pattern> = std::sync::LazyLock::new(|| Pattern::leak(5));
        ThreadPlan {
            target: "127.0.0.1:1".parse().expect("an address"),
            connections,
            first: 0,
            all: connections,
            active: connections,
            depth,
            connect_per_request: false,
            timeout: Nanos::from_secs(60),
            connect_timeout: Nanos::from_secs(60),
            admit_at_once: connections,
            client: ClientConfig { pattern: *PATTERN, sizes, seed: 1 },
            pacer: Pacer::ClosedLoop,
        }
    }
}

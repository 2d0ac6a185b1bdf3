//! What a thread's datagram sockets counted.

use super::engine::IoStats;
use super::tracker::Counts;

/// Threads' counts are added.
#[derive(Clone, Copy, Debug, Default)]
pub struct DatagramStats {
    pub counts: Counts,
    /// All that was sent and all that took longer than the timeout, from the first request to the last.
    pub requests: u64,
    pub overdue: u64,
    pub corrupt: u64,
    /// What the kernel dropped at the sockets; `None` where it does not count that, or nothing was counted.
    pub dropped: Option<u64>,
    pub io: IoStats,
}

impl DatagramStats {
    pub fn plus(self, other: DatagramStats) -> DatagramStats {
        let mut counts = self.counts;
        counts.add(&other.counts);
        DatagramStats {
            counts,
            requests: self.requests + other.requests,
            overdue: self.overdue + other.overdue,
            corrupt: self.corrupt + other.corrupt,
            dropped: self.dropped.zip(other.dropped).map(|(own, other)| own + other),
            io: self.io.plus(other.io),
        }
    }
}

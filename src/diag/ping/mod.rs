//! Ping: echo requests to many targets in turn, and what became of each of them.
//!
//! Sends no faster than asked: what a pause kept from being sent in time is not sent in a burst afterwards.

mod record;
mod run;
mod schedule;

pub use record::report;
pub use run::run;
pub use schedule::SendSchedule;

use super::icmp::{Family, IcmpReason};
use super::names::Host;
use super::probe_stats::ProbeStats;
use super::probe_tracker::{AnswerKind, MAX_PROBES, Sequence};
use crate::sys::raw::Access;
use crate::units::{Bytes, Nanos};
use std::io;
use std::net::IpAddr;

/// Longest payload: an IPv4 packet without its header and that of ICMP.
pub const MAX_SIZE: Bytes = Bytes(65_535 - 20 - 8);
/// Shortest time between packets to other machines, all targets together, unless flooding is asked for: that of Linux's
/// ping for users.
pub const POLITE_GAP: Nanos = Nanos::from_millis(2);
/// Time limits that a probe is remembered for, so that late answers find it.
const REMEMBERED_TIMEOUTS: u64 = 4;

/// What to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one, each address once.
    pub targets: Vec<Host>,
    /// Requests to each target; `None` until stopped.
    pub count: Option<u64>,
    /// From one request to a target to the next to it.
    pub interval: Nanos,
    /// Bytes of payload of each request.
    pub size: Bytes,
    /// TTL or hop limit of requests; `None` for the default of the system.
    pub hop_limit: Option<u8>,
    /// An answer after this is late.
    pub timeout: Nanos,
    /// Go below [`POLITE_GAP`].
    pub flood: bool,
}

/// The settings are fine one by one, but not together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "at {interval} between requests a time limit of {timeout} leaves {count} unanswered at a time, and 16-bit sequence numbers distinguish only {MAX_PROBES}; take a --timeout below {longest}"
    )]
    TooManyWaiting { interval: Nanos, timeout: Nanos, count: u64, longest: Nanos },
    #[error(
        "{gap} between packets to other machines is a flood: at least {POLITE_GAP} is asked for, so an interval of {least} for {count} of them; if they and the way there are yours, add --flood"
    )]
    Flood { gap: Nanos, least: Nanos, count: u64 },
}

impl Config {
    /// Checks the settings against each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        let others = self.targets.iter().filter(|host| !host.address.is_loopback()).count() as u64;
        let gap = Nanos(self.interval.0 / others.max(1));
        if others > 0 && gap < POLITE_GAP && !self.flood {
            return Err(ConfigError::Flood { gap, least: Nanos(POLITE_GAP.0 * others), count: others });
        }
        let (interval, timeout, count) = (self.interval, self.timeout, self.waiting());
        if count > MAX_PROBES as u64 {
            let longest = Nanos(self.interval.0.saturating_mul(MAX_PROBES as u64));
            return Err(ConfigError::TooManyWaiting { interval, timeout, count, longest });
        }
        Ok(())
    }

    /// Requests to a target that may wait for an answer at a time.
    fn waiting(&self) -> u64 {
        self.timeout.0 / self.interval.0.max(1) + 1
    }

    /// Requests to a target that are remembered.
    fn remembered(&self) -> usize {
        (self.waiting().saturating_mul(REMEMBERED_TIMEOUTS) as usize).clamp(64, MAX_PROBES)
    }
}

/// What happened to a request. `target` is an index into [`Config::targets`].
#[derive(Debug)]
pub enum PingEvent {
    /// An echo reply of a target.
    Answer {
        target: usize,
        sequence: Sequence,
        bytes: usize,
        hop_limit: Option<u8>,
        kind: AnswerKind,
        /// Where the payload is not what was sent.
        wrong_at: Option<usize>,
    },
    /// A router or the target refused a request.
    Refused { target: usize, sequence: Sequence, from: IpAddr, reason: IcmpReason },
    /// The time limit of a request is over.
    Lost { target: usize, sequence: Sequence },
    /// The kernel did not take a request.
    Unsent { target: usize, sequence: Sequence, error: io::Error },
}

/// Where the instants of arrivals come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// Arrivals that the kernel stamped.
    pub kernel: u64,
    /// Arrivals for which the clock was read after the receive.
    pub clock: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The kind of ICMP socket that was used, for each family.
    pub access: Vec<(Family, Access)>,
    /// How many answers were timed by which clock.
    pub stamps: Stamps,
    /// In the order of the targets.
    pub targets: Vec<ProbeStats>,
    /// Arrivals that overflowed a receive buffer, also those that were not for us.
    pub overflowed: u64,
    /// Answers to us from addresses that are no target.
    pub strangers: u64,
    /// Length of the run.
    pub duration: Nanos,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(targets: &[&str], interval: Nanos) -> Config {
        let targets = targets.iter().map(|name| Host::resolve(name, None).unwrap()).collect();
        let timeout = Nanos::from_millis(100);
        Config { targets, count: None, interval, size: Bytes(56), hop_limit: None, timeout, flood: false }
    }

    #[test]
    fn other_machines_are_not_flooded() {
        let (near, far) = (Nanos(10_000), Nanos::from_millis(2));
        assert_eq!(config(&["127.0.0.1", "::1"], near).check(), Ok(()));
        assert!(matches!(config(&["127.0.0.1", "192.0.2.1"], near).check(), Err(ConfigError::Flood { .. })));
        assert_eq!(config(&["127.0.0.1", "192.0.2.1"], far).check(), Ok(()));
        let least = Nanos::from_millis(4);
        let refused = config(&["192.0.2.1", "192.0.2.2"], far).check();
        assert_eq!(refused, Err(ConfigError::Flood { gap: Nanos::from_millis(1), least, count: 2 }));
        assert_eq!(Config { flood: true, ..config(&["192.0.2.1"], near) }.check(), Ok(()));
    }

    #[test]
    fn no_more_wait_than_can_be_told_apart() {
        assert_eq!(config(&["::1"], Nanos(2_000)).check(), Ok(()));
        assert!(matches!(config(&["::1"], Nanos(1_000)).check(), Err(ConfigError::TooManyWaiting { .. })));
    }
}

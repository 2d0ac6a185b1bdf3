//! What became of the probes to one target, or of those that were to get as far as one hop.

use crate::diag::icmp::IcmpReason;
use crate::diag::probe_tracker::AnswerKind;
use crate::units::Nanos;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Significant digits of the round-trip times.
const DIGITS: u8 = 3;
/// Longest round trip that is recorded; longer ones count as this.
const LONGEST: Nanos = Nanos::from_secs(3600);

/// Who refused a request, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The router or host that sent the error.
    pub from: IpAddr,
    /// ICMP type and code of it.
    pub reason: IcmpReason,
}

/// Counts and round-trip times. `sent` is the sum of `waiting`, `answered`, `late`, `refused`, `unsent` and
/// [`ProbeStats::lost`].
#[derive(Clone, Debug)]
pub struct ProbeStats {
    /// Requests handed to the kernel.
    pub sent: u64,
    /// Of those: under way, within the time limit.
    pub waiting: u64,
    /// In time.
    pub answered: u64,
    /// After the time limit.
    pub late: u64,
    /// Further answers to a request.
    pub duplicates: u64,
    /// Of the answers in time: after that of a request that was sent later.
    pub reordered: u64,
    /// Answers whose payload is not what was sent.
    pub corrupt: u64,
    /// Requests that met an error on the way.
    pub refused: u64,
    /// ICMP errors received, by sender and reason; redirects and source quenches included.
    pub refusals: BTreeMap<Refusal, u64>,
    /// Requests that the kernel did not take.
    pub unsent: u64,
    /// Why, of the last of them.
    pub unsent_because: Option<String>,
    /// Of the answers in time, in nanoseconds.
    pub round_trips: Histogram<u64>,
    /// Longest of the late ones.
    pub latest: Nanos,
}

impl Default for ProbeStats {
    fn default() -> ProbeStats {
        let round_trips = Histogram::new_with_bounds(1, LONGEST.0, DIGITS).expect("bounds that make sense");
        ProbeStats {
            sent: 0,
            waiting: 0,
            answered: 0,
            late: 0,
            duplicates: 0,
            reordered: 0,
            corrupt: 0,
            refused: 0,
            refusals: BTreeMap::new(),
            unsent: 0,
            unsent_because: None,
            round_trips,
            latest: Nanos::ZERO,
        }
    }
}

impl ProbeStats {
    /// A request is handed to the kernel.
    pub fn send(&mut self) {
        self.sent += 1;
        self.waiting += 1;
    }

    /// The time limit of a request is over.
    pub fn give_up(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// The kernel did not take a request.
    pub fn fail(&mut self, because: String) {
        self.waiting = self.waiting.saturating_sub(1);
        self.unsent += 1;
        self.unsent_because = Some(because);
    }

    /// An answer was received.
    pub fn arrived(&mut self, kind: AnswerKind) {
        match kind {
            AnswerKind::InTime { rtt, reordered } => {
                self.waiting = self.waiting.saturating_sub(1);
                self.answered += 1;
                self.reordered += u64::from(reordered);
                self.round_trips.saturating_record(rtt.0);
            }
            AnswerKind::Late { rtt, given_up } => {
                self.waiting = self.waiting.saturating_sub(u64::from(!given_up));
                self.late += 1;
                self.latest = self.latest.max(rtt);
            }
            AnswerKind::Duplicate => self.duplicates += 1,
            AnswerKind::Stray => {}
        }
    }

    /// An ICMP error was received; `ends`: the request will not be answered.
    pub fn refuse(&mut self, refusal: Refusal, ends: bool) {
        *self.refusals.entry(refusal).or_default() += 1;
        self.refused += u64::from(ends);
        self.waiting = self.waiting.saturating_sub(u64::from(ends));
    }

    /// Requests that were given up and not answered since.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.waiting + self.answered + self.late + self.refused + self.unsent)
    }

    /// Of the requests that were sent and are over, the share that was not answered in time.
    pub fn loss(&self) -> f64 {
        let over = self.sent.saturating_sub(self.unsent + self.waiting);
        if over == 0 { 0.0 } else { over.saturating_sub(self.answered) as f64 / over as f64 }
    }

    /// Whether it answers at all.
    pub fn is_reachable(&self) -> bool {
        self.answered + self.late > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::icmp::Family;

    #[test]
    fn what_is_sent_becomes_something() {
        let mut stats = ProbeStats::default();
        (0..10).for_each(|_| stats.send());
        stats.fail("it is full".into());
        stats.arrived(AnswerKind::InTime { rtt: Nanos(1000), reordered: true });
        stats.arrived(AnswerKind::Duplicate);
        stats.give_up();
        stats.arrived(AnswerKind::Late { rtt: Nanos::from_secs(2), given_up: true });
        let reason = IcmpReason { family: Family::V4, kind: 3, code: 1, mtu: 0 };
        stats.refuse(Refusal { from: [127, 0, 0, 1].into(), reason }, true);
        assert_eq!((stats.waiting, stats.lost(), stats.round_trips.len()), (6, 0, 1));
        assert!((stats.loss() - 2.0 / 3.0).abs() < 1e-9 && stats.is_reachable());
        (0..6).for_each(|_| stats.give_up());
        assert_eq!((stats.waiting, stats.lost()), (0, 6));
        assert!((stats.loss() - 8.0 / 9.0).abs() < 1e-9);
    }
}

//! What is known of the way: [`ProbeStats`] per hop, and where it ends.
//!
//! Pure: instants are arguments.

use crate::diag::icmp::IcmpReason;
use crate::diag::probe_stats::{ProbeStats, Refusal};
use crate::diag::probe_tracker::{AnswerKind, MAX_PROBES, ProbeTracker, Sequence};
use crate::units::Nanos;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Hops in a row that may be silent before further ones are no longer tried.
const MOST_SILENT: u8 = 5;

/// What an answer to a probe means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopReply {
    /// A router: no hops left.
    Passed,
    /// The target: it is there.
    Reached,
    /// A router: it does not go on from here.
    Refused(IcmpReason),
}

/// Probes that were to get this far.
#[derive(Clone, Debug, Default)]
pub struct Hop {
    /// What became of them.
    pub stats: ProbeStats,
    /// Who answered, and how often: more than one where the way changes.
    pub addresses: BTreeMap<IpAddr, u64>,
}

/// The way to a host.
#[derive(Clone, Debug)]
pub struct Path {
    tracker: ProbeTracker<u8>,
    hops: Vec<Hop>,
    /// The hop at which the target or a refusal was met.
    end: Option<u8>,
    reached: bool,
    /// The farthest hop that answered.
    farthest: u8,
    /// Hops beyond `farthest` have been given up.
    silent_beyond: bool,
}

impl Path {
    /// A way of at most so many hops, of which nothing is known.
    pub fn new(max_hops: u8, timeout: Nanos) -> Path {
        Path {
            tracker: ProbeTracker::new(timeout, MAX_PROBES),
            hops: (0..max_hops).map(|_| Hop::default()).collect(),
            end: None,
            reached: false,
            farthest: 0,
            silent_beyond: false,
        }
    }

    /// The last hop that a round should try.
    pub fn limit(&self) -> u8 {
        let most = self.hops.len() as u8;
        let known = match (self.end, self.silent_beyond) {
            (Some(end), _) => end,
            (None, true) => self.farthest + MOST_SILENT,
            (None, false) => most,
        };
        known.min(most)
    }

    /// Hops that belong to the way as far as it is known, from the first.
    pub fn hops(&self) -> &[Hop] {
        let tried = self.hops.iter().take_while(|hop| hop.stats.sent > 0).count();
        &self.hops[..tried.min(self.limit().into())]
    }

    /// Whether the target itself has answered.
    pub fn is_reached(&self) -> bool {
        self.reached
    }

    /// A probe is sent as far as this hop, 1 being the first; its number.
    pub fn probe(&mut self, hop: u8, now: Nanos) -> Sequence {
        // All zeros and all ones mean other things in a checksum.
        while matches!(self.tracker.next().0 as u16, 0 | u16::MAX) {
            let passed_over = self.remember(hop, now);
            self.tracker.end(passed_over);
        }
        self.hops[usize::from(hop) - 1].stats.send();
        self.remember(hop, now)
    }

    fn remember(&mut self, hop: u8, now: Nanos) -> Sequence {
        let sequence = self.tracker.next();
        if let Some((_, forgotten)) = self.tracker.sent(now, hop) {
            self.hops[usize::from(forgotten) - 1].stats.give_up();
        }
        sequence
    }

    /// The probe whose number ends in these bits is answered.
    pub fn answered(&mut self, number: u16, from: IpAddr, reply: HopReply, at: Nanos) {
        let Some((sequence, number)) = self.find(number) else { return };
        let kind = self.tracker.answered(sequence, at);
        let hop = &mut self.hops[usize::from(number) - 1];
        hop.stats.arrived(kind);
        if matches!(kind, AnswerKind::Duplicate | AnswerKind::Stray) {
            return;
        }
        *hop.addresses.entry(from).or_default() += 1;
        if let HopReply::Refused(reason) = reply {
            hop.stats.refuse(Refusal { from, reason }, false);
        }
        self.place(number, reply);
    }

    /// Where the path ends, by this answer. A refusal counts only as long as the target has not answered.
    fn place(&mut self, hop: u8, reply: HopReply) {
        self.farthest = self.farthest.max(hop);
        let nearer = self.end.is_none_or(|end| hop < end);
        match reply {
            HopReply::Passed => {}
            HopReply::Reached if nearer || !self.reached => (self.end, self.reached) = (Some(hop), true),
            HopReply::Refused(_) if nearer && !self.reached => self.end = Some(hop),
            HopReply::Reached | HopReply::Refused(_) => {}
        }
    }

    /// The kernel did not take a probe.
    pub fn unsent(&mut self, number: u16, because: String) {
        let Some((sequence, hop)) = self.find(number) else { return };
        if self.tracker.end(sequence) {
            self.hops[usize::from(hop) - 1].stats.fail(because);
        }
    }

    /// Gives up what takes too long.
    pub fn expire(&mut self, now: Nanos) {
        while let Some((_, hop)) = self.tracker.expire(now) {
            self.hops[usize::from(hop) - 1].stats.give_up();
            self.silent_beyond |= hop > self.farthest;
        }
    }

    /// When the next probe must be given up.
    pub fn deadline(&mut self) -> Option<Nanos> {
        self.tracker.deadline()
    }

    fn find(&self, number: u16) -> Option<(Sequence, u8)> {
        let sequence = self.tracker.resolve(number)?;
        Some((sequence, self.tracker.memo(sequence)?))
    }

    /// Hops that lose more than the end of the way does: that can only be answers, not what passes through them.
    pub fn losing_only_answers(&self) -> Vec<u8> {
        let hops = self.hops();
        let Some(end) = hops.last().filter(|_| self.reached) else { return Vec::new() };
        let loses = |hop: &Hop| hop.stats.loss() > end.stats.loss();
        hops.iter().zip(1..).filter(|(hop, _)| loses(hop)).map(|(_, number)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::icmp::Family;
    use proptest::prelude::*;

    const TIMEOUT: Nanos = Nanos(1000);
    const FILTERED: HopReply = HopReply::Refused(IcmpReason { family: Family::V4, kind: 3, code: 13, mtu: 0 });

    fn router(hop: u8) -> IpAddr {
        [10, 0, 0, hop].into()
    }

    /// A round at this instant over a way of so many hops of which some are silent; `end` is what the last one says.
    fn round(path: &mut Path, distance: u8, silent: &[u8], end: HopReply, at: Nanos) {
        for hop in 1..=path.limit() {
            let number = path.probe(hop, at).0 as u16;
            let (there, reply) = if hop < distance { (hop, HopReply::Passed) } else { (distance, end) };
            if !silent.contains(&there) {
                path.answered(number, router(there), reply, at + Nanos(10));
            }
        }
        path.expire(at + TIMEOUT + Nanos(1));
    }

    #[test]
    fn the_way_ends_where_the_target_answers() {
        let mut path = Path::new(30, TIMEOUT);
        (0..3).for_each(|index| round(&mut path, 4, &[2], HopReply::Reached, Nanos(index * 10_000)));
        assert!(path.is_reached());
        let hops = path.hops();
        assert_eq!(hops.iter().map(|hop| hop.stats.answered).collect::<Vec<_>>(), [3, 0, 3, 3]);
        assert_eq!(hops[3].addresses, BTreeMap::from([(router(4), 3)]));
        assert_eq!(path.losing_only_answers(), [2]);
    }

    #[test]
    fn a_way_that_is_refused_or_silent_ends_too() {
        let mut refused = Path::new(30, TIMEOUT);
        (0..2).for_each(|index| round(&mut refused, 3, &[], FILTERED, Nanos(index * 10_000)));
        assert_eq!((refused.is_reached(), refused.hops().len()), (false, 3));
        let mut silent = Path::new(30, TIMEOUT);
        (0..2).for_each(|index| round(&mut silent, 3, &[3], HopReply::Reached, Nanos(index * 10_000)));
        assert_eq!((silent.is_reached(), silent.hops().len()), (false, 2 + usize::from(MOST_SILENT)));
        assert_eq!(silent.losing_only_answers(), [0u8; 0]);
    }

    proptest! {
        /// Whatever answers come, in whatever order: nothing panics, and every probe is counted once.
        #[test]
        fn any_answers_leave_it_whole(
            answers in prop::collection::vec((any::<u16>(), 0..3u8, 0..5000u64), 0..200), max_hops in 1..=64u8,
        ) {
            let mut path = Path::new(max_hops, TIMEOUT);
            let mut now = Nanos(0);
            let mut sent = 0;
            for (number, reply, pause) in answers {
                now = now + Nanos(pause);
                let hop = (number % u16::from(path.limit())) as u8 + 1;
                path.probe(hop, now);
                sent += 1;
                let reply = [HopReply::Passed, HopReply::Reached, FILTERED][usize::from(reply)];
                path.answered(number % 300, router(hop), reply, now);
                path.expire(now);
                prop_assert!((1..=max_hops).contains(&path.limit()));
            }
            path.expire(now + TIMEOUT + Nanos(1));
            let settled = |hop: &Hop| hop.stats.answered + hop.stats.late + hop.stats.lost();
            prop_assert_eq!(path.hops.iter().map(settled).sum::<u64>(), sent);
        }
    }
}

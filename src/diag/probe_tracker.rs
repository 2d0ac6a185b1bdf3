//! Which probe an answer belongs to, and whether it comes in time, late, twice or out of order.
//!
//! Pure: instants are arguments. Probes are numbered from 0; what travels is often only the lower 16 bits of the number, so
//! a tracker remembers no more than 65536 probes.

use crate::units::Nanos;
use std::collections::VecDeque;

/// Sequence numbers that 16 bits distinguish.
pub const MAX_PROBES: usize = 1 << 16;

/// The number of a probe, from 0 and never the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// Probes under way and those of a while ago, each with what the caller wants to remember.
#[derive(Clone, Debug)]
pub struct ProbeTracker<M> {
    probes: VecDeque<Probe<M>>,
    /// Number of the first of `probes`.
    first: u64,
    /// All below have been looked at by `expire`.
    expired: u64,
    /// Highest number that was answered in time.
    highest: Option<u64>,
    timeout: Nanos,
    capacity: usize,
}

#[derive(Clone, Copy, Debug)]
struct Probe<M> {
    sent: Nanos,
    state: State,
    memo: M,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    TimedOut,
    Over,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// The first answer, within the time limit.
    InTime {
        /// From the send to the answer, in nanoseconds.
        rtt: Nanos,
        /// A probe sent later was answered earlier.
        reordered: bool,
    },
    /// The first answer, after the time limit.
    Late {
        /// From the send to the answer, in nanoseconds.
        rtt: Nanos,
        /// `expire` had its probe before.
        given_up: bool,
    },
    /// The probe was answered or refused before.
    Duplicate,
    /// Nothing that is remembered.
    Stray,
}

impl<M: Copy> ProbeTracker<M> {
    /// Remembers the last `capacity` probes, at most [`MAX_PROBES`].
    pub fn new(timeout: Nanos, capacity: usize) -> ProbeTracker<M> {
        let capacity = capacity.clamp(1, MAX_PROBES);
        ProbeTracker { probes: VecDeque::new(), first: 0, expired: 0, highest: None, timeout, capacity }
    }

    /// The number of the next probe.
    pub fn next(&self) -> Sequence {
        Sequence(self.first + self.probes.len() as u64)
    }

    /// A probe is sent; instants do not decrease. Where the tracker is full the oldest probe is forgotten, and returned if
    /// nothing had become of it.
    pub fn sent(&mut self, at: Nanos, memo: M) -> Option<(Sequence, M)> {
        let forgotten = if self.probes.len() == self.capacity { self.forget() } else { None };
        self.probes.push_back(Probe { sent: at, state: State::Waiting, memo });
        forgotten
    }

    fn forget(&mut self) -> Option<(Sequence, M)> {
        let (sequence, probe) = (Sequence(self.first), self.probes.pop_front()?);
        self.first += 1;
        self.expired = self.expired.max(self.first);
        (probe.state == State::Waiting).then_some((sequence, probe.memo))
    }

    /// The latest probe whose number ends in these 16 bits.
    pub fn resolve(&self, low: u16) -> Option<Sequence> {
        let last = self.next().0.checked_sub(1)?;
        let back = u64::from((last as u16).wrapping_sub(low));
        last.checked_sub(back).filter(|number| *number >= self.first).map(Sequence)
    }

    /// What was remembered with a probe.
    pub fn memo(&self, sequence: Sequence) -> Option<M> {
        self.probe(sequence).map(|probe| probe.memo)
    }

    /// A probe is answered.
    pub fn answered(&mut self, sequence: Sequence, at: Nanos) -> AnswerKind {
        let (timeout, highest) = (self.timeout, self.highest);
        let Some(probe) = self.probe_mut(sequence) else { return AnswerKind::Stray };
        let (before, rtt) = (probe.state, at.since(probe.sent));
        probe.state = State::Over;
        match before {
            State::Over => AnswerKind::Duplicate,
            State::TimedOut => AnswerKind::Late { rtt, given_up: true },
            State::Waiting if rtt > timeout => AnswerKind::Late { rtt, given_up: false },
            State::Waiting => {
                self.highest = highest.max(Some(sequence.0));
                AnswerKind::InTime { rtt, reordered: highest.is_some_and(|highest| highest > sequence.0) }
            }
        }
    }

    /// Ends a probe that no answer can be expected of. `false` where it was over or given up before.
    pub fn end(&mut self, sequence: Sequence) -> bool {
        match self.probe_mut(sequence) {
            Some(probe) if probe.state == State::Waiting => {
                probe.state = State::Over;
                true
            }
            _ => false,
        }
    }

    /// Whether nothing has become of a probe yet.
    pub fn waits(&self, sequence: Sequence) -> bool {
        self.probe(sequence).is_some_and(|probe| probe.state == State::Waiting)
    }

    /// The next probe whose time is over at this instant; it is given up.
    pub fn expire(&mut self, now: Nanos) -> Option<(Sequence, M)> {
        self.deadline().filter(|deadline| *deadline < now)?;
        let sequence = Sequence(self.expired);
        let probe = self.probe_mut(sequence)?;
        probe.state = State::TimedOut;
        let memo = probe.memo;
        self.expired += 1;
        Some((sequence, memo))
    }

    /// When the next probe must be given up; `None` while none is under way.
    pub fn deadline(&mut self) -> Option<Nanos> {
        loop {
            let probe = self.probe(Sequence(self.expired))?;
            if probe.state == State::Waiting {
                return Some(probe.sent + self.timeout);
            }
            self.expired += 1;
        }
    }

    fn probe(&self, sequence: Sequence) -> Option<&Probe<M>> {
        self.probes.get(usize::try_from(sequence.0.checked_sub(self.first)?).ok()?)
    }

    fn probe_mut(&mut self, sequence: Sequence) -> Option<&mut Probe<M>> {
        self.probes.get_mut(usize::try_from(sequence.0.checked_sub(self.first)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMEOUT: Nanos = Nanos(100);

    #[test]
    fn answers_are_told_apart() {
        let mut tracker = ProbeTracker::new(TIMEOUT, 10);
        (0..4u64).for_each(|number| assert_eq!(tracker.sent(Nanos(number), number), None));
        assert_eq!(tracker.answered(Sequence(1), Nanos(11)), AnswerKind::InTime { rtt: Nanos(10), reordered: false });
        assert_eq!(tracker.answered(Sequence(0), Nanos(11)), AnswerKind::InTime { rtt: Nanos(11), reordered: true });
        assert_eq!(tracker.answered(Sequence(0), Nanos(12)), AnswerKind::Duplicate);
        assert_eq!(tracker.answered(Sequence(4), Nanos(12)), AnswerKind::Stray);
        assert_eq!((tracker.deadline(), tracker.expire(Nanos(102))), (Some(Nanos(102)), None));
        assert_eq!(tracker.expire(Nanos(103)), Some((Sequence(2), 2)));
        assert_eq!(tracker.answered(Sequence(2), Nanos(300)), AnswerKind::Late { rtt: Nanos(298), given_up: true });
        assert!(tracker.end(Sequence(3)) && !tracker.end(Sequence(3)));
        assert_eq!((tracker.expire(Nanos(999)), tracker.deadline()), (None, None));
    }

    #[test]
    fn short_numbers_mean_the_latest_probe() {
        let mut tracker = ProbeTracker::new(TIMEOUT, MAX_PROBES);
        assert_eq!(tracker.resolve(0), None);
        (0..70_000).for_each(|_| _ = tracker.sent(Nanos(0), ()));
        assert_eq!(tracker.resolve(0), Some(Sequence(65_536)));
        assert_eq!(tracker.resolve(4_464), Some(Sequence(4_464)));
        assert_eq!(tracker.resolve(4_463), Some(Sequence(69_999)));
    }

    /// Something that happens to a tracker.
    #[derive(Clone, Debug)]
    enum Step {
        Send,
        Answer(u64),
        End(u64),
        Wait(u64),
        Expire,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Send),
            3 => (0..40u64).prop_map(Step::Answer),
            1 => (0..40u64).prop_map(Step::End),
            2 => (0..80u64).prop_map(Step::Wait),
            1 => Just(Step::Expire),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Every probe becomes exactly one of: answered in time, late, ended, lost; late ones may have been lost before.
        #[test]
        fn every_probe_is_counted_once(steps in steps(), capacity in 1..20usize) {
            let mut tracker = ProbeTracker::new(TIMEOUT, capacity);
            let (mut now, mut sent) = (Nanos(0), 0u64);
            let mut over = std::collections::BTreeMap::<u64, &str>::new();
            for step in steps {
                match step {
                    Step::Send => {
                        if let Some((sequence, _)) = tracker.sent(now, ()) {
                            prop_assert_eq!(over.insert(sequence.0, "lost"), None);
                        }
                        sent += 1;
                    }
                    Step::Answer(number) => match tracker.answered(Sequence(number), now) {
                        AnswerKind::InTime { rtt, .. } => {
                            prop_assert!(rtt <= TIMEOUT);
                            prop_assert_eq!(over.insert(number, "in time"), None);
                        }
                        AnswerKind::Late { rtt, given_up } => {
                            prop_assert!(rtt > TIMEOUT);
                            prop_assert_eq!(over.insert(number, "late"), given_up.then_some("lost"));
                        }
                        AnswerKind::Duplicate => prop_assert!(matches!(over[&number], "in time" | "late" | "ended")),
                        AnswerKind::Stray => prop_assert!(number >= sent || number + capacity as u64 <= sent),
                    },
                    Step::End(number) => {
                        if tracker.end(Sequence(number)) {
                            prop_assert_eq!(over.insert(number, "ended"), None);
                        }
                    }
                    Step::Wait(time) => now = now + Nanos(time),
                    Step::Expire => {
                        while let Some((sequence, _)) = tracker.expire(now) {
                            prop_assert_eq!(over.insert(sequence.0, "lost"), None);
                        }
                        prop_assert!(tracker.deadline().is_none_or(|deadline| deadline >= now));
                    }
                }
            }
            now = now + TIMEOUT + Nanos(1);
            while let Some((sequence, _)) = tracker.expire(now) {
                prop_assert_eq!(over.insert(sequence.0, "lost"), None);
            }
            prop_assert_eq!(over.len() as u64, sent);
        }
    }
}

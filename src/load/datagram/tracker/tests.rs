//! The tracker against the plainest model there is: a map from sequence numbers to what is known of them.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const TIMEOUT: Nanos = Nanos(100);

fn times(sent: Nanos) -> SendTimes {
    SendTimes { intended: sent, sent }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    sent: Nanos,
    in_cohort: bool,
    expired: bool,
    /// Whether it was in time.
    answered: Option<bool>,
}

#[derive(Default)]
struct Model {
    depth: u64,
    known: HashMap<u64, Known>,
    counting: bool,
    duplicated: u64,
    /// Sequence numbers of answers in time, in the order in which they came.
    arrivals: Vec<u64>,
}

impl Model {
    fn in_flight(&self) -> u64 {
        self.known.values().filter(|known| known.answered.is_none() && !known.expired).count() as u64
    }

    fn send(&mut self, now: Nanos) {
        if self.in_flight() < self.depth {
            let known = Known { sent: now, in_cohort: self.counting, expired: false, answered: None };
            self.known.insert(self.known.len() as u64, known);
        }
    }

    fn receive(&mut self, sequence: u64, now: Nanos) -> Verdict {
        let Some(known) = self.known.get_mut(&sequence) else { return Verdict::Unknown };
        if known.answered.is_some() {
            self.duplicated += u64::from(known.in_cohort);
            return Verdict::Duplicate;
        }
        let in_time = now.since(known.sent) <= TIMEOUT && !known.expired;
        known.answered = Some(in_time);
        if !in_time {
            return Verdict::Late { expired: known.expired };
        }
        self.arrivals.push(sequence);
        Verdict::Answered(times(known.sent))
    }

    fn expire(&mut self, now: Nanos) {
        let in_flight = self.known.values_mut().filter(|known| known.answered.is_none());
        in_flight.for_each(|known| known.expired |= now.since(known.sent) > TIMEOUT);
    }

    fn counts(&self) -> Counts {
        let cohort = |which: fn(&Known) -> bool| {
            self.known.values().filter(|known| known.in_cohort && which(known)).count() as u64
        };
        let extents = self.arrivals.iter().enumerate().filter(|(_, number)| self.known[number].in_cohort);
        let extents: Vec<u64> = extents
            .filter_map(|(i, number)| self.arrivals[..i].iter().position(|earlier| earlier > number).map(|j| i - j))
            .map(|extent| extent as u64)
            .collect();
        Counts {
            sent: cohort(|_| true),
            answered: cohort(|known| known.answered == Some(true)),
            late: cohort(|known| known.answered == Some(false)),
            duplicated: self.duplicated,
            reordered: extents.len() as u64,
            max_extent: extents.iter().copied().max().unwrap_or(0),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(u64),
    /// An answer to the request so many before the newest; beyond the first it is one that was never sent.
    Receive(u64),
    /// Time passes, and the overdue are looked for.
    Pass(u64),
    Count(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u64..8).prop_map(Step::Send),
        8 => (0u64..40).prop_map(Step::Receive),
        2 => (0u64..300).prop_map(Step::Receive),
        3 => (1u64..60).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Count),
    ]
}

proptest! {
    #[test]
    fn whatever_the_network_does_the_counts_are_the_models(
        depth in 1u64..20,
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let (mut tracker, mut model) = (Tracker::new(depth, TIMEOUT), Model { depth, ..Model::default() });
        let mut now = Nanos::ZERO;
        let mut counted = false;
        for step in steps {
            match step {
                Step::Send(count) => (0..count).for_each(|_| {
                    tracker.sent(times(now));
                    model.send(now);
                }),
                Step::Receive(back) => {
                    let sequence = tracker.next().wrapping_sub(back);
                    prop_assert_eq!(tracker.received(sequence, now), model.receive(sequence, now));
                }
                Step::Pass(time) => {
                    now = now + Nanos(time);
                    tracker.expire(now);
                    model.expire(now);
                }
                // There is one cohort in a run.
                Step::Count(true) if !counted => {
                    tracker.begin_cohort();
                    (counted, model.counting) = (true, true);
                }
                Step::Count(on) => if !on && model.counting {
                    tracker.end_cohort();
                    model.counting = false;
                }
            }
            prop_assert_eq!(tracker.in_flight(), model.in_flight());
            prop_assert_eq!(tracker.room(), depth - model.in_flight());
        }
        prop_assert_eq!(tracker.next(), model.known.len() as u64);
        prop_assert_eq!(*tracker.counts(), model.counts());
    }
}

/// Sends and answers so many requests.
fn pass(tracker: &mut Tracker, count: u64, now: Nanos) {
    for _ in 0..count {
        let sequence = tracker.next();
        tracker.sent(times(now));
        assert!(matches!(tracker.received(sequence, now), Verdict::Answered(_)));
    }
}

#[test]
fn a_request_in_flight_is_known_however_many_pass_it_by() {
    let mut tracker = Tracker::new(2, TIMEOUT);
    tracker.begin_cohort();
    tracker.sent(times(Nanos(1)));
    pass(&mut tracker, 200_000, Nanos(1));
    assert_eq!(tracker.received(0, Nanos(2)), Verdict::Answered(times(Nanos(1))));
    assert_eq!(tracker.counts().max_extent, 200_000);
    assert_eq!(tracker.received(0, Nanos(2)), Verdict::Duplicate);
    assert_eq!(tracker.pipeline.passed_by(), 0);
}

#[test]
fn what_is_overdue_is_remembered_to_the_end_and_costs_next_to_nothing() {
    const LOST: u64 = 1 << 20;
    let mut tracker = Tracker::new(2, TIMEOUT);
    tracker.begin_cohort();
    tracker.sent(times(Nanos(0)));
    for lost in 1..LOST {
        tracker.sent(times(Nanos(1000 * lost)));
        assert_eq!((tracker.expire(Nanos(1000 * lost + 500)), tracker.room()), (1 + u64::from(lost == 1), 2));
    }
    pass(&mut tracker, 1000, Nanos(1000 * LOST));
    let (now, late) = (Nanos(1000 * LOST), Verdict::Late { expired: true });
    assert_eq!(
        [0, LOST - 1, 0, LOST].map(|sequence| tracker.received(sequence, now)),
        [late, late, Verdict::Duplicate, Verdict::Duplicate]
    );
    assert_eq!((tracker.counts().late, tracker.counts().lost()), (2, LOST - 2));
    let bytes = tracker.overdue.serialized_size() as u64 + 16 * tracker.pipeline.passed_by() as u64;
    assert!(bytes < LOST / 4, "{bytes} bytes for {LOST} losses");
}

#[test]
fn an_answer_after_the_timeout_is_late_even_if_nobody_has_looked_yet() {
    let mut tracker = Tracker::new(1, TIMEOUT);
    tracker.begin_cohort();
    tracker.sent(times(Nanos(7)));
    assert_eq!(tracker.received(0, Nanos(108)), Verdict::Late { expired: false });
    assert_eq!((tracker.room(), tracker.counts().late), (1, 1));
    tracker.sent(times(Nanos(200)));
    assert_eq!(tracker.received(1, Nanos(300)), Verdict::Answered(times(Nanos(200))));
}

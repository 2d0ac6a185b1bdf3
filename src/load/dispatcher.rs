//! Gives an open loop's requests that are due to its members (connections or datagram sockets) in turn. One whose
//! answer is late gets more all the same, up to its limit; where no member can take a request it waits, and keeps its
//! instant.
//!
//! That the generator looks at a request when it is due is one thing, that a member can take it another: how late the
//! generator was is recorded of every request, whether or not it can be sent. So it looks at each when it is due even
//! if none can be.
//!
//! No I/O and no clock: instants are arguments, and who can take a request is asked of the caller.

use super::pacer::{Pacer, Plan, Schedule};
use super::shared::{Phase, Shared};
use crate::units::Nanos;
use std::collections::VecDeque;

/// So many requests that wait are known by their instants. Tests go beyond it at every turn.
const KNOWN: usize = if cfg!(test) { 3 } else { 256 };

#[derive(Debug)]
pub struct Dispatcher {
    pacer: Pacer,
    members: usize,
    /// The phase is one in which requests are sent as they are due.
    running: bool,
    /// An open loop's, once the load began.
    backlog: Option<Backlog>,
    /// Schedules that ended with their slices.
    ended: u64,
    /// The member whose turn is next.
    next_in_turn: usize,
    /// All but those that could not take a request when they were asked and were not freed since.
    candidates: MemberSet,
}

/// A schedule, and those of its requests that are due and wait to be dispatched.
#[derive(Debug)]
struct Backlog {
    schedule: Schedule,
    /// The first of those that wait.
    waiting: VecDeque<Nanos>,
    overflow: Option<Overflow>,
}

/// Those that wait behind the known ones. A copy of the schedule has their instants once more, so that they need no
/// memory, however many.
#[derive(Debug)]
struct Overflow {
    schedule: Schedule,
    requests: u64,
}

impl Backlog {
    fn new(plan: Plan, start: Nanos) -> Backlog {
        Backlog { schedule: Schedule::new(plan, start), waiting: VecDeque::with_capacity(KNOWN), overflow: None }
    }

    fn open_window(&mut self, first: Nanos) {
        self.schedule.open_window(first);
        if let Some(overflow) = &mut self.overflow {
            overflow.schedule.open_window(first);
        }
    }

    /// The instant of the next request that is due by `now`, which waits from then on.
    #[inline]
    fn poll_due(&mut self, now: Nanos) -> Option<Nanos> {
        let intended = self.schedule.next();
        if intended > now {
            return None;
        }
        match &mut self.overflow {
            Some(overflow) => overflow.requests += 1,
            None if self.waiting.len() < KNOWN => self.waiting.push_back(intended),
            none => *none = Some(Overflow { schedule: self.schedule.clone(), requests: 1 }),
        }
        self.schedule.due(now)
    }

    /// The instant of the first that waits, which does so no longer.
    #[inline]
    fn take(&mut self) -> Option<Nanos> {
        let first = self.waiting.pop_front()?;
        if self.overflow.is_some() {
            self.know_one_more();
        }
        Some(first)
    }

    fn know_one_more(&mut self) {
        let Some(overflow) = &mut self.overflow else { return };
        self.waiting.extend(overflow.schedule.due(Nanos(u64::MAX)));
        overflow.requests -= 1;
        if overflow.requests == 0 {
            self.overflow = None;
        }
    }
}

impl Dispatcher {
    /// Members are the numbers below `members`.
    pub fn new(pacer: Pacer, members: usize) -> Dispatcher {
        let candidates = MemberSet::full(members);
        Dispatcher { pacer, members, running: false, backlog: None, ended: 0, next_in_turn: 0, candidates }
    }

    /// A turn begins, in this phase. Begins an open loop's schedule with the load, and passes on when the counted
    /// window begins.
    #[inline]
    pub fn follow(&mut self, phase: Phase, shared: &Shared) {
        self.running = phase == Phase::Run;
        if phase == Phase::Rest {
            self.end_schedule();
        }
        let (Pacer::Open(plan), true) = (self.pacer, self.running) else { return };
        let backlog = self.backlog.get_or_insert_with(|| match shared.gate() {
            Some(_) => {
                let (plan, later) = plan.of_slice(self.ended);
                Backlog::new(plan, shared.start() + later)
            }
            None => Backlog::new(plan, shared.start()),
        });
        let first = shared.first();
        if first < Nanos(u64::MAX) {
            backlog.open_window(first);
        }
    }

    /// What is due and could not be sent is not sent in the next slice, whose schedule is another.
    fn end_schedule(&mut self) {
        if self.backlog.take().is_some() {
            self.ended += 1;
        }
    }

    /// Whether it is by the schedule that requests are sent: in an open loop, once the load began.
    #[inline]
    pub fn paces(&self) -> bool {
        self.backlog.is_some()
    }

    /// When the next request is due that was not noticed yet. `None` where only an event lets it go on, as in a closed
    /// loop.
    #[inline]
    pub fn next(&self) -> Option<Nanos> {
        self.backlog.as_ref().filter(|_| self.running).map(|backlog| backlog.schedule.next())
    }

    /// Notices the next request that is due by `now`: by how much that is late. Call it until there is none.
    #[inline]
    pub fn poll_due(&mut self, now: Nanos) -> Option<Nanos> {
        let backlog = self.backlog.as_mut().filter(|_| self.running)?;
        backlog.poll_due(now).map(|intended| now.since(intended))
    }

    /// The first request that is due and waits, by its instant, and the member that is to send it. Call it until there
    /// is none: either none waits, or no member can take it. A member that could not is not asked again until it is
    /// [`Dispatcher::freed`].
    #[inline]
    pub fn dispatch(&mut self, can_take: impl FnMut(usize) -> bool) -> Option<(usize, Nanos)> {
        if !self.running || self.backlog.as_ref()?.waiting.is_empty() {
            return None;
        }
        let member = self.taker(can_take)?;
        Some((member, self.backlog.as_mut()?.take()?))
    }

    /// Whether a request waits that a member may be able to take.
    #[inline]
    pub fn can_dispatch(&self) -> bool {
        let waits = self.backlog.as_ref().is_some_and(|backlog| !backlog.waiting.is_empty());
        self.running && waits && self.candidates.next(0).is_some()
    }

    /// A member that could not take a request may be able to now. Other numbers are ignored.
    #[inline]
    pub fn freed(&mut self, member: usize) {
        if member < self.members {
            self.candidates.insert(member);
        }
    }

    /// The next member in turn that can take a request.
    #[inline]
    fn taker(&mut self, mut can_take: impl FnMut(usize) -> bool) -> Option<usize> {
        loop {
            let member = self.candidates.next(self.next_in_turn)?;
            if can_take(member) {
                self.next_in_turn = if member + 1 == self.members { 0 } else { member + 1 };
                return Some(member);
            }
            self.candidates.remove(member);
        }
    }
}

/// Numbers, found in turn without a look at those that are not in it: 64 at a time.
#[derive(Debug)]
struct MemberSet {
    words: Box<[u64]>,
}

impl MemberSet {
    /// All numbers below `count`.
    fn full(count: usize) -> MemberSet {
        let mut set = MemberSet { words: vec![0; count.div_ceil(64)].into_boxed_slice() };
        (0..count).for_each(|member| set.insert(member));
        set
    }

    #[inline]
    fn insert(&mut self, member: usize) {
        self.words[member / 64] |= 1 << (member % 64);
    }

    #[inline]
    fn remove(&mut self, member: usize) {
        self.words[member / 64] &= !(1 << (member % 64));
    }

    /// The first from `start` on, or else the first of all.
    #[inline]
    fn next(&self, start: usize) -> Option<usize> {
        let (word, bit) = (start / 64, start % 64);
        let rest = self.words.get(word)? & (u64::MAX << bit);
        if rest != 0 {
            return Some(word * 64 + rest.trailing_zeros() as usize);
        }
        let later = (word + 1..self.words.len()).chain(0..=word);
        later.into_iter().find_map(|word| {
            let members = self.words[word];
            (members != 0).then(|| word * 64 + members.trailing_zeros() as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::pacer::Pace;
    use proptest::prelude::*;

    fn plan(arrival: &str) -> Plan {
        let pace = Pace { arrival: arrival.parse().unwrap(), rate: "1M".parse().unwrap() };
        Plan { pace, thread: 1, threads: 2, planned: Nanos(200_000), seed: 3 }
    }

    fn plans() -> impl Strategy<Value = Plan> {
        prop::sample::select(vec!["constant", "poisson", "burst:5", "ramp:500k..1500k"]).prop_map(plan)
    }

    /// A dispatcher whose load begins at once, and its counted window a little later.
    fn dispatcher(pacer: Pacer, members: usize) -> Dispatcher {
        let shared = Shared::new(None, std::thread::current());
        shared.start_at(Nanos(5));
        shared.open_window(Nanos(20_000), Nanos(1_000_000));
        let mut dispatcher = Dispatcher::new(pacer, members);
        dispatcher.follow(Phase::Run, &shared);
        dispatcher
    }

    /// The schedule of the dispatcher above, until `end`.
    fn instants(plan: Plan, end: Nanos) -> Vec<Nanos> {
        let mut schedule = Schedule::new(plan, Nanos(5));
        schedule.open_window(Nanos(20_000));
        std::iter::from_fn(|| schedule.due(end)).collect()
    }

    /// Time that passes, and requests that are answered meanwhile, at whom.
    type Step = (u64, Vec<prop::sample::Index>);

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let answers = prop::collection::vec(any::<prop::sample::Index>(), 0..6);
        prop::collection::vec((1u64..5_000, answers), 1..60)
    }

    proptest! {
        /// Against members of which each can take `depth` at a time.
        #[test]
        fn every_request_is_dispatched_once_in_order_to_the_next_that_can_take_it(
            plan in plans(), members in prop_oneof![1usize..6, 60usize..200], depth in 1u64..4, steps in steps(),
        ) {
            let mut dispatcher = dispatcher(Pacer::Open(plan), members);
            let mut in_flight = vec![0; members];
            let (mut now, mut handed, mut last) = (Nanos::ZERO, Vec::new(), members - 1);
            for (time, answers) in steps {
                now = now + Nanos(time);
                for member in answers.iter().map(|at| at.index(members)) {
                    in_flight[member] = u64::saturating_sub(in_flight[member], 1);
                    dispatcher.freed(member);
                }
                while dispatcher.poll_due(now).is_some() {}
                while let Some((member, intended)) = dispatcher.dispatch(|member| in_flight[member] < depth) {
                    let expected = (1..=members).map(|step| (last + step) % members).find(|member| in_flight[*member] < depth);
                    prop_assert_eq!(Some(member), expected);
                    last = member;
                    in_flight[member] += 1;
                    handed.push(intended);
                }
                let due = instants(plan, now);
                prop_assert_eq!(&handed[..], &due[..handed.len()]);
                prop_assert!(handed.len() == due.len() || in_flight.iter().all(|count| *count == depth));
            }
        }

        #[test]
        fn how_late_the_generator_is_does_not_depend_on_whether_anyone_can_take_a_request(
            plan in plans(), steps in steps(), takes: bool,
        ) {
            let mut dispatcher = dispatcher(Pacer::Open(plan), 1);
            let (mut now, mut before) = (Nanos::ZERO, 0);
            for (time, _) in steps {
                now = now + Nanos(time);
                let late: Vec<Nanos> = std::iter::from_fn(|| dispatcher.poll_due(now)).collect();
                let due = instants(plan, now);
                prop_assert_eq!(late, due[before..].iter().map(|intended| now.since(*intended)).collect::<Vec<_>>());
                before = due.len();
                while dispatcher.dispatch(|_| takes).is_some() {}
                prop_assert!(dispatcher.next().is_some_and(|next| next > now), "it is to look again when the next is due");
            }
        }
    }

    #[test]
    fn a_closed_loop_has_none() {
        let mut dispatcher = dispatcher(Pacer::ClosedLoop, 2);
        assert_eq!((dispatcher.paces(), dispatcher.next(), dispatcher.poll_due(Nanos(1 << 40))), (false, None, None));
        assert_eq!(dispatcher.dispatch(|_| true), None);
    }

    #[test]
    fn once_the_run_is_over_nothing_is_due_any_more() {
        let (mut dispatcher, now) = (dispatcher(Pacer::Open(plan("constant")), 1), Nanos(10_000));
        assert!(dispatcher.poll_due(now).is_some() && dispatcher.dispatch(|_| true).is_some());
        dispatcher.follow(Phase::Drain, &Shared::new(None, std::thread::current()));
        assert_eq!((dispatcher.next(), dispatcher.poll_due(now), dispatcher.dispatch(|_| true)), (None, None, None));
    }

    /// Else every request that comes due while all are busy costs a look at each.
    #[test]
    fn where_none_can_take_a_request_none_is_asked_again_until_one_is_freed() {
        let (mut dispatcher, mut asked) = (dispatcher(Pacer::Open(plan("constant")), 100), 0);
        for now in 1..=50 {
            assert!(dispatcher.poll_due(Nanos(now * 2_000)).is_some());
            let mut busy = |_| {
                asked += 1;
                false
            };
            assert_eq!(dispatcher.dispatch(&mut busy), None);
        }
        assert_eq!(asked, 100);
        [7, 93].into_iter().for_each(|member| dispatcher.freed(member));
        assert!(dispatcher.can_dispatch());
        let mut dispatched = || dispatcher.dispatch(|_| true).map(|(member, _)| member);
        assert_eq!([dispatched(), dispatched()], [Some(7), Some(93)]);
        // Both can take more, as far as they answered.
        assert_eq!([dispatched(), dispatched()], [Some(7), Some(93)]);
    }

    #[test]
    fn without_members_nothing_is_dispatched() {
        let mut dispatcher = dispatcher(Pacer::Open(plan("constant")), 0);
        assert!(dispatcher.poll_due(Nanos(1_000_000)).is_some());
        assert_eq!(dispatcher.dispatch(|_| true), None);
    }
}

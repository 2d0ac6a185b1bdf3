//! An open loop's rota: requests that are due go to its members (connections or sockets) in turn. One whose answer is late
//! gets more all the same, up to its limit; where no member can take a request it waits, and keeps its instant.
//!
//! That the generator looks at a request when it is due is one thing, that a member can take it another: how late the
//! generator was is told of every request, whether or not it can be sent. So it looks at each when it is due even if
//! none can be.
//!
//! No I/O and no clock: instants are arguments, and who can take a request is asked of the caller.

use super::pacer::{Pacer, Plan, Schedule};
use super::shared::{Phase, Shared};
use crate::units::Nanos;
use std::collections::VecDeque;

/// So many requests that wait are known by their instants. Tests go beyond it at every turn.
const KNOWN: usize = if cfg!(test) { 3 } else { 256 };

#[derive(Debug)]
pub struct Rota {
    pacer: Pacer,
    members: usize,
    /// The phase is one in which requests are sent as they are due.
    running: bool,
    /// An open loop's, once the load began.
    course: Option<Course>,
    /// The member whose turn is next.
    next_in_turn: usize,
    /// No member could take a request when they were asked, and none was freed since.
    all_taken: bool,
}

/// A schedule, and those of its requests that were noticed and wait to be handed out.
#[derive(Debug)]
struct Course {
    noticed: Schedule,
    /// The first of those that wait.
    waiting: VecDeque<Nanos>,
    beyond: Option<Beyond>,
}

/// Those that wait behind the known ones. The schedule tells their instants once more, so that they need no memory,
/// however many.
#[derive(Debug)]
struct Beyond {
    schedule: Schedule,
    requests: u64,
}

impl Course {
    fn new(plan: Plan, start: Nanos) -> Course {
        Course { noticed: Schedule::new(plan, start), waiting: VecDeque::with_capacity(KNOWN), beyond: None }
    }

    fn open_window(&mut self, first: Nanos) {
        self.noticed.open_window(first);
        if let Some(beyond) = &mut self.beyond {
            beyond.schedule.open_window(first);
        }
    }

    /// The instant of the next request that is due by `now`, which waits from then on.
    #[inline]
    fn notice(&mut self, now: Nanos) -> Option<Nanos> {
        let intended = self.noticed.next();
        if intended > now {
            return None;
        }
        match &mut self.beyond {
            Some(beyond) => beyond.requests += 1,
            None if self.waiting.len() < KNOWN => self.waiting.push_back(intended),
            none => *none = Some(Beyond { schedule: self.noticed.clone(), requests: 1 }),
        }
        self.noticed.due(now)
    }

    /// The instant of the first that waits, which does so no longer.
    #[inline]
    fn take(&mut self) -> Option<Nanos> {
        let first = self.waiting.pop_front()?;
        if self.beyond.is_some() {
            self.know_one_more();
        }
        Some(first)
    }

    fn know_one_more(&mut self) {
        let Some(beyond) = &mut self.beyond else { return };
        self.waiting.extend(beyond.schedule.due(Nanos(u64::MAX)));
        beyond.requests -= 1;
        if beyond.requests == 0 {
            self.beyond = None;
        }
    }
}

impl Rota {
    /// Members are the numbers below `members`.
    pub fn new(pacer: Pacer, members: usize) -> Rota {
        Rota { pacer, members, running: false, course: None, next_in_turn: 0, all_taken: false }
    }

    /// A turn begins, in this phase. Begins an open loop's schedule with the load, and tells it when the counted window
    /// begins.
    #[inline]
    pub fn follow(&mut self, phase: Phase, shared: &Shared) {
        self.running = phase == Phase::Run;
        let (Pacer::Open(plan), true) = (self.pacer, self.running) else { return };
        let course = self.course.get_or_insert_with(|| Course::new(plan, shared.start()));
        let first = shared.first();
        if first < Nanos(u64::MAX) {
            course.open_window(first);
        }
    }

    /// Whether it is by the schedule that requests are sent: in an open loop, once the load began.
    #[inline]
    pub fn paces(&self) -> bool {
        self.course.is_some()
    }

    /// When the next request is due that was not noticed yet. `None` where only an event lets it go on, as in a closed loop.
    #[inline]
    pub fn next(&self) -> Option<Nanos> {
        self.course.as_ref().filter(|_| self.running).map(|course| course.noticed.next())
    }

    /// Notices the next request that is due by `now`: by how much that is late. Call it until there is none.
    #[inline]
    pub fn notice(&mut self, now: Nanos) -> Option<Nanos> {
        let course = self.course.as_mut().filter(|_| self.running)?;
        course.notice(now).map(|intended| now.since(intended))
    }

    /// The first request that was noticed and waits, by its instant, and the member that is to send it. Call it until
    /// there is none: either none waits, or no member can take it. Then nobody is asked again until one is
    /// [`Rota::freed`].
    #[inline]
    pub fn hand_out(&mut self, can_take: impl FnMut(usize) -> bool) -> Option<(usize, Nanos)> {
        if !self.running || self.all_taken || self.course.as_ref()?.waiting.is_empty() {
            return None;
        }
        let member = self.taker(can_take);
        self.all_taken = member.is_none();
        Some((member?, self.course.as_mut()?.take()?))
    }

    /// A member that could not take a request may be able to now.
    #[inline]
    pub fn freed(&mut self) {
        self.all_taken = false;
    }

    /// The next member in turn that can take a request.
    #[inline]
    fn taker(&mut self, mut can_take: impl FnMut(usize) -> bool) -> Option<usize> {
        for _ in 0..self.members {
            let member = self.next_in_turn;
            self.next_in_turn = if member + 1 == self.members { 0 } else { member + 1 };
            if can_take(member) {
                return Some(member);
            }
        }
        None
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

    /// A rota whose load begins at once, and its counted window a little later.
    fn rota(pacer: Pacer, members: usize) -> Rota {
        let shared = Shared::new(None, std::thread::current());
        shared.start_at(Nanos(5));
        shared.open_window(Nanos(20_000), Nanos(1_000_000));
        let mut rota = Rota::new(pacer, members);
        rota.follow(Phase::Run, &shared);
        rota
    }

    /// The schedule of the rota above, until `end`.
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
        fn every_request_is_handed_out_once_in_order_to_the_next_that_can_take_it(
            plan in plans(), members in 1usize..6, depth in 1u64..4, steps in steps(),
        ) {
            let mut rota = rota(Pacer::Open(plan), members);
            let mut in_flight = vec![0; members];
            let (mut now, mut handed, mut last) = (Nanos::ZERO, Vec::new(), members - 1);
            for (time, answers) in steps {
                now = now + Nanos(time);
                for at in answers {
                    let member: &mut u64 = &mut in_flight[at.index(members)];
                    *member = member.saturating_sub(1);
                }
                rota.freed();
                while rota.notice(now).is_some() {}
                while let Some((member, intended)) = rota.hand_out(|member| in_flight[member] < depth) {
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
            let mut rota = rota(Pacer::Open(plan), 1);
            let (mut now, mut before) = (Nanos::ZERO, 0);
            for (time, _) in steps {
                now = now + Nanos(time);
                let late: Vec<Nanos> = std::iter::from_fn(|| rota.notice(now)).collect();
                let due = instants(plan, now);
                prop_assert_eq!(late, due[before..].iter().map(|intended| now.since(*intended)).collect::<Vec<_>>());
                before = due.len();
                while rota.hand_out(|_| takes).is_some() {}
                prop_assert!(rota.next().is_some_and(|next| next > now), "it is to look again when the next is due");
            }
        }
    }

    #[test]
    fn a_closed_loop_has_none() {
        let mut rota = rota(Pacer::ClosedLoop, 2);
        assert_eq!((rota.paces(), rota.next(), rota.notice(Nanos(1 << 40))), (false, None, None));
        assert_eq!(rota.hand_out(|_| true), None);
    }

    #[test]
    fn once_the_run_is_over_nothing_is_due_any_more() {
        let (mut rota, now) = (rota(Pacer::Open(plan("constant")), 1), Nanos(10_000));
        assert!(rota.notice(now).is_some() && rota.hand_out(|_| true).is_some());
        rota.follow(Phase::Drain, &Shared::new(None, std::thread::current()));
        assert_eq!((rota.next(), rota.notice(now), rota.hand_out(|_| true)), (None, None, None));
    }

    /// Else every request that comes due while all are busy costs a look at each.
    #[test]
    fn where_none_can_take_a_request_none_is_asked_again_until_one_is_freed() {
        let (mut rota, mut asked) = (rota(Pacer::Open(plan("constant")), 100), 0);
        for now in 1..=50 {
            assert!(rota.notice(Nanos(now * 2_000)).is_some());
            let mut busy = |_| {
                asked += 1;
                false
            };
            assert_eq!(rota.hand_out(&mut busy), None);
        }
        assert_eq!(asked, 100);
        rota.freed();
        assert_eq!(rota.hand_out(|member| member == 7).map(|(member, _)| member), Some(7));
        assert!(rota.hand_out(|_| true).is_some_and(|(member, _)| member == 8));
    }

    #[test]
    fn without_members_nothing_is_handed_out() {
        let mut rota = rota(Pacer::Open(plan("constant")), 0);
        assert!(rota.notice(Nanos(1_000_000)).is_some());
        assert_eq!(rota.hand_out(|_| true), None);
    }
}

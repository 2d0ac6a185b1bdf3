//! Drives a thread's connections or datagram sockets, turn by turn: what streams and datagrams share above them. What
//! differs is their [`Pool`].
//!
//! No clock but the one that `take_in` is given: events and instants come in, and an engine is called for what is to be
//! done. What happened is only noted while events come in; acting on it is left to `advance`, so that all sends of a
//! turn carry one instant and go to the kernel together.

use super::context::Context;
use super::engine::Engine;
use super::shared::{Phase, Shared};
use super::thread_plan::ThreadPlan;
use super::thread_result::ThreadResult;
use crate::clock::Clock;
use crate::sys::wait::Wait;
use crate::units::Nanos;
use std::io;

/// One thread's connections or sockets: what each does next, given what happened and the phase of the run. They are
/// numbers below [`ThreadPlan::connections`].
pub trait Pool<E: Engine>: Sized {
    /// The protocol's own series.
    const SERIES: &'static [&'static str];

    /// The turn brought a new phase, in which all that are begun will be woken.
    fn enter_phase(&mut self, context: &mut Context<'_>);

    /// What is sent from now on is sent at `now`.
    fn before_sends(&mut self, _context: &Context<'_>, _engine: &E, _now: Nanos) {}

    /// The first thing that one does. Whether it could; where it could not, no other begins in this turn.
    fn begin(&mut self, context: &mut Context<'_>, engine: &mut E, number: usize) -> bool;

    /// Whether one can take a request that is due. Where it becomes able to, it is woken.
    fn can_take(&self, number: usize, done: Nanos) -> bool;

    /// Gives a request to one that can take it, which is advanced then.
    fn take(&mut self, number: usize, intended: Nanos, now: Nanos);

    /// Does what one has to do; what it sends counts as sent at `now`.
    fn advance(&mut self, context: &mut Context<'_>, engine: &mut E, number: usize, now: Nanos);

    /// Notes the events that the engine's last wait found.
    fn take_in(&mut self, context: &mut Context<'_>, engine: &mut E, clock: Clock);

    /// Looks for what is overdue and for pauses that have passed.
    fn check_deadlines(&mut self, context: &mut Context<'_>, now: Nanos);

    /// When deadlines are to be checked sooner than they regularly are: something is overdue then, or a pause over.
    fn next_deadline(&self) -> Option<Nanos>;

    /// Whether nothing is under way: no request without its answer, no connection that is being made or closed.
    fn is_quiet(&mut self, context: &mut Context<'_>) -> bool;

    /// Whether nothing more is to be waited for, at the run's end.
    fn is_drained(&self, context: &Context<'_>) -> bool;

    /// Updates the live line's figures beyond those of every load.
    fn publish(&mut self, _shared: &Shared) {}

    /// Adds to the result what every load's recorder does not have.
    fn finish(self, engine: &E, result: &mut ThreadResult);
}

/// A pool, the engine beneath it, and what they have to know.
pub struct Driver<'a, P, E> {
    pub(super) context: Context<'a>,
    pub(super) pool: P,
    pub(super) engine: E,
}

impl<'a, P: Pool<E>, E: Engine> Driver<'a, P, E> {
    /// `plan` is the pool's.
    pub fn new(plan: &ThreadPlan, pool: P, engine: E, shared: &'a Shared) -> Driver<'a, P, E> {
        Driver { context: Context::new(plan, P::SERIES, shared), pool, engine }
    }

    /// Looks for what is overdue, and updates the live line's figures.
    pub fn check_deadlines(&mut self, now: Nanos) {
        self.pool.check_deadlines(&mut self.context, now);
        self.publish();
    }

    /// As [`Pool::next_deadline`].
    #[inline]
    pub fn next_deadline(&self) -> Option<Nanos> {
        self.pool.next_deadline()
    }

    /// As [`Context::next_send`].
    #[inline]
    pub fn next_send(&self) -> Option<Nanos> {
        self.context.next_send()
    }

    /// Sends what is to be sent; all of it counts as sent at `now`, which was read just before.
    #[inline]
    pub fn advance(&mut self, now: Nanos) {
        self.pool.before_sends(&self.context, &self.engine, now);
        while let Some(number) = self.context.begin_next()
            && self.pool.begin(&mut self.context, &mut self.engine, number)
        {}
        self.send_due(now);
        if self.context.can_dispatch() {
            // Those that were freed just now can take what waits; no event follows for them.
            self.send_due(now);
        }
    }

    #[inline]
    fn send_due(&mut self, now: Nanos) {
        let Driver { context, pool, engine } = self;
        context.note_due(now);
        let done = context.tick.done;
        while let Some((number, intended)) = context.dispatch(|number| pool.can_take(number, done)) {
            pool.take(number, intended, now);
        }
        while let Some(number) = context.next_ready() {
            pool.advance(context, engine, number, now);
        }
    }

    /// Whether the thread is at its end.
    pub fn finished(&self) -> bool {
        self.context.tick.phase == Phase::Abandon || self.pool.is_drained(&self.context)
    }

    /// Whether the next slice is all that is to be waited for.
    #[inline]
    pub fn is_resting(&mut self) -> bool {
        self.context.tick.phase == Phase::Rest && self.pool.is_quiet(&mut self.context)
    }

    /// Waits for the next slice, the live figures being up to date.
    pub fn rest(&mut self) {
        self.publish();
        let shared = self.context.shared;
        let settled = self.context.recorder.take_settled(shared.start());
        shared.gate().into_iter().for_each(|gate| gate.wait(settled));
    }

    /// Whether there is something to take in.
    #[inline]
    pub fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        self.engine.wait(wait)
    }

    /// A wait is over; `done` was read right after it. A new phase concerns all.
    #[inline]
    pub fn begin_tick(&mut self, done: Nanos) {
        if self.context.begin_tick(done) {
            self.pool.enter_phase(&mut self.context);
            (0..self.context.begun()).for_each(|number| self.context.wake(number));
        }
    }

    /// Takes in what that wait found.
    #[inline]
    pub fn take_in(&mut self, clock: Clock) {
        self.pool.take_in(&mut self.context, &mut self.engine, clock);
    }

    /// Whether answers count now.
    pub fn counting(&self) -> bool {
        self.context.tick.counting
    }

    fn publish(&mut self) {
        self.context.publish();
        self.pool.publish(self.context.shared);
    }

    /// What the thread leaves behind, and its engine.
    pub fn finish(mut self) -> (ThreadResult, E) {
        self.publish();
        let mut result = ThreadResult::new(self.context.recorder);
        self.pool.finish(&self.engine, &mut result);
        (result, self.engine)
    }
}

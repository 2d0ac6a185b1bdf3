//! How a non-blocking event loop waits: spin for a while after the last event, then sleep; wake up for a deadline.

use crate::clock::Clock;
use crate::sys::wait::Wait;
use crate::units::Nanos;

/// Decides how an event loop waits.
#[derive(Debug)]
pub struct IdlePolicy {
    clock: Clock,
    spin: Nanos,
    idle_since: Option<Nanos>,
    /// The loop ends then.
    pub deadline: Option<Nanos>,
    /// Something rests until then.
    backoff_until: Option<Nanos>,
}

impl IdlePolicy {
    /// A loop that looks for events without sleeping until `spin` has passed since the last one.
    pub fn new(clock: Clock, spin: Nanos) -> IdlePolicy {
        IdlePolicy { clock, spin, idle_since: None, deadline: None, backoff_until: None }
    }

    /// How to wait now; `idle`: the last turn of the loop brought no event. `due`: the loop must turn again by then.
    #[inline]
    pub fn wait(&mut self, idle: bool, due: Option<Nanos>) -> Wait {
        if self.spin > Nanos::ZERO && self.spins_on(idle) {
            return Wait::Poll;
        }
        match self.deadline.into_iter().chain(self.backoff_until).chain(due).min() {
            None => Wait::Forever,
            Some(deadline) => Wait::AtMost(deadline.since(self.clock.now())),
        }
    }

    /// Begins a rest of something that is useless to try again at once. It ends even if the loop is never idle.
    pub fn start_backoff(&mut self, pause: Nanos) {
        self.backoff_until = Some(self.clock.now() + pause);
    }

    /// Whether a rest is over: true once for each.
    #[inline]
    pub fn backoff_ended(&mut self) -> bool {
        self.backoff_until.is_some_and(|end| self.clock.now() >= end) && self.backoff_until.take().is_some()
    }

    pub fn deadline_passed(&self) -> bool {
        self.deadline.is_some_and(|deadline| self.clock.now() >= deadline)
    }

    fn spins_on(&mut self, idle: bool) -> bool {
        if !idle {
            self.idle_since = None;
            return true;
        }
        let now = self.clock.now();
        let since = *self.idle_since.get_or_insert(now);
        now.since(since) < self.spin
    }
}

//! The open loop's part of a fleet: requests that are due go to the connections in turn. One whose answer is late gets
//! more all the same, up to its depth; where none can take a request it waits, and keeps its instant.

use super::{Fleet, Pacer, Phase, State};
use crate::load::flow::Stamp;
use crate::load::pacer::{Due, Schedule};
use crate::units::Nanos;

impl Fleet<'_> {
    /// The next instant at which something is to be sent. `None` where only an event lets it go on.
    #[inline]
    pub fn next_send(&self) -> Option<Nanos> {
        let schedule = self.schedule.as_ref().filter(|_| self.turn.phase == Phase::Run && !self.blocked)?;
        Some(schedule.next())
    }

    /// Begins the schedule with the load, and tells it when the counted window begins.
    #[inline]
    pub(super) fn follow_schedule(&mut self) {
        let Pacer::Open(plan) = self.orders.pacer else { return };
        if self.turn.phase == Phase::Run {
            let first = self.shared.first();
            let schedule = self.schedule.get_or_insert_with(|| Schedule::new(plan, self.shared.start()));
            if first < Nanos(u64::MAX) {
                schedule.open_window(first);
            }
        }
    }

    /// Gives the requests that are due by `now` to connections.
    #[inline]
    pub(super) fn assign_due(&mut self, now: Nanos) {
        self.blocked = false;
        while self.turn.phase == Phase::Run
            && let Some(schedule) = &self.schedule
            && schedule.next() <= now
        {
            let taker = self.taker();
            let (Some(index), Some(schedule)) = (taker, &mut self.schedule) else {
                return self.hold(now);
            };
            if let Some(due) = schedule.due(now) {
                self.give(index, due, now);
            }
        }
    }

    #[inline]
    fn give(&mut self, index: usize, due: Due, now: Nanos) {
        self.connections[index].flow.issue(Stamp { intended: due.intended, sent: now });
        if self.turn.counting && !due.held {
            self.recorder.timer_error(now.since(due.intended));
        }
        self.wake(index);
    }

    fn hold(&mut self, now: Nanos) {
        self.blocked = true;
        if let Some(schedule) = &mut self.schedule {
            schedule.hold(now);
        }
    }

    /// The next connection in turn that can take a request.
    #[inline]
    fn taker(&mut self) -> Option<usize> {
        let count = self.orders.active;
        for _ in 0..count {
            let index = self.next_in_turn;
            self.next_in_turn = if index + 1 == count { 0 } else { index + 1 };
            if self.can_take(index) {
                return Some(index);
            }
        }
        None
    }

    fn can_take(&self, index: usize) -> bool {
        let connection = &self.connections[index];
        let ready = match connection.state {
            State::Open => !self.orders.connect_per_request,
            State::Idle { not_before } => self.orders.connect_per_request && self.turn.done >= not_before,
            _ => false,
        };
        ready && connection.flow.free() > 0
    }

    /// With a connection per request a connection is made when a request is due.
    pub(super) fn waits_for_schedule(&self, index: usize) -> bool {
        self.orders.connect_per_request && self.schedule.is_some() && self.connections[index].flow.in_flight() == 0
    }
}

//! The open loop's part of a swarm: requests that are due go to the sockets in turn, as in a fleet. Where none can take a
//! request it waits, and keeps its instant.

use super::{Obstacle, Swarm};
use crate::load::pacer::{Due, Pacer, Schedule};
use crate::load::shared::Phase;
use crate::units::Nanos;

impl Swarm<'_> {
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

    /// Gives the requests that are due by `now` to sockets.
    #[inline]
    pub(super) fn assign_due(&mut self, now: Nanos) {
        self.blocked = false;
        while self.turn.phase == Phase::Run
            && let Some(schedule) = &self.schedule
            && schedule.next() <= now
        {
            let taker = self.taker();
            let (Some(number), Some(schedule)) = (taker, &mut self.schedule) else {
                return self.hold(now);
            };
            if let Some(due) = schedule.due(now) {
                self.give(number, due, now);
            }
        }
    }

    #[inline]
    fn give(&mut self, number: usize, due: Due, now: Nanos) {
        self.seats[number].due.push_back(due.intended);
        if self.turn.counting && !due.held {
            self.recorder.timer_error(now.since(due.intended));
        }
        self.wake(number);
    }

    fn hold(&mut self, now: Nanos) {
        self.blocked = true;
        if let Some(schedule) = &mut self.schedule {
            schedule.hold(now);
        }
    }

    /// The next socket in turn that can take a request.
    #[inline]
    fn taker(&mut self) -> Option<usize> {
        let count = self.seats.len();
        for _ in 0..count {
            let number = self.next_in_turn;
            self.next_in_turn = if number + 1 == count { 0 } else { number + 1 };
            let seat = &self.seats[number];
            if seat.obstacle == Obstacle::None && (seat.due.len() as u64) < seat.tracker.room() {
                return Some(number);
            }
        }
        None
    }
}

//! The open loop's part of a swarm: which socket can take a request that is due, and what it does with it.

use super::{Obstacle, Seat, Swarm};
use crate::protocol::client::DatagramClient;
use crate::units::Nanos;

impl<C: DatagramClient> Swarm<'_, C> {
    /// The next instant at which a request is due. `None` where only an event lets it go on, as in a closed loop.
    #[inline]
    pub fn next_send(&self) -> Option<Nanos> {
        self.rota.next()
    }

    /// Gives the requests that are due by `now` to sockets, as far as they can take them.
    #[inline]
    pub(super) fn assign_due(&mut self, now: Nanos) {
        let Swarm { rota, seats, turn, recorder, ready, .. } = self;
        while let Some(late) = rota.notice(now) {
            recorder.timer_error(late, turn.counting);
        }
        while let Some((number, intended)) = rota.hand_out(|number| seats[number].can_take()) {
            seats[number].due.push_back(intended);
            ready.wake(number);
        }
    }
}

impl<C> Seat<C> {
    #[inline]
    fn can_take(&self) -> bool {
        self.obstacle == Obstacle::None && (self.due.len() as u64) < self.tracker.room()
    }
}

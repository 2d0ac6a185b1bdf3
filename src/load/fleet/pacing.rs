//! The open loop's part of a fleet: which connection can take a request that is due, and what it does with it.

use super::{Connection, Fleet, Orders, State};
use crate::load::pipeline::SendTimes;
use crate::protocol::client::StreamClient;
use crate::units::Nanos;

impl<C: StreamClient> Fleet<'_, C> {
    /// The next instant at which a request is due. `None` where only an event lets it go on, as in a closed loop.
    #[inline]
    pub fn next_send(&self) -> Option<Nanos> {
        self.rota.next()
    }

    /// Gives the requests that are due by `now` to connections, as far as they can take them.
    #[inline]
    pub(super) fn assign_due(&mut self, now: Nanos) {
        let Fleet { rota, connections, orders, turn, recorder, ready, .. } = self;
        while let Some(late) = rota.notice(now) {
            recorder.timer_error(late, turn.counting);
        }
        while let Some((index, intended)) = rota.hand_out(|index| connections[index].can_take(orders, turn.done)) {
            connections[index].begin(SendTimes { intended, sent: now });
            ready.wake(index);
        }
    }

    /// With a connection per request a connection is made when a request is due.
    pub(super) fn waits_for_schedule(&self, index: usize) -> bool {
        self.orders.connect_per_request && self.rota.paces() && self.connections[index].pipeline.in_flight() == 0
    }
}

impl<C: StreamClient> Connection<C> {
    #[inline]
    fn can_take(&self, orders: &Orders, now: Nanos) -> bool {
        let ready = match self.state {
            State::Open => !orders.connect_per_request,
            State::Idle { not_before } => orders.connect_per_request && now >= not_before,
            _ => false,
        };
        ready && self.pipeline.room() > 0
    }
}

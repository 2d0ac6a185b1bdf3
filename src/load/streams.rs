//! The crew of a thread that loads stream connections: their fleet, and the engine beneath it.

use super::engine::{Engine, EngineError, Event, Setup, Wait};
use super::fleet::{Fleet, Haul, Orders};
use super::shared::Shared;
use super::worker::Crew;
use crate::clock::Clock;
use crate::protocol::client::StreamClient;
use crate::units::Nanos;
use std::io;

/// A thread's stream connections and the engine beneath them.
pub struct Streams<'a, C, E> {
    fleet: Fleet<'a, C>,
    engine: E,
}

impl<'a, C: StreamClient, E: Engine> Streams<'a, C, E> {
    /// Called on the thread that uses it.
    pub fn new(setup: &Setup, orders: Orders, shared: &'a Shared) -> Result<Streams<'a, C, E>, EngineError> {
        Ok(Streams { engine: E::new(setup)?, fleet: Fleet::new(orders, shared) })
    }
}

impl<C: StreamClient, E: Engine> Crew for Streams<'_, C, E> {
    fn check_deadlines(&mut self, now: Nanos) {
        self.fleet.check_deadlines(now);
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.fleet.next_deadline()
    }

    #[inline]
    fn next_send(&self) -> Option<Nanos> {
        self.fleet.next_send()
    }

    fn publish(&mut self) {
        self.fleet.publish();
    }

    #[inline]
    fn advance(&mut self, now: Nanos) {
        self.fleet.advance(&mut self.engine, now);
    }

    fn finished(&self) -> bool {
        self.fleet.finished()
    }

    #[inline]
    fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        self.engine.wait(wait)
    }

    #[inline]
    fn begin_turn(&mut self, done: Nanos) {
        self.fleet.begin_turn(done);
    }

    #[inline]
    fn take_in(&mut self, clock: Clock) {
        let Streams { fleet, engine } = self;
        engine.events(|connection, event| {
            if E::RECEIVES_WHILE_TELLING && matches!(event, Event::Received(_)) {
                fleet.refresh(clock.now());
            }
            fleet.on_event(connection, event);
        });
    }

    fn counting(&self) -> bool {
        self.fleet.counting()
    }

    fn into_haul(self) -> Haul {
        self.fleet.into_haul()
    }
}

//! The crew of a thread that loads datagram sockets: its swarm, and the engine beneath it.

use super::engine::{Engine, Event, Setup};
use super::swarm::{Orders, Swarm};
use crate::clock::Clock;
use crate::load::engine::{EngineError, Wait};
use crate::load::fleet::Haul;
use crate::load::shared::Shared;
use crate::load::worker::Crew;
use crate::protocol::client::DatagramClient;
use crate::units::Nanos;
use std::io;

/// A thread's datagram sockets and the engine beneath them.
pub struct Datagrams<'a, C, E> {
    swarm: Swarm<'a, C>,
    engine: E,
}

impl<'a, C: DatagramClient, E: Engine> Datagrams<'a, C, E> {
    /// Called on the thread that uses it.
    pub fn new(setup: &Setup, orders: Orders, shared: &'a Shared) -> Result<Datagrams<'a, C, E>, EngineError> {
        Ok(Datagrams { engine: E::new(setup)?, swarm: Swarm::new(orders, shared) })
    }
}

impl<C: DatagramClient, E: Engine> Crew for Datagrams<'_, C, E> {
    fn check_deadlines(&mut self, now: Nanos) {
        self.swarm.check_deadlines(now);
    }

    fn next_deadline(&self) -> Option<Nanos> {
        self.swarm.next_deadline()
    }

    #[inline]
    fn next_send(&self) -> Option<Nanos> {
        self.swarm.next_send()
    }

    fn publish(&mut self) {
        self.swarm.publish();
    }

    #[inline]
    fn advance(&mut self, now: Nanos) {
        self.swarm.advance(&mut self.engine, now);
    }

    fn finished(&self) -> bool {
        self.swarm.finished()
    }

    #[inline]
    fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        self.engine.wait(wait)
    }

    #[inline]
    fn begin_turn(&mut self, done: Nanos) {
        self.swarm.begin_turn(done);
    }

    #[inline]
    fn take_in(&mut self, clock: Clock) {
        let Datagrams { swarm, engine } = self;
        engine.events(|number, event| {
            if E::RECEIVES_WHILE_TELLING && matches!(event, Event::Batch) {
                swarm.refresh(clock.now());
            }
            swarm.on_event(number, event);
        });
    }

    fn counting(&self) -> bool {
        self.swarm.counting()
    }

    fn into_haul(self) -> Haul {
        self.swarm.into_haul(&self.engine)
    }
}

//! What the engines of streams and of datagrams have in common. How each moves bytes is in `stream::engine` and
//! `datagram::engine`.

use crate::sys::epoll::{Epoll, Events};
use crate::sys::uring::{Completion, Ring, RingError, RingSettings, Taskrun};
use crate::sys::wait::Wait;
use crate::units::Address;
use std::io;

/// Most sockets that one epoll_wait(2) reports.
const MAX_EVENTS: usize = 1024;

/// What an engine prepares for.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub target: Address,
    /// Connections or datagram sockets of this thread.
    pub sockets: usize,
    /// Bytes of the largest request and, if all is well, of the largest answer; where super-packets are sent, of every
    /// one.
    pub size: usize,
    /// Requests that are usually in flight per socket at most.
    pub depth: usize,
    /// Most datagrams of one super-packet; 1 sends none.
    pub segments: usize,
    /// Whether `wait` will often be called to only look.
    pub spins: bool,
}

/// The engine cannot be had here.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{0} (or use --engine epoll, which needs no io_uring)")]
    Uring(#[from] RingError),
    #[error("setting up epoll failed: {0}")]
    Epoll(io::Error),
    #[error("{0} cannot be connected to: {1}")]
    Target(Address, io::Error),
}

/// An engine belongs to one thread, which makes it there and calls it in turns: `wait` once (while spinning: until
/// something happened), then what the engine's kind has to notify of events, then any number of its other calls.
pub trait Engine: Sized {
    /// Bytes are received while events are notified, not by the `wait` before it: what comes then has an instant of its
    /// own.
    const RECEIVES_IN_EVENTS: bool;

    fn new(config: &EngineConfig) -> Result<Self, EngineError>;

    /// Whether there are events to notify.
    fn wait(&mut self, wait: Wait) -> io::Result<bool>;
}

/// Implements what tests need not: such an engine is made by the test, and always has events.
#[cfg(test)]
macro_rules! impl_test_engine {
    ($engine:ty, receives_in_events: $receives:literal) => {
        impl $crate::load::engine::Engine for $engine {
            const RECEIVES_IN_EVENTS: bool = $receives;

            fn new(_: &$crate::load::engine::EngineConfig) -> Result<$engine, $crate::load::engine::EngineError> {
                unreachable!("made by the test")
            }

            fn wait(&mut self, _: $crate::sys::wait::Wait) -> std::io::Result<bool> {
                Ok(true)
            }
        }
    };
}
#[cfg(test)]
pub(crate) use impl_test_engine;

/// An epoll instance, and the events of the last wait.
pub struct EventPoll {
    pub epoll: Epoll,
    pub events: Events,
}

impl EventPoll {
    pub fn new(config: &EngineConfig) -> Result<EventPoll, EngineError> {
        let events = Events::with_capacity(config.sockets.min(MAX_EVENTS));
        Ok(EventPoll { epoll: Epoll::new().map_err(EngineError::Epoll)?, events })
    }

    /// Whether a socket is ready.
    #[inline]
    pub fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        Ok(self.epoll.wait(&mut self.events, wait.timeout())? > 0)
    }
}

/// A ring of the generator's, without receive buffers.
pub fn ring_settings(entries: usize, completions: usize, config: &EngineConfig) -> RingSettings {
    RingSettings {
        entries: entries as u32,
        completions: completions.next_power_of_two() as u32,
        taskrun: Taskrun::Defer,
        sqpoll: None,
        direct_slots: 0,
        buffers: None,
        datagrams: None,
        spins: config.spins,
    }
}

/// A ring, and the first completion of the last wait.
pub struct EventRing {
    pub ring: Ring,
    /// Taken by `wait` to see whether there is any.
    first: Option<Completion>,
}

impl EventRing {
    pub fn new(settings: &RingSettings) -> Result<EventRing, RingError> {
        Ok(EventRing { ring: Ring::new(settings)?, first: None })
    }

    /// Submits what a turn has to submit and waits. Whether something is completed.
    #[inline]
    pub fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        self.ring.enter(wait)?;
        self.first = self.ring.next_completion();
        Ok(self.first.is_some())
    }

    #[inline]
    pub fn next(&mut self) -> Option<Completion> {
        self.first.take().or_else(|| self.ring.next_completion())
    }
}

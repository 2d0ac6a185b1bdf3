//! How the generator does I/O. An engine moves bytes; it counts nothing, times nothing and decides nothing.
//!
//! # The contract
//!
//! An engine belongs to one thread, which makes it there and calls it in turns: `wait` once (while spinning: until it
//! says that something happened), `events` once, then any number of `connect`, `send`, `finish` and `close`.
//!
//! - Connections are numbers below the count given at the start. A number is free at first, taken by `connect`, and
//!   free again when `close` returns [`Done::Now`] or [`Event::Closed`] is told. Only a free one may be connected.
//! - After `connect` follows [`Event::Connected`] or [`Event::Failed`]. From then on whatever arrives is told with
//!   [`Event::Received`], in order and each byte once, whether or not anything was asked for.
//! - `send` takes bytes that live for ever. [`Done::Now`] tells how many the kernel took. [`Done::Later`] means that
//!   [`Event::Sent`] will tell; until then no second `send` on that connection. Taking fewer than all is normal.
//! - [`Event::Ended`] (the peer sends no more) and [`Event::Failed`] are the last event of a connection other than
//!   `Closed`, except that a `Sent` or a second `Failed` may follow. The engine closes nothing by itself.
//! - `finish` ends our side of the stream; the peer's is still received.
//! - After `close` nothing but `Closed` needs to be told of the connection, but late events may be.
//! - What `connect` and `send` begin may be put off until the next `wait`, never longer.
//! - Nothing is allocated, locked or dispatched dynamically per message.

pub mod epoll;
#[cfg(test)]
pub mod sim;
pub mod uring;

use super::target::Target;
use crate::sys::uring::{Completion, Ring, Wait as RingWait};
use crate::units::Nanos;
use std::io;
use std::time::Duration;

/// How long [`Engine::wait`] may take.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// Only look.
    Poll,
    /// Until something happens, at most this long.
    AtMost(Nanos),
}

impl Wait {
    /// What epoll is told.
    pub fn timeout(self) -> Duration {
        match self {
            Wait::Poll => Duration::ZERO,
            Wait::AtMost(time) => time.duration(),
        }
    }
}

/// Submits what a ring's turn has to submit, waits, and takes the first completion, if there is any.
#[inline]
pub fn enter(ring: &mut Ring, wait: Wait) -> io::Result<Option<Completion>> {
    ring.enter(match wait {
        Wait::Poll => RingWait::Poll,
        Wait::AtMost(time) => RingWait::AtMost(time),
    })?;
    Ok(ring.next_completion())
}

/// Whether an operation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done<T> {
    Now(T),
    /// An event will tell.
    Later,
}

/// What happened on a connection.
#[derive(Debug)]
pub enum Event<'a> {
    Connected,
    /// A send that was [`Done::Later`] took so many bytes, perhaps 0; send again.
    Sent(usize),
    Received(&'a [u8]),
    Ended,
    Failed(io::Error),
    Closed,
}

/// What an engine prepares for.
#[derive(Clone, Debug)]
pub struct Setup {
    pub target: Target,
    /// Connections of this thread.
    pub connections: usize,
    /// Most bytes in flight per connection.
    pub window: u64,
    /// Whether `wait` will often be called to only look.
    pub spins: bool,
}

/// The engine cannot be had here.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{0} (or use --engine epoll, which needs no io_uring)")]
    Uring(#[from] crate::sys::uring::RingError),
    #[error("setting up epoll failed: {0}")]
    Epoll(io::Error),
}

/// See the module's head for the contract.
pub trait Engine: Sized {
    /// Bytes are received while `events` runs, not by the `wait` before it: each chunk has an instant of its own.
    const RECEIVES_WHILE_TELLING: bool;

    fn new(setup: &Setup) -> Result<Self, EngineError>;

    fn connect(&mut self, connection: usize) -> io::Result<()>;

    fn send(&mut self, connection: usize, bytes: &'static [u8]) -> io::Result<Done<usize>>;

    fn finish(&mut self, connection: usize);

    fn close(&mut self, connection: usize) -> Done<()>;

    /// Whether there is something for `events` to tell.
    fn wait(&mut self, wait: Wait) -> io::Result<bool>;

    fn events(&mut self, tell: impl FnMut(usize, Event<'_>));
}

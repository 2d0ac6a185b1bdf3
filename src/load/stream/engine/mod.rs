//! How the generator does I/O on stream connections. An engine moves bytes; it counts nothing, times nothing and
//! decides nothing.
//!
//! # The contract
//!
//! In each turn (see [`crate::load::engine::Engine`]) it is called once for `events`, then any number of times for
//! `connect`, `send`, `finish` and `close`.
//!
//! - Connections are numbers below the count given at the start. A number is free at first, taken by `connect`, and
//!   free again when `close` returns [`Done::Now`] or [`Event::Closed`] is notified. Only a free one may be connected.
//! - After `connect` follows [`Event::Connected`] or [`Event::Failed`]. From then on whatever arrives is notified with
//!   [`Event::Received`], in order and each byte once, whether or not anything was asked for.
//! - `send` takes bytes that live for ever. [`Done::Now`] is how many the kernel took. [`Done::Later`] means that
//!   [`Event::Sent`] follows; until then no second `send` on that connection. Taking fewer than all is normal.
//! - [`Event::Ended`] (the peer sends no more) and [`Event::Failed`] are the last event of a connection other than
//!   `Closed`, except that a `Sent` or a second `Failed` may follow. The engine closes nothing by itself.
//! - `finish` ends our side of the stream; the peer's is still received.
//! - After `close` nothing but `Closed` needs to be notified of the connection, but late events may be.
//! - What `connect` and `send` begin may be put off until the next `wait`, never longer.
//! - Nothing is allocated, locked or dispatched dynamically per message.

pub mod epoll;
#[cfg(test)]
pub mod sim;
pub mod uring;

use crate::load::engine::Engine;
use std::io;

/// Whether an operation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done<T> {
    Now(T),
    /// An event follows.
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

/// Connects, sends and receives on one thread's connections, which are named by numbers.
pub trait StreamEngine: Engine {
    fn connect(&mut self, connection: usize) -> io::Result<()>;

    fn send(&mut self, connection: usize, bytes: &'static [u8]) -> io::Result<Done<usize>>;

    fn finish(&mut self, connection: usize);

    fn close(&mut self, connection: usize) -> Done<()>;

    fn events(&mut self, notify: impl FnMut(usize, Event<'_>));
}

//! How a server does I/O: one module per engine, and what they share.
//!
//! # The contract
//!
//! An engine runs shards. [`Engine::run`] gets listening sockets, an inbox and a [`ShardService`], and
//!
//! - reports `ready` once, when it can serve, before the first connection is answered;
//! - accepts on each listener, asks [`shard::Placement`] where each connection goes, serves those that stay and those
//!   that come through the inbox;
//! - holds a [`conversation::Conversation`] on each connection: tells it what happened (bytes, in order and once; the peer's
//!   end; what was sent; a deadline that has come; a publication), and does what it asks for next: receive, send, shut down
//!   our side, wait for a deadline, close. Receiving does not wait for sending, nor sending for receiving;
//! - stops receiving from a connection whose conversation wants no more, and from no other (a multishot receive may fill
//!   the receive buffers there are before it hears of the stop);
//! - on an error closes the connection at once, counts it, goes on;
//! - delivers what sessions publish to the subscribers among its connections after the turn, and hands it to the other
//!   shards ([`shard::Message::Published`]), in the order of publication;
//! - on [`shard::Message::Drain`] stops accepting, treats every connection as if the peer had sent its end of stream
//!   (what had arrived is still answered), and returns when all are closed or the drain timeout has passed;
//! - when descriptors run out, stops accepting for [`ACCEPT_BACKOFF`] instead of spinning;
//! - keeps [`stats::SharedStats`] up to date.
//!
//! Of datagram sockets ([`shard::Shard::datagrams`]) it asks further that an engine
//!
//! - gives each datagram whole to the service, as a conversation of its own ([`datagram::handle_datagram`]), and sends what the
//!   service says as one datagram to where it came from, an empty one too; many may be on their way at once;
//! - answers from the address that was asked, also on a socket that is bound to every address
//!   ([`crate::sys::datagram::enable_pktinfo`]; [`Engine::WILDCARD_NOTE`] where it has to leave its own way
//!   for that);
//! - answers nobody whom the socket's [`datagram::ReflectionGuard`] does not let it answer, and counts these as refused;
//! - counts a datagram that was longer than the buffer as truncated and does not answer it;
//! - waits, and meanwhile does not receive, when the socket takes no more; an answer that cannot be sent at all (its
//!   destination is gone or, on a unix socket, does not read; it is too long) is counted as unsent and concerns nothing
//!   else;
//! - on a drain answers what had arrived in the sockets and then leaves them.
//!
//! The suites of `tests/` that run against every engine hold them to this. Adding an engine: a module here that begins like
//! [`skeleton`], and one line in [`crate::for_each_engine`].

mod acceptor;
pub mod arena;
pub mod buffers;
pub mod conversation;
pub mod datagram;
mod deadlines;
pub mod epoll;
mod hub;
pub mod idle_policy;
pub mod shard;
pub mod skeleton;
pub mod stats;
mod task;
mod task_timer;
mod task_wake;
pub mod threads;
pub mod tokio;
mod tokio_datagram;
pub mod tokio_uring;
mod topics;
pub mod uring;

use crate::protocol::{DatagramService, Service};
use crate::sys::affinity::AffinityError;
use crate::sys::uring::RingError;
use crate::units::{Bytes, Nanos};
use shard::Shard;
use std::io;

/// How long accepting rests after the process ran out of descriptors.
pub const ACCEPT_BACKOFF: Nanos = Nanos::from_millis(100);
/// Largest receive buffer that may be asked for.
pub const MAX_BUFFER_SIZE: Bytes = Bytes(16 << 20);

/// An engine cannot run here, or not with these options.
#[derive(Debug, thiserror::Error)]
pub enum Unsupported {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error("{0}")]
    Options(String),
}

/// A shard had to stop.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Affinity(AffinityError),
    #[error("{what} failed: {source}")]
    Io { what: &'static str, source: io::Error },
}

impl EngineError {
    /// For `map_err`: what was being done when the error came.
    pub fn io(what: &'static str) -> impl FnOnce(io::Error) -> EngineError {
        move |source| EngineError::Io { what, source }
    }
}

/// How an engine uses cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadingModel {
    /// One shard per core, its thread pinned there.
    ShardPerCore,
    /// One shard, which spreads its threads over the cores itself.
    OneShard,
}

/// What a shard serves, on streams and datagrams. Engines with several threads clone it.
pub trait ShardService: Service<Session: Send> + DatagramService + Clone + Send + 'static {}

impl<S: Service<Session: Send> + DatagramService + Clone + Send + 'static> ShardService for S {}

/// A way of doing a server's I/O.
pub trait Engine: 'static {
    /// The word after `ringmark serve`.
    const NAME: &'static str;
    const THREADING: ThreadingModel;
    /// How UDP sockets that are bound to every address are served, where the engine's own way cannot; said at the start.
    const WILDCARD_NOTE: Option<&'static str> = None;
    type Options: clap::Args + Clone + Send + Sync + std::fmt::Debug;

    /// Whether it can run here with these options; if not, what is missing and what to do about it.
    fn probe(_options: &Self::Options) -> Result<(), Unsupported> {
        Ok(())
    }

    /// Runs one shard on the calling thread until it is drained.
    fn run<S: ShardService>(options: &Self::Options, shard: Shard<S>) -> Result<(), EngineError>;
}

/// Calls a macro with every engine: a variant's name, the engine, and its line in `--help`.
#[macro_export]
macro_rules! for_each_engine {
    ($apply:ident) => {
        $apply! {
            Uring, $crate::engine::uring::Uring,
                "io_uring: multishot receive, answers sent from the receive buffers, direct descriptors";
            Epoll, $crate::engine::epoll::Epoll,
                "epoll: non-blocking sockets, level-triggered; the usual baseline";
            Threads, $crate::engine::threads::Threads,
                "One blocking thread per connection, spread over the cores";
            Tokio, $crate::engine::tokio::Tokio,
                "tokio: a current-thread runtime per core, a task per connection";
            TokioUring, $crate::engine::tokio_uring::TokioUring,
                "tokio-uring 0.5: io_uring behind tokio's reactor";
        }
    };
}

/// Receive buffers: the same budget for every engine, so that none wins by it.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct BufferOptions {
    /// Receive buffers per core to begin with; more are added when traffic needs them.
    ///
    /// Engines with one buffer per connection (tokio, tokio-uring, threads) ignore it.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16384), help_heading = "Buffers")]
    pub buffers: u32,

    /// Bytes of a receive buffer; a message that does not fit costs further receives.
    #[arg(long, value_name = "BYTES", default_value = "32k", value_parser = parse_buffer_size, help_heading = "Buffers")]
    pub buffer_size: Bytes,
}

impl Default for BufferOptions {
    fn default() -> BufferOptions {
        BufferOptions { buffers: 64, buffer_size: Bytes(32 << 10) }
    }
}

fn parse_buffer_size(text: &str) -> Result<Bytes, String> {
    let size: Bytes = text.parse().map_err(|error| format!("{error}"))?;
    match size {
        Bytes(64..) if size <= MAX_BUFFER_SIZE => Ok(size),
        _ => Err(format!("a receive buffer has 64 to {MAX_BUFFER_SIZE} bytes")),
    }
}

/// Whether to try accepting again at once would be useless: descriptors or memory ran out, or something lasting. The
/// others concern the one connection that was to be accepted (accept(2)).
pub(crate) fn is_accept_backoff(errno: i32) -> bool {
    let of_one_connection =
        matches!(errno, libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPERM | libc::EPROTO)
            || matches!(
                errno,
                libc::ENETDOWN | libc::ENETUNREACH | libc::EHOSTDOWN | libc::EHOSTUNREACH | libc::ENONET
            )
            || matches!(errno, libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::ECANCELED);
    !of_one_connection
}

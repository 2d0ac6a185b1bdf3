//! The client's side of a protocol, with no socket and no clock: what a request is, and what received bytes mean.
//!
//! A client of streams ([`StreamClient`]) is pulled: requests are begun on it, it returns what is to be sent next, and
//! it reads what comes in. A client of datagrams ([`DatagramClient`]) writes one request into each. Neither knows how
//! many requests may be in flight or when they were sent: the load generator does, which numbers the requests of a
//! connection from 0 and is notified which of them were answered. Any chunking of the same input means the same.
//!
//! Adding one: a file with a type that implements one of the traits or both, and a line in [`crate::for_each_stream_client`]
//! or [`crate::for_each_datagram_client`]. The generator is compiled for each, so that no message costs dynamic dispatch.

use super::pattern::Pattern;
use super::size_distribution::SizeDistribution;
use crate::units::Nanos;

/// What the requests of a run have in common. A copy costs nothing: its tables live as long as the process.
#[derive(Clone, Copy, Debug)]
pub struct ClientConfig {
    /// What requests are filled with.
    pub pattern: Pattern,
    pub sizes: SizeDistribution,
    /// Decides the sizes.
    pub seed: u64,
}

/// What received bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// What had to be said first was answered: requests may begin.
    Ready,
    /// The whole answer to the request with this number.
    Answered { id: u64 },
    /// A message without a request, and when it was sent according to its sender, on the clock of
    /// [`StreamClient::request`].
    Pushed { sent: Nanos },
    /// So many bytes of a stream that is not made of messages.
    Bytes(usize),
}

/// What came back is not what the protocol allows. The connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("byte {position} of the stream came back wrong")]
    WrongByte { position: u64 },
    #[error("more came back than the {requested} bytes that were asked for")]
    Surplus { requested: u64 },
    #[error("a datagram came back that answers no request of this socket, or has a byte wrong, missing or too many")]
    NoAnswer,
}

/// The client's end of one stream connection.
pub trait StreamClient: std::fmt::Debug {
    /// Histograms that the protocol has beyond the generator's own; [`Received::Pushed`] is recorded in the first.
    const SERIES: &'static [&'static str] = &[];

    /// The connection with this number, of all that are made in a run.
    fn open(config: &ClientConfig, number: u64) -> Self;

    /// The connection is made. Whether something must be said first, which [`StreamClient::next_send`] then has:
    /// requests wait for [`Received::Ready`].
    fn hello(&mut self) -> bool {
        false
    }

    /// Begins request `id`, the next after that begun last, at the instant `at`.
    fn request(&mut self, id: u64, at: Nanos);

    /// What to send next; empty when nothing is left to send.
    fn next_send(&self) -> &'static [u8];

    /// The first `len` bytes of the last [`StreamClient::next_send`] were taken.
    fn sent(&mut self, len: usize);

    /// Reads all of `bytes`, which follow those before; `notify` is called with what they mean, in order.
    ///
    /// # Errors
    /// What came does not follow the protocol. Whatever was complete before has been notified.
    fn received(&mut self, bytes: &[u8], notify: impl FnMut(Received)) -> Result<(), ProtocolError>;
}

/// The client's end of one datagram socket. A request is a pure function of its socket and its number, so it can be
/// written twice, and an answer can be checked in every byte without being remembered.
pub trait DatagramClient {
    /// As [`StreamClient::SERIES`].
    const SERIES: &'static [&'static str] = &[];
    /// Bytes of the shortest datagram: enough that one socket's cannot pass for another's.
    const MIN_SIZE: u64;

    /// The socket with this number, of all in a run.
    fn open(config: &ClientConfig, number: u64) -> Self;

    /// Writes request `id` to the beginning of `room`, which holds the largest, and returns its length.
    fn request(&self, id: u64, room: &mut [u8]) -> usize;

    /// What a datagram means.
    ///
    /// # Errors
    /// It is no answer to a request of this socket, or not the right one in every byte.
    fn received(&self, datagram: &[u8]) -> Result<Received, ProtocolError>;
}

/// Calls a macro with every protocol that the generator speaks on streams: its line of help, a variant's name, the name
/// typed and stored, and the type that implements [`StreamClient`].
#[macro_export]
macro_rules! for_each_stream_client {
    ($apply:ident) => {
        $apply! {
            "An echo server's: all bytes come back as they went";
            Echo, "echo", $crate::protocol::echo::client::EchoStream;
        }
    };
}

/// As [`crate::for_each_stream_client`], of the protocols that it speaks in datagrams and their [`DatagramClient`]s.
#[macro_export]
macro_rules! for_each_datagram_client {
    ($apply:ident) => {
        $apply! {
            "An echo server's: a sequence number of 8 bytes, all come back as they went";
            Echo, "echo", $crate::protocol::echo::client::EchoDatagrams;
            "`sockperf server`'s: its header of 14 bytes, in which the answer's flags may differ from the request's";
            Sockperf, "sockperf", $crate::protocol::sockperf::SockperfDatagrams;
        }
    };
}

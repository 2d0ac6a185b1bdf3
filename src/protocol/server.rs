//! The server side of a protocol: what it says on a connection or in answer to a datagram. It holds no socket and no clock:
//! bytes and instants come in as arguments, and what is to be sent is put into an [`Out`] or an [`Answer`].
//!
//! Output is pulled: a session that has more to say than there is room for says so ([`Wants::produce`]) and is asked again
//! when there is room. The bits of [`Wants`] are independent of each other, so a session may read while it produces.

use crate::units::Nanos;
use std::ops::Range;
use std::sync::Arc;

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Number of the endpoint it came to, in the order in which the server's endpoints were given.
    pub endpoint: usize,
}

/// What a shard serves on its stream sockets.
pub trait Service {
    /// What is remembered of one connection.
    type Session: Session;

    /// A connection was opened. Nothing can be said yet: [`Session::writable`] follows at once if the session wants to
    /// produce.
    fn open(&mut self, peer: Peer, cx: &mut Cx) -> Self::Session;
}

/// What a shard serves on its datagram sockets.
pub trait DatagramService {
    /// A datagram came. At most one answer to it is put into `answer`.
    fn datagram(&mut self, peer: Peer, input: &[u8], answer: &mut Answer<'_>, cx: &mut Cx);
}

/// One connection's side of the conversation.
///
/// The law: the same input in any chunking gives the same output.
pub trait Session {
    /// Bytes came; tells how many of them it took, from the start. It may take fewer only when `out` has no room for
    /// what it would say, or when it closes: the rest is offered again when there is room.
    fn received(&mut self, input: &[u8], out: &mut Out, cx: &mut Cx) -> usize;

    /// There is room, and the session wants to produce.
    fn writable(&mut self, _out: &mut Out, _cx: &mut Cx) {}

    /// The peer sends nothing more, and all it sent was taken. Once the session wants to produce no more, the connection
    /// is closed when everything is sent.
    fn ended(&mut self, _out: &mut Out, _cx: &mut Cx) {}

    /// The instant of [`Wants::deadline`] has come.
    fn timeout(&mut self, _out: &mut Out, _cx: &mut Cx) {}

    /// Something was published under a topic that the session subscribed to. What `out` has no room for is not said:
    /// the protocol decides what that means.
    fn delivered(&mut self, _publication: &Publication, _out: &mut Out, _cx: &mut Cx) {}

    /// What it waits for now.
    fn wants(&self) -> Wants {
        Wants::READ
    }
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Further input. Who wants none learns of the peer's end, and of a drain, only when it wants some again.
    pub read: bool,
    /// To say more as soon as there is room.
    pub produce: bool,
    /// That the connection is closed when everything said is sent.
    pub close: bool,
    /// To be called at this instant ([`Session::timeout`]), in the time of [`Cx::now`].
    pub deadline: Option<Nanos>,
}

impl Wants {
    /// Nothing but further input.
    pub const READ: Wants = Wants { read: true, produce: false, close: false, deadline: None };
    /// The end of the connection.
    pub const CLOSE: Wants = Wants { read: false, produce: false, close: true, deadline: None };
}

/// Names what sessions publish under and subscribe to, on all shards of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(pub u64);

/// What one session said to all that subscribed to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub topic: Topic,
    pub bytes: Arc<[u8]>,
}

impl Publication {
    /// Memory that one which waits is reckoned at, for the bounds of what may wait.
    pub fn held_bytes(&self) -> usize {
        self.bytes.len() + 64
    }
}

/// What a shard offers to the sessions it calls.
#[derive(Debug, Default)]
pub struct Cx {
    /// The instant of this call, since the server's start.
    pub now: Nanos,
    /// The server's start in Unix time, in nanoseconds.
    started: u64,
    /// Topics that the session being called subscribed to just now.
    subscribed: Vec<Topic>,
    /// What was published since the engine last took it.
    published: Vec<Publication>,
}

impl Cx {
    /// For a server that was started at this instant of Unix time, in nanoseconds.
    pub fn new(started: u64) -> Cx {
        Cx { started, ..Cx::default() }
    }

    /// The instant of this call in Unix time, in whole seconds.
    pub fn unix_seconds(&self) -> u64 {
        (self.started + self.now.0) / 1_000_000_000
    }

    /// Has everything that is published under `topic` from now on delivered to the session being called.
    pub fn subscribe(&mut self, topic: Topic) {
        self.subscribed.push(topic);
    }

    /// Has `bytes` delivered to all sessions of the server that subscribed to `topic`, the one being called included: on
    /// this shard after the turn, on the others as soon as they hear of it, in the order of publication.
    pub fn publish(&mut self, topic: Topic, bytes: Arc<[u8]>) {
        self.published.push(Publication { topic, bytes });
    }

    /// Whether the session subscribed to anything in the call.
    #[inline]
    pub fn has_subscribed(&self) -> bool {
        !self.subscribed.is_empty()
    }

    /// For the engine, after each call: topics that the session subscribed to in it.
    #[inline]
    pub fn take_subscribed(&mut self) -> Vec<Topic> {
        std::mem::take(&mut self.subscribed)
    }

    /// For the engine, after each turn: what was published in it.
    #[inline]
    pub fn take_published(&mut self) -> Vec<Publication> {
        std::mem::take(&mut self.published)
    }

    /// Whether there is something to take.
    pub fn has_published(&self) -> bool {
        !self.published.is_empty()
    }
}

/// A piece of what is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// This range of the input of the same call: sent from the buffer it was received into.
    Input(Range<usize>),
    /// This range of what was written in the same call.
    Written(Range<usize>),
    Static(&'static [u8]),
    /// This range of bytes that several connections send.
    Shared(Arc<[u8]>, Range<usize>),
}

impl Chunk {
    /// Bytes of it.
    pub fn len(&self) -> usize {
        match self {
            Chunk::Input(range) | Chunk::Written(range) | Chunk::Shared(_, range) => range.len(),
            Chunk::Static(bytes) => bytes.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a session says in one call, in order.
#[derive(Debug, Default)]
pub struct Out {
    chunks: Vec<Chunk>,
    written: Vec<u8>,
    room: usize,
}

impl Out {
    /// For the engine: begins a call in which the session may say `room` bytes besides its input.
    #[inline]
    pub fn begin(&mut self, room: usize) {
        debug_assert!(self.chunks.is_empty(), "what was said before has been taken");
        self.room = room;
        self.written.clear();
    }

    /// Bytes that the connection may still hold. To produce more is a bug. Input that is sent back does not count: the
    /// connection holds it already.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Sends back this range of the call's input, without a copy.
    #[inline]
    pub fn input(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.chunks.push(Chunk::Input(range));
        }
    }

    /// Says a copy of these bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.spend(bytes.len());
        let start = self.written.len();
        self.written.extend_from_slice(bytes);
        match self.chunks.last_mut() {
            Some(Chunk::Written(range)) => range.end = self.written.len(),
            _ if bytes.is_empty() => {}
            _ => self.chunks.push(Chunk::Written(start..self.written.len())),
        }
    }

    /// Says bytes that live for ever.
    pub fn fixed(&mut self, bytes: &'static [u8]) {
        self.spend(bytes.len());
        if !bytes.is_empty() {
            self.chunks.push(Chunk::Static(bytes));
        }
    }

    /// Says this range of bytes that others say too.
    pub fn shared(&mut self, bytes: &Arc<[u8]>, range: Range<usize>) {
        self.spend(range.len());
        if !range.is_empty() {
            self.chunks.push(Chunk::Shared(bytes.clone(), range));
        }
    }

    fn spend(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.room, "{bytes} bytes said where there is room for {}", self.room);
        self.room = self.room.saturating_sub(bytes);
    }

    /// For the engine: what was said.
    #[inline]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// For the engine: the bytes that [`Chunk::Written`] refers to.
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// For the engine: takes what was said. What was written goes along, and `empty` takes its place.
    pub fn take(&mut self, empty: Vec<u8>) -> (std::vec::Drain<'_, Chunk>, Vec<u8>) {
        let written = std::mem::replace(&mut self.written, empty);
        (self.chunks.drain(..), written)
    }

    /// For the engine: forgets what was said.
    #[inline]
    pub fn clear(&mut self) {
        self.chunks.clear();
    }
}

/// What an [`Answer`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// This range of the datagram that came.
    Input(Range<usize>),
    /// All that was written.
    Written,
}

impl Reply {
    /// The bytes of it, where `input` is what was answered and `written` what was written.
    #[inline]
    pub fn bytes<'a>(&self, input: &'a [u8], written: &'a [u8]) -> &'a [u8] {
        match self {
            Reply::Input(range) => &input[range.clone()],
            Reply::Written => written,
        }
    }
}

/// The answer to one datagram. Without a call of [`Answer::input`] or [`Answer::write`] there is none.
#[derive(Debug)]
pub struct Answer<'a> {
    written: &'a mut Vec<u8>,
    limit: usize,
    reply: Option<Reply>,
}

impl<'a> Answer<'a> {
    /// For the engine: an answer of at most `limit` bytes, written to the end of the empty `written`.
    #[inline]
    pub fn new(written: &'a mut Vec<u8>, limit: usize) -> Answer<'a> {
        debug_assert!(written.is_empty());
        Answer { written, limit, reply: None }
    }

    /// Most bytes that the answer may have. A protocol answers within it or not at all.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Answers with this range of the datagram that came; an empty one is an answer too.
    #[inline]
    pub fn input(&mut self, range: Range<usize>) {
        self.reply = Some(Reply::Input(range));
    }

    /// Answers with these bytes, or with those written before and these. Beyond the limit there is no answer.
    pub fn write(&mut self, bytes: &[u8]) {
        self.written.extend_from_slice(bytes);
        self.reply = (self.written.len() <= self.limit).then_some(Reply::Written);
    }

    /// For the engine: what it came to.
    #[inline]
    pub fn finish(self) -> Option<Reply> {
        self.reply
    }
}

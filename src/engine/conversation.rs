//! One stream connection's conversation: a protocol's session, and the state of the connection that it is held on. Free of
//! I/O: it never touches a socket or a clock.
//!
//! Every engine tells it what happened (`received`, `receive_ended`, `sent`, `timed_out`, `delivered`, `abort`) and asks
//! what to do next (`wants_receive`, `next_send`, `wants_shutdown`, `deadline`, `finished`). Nothing else interprets what a
//! session says.
//!
//! What it guarantees: at most one send in flight, in the order in which things were said; what is held for a connection is
//! bounded by [`HIGH_BYTES`] and [`HIGH_SEGMENTS`] plus what was already on its way; input that the session did not take
//! is kept and offered again; after the peer's end all that was said is still sent; after an abort every buffer is given
//! back.

use super::buffers::{Buffers, ShardContext};
use crate::protocol::{Chunk, Out, Publication, Session, Wants};
use crate::sys::send_buffer::{Segment, SendBuffer};
use crate::units::Nanos;
use std::collections::VecDeque;
use std::ops::Range;

/// Receiving stops when this much waits to be sent …
pub const HIGH_BYTES: usize = 256 << 10;
/// … or that many segments of it (each may pin a receive buffer) …
pub const HIGH_SEGMENTS: usize = 8;
/// … and starts again below this …
pub const LOW_BYTES: usize = 64 << 10;
/// … and that. A session that wants to produce is asked to below either.
pub const LOW_SEGMENTS: usize = 3;
/// Segments that may wait, however small they are: a session has no room beyond.
const MAX_SEGMENTS: usize = 1_024;
/// Sends to one connection before others, or its receiving, have their turn: a session may have more to say for ever.
pub const SENDS_PER_TURN: usize = 4;
/// Pieces up to this many bytes are copied to what already waits, rather than be segments of their own.
const SMALL_BYTES: usize = 1 << 10;
/// How long, after a session has closed and everything is sent, the peer may go on sending. What it sends is thrown away,
/// as closing with bytes unread would reset the connection and lose what is on its way to the peer (RFC 2525, 2.17).
pub const LINGER: Nanos = Nanos::from_secs(2);

const _: () = assert!(LOW_BYTES < HIGH_BYTES && LOW_SEGMENTS < HIGH_SEGMENTS && HIGH_SEGMENTS < MAX_SEGMENTS);

/// What has been heard of the peer's end of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    Open,
    /// It has come, and the session has yet to take what came before.
    Ended,
    /// The session knows.
    Told,
}

/// State of one connection whose receive buffers are of type `R`.
#[derive(Debug)]
pub struct Conversation<S, R> {
    session: S,
    /// What the session wanted when it was last called.
    wants: Wants,
    queue: VecDeque<Segment<R>>,
    /// Input that the session has not taken.
    unread: VecDeque<Segment<R>>,
    /// Bytes queued or in flight.
    held_bytes: usize,
    /// Segments of the send in flight.
    in_flight: usize,
    paused: bool,
    receiving: Receiving,
    aborted: bool,
    /// Our side was shut down as the session closes; when waiting for the peer's end is over.
    lingers_until: Option<Nanos>,
}

impl<S: Session, R> Conversation<S, R> {
    /// Begins with a session just opened. Call [`Conversation::begin`] before anything else.
    pub fn new(session: S) -> Conversation<S, R> {
        Conversation {
            wants: session.wants(),
            session,
            queue: VecDeque::new(),
            unread: VecDeque::new(),
            held_bytes: 0,
            in_flight: 0,
            paused: false,
            receiving: Receiving::Open,
            aborted: false,
            lingers_until: None,
        }
    }

    // What happened

    /// The connection can be used: a session that speaks first does so.
    pub fn begin<B: Buffers<Received = R>>(&mut self, context: &mut ShardContext<B>) {
        self.settle(context);
    }

    /// Bytes came, in a buffer that is not empty.
    #[inline]
    pub fn received<B: Buffers<Received = R>>(&mut self, buffer: R, context: &mut ShardContext<B>) {
        let len = context.buffers.bytes(&buffer).len();
        context.stats.bytes_in += len as u64;
        if self.aborted || self.wants.close {
            return context.buffers.release(buffer);
        }
        let input = Segment { buffer: SendBuffer::Received(buffer), range: 0..len };
        if !self.unread.is_empty() || !self.wants.read {
            return self.unread.push_back(input);
        }
        self.offer(input, context);
        self.settle(context);
    }

    /// The peer will send nothing more.
    pub fn receive_ended<B: Buffers<Received = R>>(&mut self, context: &mut ShardContext<B>) {
        if self.receiving == Receiving::Open {
            self.receiving = Receiving::Ended;
            self.settle(context);
        }
    }

    /// The segment in flight is back: its first `count` bytes were sent. What is left of it comes first next time.
    #[inline]
    pub fn sent<B: Buffers<Received = R>>(&mut self, segment: Segment<R>, count: usize, context: &mut ShardContext<B>) {
        debug_assert!(self.in_flight == 1);
        self.in_flight = 0;
        context.stats.bytes_out += count as u64;
        if self.came_back(segment, count, &mut context.buffers) {
            self.make_room();
            self.settle(context);
        }
    }

    /// As [`Conversation::sent`], of the segments that [`Conversation::next_sends`] gave: the first `count` bytes of all of
    /// them were sent.
    pub fn all_sent<B: Buffers<Received = R>>(
        &mut self,
        segments: &mut Vec<Segment<R>>,
        count: usize,
        context: &mut ShardContext<B>,
    ) {
        debug_assert!(self.in_flight == segments.len());
        self.in_flight = 0;
        context.stats.bytes_out += count as u64;
        let mut before: usize = segments.iter().map(|segment| segment.range.len()).sum();
        // Last first, so that what is left ends up at the front in order.
        for segment in segments.drain(..).rev() {
            let len = segment.range.len();
            before -= len;
            self.came_back(segment, count.saturating_sub(before).min(len), &mut context.buffers);
        }
        self.make_room();
        self.settle(context);
    }

    /// The instant of [`Conversation::deadline`] has come.
    pub fn timed_out<B: Buffers<Received = R>>(&mut self, context: &mut ShardContext<B>) {
        if self.aborted {
            return;
        }
        if self.lingers_until.is_some() {
            self.receiving = Receiving::Told;
            return;
        }
        context.out.begin(self.room());
        self.session.timeout(&mut context.out, &mut context.cx);
        self.enqueue(context);
        self.settle(context);
    }

    /// Something was published under a topic that the session subscribed to.
    pub fn delivered<B: Buffers<Received = R>>(&mut self, publication: &Publication, context: &mut ShardContext<B>) {
        if self.aborted || self.wants.close {
            return;
        }
        context.out.begin(self.room());
        self.session.delivered(publication, &mut context.out, &mut context.cx);
        self.enqueue(context);
        self.settle(context);
    }

    /// The connection is broken or given up: gives back all that waits. What is in flight comes back with `sent`. `false`
    /// when it was already.
    pub fn abort<B: Buffers<Received = R>>(&mut self, context: &mut ShardContext<B>) -> bool {
        if std::mem::replace(&mut self.aborted, true) {
            return false;
        }
        let queue = std::mem::take(&mut self.queue);
        self.held_bytes -= queue.iter().map(|segment| segment.range.len()).sum::<usize>();
        queue.into_iter().for_each(|segment| context.buffers.take_back(segment.buffer));
        self.forget_unread(&mut context.buffers);
        true
    }

    // What to do next

    /// Whether to receive (further) now.
    #[inline]
    pub fn wants_receive(&self) -> bool {
        if self.receiving_is_over() {
            return false;
        }
        // Who closes takes in what comes to throw it away.
        self.wants.close || self.wants.read && !self.paused && self.unread.is_empty()
    }

    /// Whether the session may say something that no input has brought about.
    #[inline]
    pub fn speaks_unasked(&self) -> bool {
        self.wants.produce || self.wants.deadline.is_some()
    }

    /// The peer's end of stream has been received, or the connection was aborted.
    #[inline]
    pub fn receiving_is_over(&self) -> bool {
        self.receiving != Receiving::Open || self.aborted
    }

    pub fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// The next segment to send, if none is in flight. Report its end with [`Conversation::sent`].
    #[inline]
    pub fn next_send(&mut self) -> Option<Segment<R>> {
        if self.in_flight > 0 {
            return None;
        }
        let segment = self.queue.pop_front()?;
        self.in_flight = 1;
        Some(segment)
    }

    /// As [`Conversation::next_send`], up to `max` segments at once, to the end of the empty `segments`. Report their end
    /// with [`Conversation::all_sent`].
    pub fn next_sends(&mut self, max: usize, segments: &mut Vec<Segment<R>>) {
        debug_assert!(segments.is_empty());
        if self.in_flight == 0 {
            self.in_flight = self.queue.len().min(max);
            segments.extend(self.queue.drain(..self.in_flight));
        }
    }

    /// Segments that can be sent now: none while a send is in flight.
    #[inline]
    pub fn sendable(&self) -> usize {
        if self.in_flight > 0 { 0 } else { self.queue.len() }
    }

    /// Something waits to be sent or is being sent.
    #[inline]
    pub fn has_unsent(&self) -> bool {
        self.held_bytes > 0
    }

    /// Whether to shut down our side of the stream: the session has closed and everything is sent. Report it with
    /// [`Conversation::shut_down`].
    #[inline]
    pub fn wants_shutdown(&self) -> bool {
        self.wants.close && self.lingers_until.is_none() && !self.has_unsent() && !self.receiving_is_over()
    }

    /// Our side was shut down, or could not be: either way the peer's end is not waited for longer than [`LINGER`].
    pub fn shut_down(&mut self, now: Nanos) {
        self.lingers_until = Some(now + LINGER);
    }

    /// When to call [`Conversation::timed_out`].
    #[inline]
    pub fn deadline(&self) -> Option<Nanos> {
        match self.lingers_until {
            _ if self.aborted => None,
            None => self.wants.deadline,
            until => until.filter(|_| self.receiving == Receiving::Open),
        }
    }

    /// Nothing is left to do: close it once no operation refers to it any more.
    #[inline]
    pub fn finished(&self) -> bool {
        if self.in_flight > 0 || !self.queue.is_empty() || !self.receiving_is_over() {
            return false;
        }
        self.aborted || self.wants.close || self.receiving == Receiving::Told && !self.wants.produce
    }

    /// Copies what waits, to be sent or to be taken by the session, out of the receive buffers, whose memory is short, and
    /// gives those back.
    pub fn leave_receive_buffers<B: Buffers<Received = R>>(&mut self, buffers: &mut B) {
        for segment in self.queue.iter_mut().chain(&mut self.unread) {
            let SendBuffer::Received(buffer) = &segment.buffer else { continue };
            let mut copy = buffers.vector();
            copy.extend_from_slice(&buffers.bytes(buffer)[segment.range.clone()]);
            segment.range = 0..copy.len();
            buffers.take_back(std::mem::replace(&mut segment.buffer, SendBuffer::Owned(copy)));
        }
    }

    // Within

    /// Bytes that the session may say.
    #[inline]
    fn room(&self) -> usize {
        if self.segments() < MAX_SEGMENTS { HIGH_BYTES.saturating_sub(self.held_bytes) } else { 0 }
    }

    fn segments(&self) -> usize {
        self.queue.len() + self.in_flight
    }

    /// Offers input to the session and queues what it says.
    #[inline]
    fn offer<B: Buffers<Received = R>>(&mut self, input: Segment<R>, context: &mut ShardContext<B>) {
        let ShardContext { buffers, out, cx, .. } = context;
        out.begin(self.room());
        let taken = self.session.received(input.bytes(|buffer| buffers.bytes(buffer)), out, cx);
        self.wants = self.session.wants();
        let Range { start, end } = input.range;
        match out.chunks() {
            // All of it comes back, or nothing: no copy is needed for either.
            [Chunk::Input(part)] if start + taken == end => {
                let range = start + part.start..start + part.end;
                out.clear();
                self.push(input.buffer, range);
                self.pause_if_full();
            }
            [] if start + taken == end => buffers.take_back(input.buffer),
            _ => self.keep_rest(input, taken, context),
        }
    }

    /// Queues what the session said besides or instead of its input, and keeps what it did not take.
    fn keep_rest<B: Buffers<Received = R>>(
        &mut self,
        mut input: Segment<R>,
        taken: usize,
        context: &mut ShardContext<B>,
    ) {
        let ShardContext { buffers, out, .. } = context;
        let empty = buffers.vector();
        let left = self.queue_said(input.bytes(|buffer| buffers.bytes(buffer)), out, empty);
        self.pause_if_full();
        buffers.recycle(left);
        input.range.start += taken;
        if input.range.is_empty() || self.wants.close {
            return buffers.take_back(input.buffer);
        }
        self.unread.push_front(input);
    }

    /// Queues what the session said without having been given input.
    fn enqueue<B: Buffers<Received = R>>(&mut self, context: &mut ShardContext<B>) {
        self.wants = self.session.wants();
        if !context.out.chunks().is_empty() {
            let empty = context.buffers.vector();
            let left = self.queue_said(&[], &mut context.out, empty);
            context.buffers.recycle(left);
        }
    }

    /// Queues what the session said. What it wrote is queued as it is where that is one piece, otherwise copied. `empty` is
    /// for it to write to next time; a vector that is not needed is returned.
    fn queue_said(&mut self, input: &[u8], out: &mut Out, empty: Vec<u8>) -> Vec<u8> {
        let pieces = out.chunks().iter().filter(|chunk| matches!(chunk, Chunk::Written(_))).count();
        let (chunks, mut written) = out.take(empty);
        for chunk in chunks {
            if self.append_small(bytes_of(&chunk, input, &written)) {
                continue;
            }
            let (buffer, range) = match chunk {
                Chunk::Written(range) if pieces == 1 => (SendBuffer::Owned(std::mem::take(&mut written)), range),
                Chunk::Written(range) => (SendBuffer::Owned(written[range.clone()].to_vec()), 0..range.len()),
                Chunk::Input(range) => (SendBuffer::Owned(input[range.clone()].to_vec()), 0..range.len()),
                Chunk::Static(bytes) => (SendBuffer::Static(bytes), 0..bytes.len()),
                Chunk::Shared(bytes, range) => (SendBuffer::Shared(bytes), range),
            };
            self.push(buffer, range);
        }
        written
    }

    /// Copies a small piece to the end of what waits, so that many small pieces become few sends. `false` where it is not
    /// small, or nothing waits.
    fn append_small(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > SMALL_BYTES || self.queue.is_empty() {
            return false;
        }
        match self.queue.back_mut() {
            Some(Segment { buffer: SendBuffer::Owned(tail), range })
                if range.end == tail.len() && tail.len() < LOW_BYTES =>
            {
                tail.extend_from_slice(bytes);
                range.end = tail.len();
                self.held_bytes += bytes.len();
            }
            _ => self.push(SendBuffer::Owned(bytes.to_vec()), 0..bytes.len()),
        }
        true
    }

    #[inline]
    fn push(&mut self, buffer: SendBuffer<R>, range: Range<usize>) {
        debug_assert!(!range.is_empty());
        self.held_bytes += range.len();
        self.queue.push_back(Segment { buffer, range });
    }

    /// What input brings about stops further input; what a session produces has its own measure ([`Out::room`]).
    #[inline]
    fn pause_if_full(&mut self) {
        self.paused |= self.held_bytes >= HIGH_BYTES || self.segments() >= HIGH_SEGMENTS;
    }

    /// A segment is back from the kernel, which took `count` bytes of it. `true` when nothing of it is left to send.
    #[inline]
    fn came_back(&mut self, mut segment: Segment<R>, count: usize, buffers: &mut impl Buffers<Received = R>) -> bool {
        debug_assert!(count <= segment.range.len());
        self.held_bytes -= count;
        segment.range.start += count;
        if !segment.range.is_empty() && !self.aborted {
            self.queue.push_front(segment);
            return false;
        }
        self.held_bytes -= segment.range.len();
        buffers.take_back(segment.buffer);
        true
    }

    #[inline]
    fn make_room(&mut self) {
        self.paused &= self.held_bytes >= LOW_BYTES || self.segments() >= LOW_SEGMENTS;
    }

    /// After anything that may have made room or brought something: what the session did not take, the peer's end, and
    /// what it wants to produce. An echo waits for none of them.
    #[inline]
    fn settle<B: Buffers<Received = R>>(&mut self, context: &mut ShardContext<B>) {
        let idle = self.unread.is_empty() && !self.wants.produce && !self.wants.close;
        if !idle || self.receiving == Receiving::Ended {
            self.go_on(context);
        }
    }

    fn go_on<B: Buffers<Received = R>>(&mut self, context: &mut ShardContext<B>) {
        if self.aborted {
            return;
        }
        self.offer_unread(context);
        if self.receiving == Receiving::Ended && self.unread.is_empty() {
            self.receiving = Receiving::Told;
            context.out.begin(self.room());
            self.session.ended(&mut context.out, &mut context.cx);
            self.enqueue(context);
        }
        self.produce(context);
        if self.wants.close {
            self.forget_unread(&mut context.buffers);
        }
    }

    fn offer_unread<B: Buffers<Received = R>>(&mut self, context: &mut ShardContext<B>) {
        while self.wants.read && !self.wants.close && self.room() > 0 {
            let Some(input) = self.unread.pop_front() else { return };
            let (others, len) = (self.unread.len(), input.range.len());
            self.offer(input, context);
            let took_nothing =
                self.unread.len() > others && self.unread.front().is_some_and(|rest| rest.range.len() == len);
            if took_nothing {
                return;
            }
        }
    }

    fn produce<B: Buffers<Received = R>>(&mut self, context: &mut ShardContext<B>) {
        while self.wants.produce && !self.wants.close && self.wants_more_to_send() {
            let before = self.held_bytes;
            context.out.begin(self.room());
            self.session.writable(&mut context.out, &mut context.cx);
            self.enqueue(context);
            if self.held_bytes == before {
                return;
            }
        }
    }

    fn wants_more_to_send(&self) -> bool {
        // Where answers to input wait for room, those come first: else a session that always has more to say would never
        // be told of input again.
        !self.paused && self.held_bytes < LOW_BYTES && self.segments() < MAX_SEGMENTS
    }

    fn forget_unread(&mut self, buffers: &mut impl Buffers<Received = R>) {
        self.unread.drain(..).for_each(|input| buffers.take_back(input.buffer));
    }
}

/// What a session said with a chunk.
fn bytes_of<'a>(chunk: &'a Chunk, input: &'a [u8], written: &'a [u8]) -> &'a [u8] {
    match chunk {
        Chunk::Input(range) => &input[range.clone()],
        Chunk::Written(range) => &written[range.clone()],
        Chunk::Static(bytes) => bytes,
        Chunk::Shared(bytes, range) => &bytes[range.clone()],
    }
}

#[cfg(test)]
mod tests;

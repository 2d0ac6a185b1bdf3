//! One TCP connection: its handshake, where both byte streams are, and the exchange that is under way.

use super::{Direction, SampleSink};
use crate::units::Nanos;

/// What of the flags matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
    pub psh: bool,
}

/// What of a segment matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of the first byte.
    pub sequence: u32,
    /// Acknowledgement number; valid with the flag `ack`.
    pub acknowledged: u32,
    pub flags: Flags,
    /// Bytes of payload, by the headers.
    pub payload: u32,
}

/// What a segment's bytes are to those seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placed {
    New,
    /// All of it was seen before.
    Old,
    /// Bytes before it were not seen.
    Hole,
}

/// How far one direction is.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// The number that follows all that was seen; `None` before anything was.
    next: Option<u32>,
    /// The last segment with payload ended a write.
    pushed: bool,
}

/// `left - right` on the circle of sequence numbers.
fn ahead(left: u32, right: u32) -> i32 {
    left.wrapping_sub(right) as i32
}

impl Stream {
    fn place(&mut self, sequence: u32, length: u32) -> Placed {
        let end = sequence.wrapping_add(length);
        let Some(next) = self.next else {
            self.next = Some(end);
            return Placed::New;
        };
        if ahead(end, next) <= 0 {
            return Placed::Old;
        }
        self.next = Some(end);
        if ahead(sequence, next) > 0 { Placed::Hole } else { Placed::New }
    }

    /// Whether the other side has received what was not captured.
    fn missed(&mut self, acknowledged: u32) -> bool {
        match self.next {
            Some(next) if ahead(acknowledged, next) <= 0 => false,
            known => {
                self.next = Some(acknowledged);
                known.is_some()
            }
        }
    }

    /// Whether all of it that was captured has been received.
    fn received(&self, acknowledged: u32) -> bool {
        self.next.is_none_or(|next| ahead(acknowledged, next) >= 0)
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum Handshake {
    /// Not seen, or over.
    #[default]
    None,
    Asked {
        at: Nanos,
        sequence: u32,
        repeated: bool,
    },
    Answered {
        at: Nanos,
        repeated: bool,
    },
}

/// A request and its answer, as far as they are.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    asked_first: Nanos,
    asked_last: Nanos,
    /// First and last segment of the answer.
    answered: Option<(Nanos, Nanos)>,
    /// The answer began before the server had the whole request: nothing lies between the two.
    early: bool,
    torn: bool,
    overlapping: bool,
    in_pieces: bool,
    /// It may have begun before the packets did.
    headless: bool,
}

#[derive(Debug, Default)]
pub(super) struct TcpFlow {
    client: Stream,
    server: Stream,
    /// Its beginning was seen, or since then a turn of the server's: what the client sends next begins a request.
    settled: bool,
    handshake: Handshake,
    exchange: Option<Exchange>,
}

impl TcpFlow {
    pub fn segment(&mut self, at: Nanos, direction: Direction, segment: Segment, sink: &mut SampleSink) {
        if segment.flags.rst {
            return self.close(sink);
        }
        if segment.flags.syn {
            return self.synchronize(at, direction, segment, sink);
        }
        self.shake(at, direction, segment, sink);
        let missed = segment.flags.ack && self.opposite(direction).missed(segment.acknowledged);
        if missed {
            self.tear();
        }
        if missed && direction == Direction::Server {
            // An answer came that was not captured: what the client sends now is not part of the question.
            self.complete(sink);
        }
        if segment.payload > 0 {
            self.payload(at, direction, segment, sink);
        }
        if segment.flags.fin {
            self.end_of(direction, segment, sink);
        }
    }

    /// The packets end here.
    pub fn finish(&mut self, sink: &mut SampleSink) {
        if self.server.pushed || self.exchange.is_some_and(|exchange| exchange.answered.is_none()) {
            self.complete(sink);
        }
    }

    fn own(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::Server => &mut self.client,
            Direction::Client => &mut self.server,
        }
    }

    fn opposite(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::Server => &mut self.server,
            Direction::Client => &mut self.client,
        }
    }

    fn tear(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.torn = true;
        }
    }

    fn synchronize(&mut self, at: Nanos, direction: Direction, segment: Segment, sink: &mut SampleSink) {
        let next = segment.sequence.wrapping_add(1).wrapping_add(segment.payload);
        match (direction, segment.flags.ack, self.handshake) {
            (Direction::Server, false, Handshake::Asked { at, sequence, .. }) if sequence == segment.sequence => {
                self.handshake = Handshake::Asked { at, sequence, repeated: true };
                sink.seen.retransmissions += 1;
            }
            (Direction::Server, false, _) => {
                // A connection begins, perhaps between the ends of an earlier one.
                self.complete(sink);
                let handshake = Handshake::Asked { at, sequence: segment.sequence, repeated: false };
                let client = Stream { next: Some(next), pushed: false };
                *self = TcpFlow { client, settled: true, handshake, ..Self::default() };
            }
            (Direction::Client, true, Handshake::Asked { at: asked, repeated, .. }) => {
                if !repeated {
                    sink.total.handshake_server.record(at.since(asked));
                }
                self.server.next = Some(next);
                self.handshake = Handshake::Answered { at, repeated: false };
            }
            (Direction::Client, true, Handshake::Answered { at, .. }) => {
                self.handshake = Handshake::Answered { at, repeated: true };
                sink.seen.retransmissions += 1;
            }
            _ => {}
        }
    }

    /// The client's first acknowledgement ends the handshake.
    fn shake(&mut self, at: Nanos, direction: Direction, segment: Segment, sink: &mut SampleSink) {
        let Handshake::Answered { at: answered, repeated } = self.handshake else { return };
        if direction != Direction::Server || !segment.flags.ack {
            return;
        }
        if !repeated {
            sink.total.handshake_client.record(at.since(answered));
        }
        self.handshake = Handshake::None;
    }

    fn payload(&mut self, at: Nanos, direction: Direction, segment: Segment, sink: &mut SampleSink) {
        let stream = self.own(direction);
        let continues_write = !stream.pushed;
        let placed = stream.place(segment.sequence, segment.payload);
        if placed == Placed::Old {
            sink.seen.retransmissions += 1;
            return;
        }
        stream.pushed = segment.flags.psh;
        match direction {
            Direction::Server => self.ask(at, segment, continues_write, sink),
            Direction::Client => self.answer(at, segment, sink),
        }
        if placed == Placed::Hole {
            self.tear();
        }
    }

    /// More of a request, or the next one.
    fn ask(&mut self, at: Nanos, segment: Segment, continues_write: bool, sink: &mut SampleSink) {
        if let Some(exchange) = self.exchange.as_mut().filter(|exchange| exchange.answered.is_none()) {
            exchange.asked_last = at;
            exchange.in_pieces |= !continues_write;
            return;
        }
        let overlapping = !self.server.received(segment.acknowledged);
        if let Some(exchange) = &mut self.exchange {
            exchange.overlapping |= overlapping;
        }
        self.complete(sink);
        self.exchange = Some(Exchange {
            asked_first: at,
            asked_last: at,
            answered: None,
            early: false,
            torn: false,
            overlapping,
            in_pieces: false,
            headless: !self.settled,
        });
    }

    fn answer(&mut self, at: Nanos, segment: Segment, sink: &mut SampleSink) {
        let had_all = self.client.received(segment.acknowledged);
        self.settled = true;
        let Some(exchange) = &mut self.exchange else {
            sink.seen.unsolicited += 1;
            return;
        };
        let first = exchange.answered.map_or(at, |(first, _)| first);
        exchange.early |= exchange.answered.is_none() && !had_all;
        exchange.answered = Some((first, at));
    }

    /// A direction ends; its end takes a sequence number.
    fn end_of(&mut self, direction: Direction, segment: Segment, sink: &mut SampleSink) {
        let end = segment.sequence.wrapping_add(segment.payload).wrapping_add(1);
        let stream = self.own(direction);
        if stream.next.is_none_or(|next| ahead(end, next) > 0) {
            stream.next = Some(end);
        }
        if direction == Direction::Client {
            self.complete(sink);
        }
    }

    fn close(&mut self, sink: &mut SampleSink) {
        self.complete(sink);
        *self = TcpFlow::default();
    }

    /// What is under way is over.
    fn complete(&mut self, sink: &mut SampleSink) {
        let Some(exchange) = self.exchange.take() else { return };
        if exchange.headless {
            return;
        }
        let seen = &mut sink.seen;
        let Some((first, last)) = exchange.answered else {
            match exchange.torn {
                true => seen.torn += 1,
                false => seen.unanswered += 1,
            }
            return;
        };
        if exchange.torn {
            seen.torn += 1;
        } else if exchange.overlapping {
            seen.overlapping += 1;
        } else {
            seen.in_pieces += u64::from(exchange.in_pieces);
            sink.service(last.since(exchange.asked_first));
            if !exchange.early {
                sink.total.first_answer.record(first.since(exchange.asked_last));
            }
        }
    }
}

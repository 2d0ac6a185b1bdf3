//! The state of one stream connection, free of I/O: what may be received, what is to be sent, when it is over.
//!
//! The non-blocking engines share it. They tell it what happened (`received`, `receive_ended`, `sent`, `abort`) and
//! ask what to do next (`wants_receive`, `next_send`, `finished`). It never touches a socket, a clock or the bytes.
//!
//! What it guarantees: at most one send in flight, in the order of arrival; what a connection holds is bounded by
//! [`HIGH_BYTES`] and [`HIGH_SEGMENTS`] plus what was already on its way; after the end of the receiving side all that
//! was queued is still sent; after an abort every payload is given back.

use std::collections::VecDeque;
use std::ops::Range;

/// Receiving stops when this much waits to be sent …
pub const HIGH_BYTES: usize = 256 << 10;
/// … or that many pieces of it (each may pin a receive buffer) …
pub const HIGH_SEGMENTS: usize = 8;
/// … and starts again below this …
pub const LOW_BYTES: usize = 64 << 10;
/// … and that.
pub const LOW_SEGMENTS: usize = 3;

const _: () = assert!(LOW_BYTES < HIGH_BYTES && LOW_SEGMENTS < HIGH_SEGMENTS);

/// A range of a payload that waits to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment<P> {
    pub payload: P,
    /// Never empty.
    pub range: Range<usize>,
}

/// State of one connection whose payloads are of type `P`.
#[derive(Debug)]
pub struct Connection<P> {
    queue: VecDeque<Segment<P>>,
    /// Bytes queued or in flight.
    held_bytes: usize,
    sending: bool,
    paused: bool,
    receive_ended: bool,
    aborted: bool,
}

impl<P> Default for Connection<P> {
    fn default() -> Connection<P> {
        Connection {
            queue: VecDeque::new(),
            held_bytes: 0,
            sending: false,
            paused: false,
            receive_ended: false,
            aborted: false,
        }
    }
}

impl<P> Connection<P> {
    /// Queues an answer. Gives the payload back at once when there is nothing to send of it or the connection is
    /// aborted.
    #[inline]
    pub fn received(&mut self, payload: P, range: Range<usize>) -> Option<P> {
        if self.aborted || range.is_empty() {
            return Some(payload);
        }
        self.held_bytes += range.len();
        self.queue.push_back(Segment { payload, range });
        self.paused |= self.held_bytes >= HIGH_BYTES || self.segments() >= HIGH_SEGMENTS;
        None
    }

    /// The peer will send nothing more.
    pub fn receive_ended(&mut self) {
        self.receive_ended = true;
    }

    /// Whether to receive (further) now.
    #[inline]
    pub fn wants_receive(&self) -> bool {
        !(self.receive_ended || self.paused || self.aborted)
    }

    /// The peer's end of stream has been received, or the connection was aborted.
    pub fn receiving_is_over(&self) -> bool {
        self.receive_ended || self.aborted
    }

    pub fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// The next piece to send, if none is in flight. Report its end with [`Connection::sent`].
    #[inline]
    pub fn next_send(&mut self) -> Option<Segment<P>> {
        if self.sending {
            return None;
        }
        let segment = self.queue.pop_front()?;
        self.sending = true;
        Some(segment)
    }

    /// The piece in flight is back: its first `count` bytes were sent. What is left of it comes first next time; a
    /// payload that is no longer needed is given back.
    #[inline]
    pub fn sent(&mut self, mut segment: Segment<P>, count: usize) -> Option<P> {
        debug_assert!(self.sending && count <= segment.range.len());
        self.sending = false;
        self.held_bytes -= count;
        segment.range.start += count;
        if !segment.range.is_empty() && !self.aborted {
            self.queue.push_front(segment);
            return None;
        }
        self.held_bytes -= segment.range.len();
        self.paused &= self.held_bytes >= LOW_BYTES || self.segments() >= LOW_SEGMENTS;
        Some(segment.payload)
    }

    /// The connection is broken or given up: gives back all that waits. A piece in flight comes back with `sent`.
    pub fn abort(&mut self) -> impl Iterator<Item = P> + use<P> {
        self.aborted = true;
        let queue = std::mem::take(&mut self.queue);
        self.held_bytes -= queue.iter().map(|segment| segment.range.len()).sum::<usize>();
        queue.into_iter().map(|segment| segment.payload)
    }

    /// Nothing is left to do: close it once no operation refers to it any more.
    #[inline]
    pub fn finished(&self) -> bool {
        !self.sending && self.queue.is_empty() && self.receiving_is_over()
    }

    /// The payloads that wait, the one in flight not among them: to move them elsewhere when their memory is short.
    pub fn waiting(&mut self) -> impl Iterator<Item = &mut Segment<P>> {
        self.queue.iter_mut()
    }

    /// Something waits to be sent or is being sent.
    pub fn has_unsent(&self) -> bool {
        self.held_bytes > 0
    }

    fn segments(&self) -> usize {
        self.queue.len() + usize::from(self.sending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[derive(Clone, Debug)]
    enum Event {
        Receive(usize),
        Send(usize),
        End,
        Abort,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            8 => (0usize..100_000).prop_map(Event::Receive),
            8 => (0usize..100_000).prop_map(Event::Send),
            1 => Just(Event::End),
            1 => Just(Event::Abort),
        ]
    }

    /// Drives a connection beside the plainest model there is: the byte stream itself.
    #[derive(Default)]
    struct Driver {
        connection: Connection<usize>,
        in_flight: Option<Segment<usize>>,
        /// Stream positions: each payload `i` holds the bytes `starts[i]..`.
        starts: Vec<u64>,
        received: u64,
        sent: u64,
        back: HashSet<usize>,
        aborted: bool,
    }

    impl Driver {
        fn recycle(&mut self, payload: usize) {
            assert!(self.back.insert(payload), "payload {payload} came back twice");
        }

        fn receive(&mut self, len: usize) {
            if !self.connection.wants_receive() {
                return;
            }
            let payload = self.starts.len();
            self.starts.push(self.received);
            if let Some(payload) = self.connection.received(payload, 0..len) {
                self.recycle(payload);
            }
            self.received += len as u64;
        }

        fn send(&mut self, at_most: usize) {
            if let Some(segment) = self.in_flight.take() {
                assert!(self.connection.next_send().is_none(), "two sends in flight");
                let count = at_most.min(segment.range.len());
                self.sent += count as u64;
                let back = self.connection.sent(segment, count);
                back.into_iter().for_each(|payload| self.recycle(payload));
            }
            self.in_flight = self.connection.next_send();
            if let Some(segment) = &self.in_flight {
                let at = self.starts[segment.payload] + segment.range.start as u64;
                assert_eq!(at, self.sent, "bytes leave in the order they came");
            }
        }

        fn step(&mut self, event: Event) {
            match event {
                Event::Receive(len) => self.receive(len),
                Event::Send(at_most) => self.send(at_most),
                Event::End => self.connection.receive_ended(),
                Event::Abort => {
                    self.aborted = true;
                    let back: Vec<_> = self.connection.abort().collect();
                    back.into_iter().for_each(|payload| self.recycle(payload));
                }
            }
        }

        fn check(&self) {
            let unsent = self.received - self.sent;
            assert!(self.aborted || self.connection.has_unsent() == (unsent > 0));
            assert!(unsent < (HIGH_BYTES + 100_000) as u64, "what is held is bounded");
        }
    }

    proptest! {
        #[test]
        fn every_byte_leaves_once_and_every_payload_comes_back(events in prop::collection::vec(event(), 0..200)) {
            let mut driver = Driver::default();
            for event in events {
                driver.step(event);
                driver.check();
            }
            driver.step(Event::End);
            while !driver.connection.finished() {
                driver.send(usize::MAX);
            }
            prop_assert!(driver.aborted || driver.sent == driver.received);
            prop_assert_eq!(driver.back.len(), driver.starts.len());
        }
    }

    #[test]
    fn a_slow_reader_stops_receiving_and_a_drained_one_starts_again() {
        let mut connection = Connection::default();
        let mut pieces = 0;
        while connection.wants_receive() {
            assert_eq!(connection.received(pieces, 0..64), None);
            pieces += 1;
        }
        assert_eq!(pieces, HIGH_SEGMENTS);
        let mut left = pieces;
        while !connection.wants_receive() {
            let segment = connection.next_send().unwrap();
            assert!(connection.sent(segment, 64).is_some());
            left -= 1;
        }
        assert_eq!(left, LOW_SEGMENTS - 1);
    }
}

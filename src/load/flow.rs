//! One connection's requests and answers, without a socket and without a clock.
//!
//! Requests lie one behind the other in the connection's stream, so several free slots become one send. Time is an
//! argument; it is only stored here, never read.

use super::payload::{MAX_SLICE, Stream};
use super::sizes::Sizes;
use super::verifier::{self, Corrupt};
use crate::stats::Random;
use crate::units::Nanos;

/// Requests in flight for which there is room from the start.
const FIRST_BEGUN: u64 = 16;

/// When a request was meant to go out and when it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub intended: Nanos,
    pub sent: Nanos,
}

/// Positions in one connection's stream and the requests that are in flight.
#[derive(Debug)]
pub struct Flow {
    stream: Stream,
    sizes: Sizes,
    /// Draws the sizes.
    random: Random,
    depth: u64,
    issued: u64,
    answered: u64,
    /// Bytes of all requests begun; as many must come back.
    asked: u64,
    /// Bytes the kernel took, and bytes that came back right.
    sent: u64,
    received: u64,
    /// Ring of requests `answered..issued`; its length is a power of two. It grows to what is in flight at once, so that a
    /// deep limit costs nothing until it is used.
    begun: Box<[Begun]>,
}

/// A request in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Begun {
    stamp: Stamp,
    /// Where it ends in the stream.
    end: u64,
}

impl Flow {
    /// The seed decides the sizes of the requests.
    pub fn new(stream: Stream, sizes: Sizes, depth: u64, seed: u64) -> Flow {
        let depth = depth.max(1);
        let (random, begun) = (Random::new(seed), ring(depth.min(FIRST_BEGUN)));
        Flow { stream, sizes, random, depth, issued: 0, answered: 0, asked: 0, sent: 0, received: 0, begun }
    }

    /// Begins a new connection's stream; whatever was in flight is forgotten.
    pub fn restart(&mut self, stream: Stream) {
        self.stream = stream;
        (self.issued, self.answered, self.asked, self.sent, self.received) = (0, 0, 0, 0, 0);
    }

    /// Requests begun since the connection was made.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    pub fn in_flight(&self) -> u64 {
        self.issued - self.answered
    }

    /// How many more requests may be begun now.
    #[inline]
    pub fn free(&self) -> u64 {
        self.depth - self.in_flight()
    }

    /// Begins a request. Without a free slot nothing happens.
    #[inline]
    pub fn issue(&mut self, stamp: Stamp) {
        if self.free() > 0 {
            if self.in_flight() == self.begun.len() as u64 {
                self.grow();
            }
            self.asked += self.sizes.draw(&mut self.random);
            let slot = self.slot(self.issued);
            self.begun[slot] = Begun { stamp, end: self.asked };
            self.issued += 1;
        }
    }

    /// The oldest request in flight.
    pub fn oldest(&self) -> Option<Stamp> {
        (self.in_flight() > 0).then(|| self.begun[self.slot(self.answered)].stamp)
    }

    /// What to send next: the rest of all requests begun, at most [`MAX_SLICE`]; empty when nothing is left to send.
    #[inline]
    pub fn next_send(&self) -> &'static [u8] {
        self.stream.slice(self.sent, self.asked - self.sent)
    }

    /// The kernel took `len` bytes of the last [`Flow::next_send`].
    #[inline]
    pub fn sent(&mut self, len: usize) {
        self.sent = (self.sent + len as u64).min(self.asked);
    }

    /// Bytes came back. Calls `answered` with the stamp of each request whose answer is complete now, oldest first. On
    /// an error the connection is of no more use.
    #[inline]
    pub fn received(&mut self, bytes: &[u8], mut answered: impl FnMut(Stamp)) -> Result<(), Corrupt> {
        verifier::check(&self.stream, self.received, self.asked, bytes)?;
        self.received += bytes.len() as u64;
        while self.in_flight() > 0 {
            let Begun { stamp, end } = self.begun[self.slot(self.answered)];
            if self.received < end {
                break;
            }
            answered(stamp);
            self.answered += 1;
        }
        Ok(())
    }

    #[cold]
    fn grow(&mut self) {
        let mut larger = ring(2 * self.begun.len() as u64);
        for request in self.answered..self.issued {
            larger[request as usize & (larger.len() - 1)] = self.begun[self.slot(request)];
        }
        self.begun = larger;
    }

    fn slot(&self, request: u64) -> usize {
        request as usize & (self.begun.len() - 1)
    }
}

fn ring(len: u64) -> Box<[Begun]> {
    vec![Begun::default(); len.next_power_of_two() as usize].into_boxed_slice()
}

const _: () = assert!(MAX_SLICE > 0, "next_send must make progress");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::payload::Payload;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::sync::LazyLock;

    static PAYLOAD: LazyLock<Payload> = LazyLock::new(|| Payload::leak(7));

    fn stamp(request: u64) -> Stamp {
        Stamp { intended: Nanos(request), sent: Nanos(request + 1_000_000) }
    }

    /// A flow and a wire that echoes, both driven in random pieces.
    struct Echo {
        flow: Flow,
        wire: VecDeque<u8>,
        answered: Vec<u64>,
    }

    impl Echo {
        fn new(sizes: Sizes, depth: u64) -> Echo {
            Echo { flow: Flow::new(PAYLOAD.stream(3), sizes, depth, 9), wire: VecDeque::new(), answered: Vec::new() }
        }

        fn issue(&mut self, count: u64) {
            for _ in 0..count.min(self.flow.free()) {
                self.flow.issue(stamp(self.flow.issued()));
            }
        }

        fn send(&mut self, max: usize) {
            let bytes = self.flow.next_send();
            let len = bytes.len().min(max);
            self.wire.extend(&bytes[..len]);
            self.flow.sent(len);
        }

        fn receive(&mut self, max: usize) -> Result<(), Corrupt> {
            let len = self.wire.len().min(max);
            let bytes: Vec<u8> = self.wire.drain(..len).collect();
            let answered = &mut self.answered;
            self.flow.received(&bytes, |stamp| answered.push(stamp.intended.0))
        }
    }

    fn sizes() -> impl Strategy<Value = Sizes> {
        let mixed = prop::sample::select(vec!["1:1,3000:1", "64:90,1400:9,16k:1", "7:1,8:2,9:3"]);
        let leak = |text: &str| {
            let mix: crate::units::SizeMix = text.parse().unwrap();
            Sizes::leak(mix.mean(), Some(&mix))
        };
        prop_oneof![(1u64..3000).prop_map(Sizes::All), mixed.prop_map(leak)]
    }

    proptest! {
        #[test]
        fn every_request_is_answered_once_in_order(
            sizes in sizes(),
            depth in 1u64..100,
            steps in prop::collection::vec((0u64..40, 0usize..9000, 0usize..9000), 1..60),
        ) {
            let mut echo = Echo::new(sizes, depth);
            for (issue, send, receive) in steps {
                echo.issue(issue);
                echo.send(send);
                echo.receive(receive).unwrap();
                prop_assert!(echo.flow.in_flight() <= depth);
            }
            while echo.flow.in_flight() > 0 {
                echo.send(usize::MAX);
                echo.receive(usize::MAX).unwrap();
            }
            prop_assert!(echo.wire.is_empty());
            prop_assert_eq!(echo.answered, (0..echo.flow.issued()).collect::<Vec<_>>());
        }

        #[test]
        fn a_wrong_byte_is_always_noticed(
            size in 1u64..2000,
            depth in 1u64..20,
            at: prop::sample::Index,
            flip in 1u8..,
            chunk in 1usize..5000,
        ) {
            let mut echo = Echo::new(Sizes::All(size), depth);
            echo.issue(depth);
            while !echo.flow.next_send().is_empty() {
                echo.send(usize::MAX);
            }
            let at = at.index(echo.wire.len());
            echo.wire[at] ^= flip;
            let result = (0..=echo.wire.len() / chunk).try_for_each(|_| echo.receive(chunk));
            prop_assert_eq!(result, Err(Corrupt::Wrong { position: at as u64 }));
            prop_assert!(echo.answered.len() as u64 <= at as u64 / size);
        }
    }

    #[test]
    fn a_byte_too_many_is_noticed() {
        let mut echo = Echo::new(Sizes::All(10), 2);
        echo.issue(1);
        echo.send(usize::MAX);
        echo.wire.push_back(0);
        assert_eq!(echo.receive(usize::MAX), Err(Corrupt::Surplus { asked: 10 }));
    }

    #[test]
    fn a_restart_forgets_what_was_in_flight() {
        let mut echo = Echo::new(Sizes::All(10), 2);
        echo.issue(2);
        echo.send(5);
        echo.flow.restart(PAYLOAD.stream(4));
        assert_eq!((echo.flow.in_flight(), echo.flow.free(), echo.flow.oldest()), (0, 2, None));
        assert!(echo.flow.next_send().is_empty());
    }

    #[test]
    fn free_slots_become_one_send() {
        let mut echo = Echo::new(Sizes::All(64), 16);
        echo.issue(16);
        assert_eq!(echo.flow.next_send().len(), 16 * 64);
    }
}

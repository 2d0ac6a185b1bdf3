//! Drives conversations of every protocol beside the plainest model there is, the byte stream itself: with partial
//! receives and sends, several segments at a time, ends, aborts and passing time.

use super::super::buffers::{FreeList, VectorBuffers};
use super::*;
use crate::clock::Clock;
use crate::protocol::{AnySession, Cx, Kind, Peer, Service, Services, chargen};
use proptest::prelude::*;
use std::collections::HashMap;

/// Receive buffers that notice when one is given back twice, or never.
#[derive(Default)]
struct CountedBuffers {
    filled: HashMap<u64, Vec<u8>>,
    next: u64,
    free_list: FreeList,
}

impl CountedBuffers {
    fn fill(&mut self, bytes: &[u8]) -> u64 {
        self.next += 1;
        self.filled.insert(self.next, bytes.to_vec());
        self.next
    }
}

impl Buffers for CountedBuffers {
    type Received = u64;

    fn bytes<'a>(&'a self, buffer: &'a u64) -> &'a [u8] {
        &self.filled[buffer]
    }

    fn release(&mut self, buffer: u64) {
        assert!(self.filled.remove(&buffer).is_some(), "buffer {buffer} came back twice");
    }

    fn free_list(&mut self) -> &mut FreeList {
        &mut self.free_list
    }
}

#[derive(Clone, Debug)]
enum Event {
    Receive(usize),
    /// So many bytes of what is in flight were sent.
    Send(usize),
    SendMany(usize, usize),
    LeaveReceiveBuffers,
    Pass(u64),
    Deliver,
    End,
    Abort,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (1..LONGEST).prop_map(Event::Receive),
        8 => (0usize..100_000).prop_map(Event::Send),
        4 => (0usize..300_000, 1usize..9).prop_map(|(bytes, segments)| Event::SendMany(bytes, segments)),
        1 => Just(Event::LeaveReceiveBuffers),
        1 => (0u64..1_000_000_000).prop_map(Event::Pass),
        1 => Just(Event::Deliver),
        1 => Just(Event::End),
        1 => Just(Event::Abort),
    ]
}

/// The longest receive of [`event`].
const LONGEST: usize = 30_000;

struct Driver<S> {
    conversation: Conversation<S, u64>,
    context: ShardContext<CountedBuffers>,
    in_flight: Vec<Segment<u64>>,
    many: bool,
    received: Vec<u8>,
    sent: Vec<u8>,
    aborted: bool,
}

impl Driver<AnySession> {
    fn new(kind: Kind) -> Driver<AnySession> {
        let session = Services::new([kind]).open(Peer { endpoint: 0 }, &mut Cx::default());
        Driver::with(session)
    }
}

impl<S: Session> Driver<S> {
    fn with(session: S) -> Driver<S> {
        let context = ShardContext::new(CountedBuffers::default(), Clock::start());
        let mut driver = Driver {
            conversation: Conversation::new(session),
            context,
            in_flight: Vec::new(),
            many: false,
            received: Vec::new(),
            sent: Vec::new(),
            aborted: false,
        };
        driver.conversation.begin(&mut driver.context);
        driver
    }

    fn receive(&mut self, len: usize) {
        if self.conversation.wants_receive() {
            let bytes: Vec<u8> = (0..len).map(|at| ((self.received.len() + at) % 251) as u8).collect();
            let buffer = self.context.buffers.fill(&bytes);
            self.conversation.received(buffer, &mut self.context);
            self.received.extend(bytes);
        }
    }

    fn take_in_flight(&mut self, count: usize) -> usize {
        let buffers = &self.context.buffers;
        let bytes: Vec<u8> =
            self.in_flight.iter().flat_map(|one| one.bytes(|buffer| buffers.bytes(buffer)).to_vec()).collect();
        let count = count.min(bytes.len());
        self.sent.extend(&bytes[..count]);
        count
    }

    /// Ends the send in flight after `count` bytes, and begins the next with up to `segments` of them.
    fn send(&mut self, count: usize, segments: usize) {
        if !self.in_flight.is_empty() {
            assert!(self.conversation.next_send().is_none(), "two sends in flight");
            let count = self.take_in_flight(count);
            match self.many {
                true => self.conversation.all_sent(&mut self.in_flight, count, &mut self.context),
                false => self.conversation.sent(self.in_flight.remove(0), count, &mut self.context),
            }
        }
        self.many = segments > 1;
        match self.many {
            true => self.conversation.next_sends(segments, &mut self.in_flight),
            false => self.in_flight.extend(self.conversation.next_send()),
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Receive(len) => self.receive(len),
            Event::Send(count) => self.send(count, 1),
            Event::SendMany(count, segments) => self.send(count, segments),
            Event::LeaveReceiveBuffers => self.conversation.leave_receive_buffers(&mut self.context.buffers),
            Event::Pass(time) => self.pass(Nanos(time)),
            Event::Deliver => {
                let publication = Publication { topic: crate::protocol::Topic(0), bytes: (*b"news\n").into() };
                self.conversation.delivered(&publication, &mut self.context);
            }
            Event::End => self.conversation.receive_ended(&mut self.context),
            Event::Abort => {
                self.conversation.abort(&mut self.context);
                self.aborted = true;
            }
        }
        if self.conversation.wants_shutdown() {
            self.conversation.shut_down(self.context.cx.now);
        }
    }

    fn pass(&mut self, time: Nanos) {
        self.context.cx.now = self.context.cx.now + time;
        if self.conversation.deadline().is_some_and(|at| at <= self.context.cx.now) {
            self.conversation.timed_out(&mut self.context);
        }
    }

    /// Lets the connection come to its end, as an engine does.
    fn finish(&mut self) {
        self.step(Event::End);
        for _ in 0..100_000 {
            if self.conversation.finished() {
                return;
            }
            self.send(usize::MAX, 1);
        }
        panic!("it does not end: {:?}", self.conversation.finished());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_buffer_comes_back_and_what_is_held_is_bounded(
        kind in prop::sample::select(Kind::ALL),
        events in prop::collection::vec(event(), 0..100),
    ) {
        let mut driver = Driver::new(kind);
        for event in events {
            driver.step(event);
            prop_assert!(driver.conversation.held_bytes < HIGH_BYTES + LONGEST);
        }
        driver.finish();
        prop_assert!(!driver.aborted || driver.conversation.deadline().is_none());
        prop_assert!(driver.context.buffers.filled.is_empty(), "buffers were lost");
        prop_assert_eq!(driver.context.stats.bytes_out, driver.sent.len() as u64);
    }

    #[test]
    fn what_is_said_arrives_whole_and_in_order(events in prop::collection::vec(event(), 0..100)) {
        let events: Vec<_> = events.into_iter().filter(|event| !matches!(event, Event::Abort)).collect();
        for kind in [Kind::Echo, Kind::Discard, Kind::Chargen] {
            let mut driver = Driver::new(kind);
            events.iter().cloned().for_each(|event| driver.step(event));
            driver.finish();
            match kind {
                Kind::Echo => prop_assert_eq!(&driver.sent, &driver.received),
                Kind::Chargen => prop_assert!(driver.sent.iter().zip(0..).all(|(byte, at)| *byte == chargen::character(at))),
                _ => prop_assert!(driver.sent.is_empty()),
            }
        }
    }
}

#[test]
fn a_slow_reader_stops_receiving_and_a_drained_one_starts_again() {
    let mut driver = Driver::new(Kind::Echo);
    let mut pieces = 0;
    while driver.conversation.wants_receive() {
        driver.receive(64);
        pieces += 1;
    }
    assert_eq!(pieces, HIGH_SEGMENTS);
    while !driver.conversation.wants_receive() {
        driver.send(64, 1);
    }
    assert_eq!(driver.conversation.segments(), LOW_SEGMENTS - 1);
}

/// Answers each byte with a line, and with nothing half of it: takes less where there is no room for one.
struct Lines {
    line: &'static [u8],
}

impl Session for Lines {
    fn received(&mut self, input: &[u8], out: &mut Out, _cx: &mut Cx) -> usize {
        let count = input.len().min(out.room() / self.line.len());
        (0..count).for_each(|at| {
            out.write(&self.line[..1]);
            out.input(at..at + 1);
            out.fixed(&self.line[1..]);
        });
        count
    }
}

#[test]
fn input_that_is_not_taken_is_offered_again_when_there_is_room() {
    let mut driver = Driver::with(Lines { line: b"this is what one byte is answered with" });
    driver.receive(LONGEST);
    assert!(!driver.conversation.wants_receive() && !driver.conversation.unread.is_empty());
    driver.finish();
    let answers: Vec<u8> = driver
        .received
        .iter()
        .flat_map(|byte| [b"t", &[*byte][..], &b"this is what one byte is answered with"[1..]].concat())
        .collect();
    assert!(driver.sent == answers);
}

/// Says as much as it may, whenever it may.
struct Filler {
    heard: usize,
}

impl Session for Filler {
    fn received(&mut self, input: &[u8], _out: &mut Out, _cx: &mut Cx) -> usize {
        self.heard += input.len();
        input.len()
    }

    fn writable(&mut self, out: &mut Out, _cx: &mut Cx) {
        out.write(&vec![7; out.room()]);
    }

    fn wants(&self) -> Wants {
        Wants { produce: true, ..Wants::READ }
    }
}

#[test]
fn a_session_that_always_has_more_to_say_hears_all_the_same() {
    let mut driver = Driver::with(Filler { heard: 0 });
    for _ in 0..100 {
        assert!(driver.conversation.wants_receive());
        driver.receive(1000);
        driver.send(HIGH_BYTES / 3, 1);
    }
    assert_eq!(driver.conversation.session.heard, 100_000);
    assert!(driver.sent.len() > 10 * HIGH_BYTES);
}

#[test]
fn input_that_waits_can_leave_the_receive_buffers() {
    let mut driver = Driver::with(Lines { line: b"this is what one byte is answered with" });
    driver.receive(LONGEST);
    assert!(!driver.conversation.unread.is_empty());
    driver.conversation.leave_receive_buffers(&mut driver.context.buffers);
    assert!(driver.context.buffers.filled.is_empty());
    driver.finish();
    assert_eq!(driver.sent.len(), LONGEST * 39);
}

#[test]
fn who_closes_takes_in_the_rest_until_the_peer_ends_or_the_time_is_over() {
    for peer_ends in [true, false] {
        let mut driver = Driver::new(Kind::Daytime);
        driver.send(0, 1);
        driver.send(usize::MAX, 1);
        assert!(driver.sent.ends_with(b"-UTC\r\n") && driver.conversation.wants_shutdown());
        driver.receive(10);
        driver.step(Event::Pass(0));
        driver.receive(10);
        assert!(!driver.conversation.finished() && !driver.conversation.wants_shutdown());
        driver.step(if peer_ends { Event::End } else { Event::Pass(LINGER.0) });
        assert!(driver.conversation.finished() && driver.context.buffers.filled.is_empty());
        assert_eq!(driver.conversation.deadline(), None, "nothing is left to wait for");
    }
}

#[test]
fn vectors_of_receive_buffers_are_used_again() {
    let mut context = ShardContext::new(VectorBuffers::new(1, 100), Clock::start());
    let session = Services::new([Kind::Echo]).open(Peer { endpoint: 0 }, &mut Cx::default());
    let mut conversation = Conversation::new(session);
    let vector = context.buffers.buffer();
    let address = vector.as_ptr();
    conversation.received(crate::sys::send_buffer::Filled { vector, len: 7 }, &mut context);
    let segment = conversation.next_send().expect("an echo");
    conversation.sent(segment, 7, &mut context);
    let again = context.buffers.buffer();
    assert_eq!(again.as_ptr(), address);
}

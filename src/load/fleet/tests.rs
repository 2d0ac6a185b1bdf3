//! The fleet on an engine without a kernel: an echo that delivers in random pieces and, where told, breaks.

use super::*;
use crate::load::engine::{EngineError, Setup, Wait};
use crate::protocol::echo::client::EchoStream;
use crate::protocol::pattern::Pattern;
use crate::protocol::size_distribution::SizeDistribution;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::LazyLock;

static PATTERN: LazyLock<Pattern> = LazyLock::new(|| Pattern::leak(5));
const TURN: Nanos = Nanos(50_000);
/// Turns after which a run that has not ended hangs.
const MANY_TURNS: u32 = 200_000;

/// What goes wrong, once in so many deliveries; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    reset: u64,
    flip: u64,
    /// Answers vanish.
    swallow: u64,
}

#[derive(Default)]
struct Wire {
    connected: bool,
    announced: bool,
    finished: bool,
    /// A send that was put off, and bytes on their way back.
    pending: Option<usize>,
    bytes: VecDeque<u8>,
    closing: bool,
}

struct Sim {
    wires: Vec<Wire>,
    /// Bytes sent on each connection.
    asked: Vec<u64>,
    random: u64,
    faults: Faults,
    /// Faults that happened.
    broken: u64,
}

impl Sim {
    fn new(connections: usize, seed: u64, faults: Faults) -> Sim {
        let wires = (0..connections).map(|_| Wire::default()).collect();
        Sim { wires, asked: vec![0; connections], random: seed | 1, faults, broken: 0 }
    }

    /// xorshift64 (Marsaglia 2003).
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    fn fault(&mut self, once_in: u64) -> bool {
        let happens = once_in > 0 && self.random(once_in) == 0;
        self.broken += u64::from(happens);
        happens
    }

    fn deliver(&mut self, index: usize, tell: &mut impl FnMut(usize, Event<'_>)) {
        if std::mem::take(&mut self.wires[index].closing) {
            self.wires[index] = Wire::default();
            return tell(index, Event::Closed);
        }
        if !self.wires[index].connected {
            return;
        }
        if !std::mem::replace(&mut self.wires[index].announced, true) {
            return tell(index, Event::Connected);
        }
        if let Some(len) = self.wires[index].pending.take() {
            tell(index, Event::Sent(len));
        }
        match self.wires[index].bytes.len() as u64 {
            0 if self.wires[index].finished => tell(index, Event::Ended),
            0 => {}
            available => self.deliver_bytes(index, available, tell),
        }
    }

    fn deliver_bytes(&mut self, index: usize, available: u64, tell: &mut impl FnMut(usize, Event<'_>)) {
        if self.fault(self.faults.reset) {
            return tell(index, Event::Failed(io::ErrorKind::ConnectionReset.into()));
        }
        let len = 1 + self.random(available) as usize;
        let mut bytes: Vec<u8> = self.wires[index].bytes.drain(..len).collect();
        if self.fault(self.faults.flip) {
            let at = self.random(len as u64) as usize;
            bytes[at] ^= 1;
        }
        tell(index, Event::Received(&bytes));
    }
}

impl Engine for Sim {
    const RECEIVES_WHILE_TELLING: bool = false;

    fn new(_: &Setup) -> Result<Sim, EngineError> {
        Ok(Sim::new(0, 1, Faults::default()))
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        assert!(!self.wires[index].connected && !self.wires[index].closing, "only a free one may be connected");
        self.wires[index].connected = true;
        Ok(())
    }

    fn send(&mut self, index: usize, bytes: &'static [u8]) -> io::Result<Done<usize>> {
        assert!(self.wires[index].pending.is_none() && !bytes.is_empty(), "one send at a time");
        let len = self.random(bytes.len() as u64 + 1) as usize;
        if !self.fault(self.faults.swallow) {
            self.wires[index].bytes.extend(&bytes[..len]);
        }
        self.asked[index] += len as u64;
        if len > 0 && self.random(2) == 0 {
            return Ok(Done::Now(len));
        }
        self.wires[index].pending = Some(len);
        Ok(Done::Later)
    }

    fn finish(&mut self, index: usize) {
        self.wires[index].finished = true;
    }

    fn close(&mut self, index: usize) -> Done<()> {
        self.wires[index] = Wire { closing: true, ..Wire::default() };
        match self.random(2) {
            0 => Done::Later,
            _ => {
                self.wires[index].closing = false;
                Done::Now(())
            }
        }
    }

    fn wait(&mut self, _: Wait) -> io::Result<bool> {
        Ok(true)
    }

    fn events(&mut self, mut tell: impl FnMut(usize, Event<'_>)) {
        for index in 0..self.wires.len() {
            if self.random(3) > 0 {
                self.deliver(index, &mut tell);
            }
        }
    }
}

fn orders(connections: usize, size: u64, depth: u64) -> Orders {
    Orders {
        connections,
        first: 0,
        all: connections,
        active: connections,
        depth,
        connect_per_request: false,
        timeout: Nanos::from_millis(20),
        connect_timeout: Nanos::from_millis(20),
        admit_at_once: 2,
        client: ClientConfig { pattern: *PATTERN, sizes: SizeDistribution::All(size), seed: 1 },
        pacer: Pacer::ClosedLoop,
    }
}

/// Drives a fleet to its end as a worker would, and opens the window when all are admitted.
fn drive(orders: Orders, shared: &Shared, sim: &mut Sim, window: Nanos) -> Haul {
    let mut fleet = Fleet::<EchoStream>::new(orders, shared);
    let mut now = TURN;
    let mut open = false;
    for _ in 0..MANY_TURNS {
        fleet.check_deadlines(now);
        fleet.advance(sim, now);
        if fleet.finished() {
            return fleet.into_haul();
        }
        now = now + TURN;
        if !open && shared.admitted() == orders.connections {
            open = true;
            shared.open_window(now, now + window);
        }
        fleet.begin_turn(now);
        sim.events(|index, event| fleet.on_event(index, event));
    }
    panic!("the fleet never ended: {fleet:?}");
}

/// Faults begin with the run: in the admission they would end it.
fn drive_with_faults(orders: Orders, seed: u64, faults: Faults) -> (Haul, u64) {
    let shared = Shared::new(None, std::thread::current());
    // A connection that fails rests for 100 ms: long enough that not all of its first requests fail.
    shared.open_window(Nanos::ZERO, Nanos::from_millis(1500));
    let mut sim = Sim::new(orders.connections, seed, faults);
    (drive(orders, &shared, &mut sim, Nanos::from_secs(2)), sim.broken)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunking_brings_exactly_the_requests_asked_for(
        active in 1usize..6, idle in 0usize..4, size in 1u64..300, depth in 1u64..6, requests in 1u64..60, seed: u64,
        alone: bool,
    ) {
        let connections = active + if alone { 0 } else { idle };
        let shared = Shared::new(Some(requests), std::thread::current());
        let orders = Orders { active, connect_per_request: alone, ..orders(connections, size, if alone { 1 } else { depth }) };
        let mut sim = Sim::new(connections, seed, Faults::default());
        let haul = drive(Orders { timeout: Nanos::from_secs(60), ..orders }, &shared, &mut sim, Nanos::from_secs(60));
        prop_assert_eq!((haul.recorder.requests(), haul.recorder.error_count()), (requests, 0));
        prop_assert_eq!(shared.admitted(), connections);
        if !alone {
            // Silent ones: before and after.
            let silent = (connections - active) as u64 * size * 2;
            prop_assert_eq!(sim.asked[active..].iter().sum::<u64>(), silent);
        }
    }

    #[test]
    fn every_fault_is_one_error_and_the_fleet_goes_on(
        connections in 1usize..6, depth in 1u64..4, reset in 20u64..200, flip in 20u64..200, seed: u64,
    ) {
        let orders = Orders { timeout: Nanos::from_secs(60), ..orders(connections, 30, depth) };
        let (haul, broken) = drive_with_faults(orders, seed, Faults { reset, flip, swallow: 0 });
        let errors = haul.recorder.errors_by_kind();
        prop_assert_eq!(errors["reset"] + errors["corrupt"], haul.recorder.error_count());
        // Faults on connections that owe nothing, at the very end, are none.
        prop_assert!(haul.recorder.error_count() <= broken && haul.recorder.error_count() + 2 * connections as u64 >= broken);
        prop_assert!(broken > 0 && haul.recorder.requests() > 0);
    }
}

#[test]
fn an_answer_that_never_comes_is_a_timeout() {
    let (haul, broken) = drive_with_faults(orders(3, 10, 1), 9, Faults { swallow: 50, ..Faults::default() });
    let errors = haul.recorder.errors_by_kind();
    assert!(broken > 0 && errors["timeout"] > 0, "{broken} {errors:?}");
}

#[test]
fn a_wrong_first_answer_ends_everything() {
    let shared = Shared::new(None, std::thread::current());
    let mut sim = Sim::new(4, 3, Faults { flip: 1, ..Faults::default() });
    let haul = drive(orders(4, 10, 1), &shared, &mut sim, Nanos::from_secs(1));
    assert!(haul.recorder.errors_by_kind()["corrupt"] > 0 && shared.abandoned());
    assert!(matches!(shared.take_failure(), Some(StartFailure::Answer)));
}

#[test]
fn a_chunk_that_is_received_later_in_a_turn_is_done_later() {
    let shared = Shared::new(None, std::thread::current());
    shared.open_window(Nanos::ZERO, Nanos(10_000));
    let mut sim = Sim::new(3, 1, Faults::default());
    let mut fleet = Fleet::<EchoStream>::new(orders(3, 10, 1), &shared);
    fleet.begin_turn(Nanos(1));
    fleet.advance(&mut sim, Nanos(1));
    (0..3).for_each(|index| fleet.on_event(index, Event::Connected));
    fleet.advance(&mut sim, Nanos(1));
    fleet.begin_turn(Nanos(100));
    for (index, done) in [(0, 1_000), (1, 5_000), (2, 20_000)] {
        fleet.refresh(Nanos(done));
        fleet.on_event(index, Event::Received(PATTERN.stream(index as u64).slice(0, 10)));
    }
    // The last one came after the counted window.
    assert_eq!(shared.answers(), 3);
    let recorder = fleet.into_haul().recorder;
    assert_eq!((recorder.requests(), recorder.service().min(), recorder.last_done()), (2, 999, Nanos(5_000)));
}

/// A check looks at all connections, so a pause of one must not cause one every turn.
#[test]
fn deadlines_are_checked_when_a_pause_ends_and_not_before() {
    let shared = Shared::new(None, std::thread::current());
    shared.open_window(Nanos::ZERO, Nanos::from_secs(1));
    let mut sim = Sim::new(2, 1, Faults::default());
    let mut fleet = Fleet::<EchoStream>::new(orders(2, 10, 1), &shared);
    fleet.begin_turn(Nanos(1));
    fleet.advance(&mut sim, Nanos(1));
    assert_eq!(fleet.next_deadline(), None);
    fleet.on_event(0, Event::Failed(io::ErrorKind::ConnectionRefused.into()));
    let resumed = Nanos(1) + RECONNECT_PAUSE;
    for _ in 0..2 {
        fleet.advance(&mut sim, Nanos(2));
        sim.wires[0].closing = false;
        fleet.on_event(0, Event::Closed);
        fleet.advance(&mut sim, Nanos(2));
        assert_eq!(fleet.next_deadline(), Some(resumed));
        fleet.check_deadlines(Nanos(3));
    }
    fleet.check_deadlines(resumed);
    assert_eq!((fleet.next_deadline(), fleet.connections[0].state), (None, State::Idle { not_before: resumed }));
    fleet.begin_turn(resumed);
    fleet.advance(&mut sim, resumed);
    assert_eq!(fleet.connections[0].state, State::Connecting { since: resumed });
}

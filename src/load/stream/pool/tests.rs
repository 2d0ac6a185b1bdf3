//! A pool on an engine without a kernel: an echo that delivers in random pieces and, where told, breaks.

use super::*;
use crate::load::driver::Driver;
use crate::load::engine::impl_test_engine;
use crate::load::shared::Shared;
use crate::protocol::echo::client::EchoStream;
use crate::protocol::size_distribution::SizeDistribution;
use proptest::prelude::*;
use std::collections::VecDeque;

const TURN: Nanos = Nanos(50_000);
/// Turns after which a run that has not ended hangs.
const MANY_TURNS: u32 = 200_000;

/// What goes wrong, once in so many deliveries; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
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

pub struct Sim {
    wires: Vec<Wire>,
    /// Bytes sent on each connection.
    asked: Vec<u64>,
    random: u64,
    faults: Faults,
    /// Faults that happened.
    broken: u64,
}

impl Sim {
    pub fn new(connections: usize, seed: u64, faults: Faults) -> Sim {
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

    fn deliver(&mut self, index: usize, notify: &mut impl FnMut(usize, Event<'_>)) {
        if std::mem::take(&mut self.wires[index].closing) {
            self.wires[index] = Wire::default();
            return notify(index, Event::Closed);
        }
        if !self.wires[index].connected {
            return;
        }
        if !std::mem::replace(&mut self.wires[index].announced, true) {
            return notify(index, Event::Connected);
        }
        if let Some(len) = self.wires[index].pending.take() {
            notify(index, Event::Sent(len));
        }
        match self.wires[index].bytes.len() as u64 {
            0 if self.wires[index].finished => notify(index, Event::Ended),
            0 => {}
            available => self.deliver_bytes(index, available, notify),
        }
    }

    fn deliver_bytes(&mut self, index: usize, available: u64, notify: &mut impl FnMut(usize, Event<'_>)) {
        if self.fault(self.faults.reset) {
            return notify(index, Event::Failed(io::ErrorKind::ConnectionReset.into()));
        }
        let len = 1 + self.random(available) as usize;
        let mut bytes: Vec<u8> = self.wires[index].bytes.drain(..len).collect();
        if self.fault(self.faults.flip) {
            let at = self.random(len as u64) as usize;
            bytes[at] ^= 1;
        }
        notify(index, Event::Received(&bytes));
    }
}

impl_test_engine!(Sim, receives_in_events: false);

impl StreamEngine for Sim {
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

    fn events(&mut self, mut notify: impl FnMut(usize, Event<'_>)) {
        for index in 0..self.wires.len() {
            if self.random(3) > 0 {
                self.deliver(index, &mut notify);
            }
        }
    }
}

fn plan(connections: usize, size: u64, depth: u64) -> ThreadPlan {
    let timeout = Nanos::from_millis(20);
    let plan = ThreadPlan::for_test(connections, SizeDistribution::All(size), depth);
    ThreadPlan { timeout, connect_timeout: timeout, admit_at_once: 2, ..plan }
}

fn driver<'a>(plan: &ThreadPlan, sim: Sim, shared: &'a Shared) -> Driver<'a, ConnectionPool<EchoStream>, Sim> {
    Driver::new(plan, ConnectionPool::new(plan.clone()), sim, shared)
}

/// Drives so many connections to their end as a thread would, and opens the window when all are admitted.
pub fn drive<C: StreamClient>(
    mut driver: Driver<'_, ConnectionPool<C>, Sim>,
    connections: usize,
    window: Nanos,
) -> (ThreadResult, Sim) {
    let (shared, mut now) = (driver.context.shared, TURN);
    let mut open = false;
    for _ in 0..MANY_TURNS {
        driver.check_deadlines(now);
        driver.advance(now);
        if driver.finished() {
            return driver.finish();
        }
        now = now + TURN;
        if !open && shared.admitted() == connections {
            open = true;
            shared.open_window(now, now + window);
        }
        driver.begin_tick(now);
        driver.take_in(Clock::start());
    }
    panic!("the run never ended: {:?}", driver.pool);
}

/// Faults begin with the run: in the admission they would end it.
fn drive_with_faults(plan: &ThreadPlan, seed: u64, faults: Faults) -> (ThreadResult, u64) {
    let shared = Shared::new(None, std::thread::current());
    // A connection that fails rests for 100 ms: long enough that not all of its first requests fail.
    shared.open_window(Nanos::ZERO, Nanos::from_millis(1500));
    let sim = Sim::new(plan.connections, seed, faults);
    let (result, sim) = drive(driver(plan, sim, &shared), plan.connections, Nanos::from_secs(2));
    (result, sim.broken)
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
        let depth = if alone { 1 } else { depth };
        let timeout = Nanos::from_secs(60);
        let plan = ThreadPlan { active, connect_per_request: alone, timeout, ..plan(connections, size, depth) };
        let sim = Sim::new(connections, seed, Faults::default());
        let (result, sim) = drive(driver(&plan, sim, &shared), connections, Nanos::from_secs(60));
        prop_assert_eq!((result.recorder.requests(), result.recorder.error_count()), (requests, 0));
        prop_assert_eq!(shared.admitted(), connections);
        if !alone {
            // Silent ones: before and after.
            let silent = (connections - active) as u64 * size * 2;
            prop_assert_eq!(sim.asked[active..].iter().sum::<u64>(), silent);
        }
    }

    #[test]
    fn every_fault_is_one_error_and_the_load_goes_on(
        connections in 1usize..6, depth in 1u64..4, reset in 20u64..200, flip in 20u64..200, seed: u64,
    ) {
        let plan = ThreadPlan { timeout: Nanos::from_secs(60), ..plan(connections, 30, depth) };
        let (result, broken) = drive_with_faults(&plan, seed, Faults { reset, flip, swallow: 0 });
        let errors = result.recorder.errors_by_kind();
        prop_assert_eq!(errors["reset"] + errors["corrupt"], result.recorder.error_count());
        // Faults on connections that owe nothing, at the very end, are none.
        prop_assert!(result.recorder.error_count() <= broken && result.recorder.error_count() + 2 * connections as u64 >= broken);
        prop_assert!(broken > 0 && result.recorder.requests() > 0);
    }
}

#[test]
fn an_answer_that_never_comes_is_a_timeout() {
    let (result, broken) = drive_with_faults(&plan(3, 10, 1), 9, Faults { swallow: 50, ..Faults::default() });
    let errors = result.recorder.errors_by_kind();
    assert!(broken > 0 && errors["timeout"] > 0, "{broken} {errors:?}");
}

#[test]
fn a_wrong_first_answer_ends_everything() {
    let shared = Shared::new(None, std::thread::current());
    let sim = Sim::new(4, 3, Faults { flip: 1, ..Faults::default() });
    let (result, _) = drive(driver(&plan(4, 10, 1), sim, &shared), 4, Nanos::from_secs(1));
    assert!(result.recorder.errors_by_kind()["corrupt"] > 0 && shared.abandoned());
    assert!(matches!(shared.take_failure(), Some(StartFailure::Answer)));
}

#[test]
fn a_chunk_that_is_received_later_in_a_turn_is_done_later() {
    let shared = Shared::new(None, std::thread::current());
    shared.open_window(Nanos::ZERO, Nanos(10_000));
    let plan = plan(3, 10, 1);
    let pattern = plan.client.pattern;
    let mut driver = driver(&plan, Sim::new(3, 1, Faults::default()), &shared);
    driver.begin_tick(Nanos(1));
    driver.advance(Nanos(1));
    (0..3).for_each(|number| driver.pool.on_event(&mut driver.context, number, Event::Connected));
    driver.advance(Nanos(1));
    driver.begin_tick(Nanos(100));
    for (number, done) in [(0, 1_000), (1, 5_000), (2, 20_000)] {
        driver.context.refresh(Nanos(done));
        let bytes = pattern.stream(number as u64).slice(0, 10);
        driver.pool.on_event(&mut driver.context, number, Event::Received(bytes));
    }
    // The last one came after the counted window.
    assert_eq!(shared.answers(), 3);
    let recorder = driver.finish().0.recorder;
    assert_eq!((recorder.requests(), recorder.service().min(), recorder.last_done()), (2, 999, Nanos(5_000)));
}

/// A check looks at all connections, so a pause of one must not cause one every turn.
#[test]
fn deadlines_are_checked_when_a_pause_ends_and_not_before() {
    let shared = Shared::new(None, std::thread::current());
    shared.open_window(Nanos::ZERO, Nanos::from_secs(1));
    let mut driver = driver(&plan(2, 10, 1), Sim::new(2, 1, Faults::default()), &shared);
    driver.begin_tick(Nanos(1));
    driver.advance(Nanos(1));
    assert_eq!(driver.next_deadline(), None);
    driver.pool.on_event(&mut driver.context, 0, Event::Failed(io::ErrorKind::ConnectionRefused.into()));
    let resumed = Nanos(1) + RECONNECT_PAUSE;
    for _ in 0..2 {
        driver.advance(Nanos(2));
        driver.engine.wires[0].closing = false;
        driver.pool.on_event(&mut driver.context, 0, Event::Closed);
        driver.advance(Nanos(2));
        assert_eq!(driver.next_deadline(), Some(resumed));
        driver.check_deadlines(Nanos(3));
    }
    driver.check_deadlines(resumed);
    let state = driver.pool.connections[0].state;
    assert_eq!((driver.next_deadline(), state), (None, State::Idle { not_before: resumed }));
    driver.begin_tick(resumed);
    driver.advance(resumed);
    assert_eq!(driver.pool.connections[0].state, State::Connecting { since: resumed });
}

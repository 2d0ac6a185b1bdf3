//! What the main thread and the generator's threads share: the phase, the counted window, the budget.
//!
//! Instants are published *ahead* of time, and a thread reads them after it read the clock. So a thread whose clock
//! is within the window knows the window, and the count is exact without a lock.

use super::interval_exchange::IntervalExchange;
use super::slice_gate::SliceGate;
use crate::units::Nanos;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

/// What a thread does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connect, and have each connection answered once.
    Admit,
    /// Send at full depth or by the plan; counted or warming up.
    Run,
    /// Of a run in slices, between two of them: begin nothing new, wait for what is under way, then for the next slice.
    Rest,
    /// Begin nothing new, wait for what is under way.
    Drain,
    /// Stop at once; nothing is waited for.
    Abandon,
}

/// Why the run ended before it had begun.
#[derive(Debug)]
pub enum StartFailure {
    /// No connection.
    Connect { connection: usize, source: io::Error },
    /// Connected, but not answered as an echo should.
    Answer,
}

/// How many answers one thread has had: it writes, the main thread reads. On a cache line of its own, so that writing
/// costs the thread no more than a local variable.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<Line>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Gauge {
    #[inline]
    pub fn set(&self, answers: u64) {
        self.0.0.store(answers, Relaxed);
    }
}

#[derive(Debug)]
pub struct Shared {
    /// When the load begins; the schedule of an open loop counts from it.
    start: AtomicU64,
    first: AtomicU64,
    last: AtomicU64,
    /// When the load stops, where it goes on after the counting.
    stop: Option<AtomicU64>,
    abandoned: AtomicBool,
    /// Of a run in slices.
    gate: Option<SliceGate>,
    /// Requests still to be counted, where their number is limited.
    budget: Option<AtomicI64>,
    admitted: AtomicUsize,
    counted: AtomicU64,
    errors: AtomicU64,
    overdue: AtomicU64,
    failure: Mutex<Option<StartFailure>>,
    interval_exchange: IntervalExchange,
    gauges: Mutex<Vec<Gauge>>,
    main: Thread,
}

impl Shared {
    /// `main` is woken when it should look again.
    pub fn new(requests: Option<u64>, main: Thread) -> Shared {
        Shared {
            start: AtomicU64::new(u64::MAX),
            first: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(u64::MAX),
            stop: None,
            abandoned: AtomicBool::new(false),
            gate: None,
            budget: requests.map(|requests| AtomicI64::new(requests.min(i64::MAX as u64) as i64)),
            admitted: AtomicUsize::new(0),
            counted: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            overdue: AtomicU64::new(0),
            failure: Mutex::new(None),
            interval_exchange: IntervalExchange::default(),
            gauges: Mutex::default(),
            main,
        }
    }

    /// Lets the load go on, uncounted, after the counted window, until [`Shared::drain`].
    pub fn going_on(self) -> Shared {
        Shared { stop: Some(AtomicU64::new(u64::MAX)), ..self }
    }

    /// The load comes and goes: between slices, and before the first, nothing is sent.
    pub fn in_slices(self) -> Shared {
        Shared { gate: Some(SliceGate::default()), ..self.going_on() }
    }

    /// The phase at `now`, an instant the caller read just before.
    pub fn phase(&self, now: Nanos) -> Phase {
        if self.abandoned.load(SeqCst) {
            return Phase::Abandon;
        }
        let stop = self.stop.as_ref().unwrap_or(&self.last);
        match (self.start.load(SeqCst), stop.load(SeqCst)) {
            (_, stop) if now.0 >= stop => Phase::Drain,
            _ if self.gate.is_some() && now >= self.last() => Phase::Rest,
            (u64::MAX, _) => Phase::Admit,
            _ => Phase::Run,
        }
    }

    /// Whether requests done at `now` are counted; `now` was read just before.
    pub fn counting(&self, now: Nanos) -> bool {
        (self.first.load(SeqCst)..self.last.load(SeqCst)).contains(&now.0)
    }

    /// Starts the load: the schedule of an open loop counts from `start`, an instant to come.
    pub fn start_at(&self, start: Nanos) {
        self.start.fetch_min(start.0, SeqCst);
    }

    /// When the load starts, once that is known.
    pub fn start(&self) -> Nanos {
        Nanos(self.start.load(SeqCst))
    }

    /// Requests done in `first..last` count. Both must be instants to come. Starts the load if nothing did before.
    pub fn open_window(&self, first: Nanos, last: Nanos) {
        self.last.fetch_min(last.0, SeqCst);
        self.first.store(first.0, SeqCst);
        self.start_at(first);
    }

    /// What the threads wait at between slices.
    pub fn gate(&self) -> Option<&SliceGate> {
        self.gate.as_ref()
    }

    /// Of a run in slices: nothing is sent until the next slice begins.
    pub fn rest(&self) {
        self.last.store(0, SeqCst);
    }

    /// A slice whose load lasts from `start` to `last`, and of which is counted what is done from `first` on. To be
    /// called while all threads wait at the gate; the caller opens that.
    pub fn begin_slice(&self, start: Nanos, first: Nanos, last: Nanos) {
        self.start.store(start.0, SeqCst);
        self.first.store(first.0, SeqCst);
        self.last.store(last.0, SeqCst);
    }

    /// When the counting begins, once that is known; before, the end of time.
    pub fn first(&self) -> Nanos {
        Nanos(self.first.load(SeqCst))
    }

    /// Where intervals are handed in.
    pub fn interval_exchange(&self) -> &IntervalExchange {
        &self.interval_exchange
    }

    /// A gauge for one more thread.
    pub fn gauge(&self) -> Gauge {
        let gauge = Gauge::default();
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner).push(gauge.clone());
        gauge
    }

    /// Answers of all threads so far, counted or not.
    pub fn answers(&self) -> u64 {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.iter().map(|gauge| gauge.0.0.load(Relaxed)).sum()
    }

    /// Ends the counting at `last`, unless it ends before.
    pub fn end_at(&self, last: Nanos) {
        self.last.fetch_min(last.0, SeqCst);
        self.main.unpark();
    }

    /// Ends the load, where it goes on after the counting or comes and goes.
    pub fn drain(&self) {
        self.stop.iter().for_each(|stop| stop.store(0, SeqCst));
        self.gate.iter().for_each(SliceGate::open);
    }

    /// When the counting ends, as far as known.
    pub fn last(&self) -> Nanos {
        Nanos(self.last.load(SeqCst))
    }

    /// Whether one more request may be counted. The one that takes the last ends the window after `done`.
    #[inline]
    pub fn take_one(&self, done: Nanos) -> bool {
        let Some(budget) = &self.budget else { return true };
        let left = budget.fetch_sub(1, SeqCst);
        if left == 1 {
            self.end_at(done + Nanos(1));
        }
        left > 0
    }

    /// Whether the number of requests asked for was reached.
    pub fn budget_spent(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.load(SeqCst) <= 0)
    }

    pub fn admit(&self) {
        self.admitted.fetch_add(1, SeqCst);
        self.main.unpark();
    }

    pub fn admitted(&self) -> usize {
        self.admitted.load(SeqCst)
    }

    /// Stops all threads at once.
    pub fn abandon(&self) {
        self.abandoned.store(true, SeqCst);
        self.gate.iter().for_each(SliceGate::open);
        self.main.unpark();
    }

    pub fn abandoned(&self) -> bool {
        self.abandoned.load(SeqCst)
    }

    /// Stops all threads; the first failure is the one kept.
    pub fn fail_start(&self, failure: StartFailure) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.abandon();
    }

    pub fn take_failure(&self) -> Option<StartFailure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Adds to the figures of the live line.
    pub fn publish(&self, counted: u64, errors: u64) {
        self.counted.fetch_add(counted, SeqCst);
        self.errors.fetch_add(errors, SeqCst);
    }

    /// Adds to the datagrams without an answer in time.
    pub fn publish_overdue(&self, overdue: u64) {
        self.overdue.fetch_add(overdue, SeqCst);
    }

    /// Datagrams without an answer in time, as of a moment ago.
    pub fn published_overdue(&self) -> u64 {
        self.overdue.load(SeqCst)
    }

    /// Requests counted and errors, as of a moment ago.
    pub fn published(&self) -> (u64, u64) {
        (self.counted.load(SeqCst), self.errors.load(SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(requests: Option<u64>) -> Shared {
        Shared::new(requests, std::thread::current())
    }

    #[test]
    fn phases_follow_the_window() {
        let shared = shared(None);
        assert_eq!((shared.phase(Nanos(5)), shared.first()), (Phase::Admit, Nanos(u64::MAX)));
        shared.start_at(Nanos(7));
        assert_eq!((shared.phase(Nanos(5)), shared.counting(Nanos(8))), (Phase::Run, false));
        shared.open_window(Nanos(10), Nanos(20));
        let phases = [5, 10, 19, 20].map(|now| (shared.phase(Nanos(now)), shared.counting(Nanos(now))));
        let expected = [(Phase::Run, false), (Phase::Run, true), (Phase::Run, true), (Phase::Drain, false)];
        assert_eq!(phases, expected);
        shared.end_at(Nanos(15));
        shared.end_at(Nanos(17));
        assert_eq!(shared.last(), Nanos(15));
        shared.abandon();
        assert_eq!(shared.phase(Nanos(12)), Phase::Abandon);
    }

    #[test]
    fn a_load_that_goes_on_is_not_counted() {
        let shared = shared(None).going_on();
        shared.open_window(Nanos(10), Nanos(20));
        assert_eq!((shared.phase(Nanos(20)), shared.counting(Nanos(20))), (Phase::Run, false));
        shared.drain();
        assert_eq!(shared.phase(Nanos(21)), Phase::Drain);
    }

    #[test]
    fn a_load_in_slices_rests_between_them() {
        let shared = shared(None).in_slices();
        assert_eq!(shared.phase(Nanos(1)), Phase::Admit);
        shared.rest();
        assert_eq!((shared.phase(Nanos(2)), shared.counting(Nanos(2))), (Phase::Rest, false));
        for begin in [10, 50] {
            shared.begin_slice(Nanos(begin), Nanos(begin + 2), Nanos(begin + 20));
            let phases = [0, 2, 19, 20].map(|at| (shared.phase(Nanos(begin + at)), shared.counting(Nanos(begin + at))));
            let expected = [(Phase::Run, false), (Phase::Run, true), (Phase::Run, true), (Phase::Rest, false)];
            assert_eq!(phases, expected);
        }
        shared.drain();
        assert_eq!(shared.phase(Nanos(61)), Phase::Drain);
    }

    #[test]
    fn a_stop_before_the_start_stays_a_stop() {
        let shared = shared(None);
        shared.end_at(Nanos(3));
        shared.open_window(Nanos(10), Nanos(20));
        assert_eq!(shared.phase(Nanos(4)), Phase::Drain);
        assert!(!shared.counting(Nanos(15)));
    }

    #[test]
    fn exactly_the_budget_is_counted() {
        let shared = shared(Some(3));
        shared.open_window(Nanos(0), Nanos(100));
        let taken: Vec<_> = (1..=5).map(|done| shared.take_one(Nanos(done))).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert!(shared.budget_spent());
        assert_eq!(shared.last(), Nanos(4));
    }
}

//! The main thread's part: starts the generator's threads, steps the phases, reads the CPU clocks at the counted
//! window's ends, and keeps the load going for a moment after it to count what cannot be counted for nothing. It moves
//! no bytes.

use super::datagram::{self, Datagrams};
use super::engine::{Engine, Setup, epoll::EpollEngine, uring::UringEngine};
use super::fleet::{Haul, Orders};
use super::ledger::{self, Ledger};
use super::measures::Measures;
use super::protocols::{DatagramProtocol, StreamProtocol};
use super::shared::{Shared, StartFailure};
use super::streams::Streams;
use super::timeline::Timeline;
use super::worker::{self, Post, WorkerError};
use super::{Config, EngineKind, LoadError, Progress, Sockets, Stage, Task};
use crate::clock::Clock;
use crate::record::{IntervalRecord, SteadyRecord};
use crate::stats::{Trend, trend};
use crate::sys::accounting::{self, CoresTime, Cpu, ProcessTreeCpu};
use crate::sys::affinity;
use crate::units::{CoreList, Nanos, Transport};
use crate::{for_each_datagram_client, for_each_stream_client};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

/// All connections must have been answered once within this time.
const START_DEADLINE: Nanos = Nanos::from_secs(10);
/// A single connection must be made within this time, so that one that hangs is named before the start is given up.
pub const CONNECT_DEADLINE: Nanos = Nanos::from_secs(9);
/// How far ahead instants are published, at the start and at an early stop. A thread that is kept from running for
/// longer just after reading its clock may miscount that one turn.
const START_LEAD: Nanos = Nanos::from_millis(20);
const STOP_LEAD: Nanos = Nanos::from_millis(1);
/// Longest sleep: the stop flag is set by a signal handler, which wakes nobody.
const LOOK: Nanos = Nanos::from_millis(20);
const PROGRESS_INTERVAL: Nanos = Nanos::from_secs(1);

/// The warm-up is over when throughput is steady over so many intervals; together they are as long as the shortest
/// warm-up, but an interval is no shorter than this: it must hold many turns of a thread.
const STEADY_INTERVALS: usize = 10;
const MIN_INTERVAL: Nanos = Nanos::from_millis(10);
/// Into so many intervals the counted time is divided, to see whether throughput drifts; shorter ones hold too few turns
/// of the scheduler for that.
const DRIFT_INTERVALS: u64 = 20;
const MIN_DRIFT_INTERVAL: Nanos = Nanos::from_millis(50);

const _: () = assert!(CONNECT_DEADLINE.0 < START_DEADLINE.0);

/// Everything that a run left behind.
#[derive(Debug)]
pub struct Outcome {
    pub hauls: Vec<Haul>,
    pub admitted: usize,
    /// The counted window; empty when the run never came to it.
    pub first: Nanos,
    pub last: Nanos,
    /// What all threads measured within it, and its parts.
    pub measures: Measures,
    pub intervals: Vec<IntervalRecord>,
    /// How the warm-up ended, where there was one.
    pub steady: Option<SteadyRecord>,
    /// Throughput within the counted window, where it was long enough to tell.
    pub drift: Option<Trend>,
    /// Cores whose time is in the samples.
    pub watched_cores: Vec<usize>,
    /// CPU use at the window's ends.
    pub cpu: Option<(CpuSample, CpuSample)>,
    pub ledger: Ledger,
    /// What the kernel dropped at the server's datagram sockets since the window began; before that, all it ever did.
    pub server_drops: Option<u64>,
    /// Told to stop before the end.
    pub interrupted: bool,
    pub requests_reached: bool,
}

/// CPU time used so far, and when it was read.
#[derive(Clone, Debug)]
pub struct CpuSample {
    pub at: Nanos,
    pub generator: Option<Cpu>,
    pub server: Option<ProcessTreeCpu>,
    /// What became of the watched cores' time.
    pub cores: Option<CoresTime>,
}

struct Conductor<'a> {
    config: &'a Config,
    shared: &'a Shared,
    clock: Clock,
    stop: &'a AtomicBool,
    progress: &'a mut dyn FnMut(Progress),
    next_progress: Nanos,
    reported: Option<Stage>,
    timeline: Timeline,
    watched: Vec<usize>,
}

/// Answers of all threads at an instant.
type Mark = (Nanos, u64);

/// Runs the tasks, one thread each, from connecting to the last answer.
pub fn conduct(
    config: &Config,
    tasks: &[Task],
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, LoadError> {
    let shared = Shared::new(config.requests, thread::current()).going_on();
    let ledger = Ledger::open(config.server_pid);
    let clock = Clock::start();
    thread::scope(|scope| {
        let threads: Vec<_> = tasks.iter().map(|task| scope.spawn(|| work(config, task, &shared, clock))).collect();
        let mut conductor = Conductor {
            config,
            shared: &shared,
            clock,
            stop,
            progress,
            next_progress: Nanos::ZERO,
            reported: None,
            timeline: Timeline::new(),
            watched: watched_cores(config),
        };
        let mut outcome = conductor.steps(ledger);
        let hauls: Result<Vec<Haul>, WorkerError> = threads.into_iter().map(join).collect();
        fail_if_never_connected(config, &shared)?;
        outcome.hauls = hauls?;
        outcome.watched_cores = conductor.watched.clone();
        let drops = outcome.server_drops.zip(conductor.server_drops());
        outcome.server_drops = drops.map(|(begin, end)| end.saturating_sub(begin));
        outcome.admitted = shared.admitted();
        Ok(add_up(close_window(outcome, &shared), conductor.timeline, &shared))
    })
}

/// Cores on which every program but the generator and the server is another: those of both, or without a known server
/// the generator's alone, if it is pinned.
fn watched_cores(config: &Config) -> Vec<usize> {
    let server = config.server_pid.and_then(affinity::cores_of);
    let own = config.pin.clone().or_else(|| affinity::available().ok().filter(|_| server.is_some()));
    let mut cores: Vec<usize> = server.iter().chain(&own).flat_map(CoreList::as_slice).copied().collect();
    cores.sort_unstable();
    cores.dedup();
    cores
}

macro_rules! define_run_streams {
    ($($help:literal; $variant:ident, $name:literal, $client:ty;)*) => {
        fn run_streams<E: Engine>(setup: &Setup, orders: Orders, run: Run<'_>) -> Result<Haul, WorkerError> {
            match run.streams { $(
                StreamProtocol::$variant => {
                    let make = || Streams::<$client, E>::new(setup, orders, run.shared);
                    worker::run(run.post, make, run.shared, run.clock)
                }
            )* }
        }
    };
}

macro_rules! define_run_datagrams {
    ($($help:literal; $variant:ident, $name:literal, $client:ty;)*) => {
        fn run_datagrams<E: datagram::Engine>(
            setup: &datagram::Setup,
            orders: &datagram::Orders,
            run: Run<'_>,
        ) -> Result<Haul, WorkerError> {
            match run.datagrams { $(
                DatagramProtocol::$variant => {
                    let make = || Datagrams::<$client, E>::new(setup, orders.clone(), run.shared);
                    worker::run(run.post, make, run.shared, run.clock)
                }
            )* }
        }
    };
}

for_each_stream_client!(define_run_streams);
for_each_datagram_client!(define_run_datagrams);

#[derive(Clone, Copy)]
struct Run<'a> {
    post: Post,
    streams: StreamProtocol,
    datagrams: DatagramProtocol,
    shared: &'a Shared,
    clock: Clock,
}

fn work(config: &Config, task: &Task, shared: &Shared, clock: Clock) -> Result<Haul, WorkerError> {
    let datagrams = config.datagrams.dialect;
    let run = Run { post: task.post, streams: StreamProtocol::Echo, datagrams, shared, clock };
    match (&task.sockets, config.engine) {
        (Sockets::Streams(setup, orders), EngineKind::Uring) => run_streams::<UringEngine>(setup, *orders, run),
        (Sockets::Streams(setup, orders), EngineKind::Epoll) => run_streams::<EpollEngine>(setup, *orders, run),
        (Sockets::Datagrams(setup, orders), EngineKind::Uring) => {
            run_datagrams::<datagram::UringEngine>(setup, orders, run)
        }
        (Sockets::Datagrams(setup, orders), EngineKind::Epoll) => {
            run_datagrams::<datagram::EpollEngine>(setup, orders, run)
        }
    }
}

fn join(thread: ScopedJoinHandle<'_, Result<Haul, WorkerError>>) -> Result<Haul, WorkerError> {
    thread.join().unwrap_or(Err(WorkerError::Panicked))
}

fn fail_if_never_connected(config: &Config, shared: &Shared) -> Result<(), LoadError> {
    match shared.take_failure() {
        Some(StartFailure::Connect { connection, source }) => Err(LoadError::connect(config, connection, source)),
        Some(StartFailure::Answer) | None => Ok(()),
    }
}

/// A window that ended with the number of requests ends with the last of them; one that never opened is empty.
fn close_window(mut outcome: Outcome, shared: &Shared) -> Outcome {
    outcome.requests_reached = shared.budget_spent();
    let last = match (outcome.cpu.is_some(), outcome.requests_reached) {
        (false, _) => outcome.first,
        (true, true) => outcome.hauls.iter().map(|haul| haul.recorder.last_done()).max().unwrap_or_default(),
        (true, false) => shared.last(),
    };
    outcome.last = last.max(outcome.first);
    outcome
}

fn add_up(mut outcome: Outcome, mut timeline: Timeline, shared: &Shared) -> Outcome {
    timeline.collect(shared.handover());
    let rest = outcome.hauls.iter().map(|haul| &haul.recorder);
    (outcome.measures, outcome.intervals) = timeline.finish(rest, outcome.last.since(outcome.first));
    outcome
}

/// Answers per second between marks.
fn rates(marks: &[Mark]) -> Vec<f64> {
    let rate = |pair: &[Mark]| (pair[1].1 - pair[0].1) as f64 / pair[1].0.since(pair[0].0).as_secs_f64();
    marks.windows(2).map(rate).collect()
}

impl Conductor<'_> {
    fn steps(&mut self, ledger: Ledger) -> Outcome {
        let mut outcome = Outcome {
            hauls: Vec::new(),
            admitted: 0,
            first: Nanos::ZERO,
            last: Nanos::ZERO,
            measures: Measures::new(false),
            intervals: Vec::new(),
            steady: None,
            drift: None,
            watched_cores: Vec::new(),
            cpu: None,
            ledger,
            server_drops: None,
            interrupted: false,
            requests_reached: false,
        };
        if self.admit() {
            // Looking for them takes a while where there are many threads, so it is done while nothing is to do.
            let known = self.config.server_pid.map(accounting::processes);
            let start = self.clock.now() + START_LEAD;
            outcome.steady = self.warm_up(start);
            let first = start.max(self.clock.now() + START_LEAD);
            self.shared.open_window(first, first + self.config.duration);
            outcome.first = first;
            if let Some(steady) = &mut outcome.steady {
                steady.warmup_ns = first.since(start).0;
            }
            outcome.server_drops = self.server_drops();
            self.wait_until(first, Stage::WarmUp);
            let begin = self.sample(known.as_deref());
            outcome.drift = self.count(first);
            let end = self.sample(known.as_deref());
            outcome.cpu = Some((begin, self.with_new(end)));
            outcome.ledger.window_ended();
            self.count_beyond(&mut outcome.ledger);
        }
        outcome.interrupted = self.interrupted();
        let last = self.look(Stage::Drain);
        (self.progress)(last);
        outcome
    }

    /// Waits until every connection was answered once. `false` when that will not happen.
    fn admit(&mut self) -> bool {
        let deadline = self.clock.now() + START_DEADLINE;
        while self.shared.admitted() < self.config.all_connections() {
            let now = self.clock.now();
            if self.interrupted() || self.shared.abandoned() || now >= deadline {
                self.shared.abandon();
                return false;
            }
            self.report(Stage::Connect, now);
            thread::park_timeout(LOOK.duration());
        }
        !self.shared.abandoned()
    }

    /// Loads from `start` on until throughput is steady: at least for the shortest warm-up, at most for the longest. `None`
    /// where none was asked for.
    fn warm_up(&mut self, start: Nanos) -> Option<SteadyRecord> {
        if self.config.warmup == Nanos::ZERO {
            return None;
        }
        self.shared.start_at(start);
        self.wait_until(start, Stage::WarmUp);
        let (floor, cap) = (self.config.warmup, self.config.warmup.max(self.config.warmup_max));
        let interval = Nanos(floor.0 / STEADY_INTERVALS as u64).max(MIN_INTERVAL);
        let mut marks = vec![self.mark()];
        loop {
            let elapsed = marks[marks.len() - 1].0.since(start);
            let window = &marks[marks.len().saturating_sub(STEADY_INTERVALS + 1)..];
            let trend = trend(&rates(window)).filter(|_| window.len() > STEADY_INTERVALS);
            let reached = elapsed >= floor && trend.is_some_and(|trend| trend.is_steady());
            if reached || elapsed >= cap || self.over() {
                let slope_per_interval = trend.map_or(0.0, |trend| trend.slope);
                return Some(SteadyRecord { warmup_ns: 0, reached, slope_per_interval, interval_ns: interval.0 });
            }
            let next = start + Nanos(interval.0 * marks.len() as u64);
            self.wait_until(next.min(start + cap), Stage::WarmUp);
            marks.push(self.mark());
        }
    }

    /// The counted window, and whether throughput drifted in it.
    fn count(&mut self, first: Nanos) -> Option<Trend> {
        let end = first + self.config.duration;
        let interval = self.config.duration.0 / DRIFT_INTERVALS;
        let mut marks = vec![self.mark()];
        for number in 1..DRIFT_INTERVALS {
            self.wait_until(first + Nanos(number * interval), Stage::Measure);
            marks.push(self.mark());
        }
        self.wait_until(end, Stage::Measure);
        marks.push(self.mark());
        trend(&rates(&marks)).filter(|_| interval >= MIN_DRIFT_INTERVAL.0 && self.clock.now() >= end)
    }

    fn mark(&self) -> Mark {
        (self.clock.now(), self.shared.answers())
    }

    /// Nothing is to come any more.
    fn over(&self) -> bool {
        self.interrupted() || self.shared.abandoned()
    }

    /// Sleeps until an instant, or until the counting ended before.
    fn wait_until(&mut self, instant: Nanos, stage: Stage) {
        loop {
            let now = self.clock.now();
            if self.interrupted() {
                self.shared.end_at(now + STOP_LEAD);
            }
            if now >= instant.min(self.shared.last()) || self.shared.abandoned() {
                return;
            }
            self.report(stage, now);
            self.timeline.collect(self.shared.handover());
            thread::park_timeout(instant.since(now).min(LOOK).duration());
        }
    }

    /// Counts under the same load what would have disturbed the window, then ends the load.
    fn count_beyond(&mut self, ledger: &mut Ledger) {
        let length = ledger::span_length(self.config.duration);
        let mut open = Vec::new();
        for kind in &ledger::SPANS {
            if !self.config.counts || self.interrupted() || self.shared.abandoned() {
                break;
            }
            let Some(span) = ledger.open_span(kind) else { continue };
            let begin = span.read(self.clock.now(), self.shared.answers());
            if self.go_on(length) {
                ledger.enter(&span, begin, span.read(self.clock.now(), self.shared.answers()));
            }
            open.push(span);
        }
        self.shared.drain();
        // Closing takes its time, which the load need not wait for.
        drop(open);
    }

    /// Lets the load go on for a while; whether it did.
    fn go_on(&mut self, length: Nanos) -> bool {
        let end = self.clock.now() + length;
        loop {
            let now = self.clock.now();
            if self.interrupted() || self.shared.abandoned() {
                return false;
            }
            if now >= end {
                return true;
            }
            self.report(Stage::Account, now);
            thread::park_timeout(end.since(now).min(LOOK).duration());
        }
    }

    fn server_drops(&self) -> Option<u64> {
        let target = Some(&self.config.target).filter(|target| target.transport == Transport::Datagram)?;
        datagram::server_drops(target)
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn sample(&self, server: Option<&[u32]>) -> CpuSample {
        CpuSample {
            at: self.clock.now(),
            generator: accounting::process_cpu(std::process::id()).ok(),
            server: server.and_then(|known| accounting::process_tree_cpu(known).ok()),
            cores: accounting::cores_time(&self.watched).ok().filter(|_| !self.watched.is_empty()),
        }
    }

    /// With the processes that the server has started since.
    fn with_new(&self, sample: CpuSample) -> CpuSample {
        let server = sample.server.zip(self.config.server_pid).map(|(server, pid)| server.with_new_of(pid));
        CpuSample { server, ..sample }
    }

    /// At once where a stage begins, so that a look within it follows a whole interval later.
    fn report(&mut self, stage: Stage, now: Nanos) {
        if now >= self.next_progress || self.reported != Some(stage) {
            self.reported = Some(stage);
            self.next_progress = now + PROGRESS_INTERVAL;
            let look = self.look(stage);
            (self.progress)(look);
        }
    }

    fn look(&self, stage: Stage) -> Progress {
        let (counted, errors) = self.shared.published();
        let overdue = self.shared.published_overdue();
        let (at, latency) = (self.clock.now(), self.timeline.so_far());
        Progress { stage, at, admitted: self.shared.admitted(), counted, errors, overdue, latency }
    }
}

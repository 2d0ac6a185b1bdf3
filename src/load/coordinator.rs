//! The main thread's part: starts the generator's threads, steps the phases, reads the CPU clocks at the counted
//! window's ends, and keeps the load going for a moment after it to count what cannot be counted for nothing. It moves
//! no bytes.

use super::cpu_use::{CpuReader, CpuUse};
use super::datagram;
use super::engines::run_thread;
use super::histograms::Histograms;
use super::resource_usage::{self, ResourceUsage};
use super::shared::{Shared, StartFailure};
use super::tasks::{CONNECT_DEADLINE, Task};
use super::thread::WorkerError;
use super::thread_result::ThreadResult;
use super::timeline::Timeline;
use super::{Config, LoadError, Progress, RunStage};
use crate::clock::Clock;
use crate::record::{IntervalRecord, SliceRecord, SteadyRecord};
use crate::stats::{Trend, trend};
use crate::units::{Nanos, Transport};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

/// All connections must have been answered once within this time.
const START_DEADLINE: Nanos = Nanos::from_secs(10);
/// How far ahead instants are published, at the start and at an early stop. A thread that is kept from running for
/// longer just after reading its clock may miscount that one turn.
const START_LEAD: Nanos = Nanos::from_millis(20);
const STOP_LEAD: Nanos = Nanos::from_millis(1);
/// Longest sleep: the stop flag is set by a signal handler, which wakes no thread.
const POLL_INTERVAL: Nanos = Nanos::from_millis(20);
const PROGRESS_INTERVAL: Nanos = Nanos::from_secs(1);

/// The warm-up is over when throughput is steady over so many intervals; together they are as long as the shortest
/// warm-up, but an interval is no shorter than this: it must hold many turns of a thread.
const STEADY_INTERVALS: usize = 10;
const MIN_INTERVAL: Nanos = Nanos::from_millis(10);
/// Into so many intervals the counted time is divided, to see whether throughput drifts; shorter ones hold too few
/// turns of the scheduler for that.
const DRIFT_INTERVALS: u64 = 20;
const MIN_DRIFT_INTERVAL: Nanos = Nanos::from_millis(50);

const _: () = assert!(CONNECT_DEADLINE.0 < START_DEADLINE.0);

/// Everything that a run left behind.
#[derive(Debug, Default)]
pub struct Outcome {
    pub results: Vec<ThreadResult>,
    pub admitted: usize,
    /// The counted window; empty when the run never came to it.
    pub first: Nanos,
    pub last: Nanos,
    /// What all threads measured within it, and its parts.
    pub histograms: Histograms,
    pub intervals: Vec<IntervalRecord>,
    /// How the warm-up ended, where there was one.
    pub steady: Option<SteadyRecord>,
    /// Throughput within the counted window, where it was long enough to know.
    pub drift: Option<Trend>,
    /// How many cores' time is in it.
    pub watched_cores: usize,
    /// CPU time between two instants just outside of the window's ends.
    pub cpu: Option<CpuUse>,
    /// The slices, where the load came and went: then `cpu` is of all of them from begin to end.
    pub slices: Vec<SliceRecord>,
    pub resource_usage: ResourceUsage,
    /// What the kernel dropped at the server's datagram sockets since the window began; before that, all it ever did.
    pub server_drops: Option<u64>,
    /// Told to stop before the end.
    pub interrupted: bool,
    pub requests_reached: bool,
}

/// A run under way.
pub struct Coordinator<'a> {
    pub config: &'a Config,
    pub shared: &'a Shared,
    pub clock: Clock,
    stop: &'a AtomicBool,
    progress: &'a mut dyn FnMut(Progress),
    next_progress: Nanos,
    reported: Option<RunStage>,
    timeline: Timeline,
}

/// Answers of all threads at an instant.
type Mark = (Nanos, u64);

/// What happens between connecting and the drain.
pub trait Script {
    /// The load comes and goes.
    const IN_SLICES: bool;

    /// Does it, once all connections are made and each was answered.
    fn run(self, coordinator: &mut Coordinator<'_>, outcome: Outcome) -> Outcome;
}

/// Warm-up, one counted window, and what is counted after it.
pub struct Window;

impl Script for Window {
    const IN_SLICES: bool = false;

    fn run(self, coordinator: &mut Coordinator<'_>, outcome: Outcome) -> Outcome {
        coordinator.window(outcome)
    }
}

/// Runs the tasks, one thread each, from connecting to the last answer.
pub fn run<S: Script>(
    config: &Config,
    tasks: &[Task],
    script: S,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, LoadError> {
    let shared = Shared::new(config.requests, thread::current());
    let shared = if S::IN_SLICES { shared.in_slices() } else { shared.going_on() };
    let resource_usage = ResourceUsage::open(config.server_pid);
    let clock = Clock::start();
    thread::scope(|scope| {
        let threads: Vec<_> =
            tasks.iter().map(|task| scope.spawn(|| run_thread(config, task, &shared, clock))).collect();
        let mut coordinator = Coordinator {
            config,
            shared: &shared,
            clock,
            stop,
            progress,
            next_progress: Nanos::ZERO,
            reported: None,
            timeline: Timeline::new(),
        };
        let mut outcome = coordinator.steps(script, resource_usage);
        let results: Result<Vec<ThreadResult>, WorkerError> = threads.into_iter().map(join).collect();
        fail_if_never_connected(config, &shared)?;
        outcome.results = results?;
        let drops = outcome.server_drops.zip(coordinator.server_drops());
        outcome.server_drops = drops.map(|(begin, end)| end.saturating_sub(begin));
        outcome.admitted = shared.admitted();
        Ok(add_up(close_window(outcome, &shared), coordinator.timeline, &shared))
    })
}

fn join(thread: ScopedJoinHandle<'_, Result<ThreadResult, WorkerError>>) -> Result<ThreadResult, WorkerError> {
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
    if !outcome.slices.is_empty() {
        // Their counted time, one after the other.
        return outcome;
    }
    let last = match (outcome.cpu.is_some(), outcome.requests_reached) {
        (false, _) => outcome.first,
        (true, true) => outcome.results.iter().map(|result| result.recorder.last_done()).max().unwrap_or_default(),
        (true, false) => shared.last(),
    };
    outcome.last = last.max(outcome.first);
    outcome
}

fn add_up(mut outcome: Outcome, mut timeline: Timeline, shared: &Shared) -> Outcome {
    timeline.collect(shared.interval_exchange());
    let rest = outcome.results.iter().map(|result| &result.recorder);
    (outcome.histograms, outcome.intervals) = timeline.finish(rest, outcome.last.since(outcome.first));
    outcome
}

/// Answers per second between marks.
fn rates(marks: &[Mark]) -> Vec<f64> {
    let rate = |pair: &[Mark]| (pair[1].1 - pair[0].1) as f64 / pair[1].0.since(pair[0].0).as_secs_f64();
    marks.windows(2).map(rate).collect()
}

impl Outcome {
    fn of(resource_usage: ResourceUsage) -> Outcome {
        Outcome { resource_usage, ..Outcome::default() }
    }
}

impl Coordinator<'_> {
    fn steps(&mut self, script: impl Script, resource_usage: ResourceUsage) -> Outcome {
        let mut outcome = Outcome::of(resource_usage);
        if self.admit() {
            outcome = script.run(self, outcome);
        }
        outcome.interrupted = self.interrupted();
        let last = self.snapshot(RunStage::Drain);
        (self.progress)(last);
        outcome
    }

    fn window(&mut self, mut outcome: Outcome) -> Outcome {
        // Before the load begins: it takes a while where there are many threads.
        let cpu = CpuReader::new(self.config, self.clock);
        outcome.watched_cores = cpu.watched_cores.len();
        let start = self.clock.now() + START_LEAD;
        outcome.steady = self.warm_up(start);
        let first = start.max(self.clock.now() + START_LEAD);
        self.shared.open_window(first, first + self.config.duration);
        outcome.first = first;
        if let Some(steady) = &mut outcome.steady {
            steady.warmup_ns = first.since(start).0;
        }
        outcome.server_drops = self.server_drops();
        self.wait_until(first, RunStage::WarmUp);
        let begin = cpu.sample();
        outcome.drift = self.count(first);
        outcome.cpu = Some(cpu.sample().with_new_of(self.config.server_pid).since(&begin));
        outcome.resource_usage.window_ended();
        self.count_in_counter_windows(&mut outcome.resource_usage);
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
            self.report(RunStage::Connect, now);
            thread::park_timeout(POLL_INTERVAL.duration());
        }
        !self.shared.abandoned()
    }

    /// Loads from `start` on until throughput is steady: at least for the shortest warm-up, at most for the longest.
    /// `None` where none was asked for.
    fn warm_up(&mut self, start: Nanos) -> Option<SteadyRecord> {
        if self.config.warmup == Nanos::ZERO {
            return None;
        }
        self.shared.start_at(start);
        self.wait_until(start, RunStage::WarmUp);
        let (floor, cap) = (self.config.warmup, self.config.warmup.max(self.config.warmup_max));
        let interval = Nanos(floor.0 / STEADY_INTERVALS as u64).max(MIN_INTERVAL);
        let mut marks = vec![self.mark()];
        loop {
            let elapsed = marks[marks.len() - 1].0.since(start);
            let window = &marks[marks.len().saturating_sub(STEADY_INTERVALS + 1)..];
            let trend = trend(&rates(window)).filter(|_| window.len() > STEADY_INTERVALS);
            let reached = elapsed >= floor && trend.is_some_and(|trend| trend.is_steady());
            if reached || elapsed >= cap || self.is_over() {
                let slope_per_interval = trend.map_or(0.0, |trend| trend.slope);
                return Some(SteadyRecord { warmup_ns: 0, reached, slope_per_interval, interval_ns: interval.0 });
            }
            let next = start + Nanos(interval.0 * marks.len() as u64);
            self.wait_until(next.min(start + cap), RunStage::WarmUp);
            marks.push(self.mark());
        }
    }

    /// The counted window, and whether throughput drifted in it.
    fn count(&mut self, first: Nanos) -> Option<Trend> {
        let end = first + self.config.duration;
        let interval = self.config.duration.0 / DRIFT_INTERVALS;
        let mut marks = vec![self.mark()];
        for number in 1..DRIFT_INTERVALS {
            self.wait_until(first + Nanos(number * interval), RunStage::Measure);
            marks.push(self.mark());
        }
        self.wait_until(end, RunStage::Measure);
        marks.push(self.mark());
        trend(&rates(&marks)).filter(|_| interval >= MIN_DRIFT_INTERVAL.0 && self.clock.now() >= end)
    }

    fn mark(&self) -> Mark {
        (self.clock.now(), self.shared.answers())
    }

    /// Nothing is to come any more.
    fn is_over(&self) -> bool {
        self.interrupted() || self.shared.abandoned()
    }

    /// Sleeps until an instant, or until the counting ended before.
    fn wait_until(&mut self, instant: Nanos, stage: RunStage) {
        loop {
            let now = self.clock.now();
            if self.interrupted() {
                self.shared.end_at(now + STOP_LEAD);
            }
            if now >= instant.min(self.shared.last()) || self.shared.abandoned() {
                return;
            }
            self.report(stage, now);
            self.timeline.collect(self.shared.interval_exchange());
            thread::park_timeout(instant.since(now).min(POLL_INTERVAL).duration());
        }
    }

    /// Counts under the same load what would have disturbed the window, then ends the load.
    fn count_in_counter_windows(&mut self, resource_usage: &mut ResourceUsage) {
        let length = resource_usage::window_length(self.config.duration);
        let mut open = Vec::new();
        for kind in &resource_usage::COUNTER_WINDOWS {
            if !self.config.counts || self.interrupted() || self.shared.abandoned() {
                break;
            }
            let Some(window) = resource_usage.open_window(kind) else { continue };
            let begin = window.read(self.clock.now(), self.shared.answers());
            if self.run_for(length) {
                resource_usage.enter(&window, begin, window.read(self.clock.now(), self.shared.answers()));
            }
            open.push(window);
        }
        self.shared.drain();
        // Closing takes its time, which the load need not wait for.
        drop(open);
    }

    /// Lets the load go on for a while; whether it did.
    fn run_for(&mut self, length: Nanos) -> bool {
        let end = self.clock.now() + length;
        loop {
            let now = self.clock.now();
            if self.interrupted() || self.shared.abandoned() {
                return false;
            }
            if now >= end {
                return true;
            }
            self.report(RunStage::Account, now);
            thread::park_timeout(end.since(now).min(POLL_INTERVAL).duration());
        }
    }

    pub fn server_drops(&self) -> Option<u64> {
        let target = Some(&self.config.target).filter(|target| target.transport == Transport::Datagram)?;
        datagram::server_drops(target)
    }

    pub fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// At once where a stage begins, so that the next report within it follows a whole interval later.
    fn report(&mut self, stage: RunStage, now: Nanos) {
        if now >= self.next_progress || self.reported != Some(stage) {
            self.reported = Some(stage);
            self.next_progress = now + PROGRESS_INTERVAL;
            let snapshot = self.snapshot(stage);
            (self.progress)(snapshot);
        }
    }

    fn snapshot(&self, stage: RunStage) -> Progress {
        let (counted, errors) = self.shared.published();
        let overdue = self.shared.published_overdue();
        let (at, latency) = (self.clock.now(), self.timeline.so_far());
        Progress { stage, at, admitted: self.shared.admitted(), counted, errors, overdue, latency }
    }
}

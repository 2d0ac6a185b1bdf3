//! The main thread's part: starts the generator's threads, steps the phases, reads the CPU clocks at the counted
//! window's ends, and keeps the load going for a moment after it to count what cannot be counted for nothing. It moves
//! no bytes.

use super::engine::{epoll::EpollEngine, uring::UringEngine};
use super::fleet::Haul;
use super::ledger::{self, Ledger};
use super::shared::{Shared, StartFailure};
use super::streams::Streams;
use super::worker::{self, WorkerError};
use super::{Config, EngineKind, LoadError, Progress, Stage, Task};
use crate::clock::Clock;
use crate::sys::accounting::{self, Cpu, TreeCpu};
use crate::units::Nanos;
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

const _: () = assert!(CONNECT_DEADLINE.0 < START_DEADLINE.0);

/// Everything that a run left behind.
#[derive(Debug)]
pub struct Outcome {
    pub hauls: Vec<Haul>,
    pub admitted: usize,
    /// The counted window; empty when the run never came to it.
    pub first: Nanos,
    pub last: Nanos,
    /// CPU use at the window's ends.
    pub cpu: Option<(CpuSample, CpuSample)>,
    pub ledger: Ledger,
    /// Told to stop before the end.
    pub interrupted: bool,
    pub requests_reached: bool,
}

/// CPU time used so far, and when it was read.
#[derive(Clone, Debug)]
pub struct CpuSample {
    pub at: Nanos,
    pub generator: Option<Cpu>,
    pub server: Option<TreeCpu>,
}

struct Conductor<'a> {
    config: &'a Config,
    shared: &'a Shared,
    clock: Clock,
    stop: &'a AtomicBool,
    progress: &'a mut dyn FnMut(Progress),
    next_progress: Nanos,
}

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
        let threads: Vec<_> =
            tasks.iter().map(|task| scope.spawn(|| work(config.engine, task, &shared, clock))).collect();
        let conductor = Conductor { config, shared: &shared, clock, stop, progress, next_progress: Nanos::ZERO };
        let mut outcome = conductor.steps(ledger);
        let hauls: Result<Vec<Haul>, WorkerError> = threads.into_iter().map(join).collect();
        fail_if_never_connected(config, &shared)?;
        outcome.hauls = hauls?;
        outcome.admitted = shared.admitted();
        Ok(close_window(outcome, &shared))
    })
}

fn work(engine: EngineKind, task: &Task, shared: &Shared, clock: Clock) -> Result<Haul, WorkerError> {
    let Task { setup, orders, post } = task;
    match engine {
        EngineKind::Uring => worker::run(*post, || Streams::<UringEngine>::new(setup, *orders, shared), shared, clock),
        EngineKind::Epoll => worker::run(*post, || Streams::<EpollEngine>::new(setup, *orders, shared), shared, clock),
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

impl Conductor<'_> {
    fn steps(mut self, ledger: Ledger) -> Outcome {
        let mut outcome = Outcome {
            hauls: Vec::new(),
            admitted: 0,
            first: Nanos::ZERO,
            last: Nanos::ZERO,
            cpu: None,
            ledger,
            interrupted: false,
            requests_reached: false,
        };
        if self.admit() {
            let first = self.clock.now() + START_LEAD + self.config.warmup;
            self.shared.open_window(first, first + self.config.duration);
            outcome.first = first;
            self.wait_until(Nanos(first.0 - START_LEAD.0), Stage::WarmUp);
            outcome.ledger.window_nears(self.clock.now());
            self.wait_until(first, Stage::WarmUp);
            let begin = self.sample();
            self.wait_until(first + self.config.duration, Stage::Measure);
            outcome.cpu = Some((begin, self.sample()));
            outcome.ledger.window_ended(self.clock.now());
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
        while self.shared.admitted() < self.config.connections {
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
            thread::park_timeout(instant.since(now).min(LOOK).duration());
        }
    }

    /// Counts under the same load what would have disturbed the window, then ends the load.
    fn count_beyond(&mut self, ledger: &mut Ledger) {
        let length = ledger::span_length(self.config.duration);
        let mut open = Vec::new();
        for counted in ledger::SPANS {
            if self.interrupted() || self.shared.abandoned() {
                break;
            }
            let Some(span) = ledger.open_span(counted) else { continue };
            let begin = span.read(self.clock.now(), self.shared.uncounted());
            if self.go_on(length) {
                ledger.enter(&span, &begin, &span.read(self.clock.now(), self.shared.uncounted()));
            }
            open.push(span);
        }
        self.shared.drain();
        // Closing takes its time, which nobody waits for now.
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

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn sample(&self) -> CpuSample {
        CpuSample {
            at: self.clock.now(),
            generator: accounting::process_cpu(std::process::id()).ok(),
            server: self.config.server_pid.and_then(|pid| accounting::tree_cpu(pid).ok()),
        }
    }

    fn report(&mut self, stage: Stage, now: Nanos) {
        if now >= self.next_progress {
            self.next_progress = now + PROGRESS_INTERVAL;
            let look = self.look(stage);
            (self.progress)(look);
        }
    }

    fn look(&self, stage: Stage) -> Progress {
        let (counted, errors) = self.shared.published();
        Progress { stage, at: self.clock.now(), admitted: self.shared.admitted(), counted, errors }
    }
}

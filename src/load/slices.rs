//! A load that comes and goes on command, so that several servers can be loaded by turns: connections stay open, a slice
//! begins with nothing under way and ends with nothing under way. What is read at both ends therefore belongs to the
//! slice's requests and to no other's: CPU clocks to the nanosecond (of a process that runs a clock read from outside may
//! lag by a tick, 1 to 10 ms; of one that waits or is stopped it does not), and answers to the last.

use super::coordinator::{Coordinator, Outcome, Script};
use super::cpu_use::{CpuReader, CpuSample, CpuUse};
use super::resource_usage::{self, Kind};
use super::settled::Settled;
use super::slice_gate::SliceGate;
use crate::record::slice_command::{SliceCommand, SliceDone};
use crate::record::{SliceRecord, SlicesRecord};
use crate::sys::process;
use crate::units::Nanos;
use std::time::Duration;

/// How long a server may take to stop (SIGSTOP) or to go on.
const STOP_WITHIN: Nanos = Nanos::from_millis(100);
/// How long counters are open that would disturb others.
const COUNTER_WINDOW: Nanos = Nanos::from_millis(100);
/// Longest wait without a look at whether the run was stopped.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Who says what to do next.
pub trait Commander {
    /// Called once all connections are made and answered, and after each command: it is done, with what it came to. `None`
    /// when nobody is left to say.
    fn next(&mut self, done: SliceDone) -> Option<SliceCommand>;
}

/// Slices on command.
pub struct OnCommand<'a>(pub &'a mut dyn Commander);

impl Script for OnCommand<'_> {
    const IN_SLICES: bool = true;

    fn run(self, coordinator: &mut Coordinator<'_>, outcome: Outcome) -> Outcome {
        Slices::new(coordinator, outcome).run(self.0)
    }
}

/// A run in slices, under way.
struct Slices<'a, 'b> {
    coordinator: &'a Coordinator<'b>,
    /// Made with the first slice, when the server has started all it needs for the load.
    cpu: Option<CpuReader>,
    stops_server: bool,
    outcome: Outcome,
    /// Of all slices.
    used: Option<CpuUse>,
    counted: Nanos,
    /// Requests recorded so far.
    recorded: u64,
    /// The end of the last slice, and what the server used from then on to the one after it.
    quiet_since: Option<CpuSample>,
    idle: CpuUse,
}

impl<'a, 'b> Slices<'a, 'b> {
    /// To be called when all connections are admitted.
    fn new(coordinator: &'a Coordinator<'b>, outcome: Outcome) -> Slices<'a, 'b> {
        Slices {
            coordinator,
            cpu: None,
            stops_server: false,
            outcome,
            used: None,
            counted: Nanos::ZERO,
            recorded: 0,
            quiet_since: None,
            idle: CpuUse::default(),
        }
    }

    /// Does what it is told until the end, or until the run is stopped.
    fn run(mut self, commander: &mut dyn Commander) -> Outcome {
        self.coordinator.shared.rest();
        self.outcome.server_drops = self.coordinator.server_drops();
        let mut done = SliceDone::default();
        while self.wait_for_quiet()
            && let Some(command) = commander.next(done)
            && command != SliceCommand::End
        {
            done = self.obey(command);
        }
        self.continue_server();
        self.outcome.resource_usage.window_ended();
        self.coordinator.shared.drain();
        self.outcome.cpu = self.used;
        self.outcome.last = self.outcome.first + self.counted;
        self.outcome
    }

    fn obey(&mut self, command: SliceCommand) -> SliceDone {
        let (answers, begin) = (self.answers(), self.coordinator.clock.now());
        match command {
            SliceCommand::Slice { length_ns } => self.slice(SlicesRecord::new(length_ns, 0, 0)),
            SliceCommand::WarmUp { length_ns } => self.uncounted(Nanos(length_ns)),
            SliceCommand::Count => resource_usage::COUNTER_WINDOWS.iter().for_each(|kind| self.count(kind)),
            SliceCommand::StopBetween => {
                self.stops_server = true;
                self.stop_server();
            }
            SliceCommand::End => {}
        }
        let idle = std::mem::take(&mut self.idle);
        SliceDone {
            answers: self.answers() - answers,
            took_ns: self.coordinator.clock.now().since(begin).0,
            idle_cpu_ns: idle.server.map_or(0, |server| server.cpu.total.0),
            idle_ns: idle.span.0,
            errors: self.errors(),
        }
    }

    /// Those that are not allowed.
    fn errors(&self) -> u64 {
        let Coordinator { shared, config, .. } = self.coordinator;
        if config.allowed_errors.is_some() { 0 } else { shared.published().1 }
    }

    fn slice(&mut self, how: SlicesRecord) {
        let (whole, settle) = (Nanos(how.length_ns), Nanos(how.settle_ns));
        self.continue_server();
        let answers = self.answers();
        let before = self.sample();
        self.idle = self.quiet_since.take().map(|end| before.since(&end)).unwrap_or_default();
        let start = self.coordinator.clock.now();
        let settled = self.load(start, start + settle, start + whole);
        self.stop_server();
        let end = self.sample();
        let used = end.since(&before);
        self.quiet_since = Some(end);
        let (requests, counted) = self.counted(settled, whole.since(settle));
        self.outcome.slices.push(SliceRecord {
            requests,
            counted_ns: counted.0,
            answers: self.answers() - answers,
            length_ns: settled.until.since(start).max(whole).0,
            server_cpu_ns: used.server.map(|server| server.cpu.total.0),
            generator_cpu_ns: used.generator.map_or(0, |cpu| cpu.total.0),
        });
        self.used = Some(self.used.map_or(used, |before| before.with(used)));
    }

    /// Requests that count, and for how long they were counted: of a closed loop from wave to wave, of a schedule those that
    /// were due in the rest of the slice.
    fn counted(&mut self, settled: Settled, window: Nanos) -> (u64, Nanos) {
        let recorded = self.coordinator.shared.published().0;
        let requests = recorded - std::mem::replace(&mut self.recorded, recorded);
        let waves = self.coordinator.config.pace.is_none() && settled.rate > 0.0;
        let counted = match waves {
            true => (settled.answers, Nanos((settled.answers as f64 / settled.rate * 1e9).round() as u64)),
            false => (requests, window),
        };
        // The samples of both are the same, so that the whole has the throughput of its parts.
        let scale = if waves { requests as f64 / settled.answers as f64 } else { 1.0 };
        self.counted = self.counted + Nanos((counted.1.0 as f64 * scale).round() as u64);
        counted
    }

    fn sample(&mut self) -> CpuSample {
        let Coordinator { config, clock, .. } = self.coordinator;
        let cpu = self.cpu.get_or_insert_with(|| CpuReader::new(config, *clock));
        self.outcome.watched_cores = cpu.watched_cores.len();
        cpu.sample()
    }

    fn uncounted(&mut self, length: Nanos) {
        self.continue_server();
        let start = self.coordinator.clock.now();
        self.load(start, start + length, start + length);
        self.stop_server();
    }

    fn count(&mut self, kind: &'static Kind) {
        let Some(window) = self.outcome.resource_usage.open_window(kind) else { return };
        let clock = self.coordinator.clock;
        let begin = window.read(clock.now(), self.answers());
        self.uncounted(COUNTER_WINDOW);
        let end = window.read(clock.now(), self.answers());
        self.outcome.resource_usage.enter(&window, begin, end);
    }

    /// Loads from now until `last`, and waits until all is answered.
    fn load(&self, start: Nanos, first: Nanos, last: Nanos) -> Settled {
        let shared = self.coordinator.shared;
        shared.begin_slice(start, first, last);
        shared.gate().into_iter().for_each(SliceGate::open);
        self.wait_for_quiet();
        shared.gate().map(SliceGate::settled).unwrap_or_default()
    }

    /// Waits until no thread has anything under way. `false` when the run was stopped.
    fn wait_for_quiet(&self) -> bool {
        let Coordinator { shared, config, .. } = self.coordinator;
        let Some(gate) = shared.gate() else { return false };
        loop {
            let quiet = gate.wait_for(config.threads, POLL_INTERVAL);
            if self.coordinator.interrupted() {
                shared.abandon();
            }
            if quiet || shared.abandoned() {
                return !shared.abandoned();
            }
        }
    }

    fn answers(&self) -> u64 {
        self.coordinator.shared.answers()
    }

    /// A server that cannot be stopped or continued shows in what it uses.
    fn stop_server(&self) {
        if let Some(pid) = self.server_to_stop() {
            let _ = process::stop_group(pid).map(|()| process::until_stopped(pid, STOP_WITHIN));
        }
    }

    fn continue_server(&self) {
        if let Some(pid) = self.server_to_stop() {
            let _ = process::continue_group(pid);
        }
    }

    fn server_to_stop(&self) -> Option<u32> {
        self.coordinator.config.server_pid.filter(|_| self.stops_server)
    }
}

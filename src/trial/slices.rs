//! A round in slices: all servers are alive at once, each with a generator of its own whose connections stay open, and
//! the load passes from one to the next in blocks, each with one short slice of every contestant in an order of its own.
//!
//! A machine drifts by a fifth within seconds, but hardly from one slice to the next (duet benchmarking, Bulej et al.,
//! ICPE 2020; randomised multiple interleaved trials, Abedi and Brecht, ICPE 2017).

use super::error::TrialError;
use super::floor::Floor;
use super::generator::{Generator, Target};
use super::observer::{Observer, TrialSlot};
use super::server::Server;
use super::{Cancel, Plan};
use crate::clock::Clock;
use crate::record::slice_command::{SliceCommand, SliceDone};
use crate::record::{FloorSliceRecord, Reason, SlicesRecord, TrialRecord, Workload};
use crate::stats::{Random, derive_seed};
use crate::sys::accounting::{ProcessTreeCpu, process_tree_cpu, processes};
use crate::sys::process;
use crate::units::Nanos;
use std::sync::atomic::AtomicBool;
use std::thread;

/// For so long servers without a request under way are watched, once all are there.
const WATCH: Nanos = Nanos::from_millis(30);
/// … and so many times as long where one still waits for a core that others have.
const MAX_WATCHES: u32 = 10;
/// A server that uses more than this share of a core meanwhile is not quiet. A timer every few milliseconds is.
const QUIET: f64 = 0.02;
/// How long the floor is measured in each block: it has no turns to wait for.
const FLOOR_SLICE: Nanos = Nanos::from_millis(10);
/// No slice is made longer than for answers that take so long.
const LONGEST_TURN: Nanos = Nanos::from_millis(250);
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Never set.
static NEVER: AtomicBool = AtomicBool::new(false);
/// Rounds in which counters are opened that would disturb others, at the end.
const COUNTED_ROUNDS: u64 = 2;

/// How the rounds of a cell go.
pub struct Slices {
    pub how: SlicesRecord,
    /// `None` where it cannot be measured: then there is no such figure.
    pub floor: Option<Floor>,
}

/// A contestant in a round.
struct Lane {
    slot: TrialSlot,
    server: Server,
    generator: Generator,
    /// What was found of it besides what its generator reports.
    warnings: Vec<Reason>,
    /// What its server used between its slices, and how long these were apart.
    idle: (Nanos, Nanos),
}

/// A round under way.
pub struct Round<'a> {
    plan: &'a Plan,
    how: SlicesRecord,
    floor: Option<&'a Floor>,
    cancel: Cancel<'a>,
    lanes: Vec<Lane>,
    /// Of those that are through, or fell out.
    records: Vec<(TrialSlot, TrialRecord)>,
    /// Whole ones so far.
    blocks: u64,
}

/// What a round came to.
pub struct RoundOutcome {
    pub records: Vec<(TrialSlot, TrialRecord)>,
    /// Then the records are of the blocks until then.
    pub interrupted: bool,
}

/// Runs the slots of a round, all at once. The first round decides how long slices are, where that is left to it.
pub fn run(
    plan: &Plan,
    slices: &mut Slices,
    slots: &[TrialSlot],
    random: &mut Random,
    cancel: Cancel,
    observer: &mut dyn Observer,
) -> RoundOutcome {
    let floor = slices.floor.as_ref();
    let mut round = Round { plan, how: slices.how, floor, cancel, lanes: Vec::new(), records: Vec::new(), blocks: 0 };
    let ran = round.steps(slots, random, observer);
    // What has been measured is kept; nobody is told to hurry any more.
    round.cancel = Cancel(&NEVER);
    let ended = if round.blocks > 0 { round.end_all() } else { Ok(()) };
    let Round { how, records, blocks, .. } = round;
    slices.how = how;
    let interrupted = ran.is_err() || ended.is_err();
    RoundOutcome { records: if interrupted && blocks == 0 { Vec::new() } else { records }, interrupted }
}

impl Round<'_> {
    /// An error is an interrupt: what fails otherwise is a contestant's, and recorded.
    fn steps(
        &mut self,
        slots: &[TrialSlot],
        random: &mut Random,
        observer: &mut dyn Observer,
    ) -> Result<(), TrialError> {
        let Some(&TrialSlot { cell, round, .. }) = slots.first() else { return Ok(()) };
        slots.iter().try_for_each(|slot| self.start(*slot))?;
        let cancel = self.cancel;
        self.each(|lane| lane.generator.wait_ready(cancel))?;
        self.stop_the_restless()?;
        self.warm_up(cell, round)?;
        for number in 0..self.how.blocks {
            if self.lanes.is_empty() {
                break;
            }
            observer.block(cell, round, number, self.how);
            if let Some(Ok(slice)) = self.floor.map(|floor| floor.slice(FLOOR_SLICE)) {
                observer.floor(cell, FloorSliceRecord { round, ..slice });
            }
            random.shuffle(&mut self.lanes);
            self.slice_each()?;
            self.blocks += 1;
        }
        if self.plan.counts && round <= COUNTED_ROUNDS {
            self.command(SliceCommand::Count)?;
        }
        Ok(())
    }

    /// One block. Who has errors that are not allowed is through: each of its slices might take a timeout.
    fn slice_each(&mut self) -> Result<(), TrialError> {
        let (cancel, length_ns) = (self.cancel, self.how.length_ns);
        let mut through = Vec::new();
        self.each(|lane| {
            let done = lane.generator.command(SliceCommand::Slice { length_ns }, cancel)?;
            if done.errors > 0 {
                through.push(lane.slot);
            }
            lane.watch(done, cancel)
        })?;
        let (through, going_on) =
            std::mem::take(&mut self.lanes).into_iter().partition(|lane| through.contains(&lane.slot));
        self.lanes = through;
        self.end_all()?;
        self.lanes = going_on;
        Ok(())
    }

    fn end_all(&mut self) -> Result<(), TrialError> {
        while let Some(lane) = self.lanes.pop() {
            self.end(lane)?;
        }
        Ok(())
    }

    /// Also finds out, where nobody has said how long a slice is, how long it has to be.
    fn warm_up(&mut self, cell: usize, round: u64) -> Result<(), TrialError> {
        let Workload { shape, generator, .. } = &self.plan.workloads[cell];
        let in_flight = shape.connections.saturating_mul(shape.depth) as f64;
        let gap = generator.rate_per_s.map(|rate| NANOS_PER_SECOND / rate.max(1));
        let turns =
            (0..self.how.warm_up.max(1)).map(|_| self.longest_turn(in_flight)).collect::<Result<Vec<_>, _>>()?;
        if round > 1 || !self.plan.adapts_slices {
            return Ok(());
        }
        let mut turn = turns.into_iter().fold(LONGEST_TURN.0, u64::min);
        if gap.is_none() && self.how.holding(turn) != self.how {
            // It may have been a hiccup.
            turn = turn.min(self.longest_turn(in_flight)?);
        }
        // Of a schedule it is requests that a slice is to hold many of.
        self.how = self.how.holding(gap.unwrap_or(turn).min(LONGEST_TURN.0));
        Ok(())
    }

    /// Warms all up; the longest that one took to answer each of its connections once, in nanoseconds.
    fn longest_turn(&mut self, in_flight: f64) -> Result<u64, TrialError> {
        let (cancel, length_ns) = (self.cancel, self.how.length_ns);
        let mut longest = 0.0_f64;
        self.each(|lane| {
            let done = lane.generator.command(SliceCommand::WarmUp { length_ns }, cancel)?;
            longest = longest.max(done.took_ns as f64 * in_flight / done.answers.max(1) as f64);
            Ok(())
        })?;
        Ok(longest as u64)
    }

    fn start(&mut self, slot: TrialSlot) -> Result<(), TrialError> {
        let started = Lane::start(self.plan, slot, self.cancel);
        match started {
            Ok(lane) => self.lanes.push(lane),
            Err(error) => self.fell_out(slot, error)?,
        }
        Ok(())
    }

    fn command(&mut self, command: SliceCommand) -> Result<(), TrialError> {
        let cancel = self.cancel;
        self.each(|lane| lane.generator.command(command, cancel).map(drop))
    }

    /// One after the other; who fails falls out.
    fn each(&mut self, mut act: impl FnMut(&mut Lane) -> Result<(), TrialError>) -> Result<(), TrialError> {
        let mut lanes = std::mem::take(&mut self.lanes).into_iter();
        while let Some(mut lane) = lanes.next() {
            match act(&mut lane) {
                Ok(()) => self.lanes.push(lane),
                Err(TrialError::Interrupted) => {
                    self.lanes.push(lane);
                    self.lanes.extend(lanes);
                    return Err(TrialError::Interrupted);
                }
                Err(error) => self.lane_fell_out(lane, error)?,
            }
        }
        Ok(())
    }

    /// Where the server has ended, that is why.
    fn lane_fell_out(&mut self, mut lane: Lane, error: TrialError) -> Result<(), TrialError> {
        let error = match (&error, lane.server.still_runs()) {
            (TrialError::Interrupted, _) | (_, Ok(())) => error,
            (_, Err(ended)) => ended,
        };
        self.fell_out(lane.slot, error)
    }

    fn fell_out(&mut self, slot: TrialSlot, error: TrialError) -> Result<(), TrialError> {
        let record = match error {
            TrialError::Invalid(report) => slot.measured(*report, None),
            error => slot.failed(error.reason()?),
        };
        self.records.push((slot, record));
        Ok(())
    }

    fn end(&mut self, lane: Lane) -> Result<(), TrialError> {
        let slot = lane.slot;
        match lane.end(self.cancel) {
            Ok(record) => self.records.push((slot, record)),
            Err(error) => self.fell_out(slot, error)?,
        }
        Ok(())
    }

    /// Has those stopped between their slices that use the processor without a request under way.
    fn stop_the_restless(&mut self) -> Result<(), TrialError> {
        let cancel = self.cancel;
        let shares = self.idle_shares();
        for (lane, share) in self.lanes.iter_mut().zip(&shares).filter(|(_, share)| **share > QUIET) {
            lane.warnings.push(Reason::StoppedBetweenSlices { share: *share });
        }
        if self.lanes.iter().all(|lane| lane.warnings.is_empty()) {
            return Ok(());
        }
        self.each(|lane| match lane.warnings.is_empty() {
            true => Ok(()),
            false => lane.generator.command(SliceCommand::StopBetween, cancel).map(drop),
        })?;
        let shares = self.idle_shares();
        for (lane, share) in self.lanes.iter_mut().zip(&shares).filter(|(_, share)| **share > QUIET) {
            lane.warnings = vec![Reason::BusyBetweenSlices { share: *share }];
        }
        Ok(())
    }

    /// The share of a core that each server uses while nobody asks anything of it. One that would run and gets no core is
    /// waited for: what it would use shows later.
    fn idle_shares(&self) -> Vec<f64> {
        let (clock, before) = (Clock::start(), self.cpu_of_all());
        let mut shares = Vec::new();
        for _ in 0..MAX_WATCHES {
            thread::sleep(WATCH.duration());
            shares = shares_of_core(&before, &self.cpu_of_all(), clock.now());
            let mut watched = self.lanes.iter().zip(&shares);
            if !watched.any(|(lane, share)| *share <= QUIET && process::wants_core(lane.server.pid())) {
                break;
            }
        }
        shares
    }

    fn cpu_of_all(&self) -> Vec<Option<ProcessTreeCpu>> {
        self.lanes.iter().map(|lane| cpu_of(&lane.server)).collect()
    }
}

/// What each server used in this time; of one that cannot be asked nothing.
fn shares_of_core(before: &[Option<ProcessTreeCpu>], after: &[Option<ProcessTreeCpu>], within: Nanos) -> Vec<f64> {
    let used = |before: &ProcessTreeCpu, after: &ProcessTreeCpu| after.since(before).cpu.total;
    let share = |used: Nanos| used.as_secs_f64() / within.as_secs_f64();
    let both = before.iter().zip(after).map(|(before, after)| before.as_ref().zip(after.as_ref()));
    both.map(|both| both.map_or(0.0, |(before, after)| share(used(before, after)))).collect()
}

fn cpu_of(server: &Server) -> Option<ProcessTreeCpu> {
    process_tree_cpu(&processes(server.pid())).ok()
}

impl Lane {
    fn start(plan: &Plan, slot: TrialSlot, cancel: Cancel) -> Result<Lane, TrialError> {
        cancel.check()?;
        let workload = &plan.workloads[slot.cell];
        let protocol = &workload.generator.protocol;
        let server = Server::start(plan, &plan.contestants[slot.contestant], protocol, cancel)?;
        let target = Target { address: server.address().clone(), pid: server.pid() };
        // Every contestant of a round gets the same payload.
        let seed = derive_seed(plan.seed, slot.round);
        let workload = Workload { seed, ..workload.clone() };
        let generator = Generator::start(plan, &workload, &target)?;
        Ok(Lane { slot, server, generator, warnings: Vec::new(), idle: (Nanos::ZERO, Nanos::ZERO) })
    }

    /// Some are quiet only until they have been asked something: then they are stopped from now on.
    fn watch(&mut self, done: SliceDone, cancel: Cancel) -> Result<(), TrialError> {
        let (used, time) = &mut self.idle;
        *used = *used + Nanos(done.idle_cpu_ns);
        *time = *time + Nanos(done.idle_ns);
        let share = used.0 as f64 / time.0.max(1) as f64;
        if *time < WATCH || share <= QUIET || !self.warnings.is_empty() {
            return Ok(());
        }
        self.warnings.push(Reason::StoppedBetweenSlices { share });
        self.generator.command(SliceCommand::StopBetween, cancel).map(drop)
    }

    fn end(self, cancel: Cancel) -> Result<TrialRecord, TrialError> {
        let Lane { slot, mut server, generator, warnings, .. } = self;
        let load = generator.end(cancel);
        cancel.check()?;
        server.still_runs()?;
        let mut load = load?;
        load.warnings.extend(warnings);
        Ok(slot.measured(load, server.stop()?))
    }
}

//! A round in slices: all servers are alive at once, each with a generator of its own whose connections stay open, and
//! the load passes from one to the next in blocks, each with one short slice of every contestant in an order of its own.
//!
//! A machine drifts by a fifth within seconds, but hardly from one slice to the next (duet benchmarking, Bulej et al.,
//! ICPE 2020; randomised multiple interleaved trials, Abedi and Brecht, ICPE 2017).

use super::error::TrialError;
use super::generator::{Generator, Target};
use super::rounds::{TrialSlot, failed_record};
use super::server::Server;
use super::{Cancel, Plan};
use crate::record::slice_command::SliceCommand;
use crate::record::{LoadReport, Reason, SlicesRecord, TrialRecord, Workload};
use crate::stats::{Random, derive_seed};
use crate::sys::accounting::{ProcessTreeCpu, process_tree_cpu, processes};
use crate::units::Nanos;
use std::thread;

/// For so long servers without a request under way are watched, once all are there.
const WATCH: Nanos = Nanos::from_millis(30);
/// A server that uses more than this share of a core meanwhile is not quiet. A timer every few milliseconds is.
const QUIET: f64 = 0.02;
/// Rounds in which counters are opened that would disturb others, at the end.
const COUNTED_ROUNDS: u64 = 2;

/// A contestant in a round.
struct Lane {
    slot: TrialSlot,
    server: Server,
    generator: Generator,
    /// What was found of it besides what its generator reports.
    warnings: Vec<Reason>,
}

/// A round under way.
pub struct Round<'a> {
    plan: &'a Plan,
    how: SlicesRecord,
    cancel: Cancel<'a>,
    lanes: Vec<Lane>,
    /// Of those that are through, or fell out.
    records: Vec<(TrialSlot, TrialRecord)>,
}

/// Runs the slots of a round, all at once; `None` when interrupted. Calls `block` when each begins, by its number from 0.
pub fn run(
    plan: &Plan,
    how: SlicesRecord,
    slots: &[TrialSlot],
    random: &mut Random,
    cancel: Cancel,
    block: &mut dyn FnMut(u64),
) -> Option<Vec<(TrialSlot, TrialRecord)>> {
    let mut round = Round { plan, how, cancel, lanes: Vec::new(), records: Vec::new() };
    match round.steps(slots, random, block) {
        Ok(()) => Some(round.records),
        Err(_) => None,
    }
}

impl Round<'_> {
    /// An error is an interrupt: what fails otherwise is a contestant's, and recorded.
    fn steps(
        &mut self,
        slots: &[TrialSlot],
        random: &mut Random,
        block: &mut dyn FnMut(u64),
    ) -> Result<(), TrialError> {
        slots.iter().try_for_each(|slot| self.start(*slot))?;
        let cancel = self.cancel;
        self.each(|lane| lane.generator.wait_ready(cancel))?;
        self.stop_the_restless()?;
        (0..self.how.warm_up).try_for_each(|_| self.command(SliceCommand::WarmUp))?;
        for number in 0..self.how.blocks {
            block(number);
            random.shuffle(&mut self.lanes);
            self.command(SliceCommand::Slice)?;
        }
        if self.plan.counts && slots.first().is_some_and(|slot| slot.round <= COUNTED_ROUNDS) {
            self.command(SliceCommand::Count)?;
        }
        while let Some(lane) = self.lanes.pop() {
            self.end(lane)?;
        }
        Ok(())
    }

    fn start(&mut self, slot: TrialSlot) -> Result<(), TrialError> {
        let started = Lane::start(self.plan, slot, Nanos(self.how.length_ns), self.cancel);
        match started {
            Ok(lane) => self.lanes.push(lane),
            Err(error) => self.fell_out(slot, error)?,
        }
        Ok(())
    }

    fn command(&mut self, command: SliceCommand) -> Result<(), TrialError> {
        let cancel = self.cancel;
        self.each(|lane| lane.generator.command(command, cancel))
    }

    /// One after the other; who fails falls out.
    fn each(&mut self, mut act: impl FnMut(&mut Lane) -> Result<(), TrialError>) -> Result<(), TrialError> {
        for mut lane in std::mem::take(&mut self.lanes) {
            match act(&mut lane) {
                Ok(()) => self.lanes.push(lane),
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
            TrialError::Invalid(report) => record_of(slot, *report, None),
            error => failed_record(slot, error.reason()?),
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
            false => lane.generator.command(SliceCommand::StopBetween, cancel),
        })?;
        let shares = self.idle_shares();
        for (lane, share) in self.lanes.iter_mut().zip(&shares).filter(|(_, share)| **share > QUIET) {
            lane.warnings = vec![Reason::BusyBetweenSlices { share: *share }];
        }
        Ok(())
    }

    /// The share of a core that each server uses while nobody asks anything of it.
    fn idle_shares(&self) -> Vec<f64> {
        let read = || self.lanes.iter().map(|lane| cpu_of(&lane.server)).collect::<Vec<_>>();
        let before = read();
        thread::sleep(WATCH.duration());
        let share = |(now, before): (Option<ProcessTreeCpu>, Option<ProcessTreeCpu>)| {
            let used = now.zip(before).map(|(now, before)| now.since(&before).cpu.total);
            used.map_or(0.0, |used| used.as_secs_f64() / WATCH.as_secs_f64())
        };
        read().into_iter().zip(before).map(share).collect()
    }
}

fn cpu_of(server: &Server) -> Option<ProcessTreeCpu> {
    process_tree_cpu(&processes(server.pid())).ok()
}

impl Lane {
    fn start(plan: &Plan, slot: TrialSlot, slice: Nanos, cancel: Cancel) -> Result<Lane, TrialError> {
        cancel.check()?;
        let workload = &plan.workloads[slot.cell];
        let protocol = &workload.generator.protocol;
        let server = Server::start(plan, &plan.contestants[slot.contestant], protocol, cancel)?;
        let target = Target { address: server.address().clone(), pid: server.pid() };
        // Every contestant of a round gets the same payload.
        let seed = derive_seed(plan.seed, slot.round);
        let workload = Workload { seed, ..workload.clone() };
        let generator = Generator::start(plan, &workload, &target, slice)?;
        Ok(Lane { slot, server, generator, warnings: Vec::new() })
    }

    fn end(self, cancel: Cancel) -> Result<TrialRecord, TrialError> {
        let Lane { slot, mut server, generator, warnings } = self;
        let load = generator.end(cancel);
        cancel.check()?;
        server.still_runs()?;
        let mut load = load?;
        load.warnings.extend(warnings);
        Ok(record_of(slot, load, server.stop()?))
    }
}

fn record_of(slot: TrialSlot, load: LoadReport, connections_per_shard: Option<Vec<u64>>) -> TrialRecord {
    let TrialSlot { round, position, .. } = slot;
    TrialRecord { round, position, load: Some(load), failed: None, connections_per_shard }
}

//! Which trial runs when.
//!
//! Cell after cell; in a cell, round after round; in a round every contestant once, in an order that the seed decides.
//! The number of rounds is fixed beforehand: stopping as soon as a difference shows would find one where there is none.

use super::disturbance::Watch;
use super::error::TrialError;
use super::generator::{self, Target};
use super::server::Server;
use super::{Cancel, Plan};
use crate::report::schema::{LoadReport, Stopped, TrialRecord};
use crate::stats::{Random, mix};

/// A contestant that gave no answer this often in a row is not tried again in that cell.
const MAX_FAILURES_IN_A_ROW: usize = 2;

/// One entry of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Index into the plan's cells.
    pub cell: usize,
    /// Index into the plan's contestants.
    pub contestant: usize,
    /// From 1.
    pub round: u64,
    /// Place in its round, from 1.
    pub position: u64,
}

/// Is told what happens, as it happens.
pub trait Observer {
    fn starting(&mut self, trial: Schedule);
    fn finished(&mut self, trial: Schedule, record: TrialRecord);
}

/// Starts and stops every contestant once: who cannot run here, and why. `Err` when interrupted.
pub fn check(plan: &Plan, cancel: Cancel) -> Result<Vec<Option<String>>, TrialError> {
    let start = |contestant| Server::start(&plan.program, contestant, &plan.server_cores, cancel);
    plan.contestants
        .iter()
        .map(|contestant| match start(contestant).and_then(Server::stop) {
            Ok(_) => Ok(None),
            Err(TrialError::Interrupted) => Err(TrialError::Interrupted),
            Err(error) => Ok(Some(error.to_string())),
        })
        .collect()
}

/// The trials of one cell, in order, of the contestants that can run.
pub fn schedule(plan: &Plan, cell: usize, able: &[usize]) -> Vec<Schedule> {
    let mut random = Random::new(mix(plan.seed, cell as u64));
    let mut trials = Vec::new();
    for round in 1..=plan.rounds {
        let mut order = able.to_vec();
        random.shuffle(&mut order);
        trials.extend((1..).zip(order).map(|(position, contestant)| Schedule { cell, contestant, round, position }));
    }
    trials
}

/// Runs all trials of the contestants that can run, until the last round or an interrupt.
pub fn run(plan: &Plan, able: &[usize], cancel: Cancel, observer: &mut dyn Observer) -> Stopped {
    for cell in 0..plan.cells.len() {
        let mut failures = vec![0; plan.contestants.len()];
        for trial in schedule(plan, cell, able) {
            observer.starting(trial);
            let failed_before = &mut failures[trial.contestant];
            let Some(record) = attempt(plan, trial, *failed_before, cancel) else { return Stopped::Interrupted };
            *failed_before = if answered(&record) { 0 } else { *failed_before + 1 };
            observer.finished(trial, record);
        }
    }
    Stopped::Rounds
}

/// An invalid report may be due to chance; one without a single answer is not.
fn answered(record: &TrialRecord) -> bool {
    record.load.as_ref().is_some_and(|load| load.requests > 0)
}

/// One trial and its record; `None` when interrupted.
fn attempt(plan: &Plan, trial: Schedule, failed_before: usize, cancel: Cancel) -> Option<TrialRecord> {
    let outcome = match failed_before {
        MAX_FAILURES_IN_A_ROW.. => Err(format!("not run: {MAX_FAILURES_IN_A_ROW} trials in a row got no answer")),
        _ => match run_trial(plan, trial, cancel) {
            Err(TrialError::Interrupted) => return None,
            outcome => outcome.map_err(|error| error.to_string()),
        },
    };
    let (round, position) = (trial.round, trial.position);
    Some(match outcome {
        Ok((load, connections_per_shard)) => {
            TrialRecord { round, position, load: Some(load), failed: None, connections_per_shard }
        }
        Err(reason) => TrialRecord { round, position, load: None, failed: Some(reason), connections_per_shard: None },
    })
}

fn run_trial(plan: &Plan, trial: Schedule, cancel: Cancel) -> Result<(LoadReport, Option<Vec<u64>>), TrialError> {
    let contestant = &plan.contestants[trial.contestant];
    cancel.check()?;
    let watch = Watch::start([plan.server_cores.as_slice(), plan.load.cores.as_slice()].concat());
    let mut server = Server::start(&plan.program, contestant, &plan.server_cores, cancel)?;
    let target = Target { address: server.address, pid: server.pid() };
    // Every contestant of a round gets the same payload.
    let seed = mix(plan.seed, trial.round);
    let load = generator::run(&plan.program, &target, &plan.cells[trial.cell], &plan.load, seed, cancel);
    cancel.check()?;
    server.still_runs()?;
    let mut load = load?;
    let per_shard = server.stop()?;
    load.warnings.extend(watch.warnings());
    Ok((load, per_shard))
}

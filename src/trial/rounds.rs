//! Which trial runs when.
//!
//! Cell after cell; in a cell, round after round; in a round every contestant once, in an order that the seed decides.
//! The number of rounds is fixed beforehand, or they end when all intervals are narrow, wherever they lie: stopping as
//! soon as a difference shows would find one where there is none.

use super::error::TrialError;
use super::floor::Floor;
use super::generator::{self, Target};
use super::observer::{Observer, TrialSlot};
use super::server::Server;
use super::slices::{self, RoundOutcome, Slices};
use super::{Cancel, Contestant, Plan, Rounds};
use crate::clock::Clock;
use crate::record::{LoadReport, Reason, Stopped, TrialRecord, Workload};
use crate::stats::{Random, derive_seed};
use crate::units::Nanos;

/// A contestant that gave no answer this often in a row is not tried again in that cell.
const MAX_FAILURES_IN_A_ROW: usize = 2;

/// Starts and stops every contestant once on each protocol of the plan: who cannot run here, and why. `Err` when
/// interrupted.
pub fn check(plan: &Plan, cancel: Cancel) -> Result<Vec<Option<Reason>>, TrialError> {
    plan.contestants.iter().map(|contestant| check_one(plan, contestant, cancel)).collect()
}

fn check_one(plan: &Plan, contestant: &Contestant, cancel: Cancel) -> Result<Option<Reason>, TrialError> {
    for protocol in plan.protocols() {
        if let Err(error) = Server::start(plan, contestant, protocol, cancel).and_then(Server::stop) {
            return error.reason().map(Some);
        }
    }
    Ok(None)
}

/// Runs the trials of the contestants that can run, until every cell has had enough or an interrupt.
pub fn run(plan: &Plan, able: &[usize], cancel: Cancel, observer: &mut dyn Observer) -> Stopped {
    let clock = Clock::start();
    // Rounds of nobody are none.
    let cells = if able.is_empty() { 0 } else { plan.workloads.len() };
    let mut all = Stopped::Rounds;
    for cell in 0..cells {
        // A cell that needs less leaves the rest of its time to those after it.
        let until = plan.rounds.max_time.map(|time| Nanos(time.0 / cells as u64 * (cell as u64 + 1)));
        let why = run_cell(plan, cell, able, cancel, observer, &|| until.is_some_and(|until| clock.now() >= until));
        observer.ended(cell, why);
        all = all.max(why);
        if why == Stopped::Interrupted {
            break;
        }
    }
    all
}

fn run_cell(
    plan: &Plan,
    cell: usize,
    able: &[usize],
    cancel: Cancel,
    observer: &mut dyn Observer,
    time_is_over: &dyn Fn() -> bool,
) -> Stopped {
    let mut random = Random::new(derive_seed(plan.seed, cell as u64));
    let mut failures = vec![0; plan.contestants.len()];
    let mut round = 0;
    let mut slices = plan.slices.map(|how| Slices { how, floor: open_floor(plan, cell).filter(|_| plan.counts) });
    loop {
        round += 1;
        let slots = schedule(&mut random, cell, able, round);
        let ran = match &mut slices {
            Some(slices) => run_slices(plan, slices, &slots, &mut failures, &mut random, cancel, observer),
            None => run_trials(plan, &slots, &mut failures, cancel, observer),
        };
        if ran.is_none() {
            return Stopped::Interrupted;
        }
        observer.round_over(cell, round);
        let precise = || observer.is_precise(cell);
        if let Some(why) = enough(&plan.rounds, round, &precise, time_is_over) {
            return why;
        }
    }
}

/// One after the other; `None` when interrupted.
fn run_trials(
    plan: &Plan,
    slots: &[TrialSlot],
    failures: &mut [usize],
    cancel: Cancel,
    observer: &mut dyn Observer,
) -> Option<()> {
    for slot in slots {
        observer.starting(*slot);
        let record = match failures[slot.contestant] {
            MAX_FAILURES_IN_A_ROW.. => not_run(*slot),
            _ => attempt(plan, *slot, cancel)?,
        };
        finished(*slot, record, failures, observer);
    }
    Some(())
}

/// `None` where it cannot be measured, or is not wanted: then there is no such figure.
fn open_floor(plan: &Plan, cell: usize) -> Option<Floor> {
    let workload = &plan.workloads[cell];
    let size = workload.shape.mix().ok()?.mean();
    Floor::open(&workload.generator.protocol, size, *plan.server_cores.as_slice().first()?).ok()
}

/// All at once, by turns; `None` when interrupted.
fn run_slices(
    plan: &Plan,
    slices: &mut Slices,
    slots: &[TrialSlot],
    failures: &mut [usize],
    random: &mut Random,
    cancel: Cancel,
    observer: &mut dyn Observer,
) -> Option<()> {
    let (able, given_up): (Vec<TrialSlot>, Vec<TrialSlot>) =
        slots.iter().partition(|slot| failures[slot.contestant] < MAX_FAILURES_IN_A_ROW);
    let RoundOutcome { mut records, interrupted } = slices::run(plan, slices, &able, random, cancel, observer);
    if interrupted && records.is_empty() {
        return None;
    }
    records.extend(given_up.into_iter().map(|slot| (slot, not_run(slot))));
    records.sort_by_key(|(slot, _)| slot.position);
    records.into_iter().for_each(|(slot, record)| finished(slot, record, failures, observer));
    (!interrupted).then_some(())
}

fn finished(slot: TrialSlot, record: TrialRecord, failures: &mut [usize], observer: &mut dyn Observer) {
    let failed_before = &mut failures[slot.contestant];
    *failed_before = if answered(&record) { 0 } else { *failed_before + 1 };
    observer.finished(slot, record);
}

fn not_run(slot: TrialSlot) -> TrialRecord {
    slot.failed(Reason::NotRun { failures: MAX_FAILURES_IN_A_ROW as u64 })
}

/// The trials of a round, in an order of its own.
fn schedule(random: &mut Random, cell: usize, able: &[usize], round: u64) -> Vec<TrialSlot> {
    let mut order = able.to_vec();
    random.shuffle(&mut order);
    (1..).zip(order).map(|(position, contestant)| TrialSlot { cell, contestant, round, position }).collect()
}

/// Why no round follows after `done` rounds; `None` when one does.
fn enough(rounds: &Rounds, done: u64, precise: &dyn Fn() -> bool, time_is_over: &dyn Fn() -> bool) -> Option<Stopped> {
    let fixed = rounds.min == rounds.max && !rounds.until_precise;
    if rounds.until_precise && done >= rounds.min && precise() {
        Some(Stopped::Precision)
    } else if done >= rounds.max {
        Some(if fixed { Stopped::Rounds } else { Stopped::MaxRounds })
    } else if time_is_over() {
        Some(Stopped::MaxTime)
    } else {
        None
    }
}

/// An invalid report may be due to chance; one without a single answer is not, nor is one with answers that are wrong or do
/// not come, for which every slice would be waited again.
fn answered(record: &TrialRecord) -> bool {
    let fault =
        |load: &LoadReport| ["corrupt", "timeout"].iter().any(|kind| load.errors.get(*kind).is_some_and(|n| *n > 0));
    record.load.as_ref().is_some_and(|load| load.requests > 0 && (record.valid().is_some() || !fault(load)))
}

/// One trial and its record; `None` when interrupted.
fn attempt(plan: &Plan, slot: TrialSlot, cancel: Cancel) -> Option<TrialRecord> {
    Some(match run_trial(plan, slot, cancel) {
        Ok((load, connections_per_shard)) => slot.measured(load, connections_per_shard),
        Err(error) => slot.failed(error.reason().ok()?),
    })
}

fn run_trial(plan: &Plan, trial: TrialSlot, cancel: Cancel) -> Result<(LoadReport, Option<Vec<u64>>), TrialError> {
    let contestant = &plan.contestants[trial.contestant];
    cancel.check()?;
    let mut server = Server::start(plan, contestant, &plan.workloads[trial.cell].generator.protocol, cancel)?;
    let target = Target { address: server.address().clone(), pid: server.pid() };
    // Every contestant of a round gets the same payload.
    let seed = derive_seed(plan.seed, trial.round);
    let workload = Workload { seed, ..plan.workloads[trial.cell].clone() };
    let load = generator::run(plan, &workload, &target, cancel);
    cancel.check()?;
    server.still_runs()?;
    let load = load?;
    Ok((load, server.stop()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many rounds, and why, with ratios precise from round `precise` on and time that lasts `time` rounds.
    fn ends(rounds: Rounds, precise: u64, time: u64) -> (u64, Stopped) {
        let why = |done| enough(&rounds, done, &|| done >= precise, &|| done >= time);
        (1..).find_map(|done| why(done).map(|why| (done, why))).unwrap()
    }

    #[test]
    fn a_fixed_number_is_run_and_any_other_ends_by_the_first_rule_that_holds() {
        let adaptive = Rounds { min: 7, max: 20, until_precise: true, max_time: None };
        for (rounds, precise, time, expected) in [
            (Rounds::fixed(7), 1, 99, (7, Stopped::Rounds)),
            (Rounds::fixed(7), 1, 3, (3, Stopped::MaxTime)),
            (adaptive, 1, 99, (7, Stopped::Precision)),
            (adaptive, 12, 99, (12, Stopped::Precision)),
            (adaptive, 99, 99, (20, Stopped::MaxRounds)),
            (adaptive, 20, 99, (20, Stopped::Precision)),
            (adaptive, 99, 9, (9, Stopped::MaxTime)),
        ] {
            assert_eq!(ends(rounds, precise, time), expected, "{rounds:?} {precise} {time}");
        }
    }

    #[test]
    fn a_round_has_every_contestant_once_and_the_seed_decides_the_order() {
        let rounds = |seed| {
            let mut random = Random::new(seed);
            (1..=20).map(|round| schedule(&mut random, 0, &[0, 2, 3], round)).collect::<Vec<_>>()
        };
        assert_eq!(rounds(1), rounds(1));
        assert_ne!(rounds(1), rounds(2));
        for trials in rounds(1) {
            let mut contestants: Vec<usize> = trials.iter().map(|trial| trial.contestant).collect();
            contestants.sort_unstable();
            assert_eq!(contestants, [0, 2, 3]);
        }
    }
}

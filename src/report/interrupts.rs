//! What interrupts took while a contestant was measured, as text: shown where the kernel keeps it out of the CPU time of
//! both ends, which then lacks what the network's softirqs did for them.

use super::verdict::short_name;
use crate::record::{CellRecord, ContestantRecord, TrialRecord};
use crate::units::Nanos;

/// A line per contestant below a title; none where the time is in that of the programs, or not known.
pub fn lines(cell: &CellRecord) -> Vec<String> {
    let each: Vec<String> = cell.contestants.iter().filter_map(of_contestant).collect();
    let title =
        (!each.is_empty()).then(|| "CPU of interrupts per request, on all cores and in neither side's:".to_owned());
    title.into_iter().chain(each).collect()
}

/// Totals by totals.
fn of_contestant(contestant: &ContestantRecord) -> Option<String> {
    let valid = contestant.trials.iter().filter_map(TrialRecord::valid);
    let apart = valid.filter_map(|load| {
        let interrupts = load.accounting.as_ref()?.interrupts.filter(|interrupts| interrupts.apart)?;
        Some((interrupts.cpu_ns, load.requests))
    });
    let (time, requests) = apart.fold((0, 0), |sum, (time, requests)| (sum.0 + time, sum.1 + requests));
    let each = Nanos(u64::checked_div(time, requests)?);
    Some(format!("  {}  {each}", short_name(&contestant.name)))
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, failed, report, trial};
    use super::*;
    use crate::record::{AccountingRecord, InterruptsRecord};

    #[test]
    fn only_time_that_is_in_nobodys_is_shown() {
        let of = |round, cpu_ns, apart| {
            let mut trial = trial(round, 1e5, &[]);
            let interrupts = Some(InterruptsRecord { cpu_ns, apart });
            trial.load.as_mut().unwrap().accounting = Some(AccountingRecord { interrupts, ..Default::default() });
            trial
        };
        let shown = |trials| lines(&report(vec![contestant("epoll", trials)]).cells[0]);
        let both = shown(vec![of(1, 100_000, true), of(2, 300_000, true), failed(3, "x")]);
        assert_eq!((both.len(), both[1].as_str()), (2, "  epoll  2us"));
        assert!(shown(vec![of(1, 100_000, false)]).is_empty());
        assert!(shown(vec![trial(1, 1e5, &[]), failed(2, "x")]).is_empty());
    }
}

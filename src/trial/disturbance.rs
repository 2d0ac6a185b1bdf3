//! Whether others used the cores while a trial ran: then its figures stand, but a difference is harder to show.

use crate::clock::Clock;
use crate::sys::accounting::{CoresTime, cores_time, ended_children_cpu};
use crate::units::Nanos;

/// Others may use this share of the cores before it is worth a word.
const TOLERATED_SHARE: f64 = 0.05;

/// Watches some cores from its start on.
pub struct Watch {
    cores: Vec<usize>,
    clock: Clock,
    /// What became of the cores' time, and the CPU time of the trial's processes; `None` where the kernel does not tell.
    before: Option<(CoresTime, Nanos)>,
}

impl Watch {
    pub fn start(mut cores: Vec<usize>) -> Watch {
        cores.sort_unstable();
        cores.dedup();
        let before = sample(&cores);
        Watch { cores, clock: Clock::start(), before }
    }

    /// What to warn of, once all processes of the trial have been waited for.
    pub fn warnings(&self) -> Vec<String> {
        let Some(((before, ours_before), (now, ours))) = self.before.zip(sample(&self.cores)) else {
            return Vec::new();
        };
        let capacity = Nanos(self.clock.now().0.saturating_mul(self.cores.len() as u64));
        let others = now.busy.since(before.busy).since(ours.since(ours_before));
        let stolen = now.stolen.since(before.stolen);
        [programs(others, capacity), hypervisor(stolen, capacity)].into_iter().flatten().collect()
    }
}

fn sample(cores: &[usize]) -> Option<(CoresTime, Nanos)> {
    Some((cores_time(cores).ok()?, ended_children_cpu().ok()?))
}

fn programs(others: Nanos, capacity: Nanos) -> Option<String> {
    let percent = intolerable(others, capacity)?;
    Some(format!("other programs used {percent:.0} % of the cores: stop them, or differences drown in the noise"))
}

fn hypervisor(stolen: Nanos, capacity: Nanos) -> Option<String> {
    let percent = intolerable(stolen, capacity)?;
    Some(format!(
        "the hypervisor gave {percent:.0} % of the cores' time to others (steal): more --rounds, or another hour"
    ))
}

/// The share in percent, where it is worth a word.
fn intolerable(used: Nanos, capacity: Nanos) -> Option<f64> {
    let share = used.0 as f64 / capacity.0.max(1) as f64;
    (share > TOLERATED_SHARE).then(|| share.min(1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_used_is_told_by_who_they_were() {
        let capacity = Nanos(100);
        assert_eq!(programs(Nanos(5), capacity), None);
        assert!(programs(Nanos(40), capacity).unwrap().contains("40 %"));
        assert_eq!(hypervisor(Nanos(0), capacity), None);
        assert!(hypervisor(Nanos(7), capacity).unwrap().contains("7 % of the cores' time"));
    }

    #[test]
    fn a_watch_warns_of_nothing_where_no_core_is_watched() {
        assert!(Watch::start(Vec::new()).warnings().is_empty());
    }
}

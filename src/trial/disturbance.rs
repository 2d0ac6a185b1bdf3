//! Whether others used the cores while a trial ran: then its figures stand, but a difference is harder to show.

use crate::clock::Clock;
use crate::sys::accounting::{cores_busy, ended_children_cpu};
use crate::units::Nanos;

/// Others may use this share of the cores before it is worth a word.
const TOLERATED_SHARE: f64 = 0.05;

/// Watches some cores from its start on.
pub struct Watch {
    cores: Vec<usize>,
    clock: Clock,
    /// Busy time of the cores and CPU time of the trial's processes; `None` where the kernel does not tell.
    before: Option<(Nanos, Nanos)>,
}

impl Watch {
    pub fn start(mut cores: Vec<usize>) -> Watch {
        cores.sort_unstable();
        cores.dedup();
        let before = sample(&cores);
        Watch { cores, clock: Clock::start(), before }
    }

    /// What to warn of, once all processes of the trial have been waited for.
    pub fn warning(&self) -> Option<String> {
        let (busy_before, ours_before) = self.before?;
        let (busy, ours) = sample(&self.cores)?;
        let capacity = self.clock.now().0.saturating_mul(self.cores.len() as u64);
        warning(busy.since(busy_before), ours.since(ours_before), Nanos(capacity))
    }
}

fn sample(cores: &[usize]) -> Option<(Nanos, Nanos)> {
    Some((cores_busy(cores).ok()?, ended_children_cpu().ok()?))
}

fn warning(busy: Nanos, ours: Nanos, capacity: Nanos) -> Option<String> {
    let share = busy.since(ours).0 as f64 / capacity.0.max(1) as f64;
    (share > TOLERATED_SHARE).then(|| {
        format!(
            "other programs used {:.0} % of the cores: stop them, or differences drown in the noise",
            share.min(1.0) * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_used_is_held_against_them() {
        let of = |busy, ours| warning(Nanos(busy), Nanos(ours), Nanos(100));
        assert_eq!(of(90, 90), None);
        assert_eq!(of(90, 86), None);
        assert_eq!(of(80, 95), None);
        assert!(of(90, 50).unwrap().contains("40 %"));
    }
}

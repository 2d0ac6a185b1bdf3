//! What became of the time of cores, whoever used it.

use crate::units::Nanos;
use std::fs;
use std::io;

/// Length of a tick in /proc/stat: USER_HZ is 100 on every architecture that io_uring runs on.
const TICK: Nanos = Nanos::from_millis(10);

/// What became of the time of some cores since boot, to 10 ms per core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoresTime {
    /// Used by programs and the kernel of this machine.
    pub busy: Nanos,
    /// Wanted here, but given to others by the hypervisor.
    pub stolen: Nanos,
}

/// Reads it from /proc/stat (proc_stat(5)).
pub fn cores_time(cores: &[usize]) -> io::Result<CoresTime> {
    let stat = fs::read_to_string("/proc/stat")?;
    let lines = stat.lines().filter_map(core_ticks).filter(|(core, ..)| cores.contains(core));
    let (busy, stolen) = lines.fold((0, 0), |sum, (_, busy, stolen)| (sum.0 + busy, sum.1 + stolen));
    let time = |ticks: u64| Nanos(ticks.saturating_mul(TICK.0));
    Ok(CoresTime { busy: time(busy), stolen: time(stolen) })
}

/// `cpuN user nice system idle iowait irq softirq steal guest guest_nice`: the core, its busy and its stolen ticks.
/// Guest time is in user's.
fn core_ticks(line: &str) -> Option<(usize, u64, u64)> {
    let (core, times) = line.strip_prefix("cpu")?.split_once(' ')?;
    let times: Vec<u64> = times.split_whitespace().map_while(|time| time.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6].into_iter().filter_map(|column| times.get(column));
    Some((core.parse().ok()?, busy.sum(), times.get(7).copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_a_core_are_told_apart() {
        assert_eq!(core_ticks("cpu12 1 2 3 1000 1000 4 5 6 7 8"), Some((12, 15, 6)));
        assert_eq!(core_ticks("cpu  1 2 3 4 5 6 7 8 9 10"), None);
        assert_eq!(core_ticks("intr 1"), None);
    }

    #[test]
    fn busy_cores_are_seen() {
        let all: Vec<usize> = (0..1024).collect();
        assert!(cores_time(&all).unwrap().busy > Nanos::ZERO);
        assert_eq!(cores_time(&[]).unwrap(), CoresTime::default());
    }
}

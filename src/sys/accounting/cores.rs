//! How the time of cores was used, by any process.

use crate::units::Nanos;
use std::fs;
use std::io;

/// Length of a tick in /proc/stat: USER_HZ is 100 on every architecture that io_uring runs on.
const TICK: Nanos = Nanos::from_millis(10);

/// One part in so many of a kernel's busy time are hardware interrupts, if it measures them: the timer's alone are more.
/// Others see them at their ticks, that is, hardly ever.
const MEASURED_IRQ_ONE_IN: u64 = 20_000;

/// What became of the time of some cores since boot, to 10 ms per core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoresTime {
    /// Used by programs, and by the kernel in their names.
    pub programs: Nanos,
    /// Interrupts and what follows from them (softirqs): mostly the network's work, for any process.
    pub interrupts: Nanos,
    /// The kernel measures interrupts (CONFIG_IRQ_TIME_ACCOUNTING): their time is in that of no program. Other kernels put
    /// them down to the program that they interrupted too.
    pub interrupts_apart: bool,
    /// Wanted here, but given to others by the hypervisor.
    pub stolen: Nanos,
}

impl CoresTime {
    /// What became of it since an earlier reading.
    pub fn since(self, earlier: CoresTime) -> CoresTime {
        CoresTime {
            programs: self.programs.since(earlier.programs),
            interrupts: self.interrupts.since(earlier.interrupts),
            interrupts_apart: self.interrupts_apart,
            stolen: self.stolen.since(earlier.stolen),
        }
    }
}

impl std::ops::Add for CoresTime {
    type Output = CoresTime;

    fn add(self, other: CoresTime) -> CoresTime {
        CoresTime {
            programs: self.programs + other.programs,
            interrupts: self.interrupts + other.interrupts,
            interrupts_apart: self.interrupts_apart && other.interrupts_apart,
            stolen: self.stolen + other.stolen,
        }
    }
}

/// Reads it from /proc/stat (proc_stat(5)).
pub fn cores_time(cores: &[usize]) -> io::Result<CoresTime> {
    Ok(of_cores(&fs::read_to_string("/proc/stat")?, cores))
}

fn of_cores(stat: &str, cores: &[usize]) -> CoresTime {
    let all: Vec<(usize, Ticks)> = stat.lines().filter_map(core_ticks).collect();
    let sum = |ticks: Ticks, (_, more): &(usize, Ticks)| ticks + *more;
    let whole = all.iter().fold(Ticks::default(), sum);
    let ours = all.iter().filter(|(core, _)| cores.contains(core)).fold(Ticks::default(), sum);
    let time = |ticks: u64| Nanos(ticks.saturating_mul(TICK.0));
    let busy = whole.programs + whole.irq + whole.softirq;
    CoresTime {
        programs: time(ours.programs),
        interrupts: time(ours.irq + ours.softirq),
        interrupts_apart: whole.irq.saturating_mul(MEASURED_IRQ_ONE_IN) > busy,
        stolen: time(ours.stolen),
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    /// User, nice and system.
    programs: u64,
    irq: u64,
    softirq: u64,
    stolen: u64,
}

impl std::ops::Add for Ticks {
    type Output = Ticks;

    fn add(self, more: Ticks) -> Ticks {
        Ticks {
            programs: self.programs + more.programs,
            irq: self.irq + more.irq,
            softirq: self.softirq + more.softirq,
            stolen: self.stolen + more.stolen,
        }
    }
}

/// `cpuN user nice system idle iowait irq softirq steal guest guest_nice`: the core and its ticks. Guest time is in
/// user's.
fn core_ticks(line: &str) -> Option<(usize, Ticks)> {
    let (core, times) = line.strip_prefix("cpu")?.split_once(' ')?;
    let times: Vec<u64> = times.split_whitespace().map_while(|time| time.parse().ok()).collect();
    let at = |column: usize| times.get(column).copied().unwrap_or(0);
    let ticks = Ticks { programs: at(0) + at(1) + at(2), irq: at(5), softirq: at(6), stolen: at(7) };
    Some((core.parse().ok()?, ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 6.18 without CONFIG_IRQ_TIME_ACCOUNTING, after hours of loopback traffic.
    const AT_TICKS: &str = "cpu  293703 726717 502722 744247 73075 0 184356 1326 0 0\n\
        cpu0 143173 351847 251750 390267 35606 0 89849 671 0 0\n\
        cpu1 150530 374870 250971 353979 37469 0 94506 655 0 0\n\
        intr 37460793 0 0 1\nctxt 1\n";
    /// The form it has with it, made up: interrupts of the timer and of devices have time of their own.
    const MEASURED: &str = "cpu  132711 8734 132842 5087374 3846 18756 6812 0 0 0\n\
        cpu0 66355 4367 66421 2543687 1923 9378 3406 0 0 0\n\
        cpu1 66356 4367 66421 2543687 1923 9378 3406 0 0 0\n\
        intr 37460793 0 0 1\nctxt 1\n";

    #[test]
    fn the_columns_of_a_core_are_told_apart() {
        let expected = Ticks { programs: 6, irq: 4, softirq: 5, stolen: 6 };
        assert_eq!(core_ticks("cpu12 1 2 3 1000 1000 4 5 6 7 8"), Some((12, expected)));
        assert_eq!(core_ticks("cpu  1 2 3 4 5 6 7 8 9 10"), None);
        assert_eq!(core_ticks("intr 1"), None);
    }

    #[test]
    fn interrupts_are_no_programs_and_kernels_that_measure_them_are_known() {
        let ticks = |ticks: u64| Nanos::from_millis(10 * ticks);
        let expected = CoresTime {
            programs: ticks(150_530 + 374_870 + 250_971),
            interrupts: ticks(94_506),
            interrupts_apart: false,
            stolen: ticks(655),
        };
        assert_eq!(of_cores(AT_TICKS, &[1, 7]), expected);
        let expected = CoresTime {
            programs: ticks(66_355 + 4_367 + 66_421),
            interrupts: ticks(9_378 + 3_406),
            interrupts_apart: true,
            stolen: Nanos::ZERO,
        };
        assert_eq!(of_cores(MEASURED, &[0]), expected);
        // An interrupt may meet a tick by chance.
        assert!(!of_cores(&AT_TICKS.replace("35606 0 ", "35606 2 "), &[0]).interrupts_apart);
        assert!(!of_cores("", &[0]).interrupts_apart);
    }

    #[test]
    fn busy_cores_are_seen() {
        let all: Vec<usize> = (0..1024).collect();
        assert!(cores_time(&all).unwrap().programs > Nanos::ZERO);
        let none = cores_time(&[]).unwrap();
        assert_eq!((none.programs, none.interrupts, none.stolen), (Nanos::ZERO, Nanos::ZERO, Nanos::ZERO));
    }
}

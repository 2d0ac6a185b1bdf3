//! CPU time of processes, read from outside.
//!
//! A process's CPU clock (clock_getcpuclockid(3)) counts user and system time of all its threads, those that ended
//! included, with nanosecond resolution; io_uring's worker and SQPOLL threads belong to the process and so are counted.
//!
//! How it divides into user and system time is known less well: most kernels look only at each tick (1 to 10 ms) where
//! a thread is and give it the whole tick (CONFIG_TICK_CPU_ACCOUNTING). Over a second of one busy core that is some
//! hundred samples, exact to a few per cent.

use super::process_tree::descendants;
use crate::units::Nanos;
use std::collections::BTreeMap;
use std::io;

/// CPU time that was used, and in which mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// To the nanosecond.
    pub total: Nanos,
    /// Time in user and in system mode as the kernel sampled it at its ticks. Only their proportion is meaningful: their
    /// sum is not `total`.
    pub user: Nanos,
    /// Time in system mode, sampled likewise.
    pub system: Nanos,
}

impl Cpu {
    /// What was used since an earlier reading of the same process.
    pub fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            total: self.total.since(earlier.total),
            user: self.user.since(earlier.user),
            system: self.system.since(earlier.system),
        }
    }

    /// The part of the time that was in user mode. `None` where the ticks saw too little of it, or saw another time than
    /// the clock did: who runs in step with the ticks, as after a timer, is seen always or never.
    pub fn user_share(self) -> Option<f64> {
        let both = self.user + self.system;
        let off = both.0.abs_diff(self.total.0) as f64 / self.total.0.max(1) as f64;
        (both >= MIN_SAMPLED && off <= MAX_OFF).then(|| self.user.0 as f64 / both.0 as f64)
    }
}

/// Ten to a hundred ticks.
const MIN_SAMPLED: Nanos = Nanos::from_millis(100);
/// By so much of the time the ticks may be off: a third where others want the core too (tried: a busy loop among 14
/// others), which leaves the proportion as it is.
const MAX_OFF: f64 = 0.5;

impl std::ops::Add for Cpu {
    type Output = Cpu;

    fn add(self, other: Cpu) -> Cpu {
        let (total, user, system) = (self.total + other.total, self.user + other.user, self.system + other.system);
        Cpu { total, user, system }
    }
}

/// CPU time used so far by each process of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTreeCpu(BTreeMap<u32, Cpu>);

/// CPU time that a tree of processes used between two instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessTreeUse {
    /// CPU time of all of them.
    pub cpu: Cpu,
    /// Processes that ended in between: what they used until then is missing in `cpu`. One that also began in between
    /// is not noticed.
    pub ended: usize,
}

/// CPU time used so far by processes of which the first is the root of a tree, see [`super::processes`]. An error when
/// the root is gone; others may be. Costs some system calls per process.
pub fn process_tree_cpu(known: &[u32]) -> io::Result<ProcessTreeCpu> {
    let root = known.first().copied().ok_or(io::ErrorKind::NotFound)?;
    let mut all = BTreeMap::from([(root, process_cpu(root)?)]);
    all.extend(known[1..].iter().filter_map(|child| Some((*child, process_cpu(*child).ok()?))));
    Ok(ProcessTreeCpu(all))
}

impl ProcessTreeCpu {
    /// Adds the living descendants of a process that are not in it.
    pub fn with_new_of(mut self, pid: u32) -> ProcessTreeCpu {
        for child in descendants(pid) {
            if let (false, Ok(cpu)) = (self.0.contains_key(&child), process_cpu(child)) {
                self.0.insert(child, cpu);
            }
        }
        self
    }

    /// What was used since an earlier look: of each process the difference, of a new one everything.
    pub fn since(&self, earlier: &ProcessTreeCpu) -> ProcessTreeUse {
        // A CPU clock that went back is that of a new process with an old number.
        let before = |pid: &u32, cpu: Cpu| earlier.0.get(pid).copied().filter(|before| before.total <= cpu.total);
        let used = self.0.iter().map(|(pid, cpu)| cpu.since(before(pid, *cpu).unwrap_or_default()));
        let is_there = |pid: &u32| self.0.get(pid).is_some_and(|cpu| before(pid, *cpu).is_some());
        ProcessTreeUse {
            cpu: used.fold(Cpu::default(), |sum, cpu| sum + cpu),
            ended: earlier.0.keys().filter(|pid| !is_there(pid)).count(),
        }
    }
}

/// A process's clocks differ in the lowest two bits of their number (include/linux/posix-timers_types.h).
const CLOCK_BITS: libc::clockid_t = 3;
/// User and system time, by ticks.
const CLOCK_BOTH: libc::clockid_t = 0;
/// User time, by ticks.
const CLOCK_USER: libc::clockid_t = 1;

/// CPU time used so far by one process: all threads.
pub fn process_cpu(pid: u32) -> io::Result<Cpu> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: writes one clock id to a local; any pid is allowed (ESRCH when there is none).
    let status = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) };
    if status != 0 {
        return Err(io::Error::from_raw_os_error(status));
    }
    let of = |kind| read_clock(clock & !CLOCK_BITS | kind);
    let (total, user, both) = (read_clock(clock)?, of(CLOCK_USER)?, of(CLOCK_BOTH)?);
    Ok(Cpu { total, user, system: both.since(user) })
}

/// CPU time used so far by the calling thread, user and system.
pub fn thread_cpu() -> io::Result<Nanos> {
    read_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read_clock(clock: libc::clockid_t) -> io::Result<Nanos> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec to a local.
    match unsafe { libc::clock_gettime(clock, &mut time) } {
        0 => Ok(Nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cpu_time_grows_with_work() {
        let before = process_cpu(std::process::id()).unwrap();
        let mut sum = 0u64;
        for i in 0..5_000_000u64 {
            sum = std::hint::black_box(sum ^ i);
        }
        assert!(process_cpu(std::process::id()).unwrap().total > before.total, "{sum}");
    }

    #[test]
    fn the_time_of_a_thread_is_its_own() {
        let busy = std::thread::spawn(|| {
            let before = thread_cpu().unwrap();
            while thread_cpu().unwrap().since(before) < Nanos::from_millis(20) {}
            thread_cpu().unwrap()
        });
        let before = thread_cpu().unwrap();
        assert!(busy.join().unwrap() >= Nanos::from_millis(20));
        assert!(thread_cpu().unwrap().since(before) < Nanos::from_millis(20));
    }

    #[test]
    fn processes_that_come_and_go_do_not_spoil_the_difference() {
        let total = |cpu| Cpu { total: Nanos(cpu), ..Cpu::default() };
        let tree = |all: &[(u32, u64)]| ProcessTreeCpu(all.iter().map(|(pid, cpu)| (*pid, total(*cpu))).collect());
        let before = tree(&[(1, 100), (2, 1_000), (3, 10)]);
        for (after, cpu, ended) in [
            (tree(&[(1, 150), (2, 1_500), (3, 10)]), 550, 0),
            (tree(&[(1, 150), (3, 20)]), 60, 1),
            (tree(&[(1, 150), (2, 1_500), (3, 10), (4, 7)]), 557, 0),
            (tree(&[(1, 150), (2, 30), (3, 10)]), 80, 1),
        ] {
            assert_eq!(after.since(&before), ProcessTreeUse { cpu: total(cpu), ended }, "{after:?}");
        }
    }

    #[test]
    fn children_belong_to_the_tree() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let known = super::super::processes(own);
        let before = process_tree_cpu(&known).unwrap();
        assert!(
            before.0.contains_key(&child.id())
                && process_tree_cpu(&[own]).unwrap().with_new_of(own).0.contains_key(&child.id())
        );
        child.kill().unwrap();
        child.wait().unwrap();
        let after = process_tree_cpu(&known).unwrap();
        assert!(!after.0.contains_key(&child.id()));
        // Other tests have children too.
        assert!(after.since(&before).ended >= 1);
        assert!(process_tree_cpu(&[0x7fff_fff0]).is_err());
    }

    #[test]
    fn user_and_system_time_are_told_apart() {
        let spent = |words: &[&str]| {
            let mut child = std::process::Command::new(words[0]).args(&words[1..]).spawn().unwrap();
            let mut cpu = Cpu::default();
            while cpu.total < Nanos::from_millis(400) {
                std::thread::sleep(std::time::Duration::from_millis(10));
                cpu = process_cpu(child.id()).unwrap();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            cpu
        };
        let computing = spent(&["sh", "-c", "while :; do :; done"]);
        let copying = spent(&["dd", "if=/dev/zero", "of=/dev/null", "bs=1M", "status=none"]);
        assert!(computing.user > computing.system && copying.user < copying.system, "{computing:?}, {copying:?}");
    }

    #[test]
    fn ticks_that_saw_something_else_are_not_believed() {
        let share = |total, user, system| {
            let [total, user, system] = [total, user, system].map(Nanos::from_millis);
            Cpu { total, user, system }.user_share()
        };
        assert_eq!(share(1_000, 250, 850), Some(250.0 / 1_100.0));
        assert_eq!(share(1_000, 0, 0), None);
        assert_eq!(share(1_000, 300, 100), None);
        assert_eq!(share(50, 20, 30), None);
        assert_eq!(share(0, 0, 0), None);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(process_cpu(0x7fff_fff0).is_err());
    }
}

//! CPU time of processes, read from outside, with nanosecond resolution.
//!
//! A process's CPU clock (clock_getcpuclockid(3)) counts user and system time of all its threads, those that ended
//! included; io_uring's worker and SQPOLL threads belong to the process and so are counted.

use crate::units::Nanos;
use std::collections::BTreeMap;
use std::fs;
use std::io;

/// CPU time used so far by each process of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeCpu(BTreeMap<u32, Nanos>);

/// CPU time that a tree of processes used between two instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeUse {
    pub cpu: Nanos,
    /// Processes that ended in between: what they used until then is missing in `cpu`. One that also began in between
    /// is not noticed.
    pub ended: usize,
}

/// CPU time used so far by a process and its living descendants. An error when the process itself is gone.
pub fn tree_cpu(pid: u32) -> io::Result<TreeCpu> {
    let mut all = BTreeMap::from([(pid, process_cpu(pid)?)]);
    all.extend(descendants(pid).into_iter().filter_map(|child| Some((child, process_cpu(child).ok()?))));
    Ok(TreeCpu(all))
}

impl TreeCpu {
    /// What was used since an earlier look: of each process the difference, of a new one everything.
    pub fn since(&self, earlier: &TreeCpu) -> TreeUse {
        // A CPU clock that went back is that of a new process with an old number.
        let before = |pid: &u32, cpu: Nanos| earlier.0.get(pid).copied().filter(|before| *before <= cpu);
        let used = self.0.iter().map(|(pid, cpu)| cpu.since(before(pid, *cpu).unwrap_or_default()));
        let is_there = |pid: &u32| self.0.get(pid).is_some_and(|cpu| before(pid, *cpu).is_some());
        TreeUse {
            cpu: used.fold(Nanos::ZERO, |sum, cpu| sum + cpu),
            ended: earlier.0.keys().filter(|pid| !is_there(pid)).count(),
        }
    }
}

/// CPU time used so far by one process: all threads, user and system.
pub fn process_cpu(pid: u32) -> io::Result<Nanos> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: writes one clock id to a local; any pid is allowed (ESRCH when there is none).
    let status = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) };
    if status != 0 {
        return Err(io::Error::from_raw_os_error(status));
    }
    read_clock(clock)
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

/// Children, their children and so on, from /proc. A process that ends meanwhile is left out.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = children(pid);
    let mut next = 0;
    while next < found.len() {
        found.extend(children(found[next]));
        next += 1;
    }
    found
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// CPU time of all child processes (and theirs) that have ended and been waited for.
pub fn ended_children_cpu() -> io::Result<Nanos> {
    // SAFETY: rusage is plain numbers; all zero is valid, and the kernel overwrites it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one rusage to the address given, which is a local of that type.
    match unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) } {
        0 => Ok([usage.ru_utime, usage.ru_stime].into_iter().fold(Nanos::ZERO, |sum, time| sum + from_timeval(time))),
        _ => Err(io::Error::last_os_error()),
    }
}

fn from_timeval(time: libc::timeval) -> Nanos {
    Nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000)
}

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
    fn own_cpu_time_grows_with_work() {
        let before = process_cpu(std::process::id()).unwrap();
        let mut sum = 0u64;
        for i in 0..5_000_000u64 {
            sum = std::hint::black_box(sum ^ i);
        }
        assert!(process_cpu(std::process::id()).unwrap() > before, "{sum}");
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
        let tree = |all: &[(u32, u64)]| TreeCpu(all.iter().map(|(pid, cpu)| (*pid, Nanos(*cpu))).collect());
        let before = tree(&[(1, 100), (2, 1_000), (3, 10)]);
        for (after, cpu, ended) in [
            (tree(&[(1, 150), (2, 1_500), (3, 10)]), 550, 0),
            (tree(&[(1, 150), (3, 20)]), 60, 1),
            (tree(&[(1, 150), (2, 1_500), (3, 10), (4, 7)]), 557, 0),
            (tree(&[(1, 150), (2, 30), (3, 10)]), 80, 1),
        ] {
            assert_eq!(after.since(&before), TreeUse { cpu: Nanos(cpu), ended }, "{after:?}");
        }
    }

    #[test]
    fn children_belong_to_the_tree() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let before = tree_cpu(own).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let after = tree_cpu(own).unwrap();
        assert!(before.0.contains_key(&child.id()) && !after.0.contains_key(&child.id()));
        // Other tests have children too.
        assert!(after.since(&before).ended >= 1);
        assert!(tree_cpu(0x7fff_fff0).is_err());
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(process_cpu(0x7fff_fff0).is_err());
    }

    #[test]
    fn the_columns_of_a_core_are_told_apart() {
        assert_eq!(core_ticks("cpu12 1 2 3 1000 1000 4 5 6 7 8"), Some((12, 15, 6)));
        assert_eq!(core_ticks("cpu  1 2 3 4 5 6 7 8 9 10"), None);
        assert_eq!(core_ticks("intr 1"), None);
    }

    #[test]
    fn busy_cores_and_ended_children_are_seen() {
        let before = ended_children_cpu().unwrap();
        assert!(std::process::Command::new("true").status().unwrap().success());
        assert!(ended_children_cpu().unwrap() > before);
        let all: Vec<usize> = (0..1024).collect();
        assert!(cores_time(&all).unwrap().busy > Nanos::ZERO);
        assert_eq!(cores_time(&[]).unwrap(), CoresTime::default());
    }
}

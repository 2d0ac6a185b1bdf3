//! CPU time of processes, read from outside, with nanosecond resolution.
//!
//! A process's CPU clock (clock_getcpuclockid(3)) counts user and system time of all its threads, those that ended
//! included; io_uring's worker and SQPOLL threads belong to the process and so are counted.

use crate::units::Nanos;
use std::fs;
use std::io;

/// CPU time used so far by a process and its living descendants.
pub fn tree_cpu(pid: u32) -> io::Result<Nanos> {
    let own = process_cpu(pid)?;
    let children = descendants(pid).into_iter().filter_map(|child| process_cpu(child).ok());
    Ok(children.fold(own, |sum, cpu| sum + cpu))
}

/// CPU time used so far by one process: all threads, user and system.
pub fn process_cpu(pid: u32) -> io::Result<Nanos> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: writes one clock id to a local; any pid is allowed (ESRCH when there is none).
    let status = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) };
    if status != 0 {
        return Err(io::Error::from_raw_os_error(status));
    }
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
    fn a_process_that_is_not_there_is_an_error() {
        assert!(process_cpu(0x7fff_fff0).is_err());
    }
}

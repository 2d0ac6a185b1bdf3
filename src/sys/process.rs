//! Starting other processes so that none outlives us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Process groups to kill should a signal end this process at once; 0 is a free place. A server and a generator.
static LIVE: [AtomicI32; 2] = [AtomicI32::new(0), AtomicI32::new(0)];

/// Makes the command start in its own process group (a Ctrl-C at the terminal reaches only us), on these cores, and be
/// killed by the kernel should the thread that started it end.
pub fn contain(command: &mut Command, cores: Option<&[usize]>) {
    let mask = cores.map(core_mask);
    command.process_group(0);
    let in_child = move || {
        // SAFETY: prctl and sched_setaffinity are plain system calls on values captured by copy; both are
        // async-signal-safe in practice (no lock, no allocation), as pre_exec asks.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0
                || mask.is_some_and(|mask| libc::sched_setaffinity(0, size_of_val(&mask), &mask) != 0)
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure only makes the two system calls above between fork and exec.
    unsafe { command.pre_exec(in_child) };
}

/// Marks the process group that `contain` gave a process as alive, until dropped.
#[derive(Debug)]
pub struct ProcessGroupGuard(Option<&'static AtomicI32>);

impl ProcessGroupGuard {
    /// With both places taken, and until this is called, only what [`contain`] does protects: the kernel then kills the
    /// process itself, but not its children.
    pub fn new(pid: u32) -> ProcessGroupGuard {
        let take = |place: &&AtomicI32| {
            place.compare_exchange(0, pid as libc::pid_t, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        };
        ProcessGroupGuard(LIVE.iter().find(take))
    }
}

impl Drop for ProcessGroupGuard {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            place.store(0, Ordering::SeqCst);
        }
    }
}

/// Kills every group marked as alive. Async-signal-safe.
fn kill_guarded_groups() {
    for group in LIVE.iter().map(|place| place.load(Ordering::SeqCst)).filter(|group| *group > 0) {
        // SAFETY: a plain system call; a negative pid addresses the group.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}

/// The first of these signals raises the flag; one that finds it raised kills the live groups and ends this process
/// with `code`, without running any destructor.
pub fn stop_on(signals: &[i32], flag: &Arc<AtomicBool>, code: i32) -> io::Result<()> {
    for &signal in signals {
        let flag = Arc::clone(flag);
        let handler = move || {
            if flag.swap(true, Ordering::SeqCst) {
                kill_guarded_groups();
                signal_hook::low_level::exit(code);
            }
        };
        // SAFETY: the handler only touches atomics and calls kill(2) and _exit(2), which are async-signal-safe.
        unsafe { signal_hook::low_level::register(signal, handler) }?;
    }
    Ok(())
}

pub(super) fn core_mask(cores: &[usize]) -> libc::cpu_set_t {
    // SAFETY: cpu_set_t is a plain bit array; all zero is the empty set.
    let mut mask: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores.iter().filter(|core| **core < libc::CPU_SETSIZE as usize) {
        // SAFETY: the index is below CPU_SETSIZE.
        unsafe { libc::CPU_SET(core, &mut mask) };
    }
    mask
}

/// Sends a signal to the process group that `contain` gave a process. A group that is gone is no error.
pub fn signal_group(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: a plain system call; a negative pid addresses the group.
    match unsafe { libc::kill(-(pid as libc::pid_t), signal) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
    }
}

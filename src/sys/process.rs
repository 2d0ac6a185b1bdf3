//! Starting other processes so that none outlives us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

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

fn core_mask(cores: &[usize]) -> libc::cpu_set_t {
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

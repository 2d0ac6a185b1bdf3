//! Starting other processes so that none outlives us, and stopping them for a while.

use super::accounting::process_tree_threads;
use crate::units::Nanos;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// Groups that are killed should a signal end this process at once: a comparison in slices has a server and a generator
/// of every contestant alive. A fixed number, as a signal handler reads them and so may not meet a lock or a memory that
/// moves.
const MAX_GUARDED_GROUPS: usize = 256;
/// Process groups to kill should a signal end this process at once; 0 is a free place.
static LIVE: [AtomicI32; MAX_GUARDED_GROUPS] = [const { AtomicI32::new(0) }; MAX_GUARDED_GROUPS];
/// How often it is looked whether all threads have stopped.
const LOOK_EVERY: Duration = Duration::from_micros(200);

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
    /// With all 256 places taken, and until this is called, only what [`contain`] does protects: the kernel then kills the
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

/// Stops a process group that `contain` made, until [`continue_group`]: its threads use no CPU time meanwhile, and no signal
/// but SIGKILL acts on it: let it go on before it is to end by another. Returns before all of them have stopped, see [`until_stopped`]. What left the group, as by
/// setsid(2), goes on. A group that is gone is no error.
pub fn stop_group(pid: u32) -> io::Result<()> {
    signal_group(pid, libc::SIGSTOP)
}

/// Lets a stopped process group go on; calls that waited may end with EINTR. One that was not stopped is left as it is.
pub fn continue_group(pid: u32) -> io::Result<()> {
    signal_group(pid, libc::SIGCONT)
}

/// Waits until every thread of a process and its descendants has stopped, io_uring's SQPOLL and worker threads among
/// them, and tells whether that came about in time. False for a process that is gone. Each look costs a file to read
/// per thread.
pub fn until_stopped(pid: u32, at_most: Nanos) -> bool {
    let begun = Instant::now();
    loop {
        if is_stopped(pid) {
            return true;
        }
        if begun.elapsed() >= at_most.duration() {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Whether a thread of a process or its descendants runs now, or would if it had a core.
pub fn wants_core(pid: u32) -> bool {
    process_tree_threads(pid).into_iter().any(|(pid, thread)| state(pid, thread) == Some(b'R'))
}

/// At least one thread of the tree is there and stopped, and none can run.
fn is_stopped(pid: u32) -> bool {
    let threads = process_tree_threads(pid).into_iter();
    // One that ended since it was listed has no state.
    let states: Vec<u8> = threads.filter_map(|(pid, thread)| state(pid, thread)).collect();
    let stopped = |state: &u8| matches!(state, b'T' | b't');
    let ended = |state: &u8| matches!(state, b'Z' | b'X');
    states.iter().any(stopped) && states.iter().all(|state| stopped(state) || ended(state))
}

/// The letter after a thread's name, which may hold anything, in /proc/PID/task/TID/stat (proc_pid_stat(5)).
fn state(pid: u32, thread: u32) -> Option<u8> {
    let stat = fs::read(format!("/proc/{pid}/task/{thread}/stat")).ok()?;
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(name_ends + 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::accounting::{process_cpu, process_tree_cpu, processes};
    use std::io::{BufRead, BufReader};
    use std::process::{Child, ChildStdout, Stdio};

    const SOON: Nanos = Nanos::from_secs(20);

    /// A contained child that is killed with its group at the end.
    struct Contained {
        child: Child,
        /// Kept, so that a second line would not end it.
        _stdout: BufReader<ChildStdout>,
    }

    impl Contained {
        /// Waits for its first line, which is returned.
        fn start(words: &[&str]) -> (Contained, String) {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).stdout(Stdio::piped());
            contain(&mut command, None);
            let mut child = command.spawn().unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            (Contained { child, _stdout: stdout }, line.trim().to_owned())
        }
    }

    impl Drop for Contained {
        fn drop(&mut self) {
            let _ = signal_group(self.child.id(), libc::SIGKILL);
            let _ = self.child.wait();
        }
    }

    fn cpu(pid: u32) -> Nanos {
        process_cpu(pid).unwrap().total
    }

    #[test]
    fn as_many_groups_are_guarded_as_a_large_comparison_has() {
        // Numbers that no process has.
        let groups = 0x7fff_0000..0x7fff_0000 + 100;
        let is_live = |group: u32| LIVE.iter().any(|place| place.load(Ordering::SeqCst) == group as i32);
        let guards: Vec<ProcessGroupGuard> = groups.clone().map(ProcessGroupGuard::new).collect();
        assert!(groups.clone().all(is_live));
        drop(guards);
        assert!(!groups.clone().any(is_live));
    }

    #[test]
    fn a_sleeping_process_is_stopped_and_goes_on() {
        let (contained, _) = Contained::start(&["sh", "-c", "echo; exec sleep 600"]);
        let pid = contained.child.id();
        assert!(!until_stopped(pid, Nanos::ZERO));
        stop_group(pid).unwrap();
        assert!(until_stopped(pid, SOON));
        continue_group(pid).unwrap();
        let begun = Instant::now();
        while is_stopped(pid) && begun.elapsed() < SOON.duration() {
            thread::sleep(LOOK_EVERY);
        }
        assert!(!is_stopped(pid));
    }

    #[test]
    fn all_threads_and_children_use_no_cpu_time_while_stopped() {
        let spin = "import os, threading\ndef spin():\n while True: pass\n\
                    os.fork()\nthreading.Thread(target=spin).start()\nprint(flush=True)\nspin()";
        let (contained, _) = Contained::start(&["python3", "-c", spin]);
        let pid = contained.child.id();
        stop_group(pid).unwrap();
        assert!(until_stopped(pid, SOON));
        assert!(!wants_core(pid));
        let known = processes(pid);
        assert_eq!(known.len(), 2);
        let before = process_tree_cpu(&known).unwrap();
        thread::sleep(Duration::from_millis(50));
        assert_eq!(process_tree_cpu(&known).unwrap().since(&before).cpu.total, Nanos::ZERO);
        continue_group(pid).unwrap();
        let (begun, stopped_at) = (Instant::now(), cpu(pid));
        while cpu(pid) == stopped_at && begun.elapsed() < SOON.duration() {
            thread::sleep(LOOK_EVERY);
        }
        assert!(cpu(pid) > stopped_at && wants_core(pid));
    }

    #[test]
    fn a_thread_that_polls_a_ring_is_stopped_too() {
        // io_uring_setup(2) with IORING_SETUP_SQPOLL and an idle time of ten minutes, then io_uring_enter(2) to wake the
        // thread, which begins asleep.
        let poll = "import ctypes, struct, time\nparams = bytearray(120)\n\
                    struct.pack_into('I', params, 8, 2)\nstruct.pack_into('I', params, 16, 600000)\n\
                    room = (ctypes.c_char * 120).from_buffer(params)\ncall = ctypes.CDLL(None).syscall\n\
                    ring = call(425, 8, room)\nprint(ring, flush=True)\n\
                    while ring >= 0:\n call(426, ring, 0, 0, 2, None, 0)\n time.sleep(0.01)";
        let (contained, ring) = Contained::start(&["python3", "-c", poll]);
        let pid = contained.child.id();
        if ring.parse().unwrap_or(-1) < 0 {
            return println!("skipped: no SQPOLL");
        }
        // More than starting Python and waking the thread take.
        let spins = || cpu(pid) > Nanos::from_millis(200);
        let begun = Instant::now();
        while !spins() && begun.elapsed() < SOON.duration() {
            thread::sleep(LOOK_EVERY);
        }
        assert!(spins(), "a polling thread uses CPU time");
        stop_group(pid).unwrap();
        assert!(until_stopped(pid, SOON));
        let stopped_at = cpu(pid);
        thread::sleep(Duration::from_millis(50));
        assert_eq!(cpu(pid), stopped_at);
    }

    #[test]
    fn what_is_gone_or_left_the_group_is_not_stopped() {
        assert!(!until_stopped(0x7fff_fff0, Nanos::ZERO));
        stop_group(0x7fff_fff0).unwrap();
        let (contained, _) = Contained::start(&["sh", "-c", "setsid sh -c 'echo; exec sleep 600' & wait"]);
        let pid = contained.child.id();
        stop_group(pid).unwrap();
        let stopped = until_stopped(pid, Nanos::from_millis(100));
        processes(pid)[1..].iter().for_each(|left| drop(signal_group(*left, libc::SIGKILL)));
        assert!(!stopped);
    }
}

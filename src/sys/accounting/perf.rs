//! The kernel's performance counters (perf_event_open(2)): system calls, instructions, cycles.
//!
//! Counting is not free, so it has its own span of a run, outside the counted window. Tried on Linux 6.18 (a virtual
//! machine, EPYC): getppid(2) takes 110 ns uncounted, 209 ns while its thread is counted, and 135 ns while any other
//! thread of the machine is, because the tracepoint slows every thread's system calls. Counting in the window would thus
//! favour whoever makes few. Hardware counters are set up again at each context switch, which traps to the hypervisor in
//! a virtual machine. The 50 ms that the last close takes are the caller's.

use super::Unavailable;
use super::tracefs::{NoTracepoint, TRACEFS, sys_enter};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerfEvent {
    /// Entries into the kernel by system call; what an SQPOLL thread does for a program is none.
    SystemCalls,
    /// Instructions retired, in user and system mode.
    Instructions,
    /// Cycles of the core while the thread ran, in user and system mode.
    Cycles,
}

impl PerfEvent {
    /// All events, in the order of their discriminants.
    pub const ALL: [PerfEvent; 3] = [PerfEvent::SystemCalls, PerfEvent::Instructions, PerfEvent::Cycles];

    /// As shown to users.
    pub fn name(self) -> &'static str {
        match self {
            PerfEvent::SystemCalls => "system calls",
            PerfEvent::Instructions => "instructions",
            PerfEvent::Cycles => "cycles",
        }
    }
}

/// One counter per thread, each with what the thread starts from then on.
#[derive(Debug)]
pub struct Counters(Vec<OwnedFd>);

impl Counters {
    /// Counts from now on what these threads do, and all threads and processes that they start. A thread that is gone
    /// is left out.
    pub fn open(event: PerfEvent, threads: &[u32]) -> Result<Counters, Unavailable> {
        let refused = |refusal: Refusal| refusal.explain(event);
        let attributes = attributes(event).map_err(refused)?;
        let mut counters = Vec::with_capacity(threads.len());
        for thread in threads {
            match open(&attributes, *thread) {
                Ok(counter) => counters.push(counter),
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) => return Err(refused(Refusal::Open(error))),
            }
        }
        if counters.is_empty() { Err(refused(Refusal::Gone)) } else { Ok(Counters(counters)) }
    }

    /// Tries it on the calling thread.
    pub fn attempt(event: PerfEvent) -> Result<(), Unavailable> {
        // SAFETY: takes nothing and cannot fail.
        let own = unsafe { libc::gettid() } as u32;
        Counters::open(event, &[own]).map(drop)
    }

    /// What was counted so far, threads that ended included.
    pub fn read(&self) -> io::Result<u64> {
        self.0.iter().map(|counter| read(counter.as_raw_fd())).sum()
    }
}

/// perf_event_attr(2type) as of its first version, which every kernel takes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

const KIND_HARDWARE: u32 = 0;
const KIND_TRACEPOINT: u32 = 2;
const HARDWARE_CYCLES: u64 = 0;
const HARDWARE_INSTRUCTIONS: u64 = 1;
/// `inherit`: threads and processes started later count too.
const FLAG_INHERIT: u64 = 1 << 1;
/// Not the hypervisor, which is not part of any process.
const FLAG_EXCLUDE_HYPERVISOR: u64 = 1 << 6;
/// Time that the counter was wanted, and time that it had a place in the hardware.
const FORMAT_TIMES: u64 = 1 | 2;
const FLAG_CLOEXEC: libc::c_ulong = 1 << 3;

const _: () = assert!(size_of::<Attributes>() == 64);

fn attributes(event: PerfEvent) -> Result<Attributes, Refusal> {
    let (kind, config) = match event {
        PerfEvent::SystemCalls => (KIND_TRACEPOINT, sys_enter().map_err(Refusal::Tracepoint)?),
        PerfEvent::Instructions => (KIND_HARDWARE, HARDWARE_INSTRUCTIONS),
        PerfEvent::Cycles => (KIND_HARDWARE, HARDWARE_CYCLES),
    };
    let hypervisor = if kind == KIND_HARDWARE { FLAG_EXCLUDE_HYPERVISOR } else { 0 };
    Ok(Attributes {
        kind,
        size: size_of::<Attributes>() as u32,
        config,
        read_format: FORMAT_TIMES,
        flags: FLAG_INHERIT | hypervisor,
        ..Attributes::default()
    })
}

fn open(attributes: &Attributes, thread: u32) -> io::Result<OwnedFd> {
    let (any_core, no_group): (libc::c_int, libc::c_int) = (-1, -1);
    // SAFETY: the kernel reads `size` bytes of the attributes, which outlive the call; the rest are numbers.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attributes as *const Attributes,
            thread as libc::pid_t,
            any_core,
            no_group,
            FLAG_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn read(fd: RawFd) -> io::Result<u64> {
    let mut values = [0u64; 3];
    // SAFETY: the kernel writes at most the size given to the address of a local of that size.
    let length = unsafe { libc::read(fd, values.as_mut_ptr().cast(), size_of_val(&values)) };
    match length {
        length if length == size_of_val(&values) as isize => Ok(scaled(values)),
        length if length < 0 => Err(io::Error::last_os_error()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Where more counters are wanted than the hardware has, each counts only part of the time.
fn scaled([value, wanted, counting]: [u64; 3]) -> u64 {
    match counting {
        0 => value,
        counting if counting >= wanted => value,
        counting => (value as f64 * wanted as f64 / counting as f64).round() as u64,
    }
}

/// Why there is no counter.
#[derive(Debug)]
enum Refusal {
    /// The tracepoint's number is not known.
    Tracepoint(NoTracepoint),
    Open(io::Error),
    /// All threads had ended.
    Gone,
}

/// What a privileged user does so that the others may count.
const ALLOW: &str = "sudo sysctl kernel.perf_event_paranoid=1";

impl Refusal {
    fn explain(self, event: PerfEvent) -> Unavailable {
        let (why, remedy) = match self {
            Refusal::Tracepoint(missing) => no_tracepoint(&missing),
            Refusal::Open(error) => not_opened(&error, event),
            Refusal::Gone => ("all threads had ended".into(), "keep the process running until the end".into()),
        };
        Unavailable { what: event.name(), why, remedy }
    }
}

fn no_tracepoint(missing: &NoTracepoint) -> (String, String) {
    let root = TRACEFS[0];
    match missing {
        NoTracepoint::Unreadable => (
            format!("{root} is readable by root only"),
            format!("run as root, or sudo mount -o remount,mode=750,gid=$(id -g) {root} and {ALLOW}"),
        ),
        NoTracepoint::Forbidden => (
            format!("no tracefs is mounted at {root}, and only root may open one (CAP_SYS_ADMIN, not of a container)"),
            format!("run as root, or sudo mount -t tracefs -o mode=750,gid=$(id -g) tracefs {root} and {ALLOW}"),
        ),
        NoTracepoint::Unknown => (
            "the kernel has no tracepoint raw_syscalls:sys_enter".into(),
            "a kernel built with CONFIG_FTRACE_SYSCALLS".into(),
        ),
        NoTracepoint::Read(error) => {
            (format!("the tracepoint's number cannot be read below {root}: {error}"), "look at its mount".into())
        }
        NoTracepoint::Open(error) => {
            (format!("opening a tracefs failed: {error}"), format!("sudo mount -t tracefs tracefs {root}"))
        }
    }
}

fn not_opened(error: &io::Error, event: PerfEvent) -> (String, String) {
    let level = paranoid_level();
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) if level.is_some_and(|level| level > 1) => (
            format!("not permitted: kernel.perf_event_paranoid is {}", level.unwrap_or_default()),
            format!("run as root or with CAP_PERFMON, or {ALLOW}"),
        ),
        Some(libc::EACCES | libc::EPERM) => (
            "perf_event_open(2) is forbidden, by a container's seccomp filter or as the process is another user's"
                .into(),
            "run both ends as one user; in a container add CAP_PERFMON and allow the call".into(),
        ),
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV | libc::ENXIO) if event != PerfEvent::SystemCalls => {
            ("no hardware counters here, as in most virtual machines".into(), "a machine that shows its PMU".into())
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            ("too few descriptors for one per thread".into(), "raise the hard limit (ulimit -Hn)".into())
        }
        Some(libc::ENOSYS) => {
            ("the kernel has no perf_event_open(2)".into(), "a kernel built with CONFIG_PERF_EVENTS".into())
        }
        _ => (format!("perf_event_open(2) failed: {error}"), "see perf_event_open(2)".into()),
    }
}

fn paranoid_level() -> Option<i32> {
    fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::accounting::process_tree_threads;
    use crate::sys::uring::{Ring, RingSettings, Sqpoll};
    use crate::units::Nanos;
    use std::sync::mpsc;
    use std::thread;

    fn own_thread() -> u32 {
        // SAFETY: takes nothing and cannot fail.
        unsafe { libc::gettid() as u32 }
    }

    fn call(times: u64) {
        for _ in 0..times {
            // SAFETY: takes nothing, changes nothing.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
    }

    /// The counters, or why there are none on standard output.
    fn open_or_print(event: PerfEvent, threads: &[u32]) -> Option<Counters> {
        Counters::open(event, threads)
            .inspect_err(|missing| println!("skipped: no {}: {}; {}", missing.what, missing.why, missing.remedy))
            .ok()
    }

    #[test]
    fn system_calls_of_a_thread_and_of_those_it_starts_are_counted() {
        const CALLS: u64 = 5_000;
        let ((id_tx, id_rx), (go_tx, go_rx)) = (mpsc::channel(), mpsc::channel::<()>());
        let worker = thread::spawn(move || {
            id_tx.send(own_thread()).unwrap();
            go_rx.recv().unwrap();
            call(CALLS);
            thread::spawn(|| call(CALLS)).join().unwrap();
        });
        let counters = open_or_print(PerfEvent::SystemCalls, &[id_rx.recv().unwrap()]);
        let before = counters.as_ref().map(|counters| counters.read().unwrap());
        go_tx.send(()).unwrap();
        worker.join().unwrap();
        let Some((counters, before)) = counters.zip(before) else { return };
        let counted = counters.read().unwrap() - before;
        // Starting and joining threads takes some too.
        assert!((2 * CALLS..2 * CALLS + 500).contains(&counted), "{counted}");
    }

    #[test]
    fn system_calls_of_another_process_are_counted_after_its_end_too() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read go; exec dd if=/dev/zero of=/dev/null bs=1 count=10000 status=none"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let counters = open_or_print(PerfEvent::SystemCalls, &[child.id()]);
        drop(child.stdin.take());
        child.wait().unwrap();
        let Some(counters) = counters else { return };
        let counted = counters.read().unwrap();
        assert!((20_000..21_000).contains(&counted), "{counted}");
    }

    #[test]
    fn the_thread_that_polls_a_ring_is_counted_and_calls_nothing() {
        let idle = Nanos::from_secs(1);
        let settings = RingSettings { sqpoll: Some(Sqpoll { idle, cpu: None }), ..RingSettings::default() };
        let _ring = match Ring::new(&settings) {
            Ok(ring) => ring,
            Err(error) => return println!("skipped: no SQPOLL: {error}"),
        };
        // Other tests have such threads too.
        let named = |(pid, thread): &(u32, u32)| {
            fs::read_to_string(format!("/proc/{pid}/task/{thread}/comm")).is_ok_and(|name| name.starts_with("iou-sqp-"))
        };
        let all = || process_tree_threads(std::process::id()).into_iter();
        let begun = std::time::Instant::now();
        // The thread names itself once it runs.
        let polling: Vec<u32> = loop {
            let found: Vec<u32> = all().filter(named).map(|(_, thread)| thread).collect();
            if !found.is_empty() || begun.elapsed().as_secs() > 10 {
                break found;
            }
            thread::sleep(std::time::Duration::from_millis(1));
        };
        assert!(!polling.is_empty());
        let Some(counters) = open_or_print(PerfEvent::SystemCalls, &polling) else { return };
        thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(counters.read().unwrap(), 0);
    }

    #[test]
    fn instructions_grow_with_work() {
        let Some(counters) = open_or_print(PerfEvent::Instructions, &[own_thread()]) else { return };
        let before = counters.read().unwrap();
        (0..100_000u64).fold(0, |sum, i| std::hint::black_box(sum ^ i));
        assert!(counters.read().unwrap() - before > 100_000);
    }

    #[test]
    fn a_thread_that_is_gone_is_not_counted() {
        match Counters::open(PerfEvent::SystemCalls, &[0x7fff_fff0]) {
            Ok(_) => panic!("there is no such thread"),
            Err(missing) => assert!(!missing.why.is_empty() && !missing.remedy.is_empty(), "{missing:?}"),
        }
    }

    #[test]
    fn every_refusal_has_its_remedy() {
        let open = |errno| Refusal::Open(io::Error::from_raw_os_error(errno));
        for (refusal, event, part) in [
            (Refusal::Tracepoint(NoTracepoint::Unreadable), PerfEvent::SystemCalls, "remount"),
            (Refusal::Tracepoint(NoTracepoint::Forbidden), PerfEvent::SystemCalls, "mount -t tracefs"),
            (Refusal::Tracepoint(NoTracepoint::Unknown), PerfEvent::SystemCalls, "CONFIG_FTRACE"),
            (open(libc::ENOENT), PerfEvent::Cycles, "PMU"),
            (open(libc::EMFILE), PerfEvent::Cycles, "ulimit"),
            (open(libc::ENOSYS), PerfEvent::Instructions, "CONFIG_PERF_EVENTS"),
            (Refusal::Gone, PerfEvent::SystemCalls, "running"),
        ] {
            let missing = refusal.explain(event);
            assert!(missing.what == event.name() && missing.remedy.contains(part), "{missing:?}");
        }
        let forbidden = open(libc::EACCES).explain(PerfEvent::SystemCalls);
        assert!(forbidden.remedy.contains("CAP_PERFMON"), "{forbidden:?}");
    }

    #[test]
    fn a_counter_that_shared_its_place_is_scaled() {
        assert_eq!(scaled([100, 50, 25]), 200);
        assert_eq!(scaled([100, 50, 50]), 100);
        assert_eq!(scaled([0, 0, 0]), 0);
    }
}

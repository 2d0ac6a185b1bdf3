//! The number of the tracepoint that every system call passes, which only tracefs tells (Linux's trace/events.rst).
//!
//! Where none is mounted, one is opened that no program but this one can reach: a mount without a place in any mount
//! namespace (fsopen(2), fsmount(2)), which goes with its descriptor. The machine's mounts stay as they are.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// Where tracefs is usually mounted.
pub(super) const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
const FSOPEN_CLOEXEC: libc::c_ulong = 1;
const FSMOUNT_CLOEXEC: libc::c_ulong = 1;
/// FSCONFIG_CMD_CREATE of fsconfig(2): there are no more options.
const CREATE: libc::c_ulong = 6;

/// Why the number is not known.
#[derive(Debug)]
pub(super) enum NoTracepoint {
    /// A mounted tracefs may not be read.
    Unreadable,
    /// None is mounted, and this process may not open one.
    Forbidden,
    /// The kernel has no tracefs, or in it no such tracepoint.
    Unknown,
    /// Reading a mounted one failed.
    Read(io::Error),
    /// Opening one failed.
    Open(io::Error),
}

/// The number of raw_syscalls:sys_enter. It stays the same until the machine starts anew, so one answer is kept.
pub(super) fn sys_enter() -> Result<u64, NoTracepoint> {
    static NUMBER: OnceLock<u64> = OnceLock::new();
    if let Some(number) = NUMBER.get() {
        return Ok(*number);
    }
    let number = of_mounted().or_else(of_private)?;
    Ok(*NUMBER.get_or_init(|| number))
}

fn of_mounted() -> io::Result<u64> {
    number(TRACEFS[0]).or_else(|first| number(TRACEFS[1]).map_err(|_| first))
}

fn number(root: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("{root}/events/raw_syscalls/sys_enter/id"))?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Where reading a mounted one failed so.
fn of_private(mounted: io::Error) -> Result<u64, NoTracepoint> {
    match mounted.kind() {
        io::ErrorKind::NotFound => open().and_then(|tracefs| number(&path(&tracefs))).map_err(not_opened),
        io::ErrorKind::PermissionDenied => Err(NoTracepoint::Unreadable),
        _ => Err(NoTracepoint::Read(mounted)),
    }
}

fn not_opened(error: io::Error) -> NoTracepoint {
    match error.raw_os_error() {
        // ENOSYS: before Linux 5.2, or a seccomp filter.
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => NoTracepoint::Forbidden,
        Some(libc::ENODEV | libc::ENOENT) => NoTracepoint::Unknown,
        _ => NoTracepoint::Open(error),
    }
}

/// A tracefs that is mounted nowhere. Needs CAP_SYS_ADMIN.
fn open() -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads a C string; the other is a number.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, c"tracefs".as_ptr(), FSOPEN_CLOEXEC) })?;
    let nothing = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes neither a key nor a value; the descriptor is open.
    let created = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), CREATE, nothing, nothing, 0) };
    if created != 0 {
        return Err(io::Error::last_os_error());
    }
    let attributes: libc::c_ulong = 0;
    // SAFETY: takes numbers only; the descriptor is open.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
}

/// What a system call returned, as a descriptor that was just made.
fn descriptor(returned: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(returned) {
        // SAFETY: the caller passes what a call returned that makes a descriptor, so nobody else has it.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A way into it (proc_pid_fd(5)).
fn path(tracefs: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", tracefs.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::privileges::is_root;

    #[test]
    fn root_reads_it_without_mounting_anything() {
        let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = mounts();
        let opened = open().and_then(|tracefs| {
            // Nothing of it can be seen while it is open either.
            assert_eq!(mounts(), before);
            number(&path(&tracefs))
        });
        assert_eq!(mounts(), before);
        match opened.map_err(not_opened) {
            Ok(number) => assert_eq!(sys_enter().unwrap(), number),
            Err(NoTracepoint::Unknown) => println!("skipped: the kernel has no such tracepoint"),
            Err(NoTracepoint::Forbidden) => println!("skipped: not permitted (root: {})", is_root()),
            Err(missing) => panic!("{missing:?}"),
        }
    }

    #[test]
    fn only_where_none_is_mounted_one_is_opened() {
        let outcome = |kind: io::ErrorKind| of_private(kind.into());
        assert!(matches!(outcome(io::ErrorKind::PermissionDenied), Err(NoTracepoint::Unreadable)));
        assert!(matches!(outcome(io::ErrorKind::InvalidData), Err(NoTracepoint::Read(_))));
        for (errno, forbidden) in [(libc::EPERM, true), (libc::ENOSYS, true), (libc::ENODEV, false)] {
            let missing = not_opened(io::Error::from_raw_os_error(errno));
            assert_eq!(matches!(missing, NoTracepoint::Forbidden), forbidden, "{missing:?}");
        }
    }

    #[test]
    fn who_may_not_open_one_is_told_so() {
        let opened = std::thread::spawn(|| {
            crate::sys::privileges::give_up(None).unwrap();
            open().map_err(not_opened)
        });
        assert!(matches!(opened.join().unwrap(), Err(NoTracepoint::Forbidden | NoTracepoint::Unknown)));
    }
}

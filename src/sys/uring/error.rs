//! Why a ring cannot be had here, and what to do about it.

use crate::units::CoreList;
use std::fs;
use std::io;

/// A ring could not be set up. Each message names the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    #[error(
        "io_uring is switched off by the sysctl kernel.io_uring_disabled = {0}; allow it with: sysctl -w kernel.io_uring_disabled=0"
    )]
    Sysctl(u32),
    #[error(
        "io_uring is forbidden by a seccomp filter, as in most containers; run outside the container or with a profile that allows io_uring_setup, io_uring_enter and io_uring_register (Docker: --security-opt seccomp=unconfined)"
    )]
    Seccomp,
    #[error("this kernel ({0}) was built without io_uring or is older than 5.1; use a kernel with CONFIG_IO_URING")]
    Missing(String),
    #[error("io_uring is refused (EPERM) though no sysctl or seccomp filter shows; a security module may forbid it")]
    Refused,
    #[error(
        "the ring needs more locked memory than RLIMIT_MEMLOCK allows ({limit}); raise it with ulimit -l, or ask for fewer --entries and cores"
    )]
    LockedMemory { limit: String },
    #[error(
        "{bytes} bytes for receive buffers cannot be had: {source}; ask for fewer --buffers or a smaller --buffer-size"
    )]
    Memory { bytes: u64, source: io::Error },
    #[error("{feature} needs Linux {since}; this is {running}. {remedy}")]
    Feature { feature: &'static str, since: &'static str, running: String, remedy: &'static str },
    #[error(
        "no --sqpoll thread can run on core {core}; let --sqpoll-cpu name one of those this process may use ({available})"
    )]
    SqpollCore { core: usize, available: CoreList },
    #[error("{what} failed: {source}")]
    Other { what: &'static str, source: io::Error },
}

/// Turns the errno of io_uring_setup(2) into its cause.
pub(super) fn explain_setup(error: io::Error) -> RingError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => explain_refusal(),
        Some(libc::ENOSYS) if seccomp_active() => RingError::Seccomp,
        Some(libc::ENOSYS) => RingError::Missing(kernel_release()),
        Some(libc::ENOMEM) => RingError::LockedMemory { limit: memlock_text() },
        _ => RingError::Other { what: "io_uring_setup", source: error },
    }
}

/// Turns the errno of registering a buffer ring into its cause.
pub(super) fn explain_buffers(error: io::Error) -> RingError {
    match error.raw_os_error() {
        Some(libc::EINVAL) => RingError::Feature {
            feature: "a registered buffer ring",
            since: "5.19",
            running: kernel_release(),
            remedy: "Use the epoll engine there.",
        },
        Some(libc::ENOMEM) => explain_setup(error),
        _ => RingError::Other { what: "registering the buffer ring", source: error },
    }
}

fn explain_refusal() -> RingError {
    match io_uring_disabled() {
        Some(level @ 1..) => RingError::Sysctl(level),
        _ if seccomp_active() => RingError::Seccomp,
        _ => RingError::Refused,
    }
}

/// The sysctl kernel.io_uring_disabled (Linux 6.6): 0 allowed, 1 privileged processes only, 2 forbidden for all.
pub fn io_uring_disabled() -> Option<u32> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

/// Whether a seccomp filter (mode 2) is on this process, from /proc/self/status (proc(5)).
pub fn seccomp_active() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter_map(|line| line.strip_prefix("Seccomp:")).any(|mode| mode.trim() != "0")
}

fn memlock_text() -> String {
    match crate::sys::rlimit::locked_memory() {
        Ok(Some(bytes)) => format!("{} KiB", bytes / 1024),
        _ => "unlimited, so memory itself is short".into(),
    }
}

/// The running kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

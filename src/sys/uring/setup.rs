//! How a ring is set up: the settings, and the flags of io_uring_setup(2) that they become.

use super::buffers::BufferSettings;
use super::error::{RingError, explain_setup, kernel_release};
use crate::sys::affinity;
use crate::units::Nanos;
use io_uring::IoUring;
use std::io;

/// When completions are run (io_uring_setup(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Taskrun {
    /// Only inside the loop's own enter call, in batches: SINGLE_ISSUER + DEFER_TASKRUN (Linux 6.1).
    Defer,
    /// At the next system call, without an interrupt: COOP_TASKRUN (5.19).
    Coop,
    /// Whenever they happen, interrupting the thread: the kernel's default.
    None,
}

/// A kernel thread that takes submissions from the queue, so that submitting needs no system call.
#[derive(Clone, Copy, Debug)]
pub struct Sqpoll {
    /// The thread sleeps after this long without work; rounded down to milliseconds, at least 1.
    pub idle: Nanos,
    /// Core that it is pinned to.
    pub cpu: Option<usize>,
}

/// How a ring is set up.
#[derive(Clone, Debug)]
pub struct RingSettings {
    /// Submission queue entries; rounded up to a power of two.
    pub entries: u32,
    /// Completion queue entries.
    pub completions: u32,
    /// When completions are run.
    pub taskrun: Taskrun,
    /// A kernel thread that submits; `None`: the caller does.
    pub sqpoll: Option<Sqpoll>,
    /// Slots of the table of direct descriptors; 0 for none.
    pub direct_slots: u32,
    /// Receive buffers of streams.
    pub buffers: Option<BufferSettings>,
    /// Buffers for datagrams, whose size is that of the longest one to be received.
    pub datagrams: Option<BufferSettings>,
    /// The caller often looks for completions without sleeping: let the kernel show in shared memory whether there is
    /// anything to look for (TASKRUN_FLAG, 5.19), so that an unsuccessful look costs no system call.
    pub spins: bool,
}

/// A small ring without anything special.
impl Default for RingSettings {
    fn default() -> RingSettings {
        RingSettings {
            entries: 8,
            completions: 32,
            taskrun: Taskrun::None,
            sqpoll: None,
            direct_slots: 0,
            buffers: None,
            datagrams: None,
            spins: false,
        }
    }
}

pub(super) fn build(settings: &RingSettings) -> Result<IoUring, RingError> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(settings.completions).setup_clamp().setup_submit_all();
    match settings.taskrun {
        Taskrun::Defer => builder.setup_single_issuer().setup_defer_taskrun(),
        Taskrun::Coop => builder.setup_coop_taskrun(),
        Taskrun::None => &mut builder,
    };
    if settings.spins && settings.taskrun != Taskrun::None {
        builder.setup_taskrun_flag();
    }
    if let Some(sqpoll) = settings.sqpoll {
        builder.setup_sqpoll(((sqpoll.idle.0 / 1_000_000) as u32).max(1));
        sqpoll.cpu.map(|cpu| builder.setup_sqpoll_cpu(cpu as u32));
    }
    // NO_SQARRAY (6.6) saves an indirection; older kernels do without.
    let mut newest = builder.clone();
    newest.setup_no_sqarray();
    match newest.build(settings.entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            builder.build(settings.entries).map_err(|error| explain_invalid(error, settings))
        }
        built => built.map_err(explain_setup),
    }
}

fn explain_invalid(error: io::Error, settings: &RingSettings) -> RingError {
    let running = kernel_release();
    let sqpoll_core = settings.sqpoll.and_then(|sqpoll| sqpoll.cpu);
    if let (Some(core), Ok(available)) = (sqpoll_core, affinity::available())
        && !available.as_slice().contains(&core)
    {
        return RingError::SqpollCore { core, available };
    }
    match (error.raw_os_error(), settings.taskrun) {
        (Some(libc::EINVAL), Taskrun::Defer) => {
            RingError::Feature { feature: "--taskrun defer", since: "6.1", running, remedy: "Try --taskrun coop." }
        }
        (Some(libc::EINVAL), _) => {
            RingError::Feature { feature: "this setup", since: "5.19", running, remedy: "Try --taskrun none." }
        }
        _ => explain_setup(error),
    }
}

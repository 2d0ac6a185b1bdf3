//! The ring itself: operations go in with the memory they need, completions come out with it.

mod datagrams;
mod gathers;
mod msgs;
mod ops;

pub use datagrams::OnFull;

use super::buffers::{Buffers, Group, Lease};
use super::error::{RingError, kernel_release};
use super::op::{
    Completion, Descriptor, Errno, HAS_MEMORY, InFlight, OpMemory, Returned, UserData, buffer_group, opened,
};
use super::setup::{RingSettings, Taskrun, build};
use crate::sys::wait::Wait;
use crate::units::Nanos;
use datagrams::Datagrams;
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};
use slab::Slab;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU16, Ordering};

/// How long the end of a ring waits for the kernel to let go of its memory before leaking it instead.
const END_TIMEOUT: Nanos = Nanos::from_secs(1);

/// An io_uring instance and all memory its operations refer to. Stays on the thread that made it.
pub struct Ring {
    uring: ManuallyDrop<IoUring>,
    buffers: ManuallyDrop<Option<Buffers>>,
    datagrams: ManuallyDrop<Option<Datagrams>>,
    in_flight: ManuallyDrop<Slab<InFlight>>,
    /// Completions reaped and not yet taken by the caller.
    batch: VecDeque<cqueue::Entry>,
    /// Operations whose final completion has not been reaped.
    outstanding: usize,
    /// Number of this ring in the process, found again in its leases.
    number: u16,
    sqpoll: bool,
    /// The kernel reports in shared memory whether completions wait to be run (IORING_SQ_TASKRUN).
    taskrun_flag: bool,
    /// Why an operation could not be submitted.
    failure: Option<io::Error>,
}

impl Ring {
    /// Sets up a ring for use by the calling thread.
    pub fn new(settings: &RingSettings) -> Result<Ring, RingError> {
        static RINGS: AtomicU16 = AtomicU16::new(0);
        let uring = build(settings)?;
        let submitter = uring.submitter();
        if settings.direct_slots > 0 {
            let what = "registering the table of direct descriptors (its size is limited by RLIMIT_NOFILE)";
            submitter
                .register_files_sparse(settings.direct_slots)
                .map_err(|source| RingError::Other { what, source })?;
        }
        let buffers = match settings.buffers {
            Some(buffers) => Some(Buffers::register(&submitter, Group::Streams, buffers)?),
            None => None,
        };
        let datagrams = match settings.datagrams {
            Some(buffers) => Some(Datagrams::register(&submitter, buffers)?),
            None => None,
        };
        Ok(Ring {
            uring: ManuallyDrop::new(uring),
            buffers: ManuallyDrop::new(buffers),
            datagrams: ManuallyDrop::new(datagrams),
            in_flight: ManuallyDrop::new(Slab::new()),
            batch: VecDeque::with_capacity(settings.completions as usize),
            outstanding: 0,
            number: RINGS.fetch_add(1, Ordering::Relaxed),
            sqpoll: settings.sqpoll.is_some(),
            taskrun_flag: settings.spins && settings.taskrun != Taskrun::None,
            failure: None,
        })
    }

    /// Tries a receive of the kind that will be needed, on a socket with data waiting.
    pub fn receive_probe(&mut self, multishot: bool) -> Result<(), RingError> {
        let what = "the receive probe";
        let other = |source| RingError::Other { what, source };
        let (reader, mut writer) = UnixStream::pair().map_err(other)?;
        writer.write_all(b"?").map_err(other)?;
        let user_data = UserData { kind: 0, generation: 0, slot: 0 };
        match multishot {
            true => self.recv_multishot(Descriptor::Fd(reader.as_raw_fd()), user_data),
            false => self.recv_once(Descriptor::Fd(reader.as_raw_fd()), false, user_data),
        }
        self.enter(Wait::AtMost(Nanos::from_secs(5))).map_err(other)?;
        match self.next_completion() {
            Some(Completion { result: Ok(1), lease: Some(lease), .. }) => {
                self.release(lease);
                Ok(())
            }
            Some(Completion { result: Err(Errno(libc::EINVAL)), .. }) => Err(RingError::Feature {
                feature: "multishot receive",
                since: "6.0",
                running: kernel_release(),
                remedy: "Try --recv oneshot.",
            }),
            Some(Completion { result: Err(errno), .. }) => Err(other(errno.into())),
            _ => Err(other(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Submits all that was queued, waits as `wait` says, and collects completions for [`Ring::next_completion`].
    /// An interrupted or timed-out wait is no error.
    pub fn enter(&mut self, wait: Wait) -> io::Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let wait = if self.batch.is_empty() { wait } else { Wait::Poll };
        let entered = match wait {
            Wait::Poll => self.poll(),
            Wait::Forever => self.uring.submitter().submit_and_wait(1),
            Wait::AtMost(time) => {
                let time = Timespec::from(time.duration());
                self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        self.batch.extend(self.uring.completion());
        match entered {
            Err(error) if !is_retryable(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Completions that wait to be taken. Operations pushed while they are handled may add to them, so a loop that must end
    /// takes as many as there were.
    pub fn ready_len(&self) -> usize {
        self.batch.len()
    }

    /// The next completion that was collected.
    #[inline]
    pub fn next_completion(&mut self) -> Option<Completion> {
        let entry = self.batch.pop_front()?;
        let flags = entry.flags();
        let more = cqueue::more(flags);
        if !more {
            self.outstanding -= 1;
        }
        let Returned { user_data, segment, gather, msg, lease } = self.reclaim(entry.user_data());
        let result = u32::try_from(entry.result()).map_err(|_| Errno(-entry.result()));
        let len = result.unwrap_or(0);
        let group = buffer_group(entry.user_data());
        let lease = cqueue::buffer_select(flags).map(|id| Lease { id, group, ring: self.number, len }).or(lease);
        let opened = opened(entry.user_data(), result);
        let nonempty = cqueue::sock_nonempty(flags);
        Some(Completion { user_data, result, more, nonempty, lease, segment, gather, msg, opened })
    }

    /// What was received.
    #[inline]
    pub fn bytes(&self, lease: &Lease) -> &[u8] {
        self.own_buffers(lease).bytes(lease)
    }

    /// Hands a receive buffer back to the kernel.
    #[inline]
    pub fn release(&mut self, lease: Lease) {
        assert_eq!(lease.ring, self.number, "a lease belongs to the ring it came from");
        if let Some(buffers) = self.group_mut(lease.group) {
            buffers.provide(lease.id);
        }
    }

    /// Doubles the number of a group's receive buffers, as far as the limit allows. `false` at the limit.
    pub fn add_buffers(&mut self, group: Group) -> io::Result<bool> {
        self.group_mut(group).map_or(Ok(false), Buffers::grow)
    }

    /// Receive buffers of a group that exist, wherever they are now.
    pub fn buffer_count(&self, group: Group) -> u32 {
        self.group(group).map_or(0, Buffers::count)
    }

    #[inline]
    fn group(&self, group: Group) -> Option<&Buffers> {
        match group {
            Group::Streams => self.buffers.as_ref(),
            Group::Datagrams => self.datagrams.as_ref().map(Datagrams::buffers),
        }
    }

    #[inline]
    fn group_mut(&mut self, group: Group) -> Option<&mut Buffers> {
        match group {
            Group::Streams => self.buffers.as_mut(),
            Group::Datagrams => self.datagrams.as_mut().map(Datagrams::buffers_mut),
        }
    }

    /// Operations under way.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    fn own_buffers(&self, lease: &Lease) -> &Buffers {
        assert_eq!(lease.ring, self.number, "a lease belongs to the ring it came from");
        self.group(lease.group).expect("a lease comes from a ring with buffers")
    }

    #[inline]
    fn push_with_memory(&mut self, entry: squeue::Entry, user_data: UserData, memory: OpMemory) {
        let index = self.in_flight.insert(InFlight { user_data, memory });
        self.push(entry.user_data(HAS_MEMORY | index as u64));
    }

    #[inline]
    fn push(&mut self, entry: squeue::Entry) {
        self.outstanding += 1;
        loop {
            // SAFETY: every address in the entry points into memory that `in_flight`, `buffers`, `datagrams` or a 'static
            // keeps alive until the operation's final completion has been reaped; `Drop` waits for that or leaks the memory.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            // The queue is full: let the kernel take what is in it. A busy kernel (EBUSY) wants its completions
            // collected first; they wait in `batch`.
            if let Err(error) = self.uring.submitter().submit()
                && !is_retryable(&error)
            {
                // Nothing more can be submitted: the next `enter` returns the error, and this operation never was submitted.
                self.failure = Some(error);
                self.outstanding -= 1;
                return;
            }
            if self.sqpoll {
                let _ = self.uring.submitter().squeue_wait();
            }
            self.batch.extend(self.uring.completion());
        }
    }

    /// Takes back what the operation with this user data referred to.
    #[inline]
    fn reclaim(&mut self, data: u64) -> Returned {
        if data & HAS_MEMORY == 0 {
            return Returned::nothing(UserData::unpack(data));
        }
        let InFlight { user_data, memory } = self.in_flight.remove((data & !HAS_MEMORY) as usize);
        let nothing = Returned::nothing(user_data);
        match memory {
            OpMemory::Segment(segment) => Returned { segment: Some(segment), ..nothing },
            OpMemory::Gather(gather) => Returned { gather: Some(gather), ..nothing },
            OpMemory::Msg(msg) => Returned { msg: Some(msg), ..nothing },
            OpMemory::SendMsg(send_msg, segment, lease) => {
                self.recycle_send_msg(send_msg);
                Returned { segment: Some(segment), lease, ..nothing }
            }
            OpMemory::Address(_) => nothing,
        }
    }

    /// Submits and lets the kernel run what completed, without sleeping.
    fn poll(&mut self) -> io::Result<usize> {
        if self.sqpoll {
            return self.uring.submitter().submit();
        }
        let submission = self.uring.submission();
        let queued = submission.len() as u32;
        if queued == 0 && self.taskrun_flag && !submission.taskrun() && !submission.cq_overflow() {
            std::hint::spin_loop();
            return Ok(0);
        }
        drop(submission);
        // SAFETY: the entries submitted are sound as stated in `push`; no argument is passed.
        unsafe { self.uring.submitter().enter::<libc::sigset_t>(queued, 0, EnterFlags::GETEVENTS.bits(), None) }
    }

    /// Cancels everything and reaps until nothing is under way. `false` when the kernel does not let go in time.
    fn end_operations(&mut self) -> bool {
        let _ = self.uring.submitter().submit();
        let timeout = Timespec::from(END_TIMEOUT.duration());
        let _ = self.uring.submitter().register_sync_cancel(Some(timeout), CancelBuilder::any());
        for _ in 0..self.outstanding + 16 {
            while self.next_completion().is_some() {}
            if self.outstanding == 0 {
                return true;
            }
            if self.enter(Wait::AtMost(END_TIMEOUT)).is_err() {
                return false;
            }
            if self.batch.is_empty() {
                return false;
            }
        }
        self.outstanding == 0
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let ended = self.end_operations();
        // SAFETY: each field is dropped once, here, and not used again. The instance goes first, so that the kernel
        // has no registration left that names the buffers.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
        if ended {
            // SAFETY: as above; no operation is left that could touch this memory.
            unsafe {
                ManuallyDrop::drop(&mut self.buffers);
                ManuallyDrop::drop(&mut self.datagrams);
                ManuallyDrop::drop(&mut self.in_flight);
            }
        }
        // Otherwise the memory is leaked: the kernel may still write to it.
    }
}

/// Errors after which the loop simply goes on: interrupted, timed out, or completions to be collected first.
fn is_retryable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN))
}

#[cfg(test)]
mod tests;

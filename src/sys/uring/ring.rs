//! The ring itself: operations go in with the memory they need, completions come out with it.

mod datagrams;
mod gathers;
mod msgs;

pub use datagrams::OnFull;

use super::buffers::{Buffers, Group, Lease};
use super::datagram::SendMsg;
use super::error::{RingError, kernel_release};
use super::gather::Gather;
use super::msg::Msg;
use super::setup::{RingSettings, Taskrun, build};
use crate::sys::send_buffer;
use crate::sys::wait::Wait;
use crate::units::Nanos;
use datagrams::Datagrams;
use io_uring::types::{CancelBuilder, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use slab::Slab;
use socket2::SockAddr;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU16, Ordering};

/// Set in the user data of operations whose memory the ring holds; the rest is then an index into `in_flight`.
const HAS_MEMORY: u64 = 1 << 63;
/// Set in the user data of operations whose result is a new file descriptor.
const OPENS: u64 = 1 << 62;
/// Set in the user data of receives that take their buffers from the group for datagrams.
const DATAGRAMS: u64 = 1 << 61;
/// IORING_RECVSEND_POLL_FIRST (linux/io_uring.h, 5.19): wait for readiness before the first try.
const POLL_FIRST: u16 = 1;
/// How long the end of a ring waits for the kernel to let go of its memory before leaking it instead.
const END_TIMEOUT: Nanos = Nanos::from_secs(1);

/// What an operation acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// An ordinary file descriptor.
    Fd(RawFd),
    /// A slot in the ring's own table of direct descriptors.
    Direct(u32),
}

/// The caller's name for an operation: a kind, a slot and the slot's generation. Comes back with each completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserData {
    /// Below 32.
    pub kind: u8,
    /// The lower 24 bits count: enough that a slot's reuse shows.
    pub generation: u32,
    /// Chosen by the caller.
    pub slot: u32,
}

impl UserData {
    fn pack(self) -> u64 {
        (u64::from(self.kind & 0x1f) << 56) | (u64::from(self.generation & 0xff_ffff) << 32) | u64::from(self.slot)
    }

    fn unpack(data: u64) -> UserData {
        UserData { kind: (data >> 56) as u8 & 0x1f, generation: (data >> 32) as u32 & 0xff_ffff, slot: data as u32 }
    }
}

/// Bytes to send, or room to read into.
pub type SendBuffer = send_buffer::SendBuffer<Lease>;
/// A part of a buffer to send.
pub type Segment = send_buffer::Segment<Lease>;

/// Memory that an operation in flight refers to.
enum OpMemory {
    Segment(Segment),
    /// Several parts of buffers, one behind the other.
    Gather(Box<Gather>),
    /// A datagram with its address and ancillary data.
    Msg(Box<Msg>),
    /// What sendmsg reads, and the buffer that comes back with it.
    SendMsg(Box<SendMsg>, Segment, Option<Lease>),
    Address(#[allow(dead_code, reason = "kept alive for the kernel")] Box<SockAddr>),
}

/// An operation in flight that refers to memory.
struct InFlight {
    user_data: UserData,
    memory: OpMemory,
}

/// What comes back to the caller with the final completion of an operation.
struct Returned {
    user_data: UserData,
    segment: Option<Segment>,
    gather: Option<Box<Gather>>,
    msg: Option<Box<Msg>>,
    lease: Option<Lease>,
}

impl Returned {
    fn nothing(user_data: UserData) -> Returned {
        Returned { user_data, segment: None, gather: None, msg: None, lease: None }
    }
}

/// An error number as the kernel returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.0)
    }
}

/// What became of an operation.
#[derive(Debug)]
#[must_use]
pub struct Completion {
    /// As given with the operation.
    pub user_data: UserData,
    /// The result of the system call of the same kind.
    pub result: Result<u32, Errno>,
    /// A multishot operation stays armed: more completions of it follow.
    pub more: bool,
    /// The socket had more to receive when this completed (IORING_CQE_F_SOCK_NONEMPTY, 5.19).
    pub nonempty: bool,
    /// The buffer a receive filled, or that of the datagram which was answered.
    pub lease: Option<Lease>,
    /// What was sent from or read into, back from the kernel.
    pub segment: Option<Segment>,
    /// What [`Ring::send_gather`] sent, back from the kernel.
    pub gather: Option<Box<Gather>>,
    /// What was sent or received with address and ancillary data, back from the kernel.
    pub msg: Option<Box<Msg>>,
    /// The connection that was accepted.
    pub opened: Option<OwnedFd>,
}

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

    /// Accepts connections from a listening socket until cancelled (5.19). A completion's result is the new
    /// slot in the direct table where `direct`; otherwise the completion carries its descriptor.
    pub fn accept_multishot(&mut self, listener: RawFd, direct: bool, user_data: UserData) {
        let mut accept = opcode::AcceptMulti::new(Fd(listener)).allocate_file_index(direct);
        if !direct {
            accept = accept.flags(libc::SOCK_CLOEXEC);
        }
        self.push(accept.build().user_data(accept_data(user_data, direct)));
    }

    /// Receives into buffers that the kernel picks from the buffer ring, until cancelled or out of buffers (6.0).
    pub fn recv_multishot(&mut self, descriptor: Descriptor, user_data: UserData) {
        let entry = match descriptor {
            Descriptor::Fd(fd) => opcode::RecvMulti::new(Fd(fd), Group::Streams as u16).build(),
            Descriptor::Direct(slot) => opcode::RecvMulti::new(Fixed(slot), Group::Streams as u16).build(),
        };
        self.push(entry.user_data(user_data.pack()));
    }

    /// Receives once into a buffer that the kernel picks. `expect_empty`: wait for readiness before the first try.
    pub fn recv_once(&mut self, descriptor: Descriptor, expect_empty: bool, user_data: UserData) {
        let len = self.buffers.as_ref().map_or(0, Buffers::size);
        let ioprio = if expect_empty { POLL_FIRST } else { 0 };
        let nothing = std::ptr::null_mut();
        let entry = match descriptor {
            Descriptor::Fd(fd) => {
                opcode::Recv::new(Fd(fd), nothing, len).buf_group(Group::Streams as u16).ioprio(ioprio).build()
            }
            Descriptor::Direct(slot) => {
                opcode::Recv::new(Fixed(slot), nothing, len).buf_group(Group::Streams as u16).ioprio(ioprio).build()
            }
        };
        self.push(entry.flags(squeue::Flags::BUFFER_SELECT).user_data(user_data.pack()));
    }

    /// Sends `range` of the buffer, all of it where the kernel can (MSG_WAITALL); check the result nevertheless.
    /// The buffer comes back with the completion.
    pub fn send(&mut self, descriptor: Descriptor, buffer: SendBuffer, range: Range<usize>, user_data: UserData) {
        let segment = Segment { buffer, range };
        let bytes = segment.bytes(|lease| self.bytes(lease));
        let (start, len) = (bytes.as_ptr(), bytes.len() as u32);
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = match descriptor {
            Descriptor::Fd(fd) => opcode::Send::new(Fd(fd), start, len).flags(flags).build(),
            Descriptor::Direct(slot) => opcode::Send::new(Fixed(slot), start, len).flags(flags).build(),
        };
        self.push_with_memory(entry, user_data, OpMemory::Segment(segment));
    }

    /// Completes once, when the descriptor can be written to.
    pub fn poll_writable(&mut self, fd: RawFd, user_data: UserData) {
        let entry = opcode::PollAdd::new(Fd(fd), libc::POLLOUT as u32).build();
        self.push(entry.user_data(user_data.pack()));
    }

    /// Reads from a pipe or the like into the vector, up to its length; it comes back with the completion.
    pub fn read(&mut self, fd: RawFd, mut room: Vec<u8>, user_data: UserData) {
        let entry = opcode::Read::new(Fd(fd), room.as_mut_ptr(), room.len() as u32).build();
        let range = 0..room.len();
        self.push_with_memory(entry, user_data, OpMemory::Segment(Segment { buffer: SendBuffer::Owned(room), range }));
    }

    /// Connects a socket.
    pub fn connect(&mut self, fd: RawFd, address: SockAddr, user_data: UserData) {
        let address = Box::new(address);
        let entry = opcode::Connect::new(Fd(fd), address.as_ptr().cast(), address.len()).build();
        self.push_with_memory(entry, user_data, OpMemory::Address(address));
    }

    /// Asks for the end of the operations that carry the user data `target`; they complete themselves, with ECANCELED or
    /// with what they did meanwhile. Not for operations that hold memory.
    pub fn cancel(&mut self, target: UserData, user_data: UserData) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(target.pack()).all()).build();
        self.push(entry.user_data(user_data.pack()));
    }

    /// As `cancel`, for an accept that was armed with the same `direct`.
    pub fn cancel_accept(&mut self, target: UserData, direct: bool, user_data: UserData) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(accept_data(target, direct)).all()).build();
        self.push(entry.user_data(user_data.pack()));
    }

    /// Ends the receiving side: what has arrived can still be received, then comes the end of the stream.
    pub fn shutdown_read(&mut self, descriptor: Descriptor, user_data: UserData) {
        let entry = match descriptor {
            Descriptor::Fd(fd) => opcode::Shutdown::new(Fd(fd), libc::SHUT_RD).build(),
            Descriptor::Direct(slot) => opcode::Shutdown::new(Fixed(slot), libc::SHUT_RD).build(),
        };
        self.push(entry.user_data(user_data.pack()));
    }

    /// Ends our side of a stream. Runs on a worker thread of the kernel's, as every shutdown does.
    pub fn shutdown_write(&mut self, descriptor: Descriptor, user_data: UserData) {
        let entry = match descriptor {
            Descriptor::Fd(fd) => opcode::Shutdown::new(Fd(fd), libc::SHUT_WR).build(),
            Descriptor::Direct(slot) => opcode::Shutdown::new(Fixed(slot), libc::SHUT_WR).build(),
        };
        self.push(entry.user_data(user_data.pack()));
    }

    /// Closes a direct descriptor. Cancel its operations and wait for their end first.
    pub fn close_direct(&mut self, slot: u32, user_data: UserData) {
        self.push(opcode::Close::new(Fixed(slot)).build().user_data(user_data.pack()));
    }

    /// Puts a descriptor into a slot of the direct table; the caller may close its own copy afterwards.
    pub fn install(&mut self, slot: u32, fd: &impl AsRawFd) -> io::Result<()> {
        self.uring.submitter().register_files_update(slot, &[fd.as_raw_fd()]).map(drop)
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

    /// Completions that wait to be taken. Operations pushed meanwhile may add to them, so a loop that must come to an end
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
        let group = group(entry.user_data());
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

/// The group from which an operation with this user data took a buffer, if it took one.
#[inline]
fn group(data: u64) -> Group {
    if data & (HAS_MEMORY | DATAGRAMS) == DATAGRAMS { Group::Datagrams } else { Group::Streams }
}

/// The user data of an accept.
fn accept_data(user_data: UserData, direct: bool) -> u64 {
    user_data.pack() | if direct { 0 } else { OPENS }
}

/// The descriptor that a completion brings.
#[inline]
fn opened(data: u64, result: Result<u32, Errno>) -> Option<OwnedFd> {
    let fd = result.ok().filter(|_| data & (HAS_MEMORY | OPENS) == OPENS)?;
    // SAFETY: only operations that open a descriptor carry OPENS, each completion brings a new one, and it is taken
    // here and nowhere else.
    Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Errors after which the loop simply goes on: interrupted, timed out, or completions to be collected first.
fn is_retryable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN))
}

#[cfg(test)]
mod tests;

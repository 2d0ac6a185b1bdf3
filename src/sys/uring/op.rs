//! What goes into the ring with an operation and comes out with its completion: names, memory, results.

use super::buffers::{Group, Lease, Segment};
use super::datagram::SendMsg;
use super::gather::Gather;
use super::msg::Msg;
use socket2::SockAddr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Set in the user data of operations whose memory the ring holds; the rest is then an index into `in_flight`.
pub(super) const HAS_MEMORY: u64 = 1 << 63;
/// Set in the user data of operations whose result is a new file descriptor.
pub(super) const OPENS: u64 = 1 << 62;
/// Set in the user data of receives that take their buffers from the group for datagrams.
pub(super) const DATAGRAMS: u64 = 1 << 61;

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
    pub(super) fn pack(self) -> u64 {
        (u64::from(self.kind & 0x1f) << 56) | (u64::from(self.generation & 0xff_ffff) << 32) | u64::from(self.slot)
    }

    pub(super) fn unpack(data: u64) -> UserData {
        UserData { kind: (data >> 56) as u8 & 0x1f, generation: (data >> 32) as u32 & 0xff_ffff, slot: data as u32 }
    }
}

/// Memory that an operation in flight refers to.
pub(super) enum OpMemory {
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
pub(super) struct InFlight {
    pub(super) user_data: UserData,
    pub(super) memory: OpMemory,
}

/// What comes back to the caller with the final completion of an operation.
pub(super) struct Returned {
    pub(super) user_data: UserData,
    pub(super) segment: Option<Segment>,
    pub(super) gather: Option<Box<Gather>>,
    pub(super) msg: Option<Box<Msg>>,
    pub(super) lease: Option<Lease>,
}

impl Returned {
    pub(super) fn nothing(user_data: UserData) -> Returned {
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
    /// What [`super::Ring::send_gather`] sent, back from the kernel.
    pub gather: Option<Box<Gather>>,
    /// What was sent or received with address and ancillary data, back from the kernel.
    pub msg: Option<Box<Msg>>,
    /// The connection that was accepted.
    pub opened: Option<OwnedFd>,
}

/// The group from which an operation with this user data took a buffer, if it took one.
#[inline]
pub(super) fn buffer_group(data: u64) -> Group {
    if data & (HAS_MEMORY | DATAGRAMS) == DATAGRAMS { Group::Datagrams } else { Group::Streams }
}

/// The user data of an accept.
pub(super) fn accept_data(user_data: UserData, direct: bool) -> u64 {
    user_data.pack() | if direct { 0 } else { OPENS }
}

/// The descriptor that a completion brings.
#[inline]
pub(super) fn opened(data: u64, result: Result<u32, Errno>) -> Option<OwnedFd> {
    let fd = result.ok().filter(|_| data & (HAS_MEMORY | OPENS) == OPENS)?;
    // SAFETY: only operations that open a descriptor carry OPENS, each completion brings a new one, and it is taken
    // here and nowhere else.
    Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

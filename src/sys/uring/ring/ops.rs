//! Operations on streams, listeners and descriptors.

use super::{Buffers, Descriptor, Group, OpMemory, Ring, UserData};
use crate::sys::uring::buffers::{Segment, SendBuffer};
use crate::sys::uring::op::accept_data;
use io_uring::types::{CancelBuilder, Fd, Fixed};
use io_uring::{opcode, squeue};
use socket2::SockAddr;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};

/// IORING_RECVSEND_POLL_FIRST (linux/io_uring.h, 5.19): wait for readiness before the first try.
const POLL_FIRST: u16 = 1;

impl Ring {
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
}

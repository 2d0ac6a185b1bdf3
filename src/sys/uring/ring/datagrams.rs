//! Datagrams: a multishot recvmsg into buffers of their own, and answers that go to where a datagram came from.

use super::{Errno, OpMemory, Ring, UserData, Wait};
use crate::sys::datagram::pktinfo::PktInfo;
use crate::sys::uring::buffers::{BufferSettings, Buffers, Group, Lease};
use crate::sys::uring::buffers::{Segment, SendBuffer};
use crate::sys::uring::datagram::{Datagram, HEADROOM, SendMsg, receive_header};
use crate::sys::uring::error::{RingError, kernel_release};
use crate::sys::uring::op::DATAGRAMS;
use crate::units::Nanos;
use io_uring::types::{CancelBuilder, Fd};
use io_uring::{Submitter, opcode, squeue};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// Messages that are kept for later use.
const MAX_FREE: usize = 256;
const USE_EPOLL: &str = "Use the epoll engine there.";

/// What a ring needs to serve datagrams, and owns.
pub(super) struct Datagrams {
    /// Buffers are not a multiple of a page apart but, with `HEADROOM` (five cache lines) more than that, an odd number
    /// of lines: so short datagrams, which touch only the start of each, spread over all sets of the first-level cache.
    buffers: Buffers,
    /// Read whenever a receive is submitted.
    header: Box<libc::msghdr>,
    /// Messages not in use.
    #[allow(clippy::vec_box, reason = "boxes go in and out; a message in use must not move")]
    free_send_msgs: Vec<Box<SendMsg>>,
}

impl Datagrams {
    pub(super) fn register(submitter: &Submitter<'_>, settings: BufferSettings) -> Result<Datagrams, RingError> {
        let settings = BufferSettings { size: settings.size + HEADROOM as u32, ..settings };
        let buffers = Buffers::register(submitter, Group::Datagrams, settings)?;
        Ok(Datagrams { buffers, header: receive_header(), free_send_msgs: Vec::new() })
    }

    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    pub(super) fn buffers_mut(&mut self) -> &mut Buffers {
        &mut self.buffers
    }
}

/// What an answer does that finds no room in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum OnFull {
    /// Waits in the kernel; others that are sent later may overtake it. On a unix socket whose destination has no room
    /// either it arrives empty.
    Wait = 0,
    /// Comes back with EAGAIN.
    Return = libc::MSG_DONTWAIT,
}

impl Ring {
    /// Receives datagrams, each into a buffer of the group for datagrams, until cancelled or out of buffers (6.0); with
    /// `at_once` only those that have arrived: it ends with EAGAIN, though maybe before it has taken all. An empty
    /// datagram ends it too.
    pub fn recv_datagrams(&mut self, fd: RawFd, at_once: bool, user_data: UserData) {
        let header = &raw const *self.own_datagrams().header;
        let flags = if at_once { libc::MSG_DONTWAIT as u32 } else { 0 };
        let entry = opcode::RecvMsgMulti::new(Fd(fd), header, Group::Datagrams as u16).flags(flags).build();
        self.push(entry.user_data(user_data.pack() | DATAGRAMS));
    }

    /// As [`Ring::cancel`], for the receive of datagrams that carries the user data `target`.
    pub fn cancel_datagrams(&mut self, target: UserData, user_data: UserData) {
        let target = CancelBuilder::user_data(target.pack() | DATAGRAMS).all();
        self.push(opcode::AsyncCancel2::new(target).build().user_data(user_data.pack()));
    }

    /// The datagram in a receive buffer.
    #[inline]
    pub fn datagram(&self, lease: &Lease) -> Datagram<'_> {
        assert_eq!(lease.group, Group::Datagrams, "a lease of a datagram");
        Datagram::parse(self.bytes(lease))
    }

    /// Sends a datagram back to where it came from, straight from its buffer (6.1), and from where it arrived, if that was
    /// reported; a batch in datagrams of the same size (UDP_SEGMENT, 4.18). The lease comes back with the completion as its
    /// payload.
    #[inline]
    pub fn answer(&mut self, fd: RawFd, lease: Lease, on_full: OnFull, user_data: UserData) {
        let Datagram { name, payload, segment, local, .. } = self.datagram(&lease);
        if segment.is_some() || local.is_some() {
            return self.answer_with_pktinfo(fd, lease, on_full, user_data);
        }
        let entry = opcode::Send::new(Fd(fd), payload.as_ptr(), payload.len() as u32)
            .dest_addr(name.as_ptr().cast())
            .dest_addr_len(name.len() as libc::socklen_t)
            .flags(on_full as libc::c_int)
            .build();
        self.push_with_memory(entry, user_data, OpMemory::Segment(whole(lease)));
    }

    /// As `answer`, with control data.
    fn answer_with_pktinfo(&mut self, fd: RawFd, lease: Lease, on_full: OnFull, user_data: UserData) {
        let mut send_msg = self.take_send_msg();
        let Datagram { name, payload, segment, local, .. } = self.datagram(&lease);
        let header = send_msg.set(name, payload, PktInfo { segment, local });
        let entry = opcode::SendMsg::new(Fd(fd), header).flags(on_full as u32).build();
        self.push_with_memory(entry, user_data, OpMemory::SendMsg(send_msg, whole(lease), None));
    }

    /// Sends these bytes as one datagram to where the one in the buffer came from. They come back with the completion,
    /// and so does the lease.
    pub fn answer_with(&mut self, fd: RawFd, lease: Lease, bytes: Vec<u8>, on_full: OnFull, user_data: UserData) {
        let (send_msg, entry) = self.answer_send_msg(fd, &lease, &bytes, on_full);
        self.push_with_memory(entry, user_data, OpMemory::SendMsg(send_msg, owned(bytes), Some(lease)));
    }

    /// As `answer_with`, but leaves the lease to the caller, and waits when the socket is full.
    pub fn answer_also_with(&mut self, fd: RawFd, lease: &Lease, bytes: Vec<u8>, user_data: UserData) {
        let (send_msg, entry) = self.answer_send_msg(fd, lease, &bytes, OnFull::Wait);
        self.push_with_memory(entry, user_data, OpMemory::SendMsg(send_msg, owned(bytes), None));
    }

    fn answer_send_msg(
        &mut self,
        fd: RawFd,
        lease: &Lease,
        bytes: &[u8],
        on_full: OnFull,
    ) -> (Box<SendMsg>, squeue::Entry) {
        let mut send_msg = self.take_send_msg();
        let Datagram { name, local, .. } = self.datagram(lease);
        let header = send_msg.set(name, bytes, PktInfo { segment: None, local });
        let entry = opcode::SendMsg::new(Fd(fd), header).flags(on_full as u32).build();
        (send_msg, entry)
    }

    fn own_datagrams(&self) -> &Datagrams {
        self.datagrams.as_ref().expect("a ring set up with buffers for datagrams")
    }

    fn take_send_msg(&mut self) -> Box<SendMsg> {
        self.datagrams.as_mut().and_then(|datagrams| datagrams.free_send_msgs.pop()).unwrap_or_else(SendMsg::new)
    }

    pub(super) fn recycle_send_msg(&mut self, send_msg: Box<SendMsg>) {
        if let Some(datagrams) = self.datagrams.as_mut().filter(|datagrams| datagrams.free_send_msgs.len() < MAX_FREE) {
            datagrams.free_send_msgs.push(send_msg);
        }
    }

    /// Tries to receive a datagram and to send it back, with sockets of its own. For a ring that has nothing under way.
    ///
    /// # Errors
    /// Which of the two this kernel lacks, and what to do about it.
    pub fn datagram_probe(&mut self) -> Result<(), RingError> {
        let (socket, peer) = unix_sockets().map_err(failed("the datagram probe"))?;
        let lease = self.receive_probe_datagram(&socket, &peer)?;
        self.answer(socket.as_raw_fd(), lease, OnFull::Wait, PROBE);
        if let Some(lease) = self.probe_result("sending a datagram to an address", "6.1")? {
            self.release(lease);
        }
        Ok(())
    }

    /// The first half of `datagram_probe`.
    pub(in crate::sys::uring) fn datagram_receive_probe(&mut self) -> Result<(), RingError> {
        let (socket, peer) = unix_sockets().map_err(failed("the datagram probe"))?;
        let lease = self.receive_probe_datagram(&socket, &peer)?;
        self.release(lease);
        Ok(())
    }

    fn receive_probe_datagram(&mut self, socket: &Socket, peer: &Socket) -> Result<Lease, RingError> {
        let address = socket.local_addr().map_err(failed("the datagram probe"))?;
        peer.send_to(b"?", &address).map_err(failed("the datagram probe"))?;
        self.recv_datagrams(socket.as_raw_fd(), true, PROBE);
        let received = self.probe_result("receiving datagrams (multishot recvmsg)", "6.0")?;
        match received {
            Some(lease) => Ok(lease),
            _ => Err(failed("the datagram probe")(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Waits until the operations of a probe have ended; the lease that the first of their completions brought.
    fn probe_result(&mut self, feature: &'static str, since: &'static str) -> Result<Option<Lease>, RingError> {
        let mut brought = None;
        let mut refused = None;
        while self.outstanding() > 0 {
            self.enter(Wait::AtMost(Nanos::from_secs(5))).map_err(failed(feature))?;
            let Some(completion) = self.next_completion() else {
                return Err(failed(feature)(io::ErrorKind::TimedOut.into()));
            };
            brought = completion.lease.or(completion.segment.and_then(received)).or(brought);
            refused = completion.result.err().filter(|errno| !is_end_of_probe(*errno)).or(refused);
        }
        match refused {
            None => Ok(brought),
            Some(Errno(libc::EINVAL)) => {
                Err(RingError::Feature { feature, since, running: kernel_release(), remedy: USE_EPOLL })
            }
            Some(errno) => Err(failed(feature)(errno.into())),
        }
    }
}

/// A datagram in the buffer that it was received into.
fn whole(lease: Lease) -> Segment {
    let range = 0..lease.len();
    Segment { buffer: SendBuffer::Received(lease), range }
}

fn owned(bytes: Vec<u8>) -> Segment {
    let range = 0..bytes.len();
    Segment { buffer: SendBuffer::Owned(bytes), range }
}

fn received(segment: Segment) -> Option<Lease> {
    match segment.buffer {
        SendBuffer::Received(lease) => Some(lease),
        _ => None,
    }
}

/// How a receive ends that took all there was.
fn is_end_of_probe(errno: Errno) -> bool {
    matches!(errno, Errno(libc::EAGAIN | libc::ENOBUFS))
}

const PROBE: UserData = UserData { kind: 0, generation: 0, slot: 0 };

/// Two unix sockets with names that the kernel chose: they work where there is no network at all.
fn unix_sockets() -> io::Result<(Socket, Socket)> {
    let bound = || {
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        socket.bind(&SockAddr::unix("")?)?;
        Ok::<_, io::Error>(socket)
    };
    Ok((bound()?, bound()?))
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> RingError {
    move |source| RingError::Other { what, source }
}

#[cfg(test)]
mod tests;

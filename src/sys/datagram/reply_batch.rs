//! Answers on their way out, by sendmmsg(2), straight out of the buffers that they answer.

mod queue;

use super::io::is_writable;
use super::pktinfo::{PktInfo, PktInfoBuffer};
use super::recv_buffers::{BATCH, RecvBuffers};
use queue::{NextSend, Queue};
use socket2::Socket;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsRawFd;

/// What a send achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Bytes of payload sent.
    pub bytes: u64,
    /// Datagrams that could not be sent at all: their destination is gone or has no room, or they are too long for it.
    pub unsent: u64,
    /// The socket took no more; the rest waits until it is writable.
    pub blocked: bool,
}

/// Answers to the messages of a batch, in the order in which they were given.
pub struct ReplyBatch {
    queue: Queue,
    controls: Vec<PktInfoBuffer>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl ReplyBatch {
    /// Prepared for this many answers at a time.
    pub(super) fn new(count: usize) -> ReplyBatch {
        // SAFETY: integers and pointers, for which zeros will do.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        ReplyBatch {
            queue: Queue::new(count),
            controls: vec![PktInfoBuffer::EMPTY; BATCH],
            vectors: vec![libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH],
            headers: vec![header; BATCH],
        }
    }

    /// Answers a message with a range of itself, as one datagram. Where the message came in segments of a size, the
    /// answers to it that continue each other leave as they came: as one.
    #[inline]
    pub fn push_range(&mut self, message: usize, range: Range<usize>, segment: Option<usize>) {
        self.queue.push_range(message, range, segment);
    }

    /// Answers a message with other bytes, as one datagram.
    pub fn push_bytes(&mut self, message: usize, bytes: &[u8]) {
        self.queue.push_bytes(message, bytes);
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    pub(super) fn waiting(&self) -> u64 {
        self.queue.waiting()
    }

    pub(super) fn send(&mut self, socket: &Socket, received: &RecvBuffers) -> Sent {
        let mut sent = Sent::default();
        let mut room_seen = false;
        while self.queue.ahead() > 0 {
            match self.send_some(socket, received) {
                Ok(count) => {
                    (0..count).for_each(|_| self.count_sent(&mut sent));
                    room_seen = false;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !is_writable(socket) => {
                    sent.blocked = true;
                    return sent;
                }
                // There was room again since the attempt: try once more. If it does not help, it is the destination that has none
                // (a unix socket whose reader does not read), and no readiness event reports when that ends.
                Err(error) if error.kind() == ErrorKind::WouldBlock && !room_seen => room_seen = true,
                Err(error) if self.queue.go_one_by_one(&error) => {}
                Err(_) => {
                    sent.unsent += self.queue.take_first().1;
                    room_seen = false;
                }
            }
        }
        self.clear();
        sent
    }

    fn count_sent(&mut self, sent: &mut Sent) {
        let (bytes, datagrams) = self.queue.take_first();
        sent.bytes += bytes;
        sent.datagrams += datagrams;
    }

    /// One system call. Returns how many of those ahead it sent.
    fn send_some(&mut self, socket: &Socket, received: &RecvBuffers) -> io::Result<usize> {
        let count = self.prepare(received);
        let headers = self.headers.as_mut_ptr();
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _;
        // SAFETY: the kernel writes the lengths of the first `count` headers, which were all prepared just now, and only
        // reads what they point to: bytes of `received` and of this value, both borrowed until after the call.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count as u32, flags) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Fills in the headers for one call; returns how many.
    fn prepare(&mut self, received: &RecvBuffers) -> usize {
        let count = self.queue.ahead().min(BATCH);
        (0..count).for_each(|place| self.prepare_one(place, received));
        count
    }

    #[inline]
    fn prepare_one(&mut self, place: usize, received: &RecvBuffers) {
        let NextSend { message, bytes, segment } = self.queue.next_send(place, |message| received.payload(message));
        let name = received.name(message);
        self.vectors[place] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let header = &mut self.headers[place].msg_hdr;
        header.msg_iov = &raw mut self.vectors[place];
        header.msg_iovlen = 1;
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len() as _;
        let control = &mut self.controls[place];
        PktInfo { segment, local: received.pktinfo(message).local }.write(control);
        control.attach(header);
    }
}

//! The answers of a datagram socket on their way out.
//!
//! An answer that finds the socket full waits, and those after it wait behind it. Each keeps its buffer meanwhile: in the
//! end nothing is received, and what comes then waits in the socket.
//!
//! Of those already on their way one may still overtake another while the socket is full. UDP promises no order; unix
//! sockets keep it, so there one answer is on its way at a time. Nor does one wait for room in the kernel there: its code
//! takes the bytes before it sees that the destination has no room; io_uring then tries again, and sends an empty datagram
//! (seen on Linux 6.18). So room is waited for first, and then the answer is sent.

use super::connection::Context;
use super::op;
use crate::engine::datagram::DatagramSocket;
use crate::sys::datagram::is_writable;
use crate::sys::uring::{Lease, OnFull};
use socket2::{Domain, Socket};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;

/// Answers sent at a time to a socket that was full a moment ago.
const MAX_STEP: usize = 64;

/// What to send to where the datagram in the buffer came from.
pub(super) struct Answer {
    pub(super) lease: Lease,
    /// These bytes; otherwise the datagram itself.
    pub(super) bytes: Option<Vec<u8>>,
}

/// The answers of a socket.
pub(super) struct Outgoing {
    /// Index of the socket.
    index: usize,
    /// One at a time.
    in_order: bool,
    /// Those whose completion has not come.
    in_flight: usize,
    /// Those that wait for room in the socket, in the order to be sent. Not empty only while some are in flight, or room
    /// is watched for.
    waiting: VecDeque<Answer>,
    /// `ROOM` will tell.
    watched: bool,
    /// As many of them, the first ones, found no room since the socket was last tried.
    returned: usize,
    /// How many to send at a time when there is room again.
    step: usize,
}

impl Outgoing {
    pub(super) fn new(socket: &Socket, index: usize) -> io::Result<Outgoing> {
        let in_order = socket.domain()? == Domain::UNIX;
        let waiting = VecDeque::new();
        Ok(Outgoing { index, in_order, in_flight: 0, waiting, watched: false, returned: 0, step: 0 })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unfinished() == 0
    }

    /// Answers that are not sent yet.
    pub(super) fn unfinished(&self) -> usize {
        self.in_flight + self.waiting.len()
    }

    /// There is room in the socket, so it was the destination that had none: a unix socket whose reader does not read.
    /// Nothing tells when that ends, and nobody else is to wait for it.
    pub(super) fn has_room(&self, bound: &DatagramSocket) -> bool {
        self.in_order && is_writable(&bound.socket)
    }

    /// Sends it, or lets it wait its turn.
    #[inline]
    pub(super) fn send(&mut self, bound: &DatagramSocket, context: &mut Context, answer: Answer) {
        let must_wait = !self.waiting.is_empty() || self.in_order && self.in_flight > 0;
        match must_wait {
            false => self.push(bound, context, answer, OnFull::Return),
            true => self.waiting.push_back(answer),
        }
    }

    /// Sends these bytes too to where the datagram in the buffer came from.
    pub(super) fn send_beside(&mut self, bound: &DatagramSocket, context: &mut Context, lease: &Lease, bytes: Vec<u8>) {
        self.in_flight += 1;
        let user_data = op::on_socket(op::SEND_DATAGRAM, self.index);
        context.buffers.ring.answer_also_with(bound.socket.as_raw_fd(), lease, bytes, user_data);
    }

    #[inline]
    fn push(&mut self, bound: &DatagramSocket, context: &mut Context, answer: Answer, on_full: OnFull) {
        let fd = bound.socket.as_raw_fd();
        self.in_flight += 1;
        let user_data = op::on_socket(op::SEND_DATAGRAM, self.index);
        match answer.bytes {
            None => context.buffers.ring.answer(fd, answer.lease, on_full, user_data),
            Some(bytes) => context.buffers.ring.answer_with(fd, answer.lease, bytes, on_full, user_data),
        }
    }

    /// The completion of one has come.
    #[inline]
    pub(super) fn ended(&mut self) {
        self.in_flight -= 1;
    }

    /// An answer found no room. It keeps its place: before those that were not tried, behind those that returned first.
    pub(super) fn came_back(&mut self, answer: Answer) {
        self.waiting.insert(self.returned, answer);
        self.returned += 1;
    }

    /// There is room in the socket again.
    pub(super) fn has_room_again(&mut self) {
        self.watched = false;
    }

    /// When all that was tried has ended: if any found the socket full, the first waits until there is room, alone;
    /// otherwise more at a time than before.
    #[inline]
    pub(super) fn send_waiting(&mut self, bound: &DatagramSocket, context: &mut Context) {
        if self.waiting.is_empty() || self.in_flight > 0 || self.watched {
            return;
        }
        let full = std::mem::take(&mut self.returned) > 0;
        if full && self.in_order {
            self.watched = true;
            let user_data = op::on_socket(op::ROOM, self.index);
            return context.buffers.ring.poll_writable(bound.socket.as_raw_fd(), user_data);
        }
        self.step = if full || self.in_order { 1 } else { (self.step * 2).clamp(1, MAX_STEP) };
        for _ in 0..self.step.min(self.waiting.len()) {
            let Some(answer) = self.waiting.pop_front() else { return };
            self.push(bound, context, answer, if full { OnFull::Wait } else { OnFull::Return });
        }
    }
}

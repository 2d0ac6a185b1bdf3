//! A stream connection on epoll: what its conversation asks for, as system calls and interests.

use super::Context;
use crate::engine::buffers::Buffers;
use crate::engine::conversation::{Conversation, SENDS_PER_TURN};
use crate::engine::deadlines::Armed;
use crate::protocol::{Publication, Session};
use crate::sys::epoll::{Epoll as Poller, Interest, Ready};
use crate::sys::send_buffer::{Filled, MAX_SEGMENTS, io_slices};
use crate::sys::socket::is_transient;
use crate::units::Nanos;
use socket2::Socket;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;

/// A connection and what epoll was told about it.
pub(super) struct ConnectionSlot<S> {
    socket: Socket,
    pub(super) conversation: Conversation<S, Filled>,
    pub(super) armed: Armed,
    interest: Interest,
}

impl<S: Session> ConnectionSlot<S> {
    pub(super) fn new(socket: Socket, session: S) -> ConnectionSlot<S> {
        let conversation = Conversation::new(session);
        ConnectionSlot { socket, conversation, armed: Armed::default(), interest: Interest::READ }
    }

    /// Has epoll watch it under this key.
    pub(super) fn register(&mut self, poller: &Poller, key: u64) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        poller.add(self.socket.as_fd(), self.interest, key)
    }

    /// Lets a session that speaks first do so. `draining`: another shard handed it on before it knew.
    pub(super) fn begin(&mut self, draining: bool, context: &mut Context) {
        self.conversation.begin(context);
        if draining {
            self.end_input();
        }
        self.send(context);
    }

    /// Treats the connection as if the peer had sent its end of stream.
    pub(super) fn end_input(&mut self) {
        // It fails where both ends have closed already, or the peer has reset it; receiving tells which.
        let _ = self.socket.shutdown(Shutdown::Read);
    }

    #[inline]
    pub(super) fn on_ready(&mut self, ready: Ready, context: &mut Context) {
        if ready.readable() && self.conversation.wants_receive() {
            self.receive(context);
        } else if ready.broken() && !self.conversation.has_unsent() {
            // No call will fetch the error, and the event would come again and again.
            self.abort(context);
        }
        self.send(context);
    }

    pub(super) fn on_deadline(&mut self, at: Nanos, context: &mut Context) {
        let now = context.cx.now;
        if self.armed.has_come(at) && self.conversation.deadline().is_some_and(|deadline| deadline <= now) {
            self.conversation.timed_out(context);
            self.send(context);
        }
    }

    pub(super) fn on_publication(&mut self, publication: &Publication, context: &mut Context) {
        self.conversation.delivered(publication, context);
        self.send(context);
    }

    #[inline]
    fn receive(&mut self, context: &mut Context) {
        let mut vector = context.buffers.buffer();
        match self.socket.read(&mut vector) {
            Ok(0) => self.conversation.receive_ended(context),
            Ok(len) => return self.conversation.received(Filled { vector, len }, context),
            Err(error) if is_transient(&error) => {}
            Err(_) => self.abort(context),
        }
        context.buffers.put(vector);
    }

    /// Sends until nothing is left, the socket takes no more, or it is others' turn; the rest has an event of its own.
    #[inline]
    fn send(&mut self, context: &mut Context) {
        for _ in 0..SENDS_PER_TURN {
            if self.conversation.sendable() > 1 {
                match self.send_many(context) {
                    true => continue,
                    false => return,
                }
            }
            let Some(segment) = self.conversation.next_send() else { return };
            let bytes = segment.bytes(|buffer| context.buffers.bytes(buffer));
            let result = self.socket.send_with_flags(bytes, libc::MSG_NOSIGNAL);
            self.conversation.sent(segment, *result.as_ref().unwrap_or(&0), context);
            if !self.goes_on(result, context) {
                return;
            }
        }
    }

    /// As `send`, several segments with one system call. `true` when there may be more to send.
    fn send_many(&mut self, context: &mut Context) -> bool {
        let mut segments = std::mem::take(&mut context.segments);
        self.conversation.next_sends(MAX_SEGMENTS, &mut segments);
        let parts = io_slices(&segments, |buffer| context.buffers.bytes(buffer));
        let result = self.socket.send_vectored_with_flags(&parts[..segments.len()], libc::MSG_NOSIGNAL);
        self.conversation.all_sent(&mut segments, *result.as_ref().unwrap_or(&0), context);
        context.segments = segments;
        self.goes_on(result, context)
    }

    #[inline]
    fn goes_on(&mut self, result: io::Result<usize>, context: &mut Context) -> bool {
        match result {
            Ok(_) => true,
            Err(error) if is_transient(&error) => false,
            Err(_) => {
                self.abort(context);
                false
            }
        }
    }

    /// Tells epoll what the connection waits for now. `true` when it is over.
    #[inline]
    pub(super) fn settle(&mut self, poller: &Poller, key: u64, context: &mut Context) -> bool {
        if self.conversation.wants_shutdown() {
            let _ = self.socket.shutdown(Shutdown::Write);
            self.conversation.shut_down(context.cx.now);
        }
        if self.conversation.finished() {
            context.stats.closed += 1;
            return true;
        }
        let read = if self.conversation.wants_receive() { Interest::READ } else { Interest::NONE };
        let write = if self.conversation.has_unsent() { Interest::WRITE } else { Interest::NONE };
        let interest = read.and(write);
        if interest != self.interest {
            self.interest = interest;
            let _ = poller.modify(&self.socket, interest, key);
        }
        false
    }

    pub(super) fn abort(&mut self, context: &mut Context) {
        if self.conversation.abort(context) {
            context.stats.failed += 1;
        }
    }
}

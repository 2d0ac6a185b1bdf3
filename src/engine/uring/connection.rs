//! A stream connection on io_uring: what its conversation asks for, as operations of the ring.

use super::op;
use super::pool::BufferPool;
use crate::engine::arena::Key;
use crate::engine::buffers::ShardContext;
use crate::engine::conversation::Conversation;
use crate::engine::deadlines::Armed;
use crate::protocol::Session;
use crate::sys::send_buffer::MAX_SEGMENTS;
use crate::sys::uring::{Completion, Descriptor, Errno, Lease, UserData};
use socket2::Socket;

/// A connection uses one buffer to receive into while answers before leave others, and some are on the way back.
pub(super) const BUFFERS_PER_CONNECTION: usize = 4;
/// Segments of one send: a slow reader pins so many receive buffers, and the pool must have more for each connection.
const SEGMENTS_IN_FLIGHT: usize = 3;
const _: () = assert!(SEGMENTS_IN_FLIGHT < BUFFERS_PER_CONNECTION && SEGMENTS_IN_FLIGHT <= MAX_SEGMENTS);

pub(super) type Context = ShardContext<BufferPool>;

/// A connection and the operations that refer to it.
pub(super) struct ConnectionSlot<S> {
    key: Key,
    descriptor: Descriptor,
    /// Closes an ordinary descriptor when dropped; direct ones have none.
    _socket: Option<Socket>,
    pub(super) conversation: Conversation<S, Lease>,
    pub(super) armed: Armed,
    /// Operations whose final completion has not come. The slot lives at least as long.
    operations: u32,
    multishot: bool,
    receiving: bool,
    /// The receive is being cancelled.
    cancelling: bool,
    /// Waits for a receive buffer.
    pub(super) starving: bool,
    /// The last one-shot receive left data in the socket.
    nonempty: bool,
    closing: bool,
}

/// What a connection needs of its shard after something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// It found no receive buffer.
    Buffer,
}

impl<S: Session> ConnectionSlot<S> {
    pub(super) fn new(
        key: Key,
        descriptor: Descriptor,
        socket: Option<Socket>,
        session: S,
        multishot: bool,
    ) -> ConnectionSlot<S> {
        ConnectionSlot {
            key,
            descriptor,
            _socket: socket,
            conversation: Conversation::new(session),
            armed: Armed::default(),
            operations: 0,
            multishot,
            receiving: false,
            cancelling: false,
            starving: false,
            nonempty: false,
            closing: false,
        }
    }

    #[inline]
    fn user_data(&self, kind: u8) -> UserData {
        UserData { kind, slot: self.key.slot, generation: self.key.generation }
    }

    /// A receive completed; its buffer is counted as leased.
    #[inline]
    pub(super) fn on_receive(&mut self, completion: Completion, context: &mut Context) -> Need {
        let Completion { result, more, nonempty, lease, .. } = completion;
        self.nonempty = nonempty;
        if !more {
            self.operations -= 1;
            self.receiving = false;
            self.cancelling = false;
        }
        match (result, lease) {
            (Ok(1..), Some(lease)) => self.conversation.received(lease, context),
            (Ok(_), lease) => {
                context.buffers.release_any(lease);
                self.conversation.receive_ended(context);
            }
            // Who has enough to send as it is asks again when that is sent.
            (Err(Errno(libc::ENOBUFS)), _) if !self.conversation.wants_receive() => {}
            (Err(Errno(libc::ENOBUFS)), _) => {
                self.starving = true;
                context.stats.starved += 1;
                return Need::Buffer;
            }
            (Err(errno), lease) => {
                context.buffers.release_any(lease);
                if !matches!(errno, Errno(libc::ECANCELED | libc::EINTR | libc::EAGAIN)) {
                    self.abort(context);
                }
            }
        }
        Need::Nothing
    }

    /// A send completed.
    #[inline]
    pub(super) fn on_send(&mut self, completion: Completion, context: &mut Context) {
        self.operations -= 1;
        let sent = completion.result.unwrap_or(0) as usize;
        match (completion.segment, completion.gather) {
            (Some(segment), _) => self.conversation.sent(segment, sent, context),
            (None, Some(mut gather)) => {
                self.conversation.all_sent(&mut gather.segments, sent, context);
                context.buffers.recycle_gather(gather);
            }
            (None, None) => {}
        }
        match completion.result {
            Ok(_) | Err(Errno(libc::EINTR | libc::EAGAIN)) => {}
            Err(_) => self.abort(context),
        }
    }

    /// An operation that brings nothing has ended.
    pub(super) fn operation_ended(&mut self) {
        self.operations -= 1;
    }

    /// Does what the conversation asks for next. `true` when the connection is over and its slot free.
    #[inline]
    pub(super) fn advance(&mut self, context: &mut Context) -> bool {
        self.send(context);
        match (self.conversation.wants_receive(), self.receiving) {
            (true, false) if !self.starving => self.receive(context),
            (false, true) if !self.cancelling && (self.multishot || self.conversation.receiving_is_over()) => {
                self.cancelling = true;
                self.operations += 1;
                context.buffers.ring.cancel(self.user_data(op::RECEIVE), self.user_data(op::CANCEL));
            }
            _ => {}
        }
        if self.conversation.wants_shutdown() {
            self.operations += 1;
            context.buffers.ring.shutdown_write(self.descriptor, self.user_data(op::SHUTDOWN));
            self.conversation.shut_down(context.cx.now);
        }
        self.operations == 0 && self.conversation.finished() && self.close(context)
    }

    /// Sends what waits: one segment as it is, several as one operation.
    #[inline]
    fn send(&mut self, context: &mut Context) {
        if self.conversation.sendable() > 1 {
            return self.send_many(context);
        }
        if let Some(segment) = self.conversation.next_send() {
            self.operations += 1;
            let user_data = self.user_data(op::SEND);
            context.buffers.ring.send(self.descriptor, segment.buffer, segment.range, user_data);
        }
    }

    fn send_many(&mut self, context: &mut Context) {
        let mut gather = context.buffers.gather();
        // Where the pool cannot grow any more, a slow reader pins one buffer only.
        let segments = if context.buffers.is_full_grown() { 1 } else { SEGMENTS_IN_FLIGHT };
        self.conversation.next_sends(segments, &mut gather.segments);
        self.operations += 1;
        let user_data = self.user_data(op::SEND);
        context.buffers.ring.send_gather(self.descriptor, gather, user_data);
    }

    #[inline]
    fn receive(&mut self, context: &mut Context) {
        self.receiving = true;
        self.operations += 1;
        let user_data = self.user_data(op::RECEIVE);
        match self.multishot {
            true => context.buffers.ring.recv_multishot(self.descriptor, user_data),
            false => context.buffers.ring.recv_once(self.descriptor, !self.nonempty, user_data),
        }
    }

    /// Treats the connection as if the peer had sent its end of stream.
    pub(super) fn end_input(&mut self, context: &mut Context) {
        if !self.closing {
            self.operations += 1;
            context.buffers.ring.shutdown_read(self.descriptor, self.user_data(op::SHUTDOWN));
        }
    }

    pub(super) fn abort(&mut self, context: &mut Context) {
        if self.conversation.abort(context) {
            context.stats.failed += 1;
        }
    }

    /// `true` where that is done at once; otherwise `op::CLOSE` tells.
    fn close(&mut self, context: &mut Context) -> bool {
        if self.closing {
            return false;
        }
        self.closing = true;
        context.stats.closed += 1;
        // From here on nothing may be said: the descriptor may soon be another connection's.
        self.conversation.abort(context);
        match self.descriptor {
            Descriptor::Fd(_) => true,
            Descriptor::Direct(slot) => {
                context.buffers.ring.close_direct(slot, self.user_data(op::CLOSE));
                false
            }
        }
    }

    /// Receives again, now that there are buffers, if it still wants to.
    pub(super) fn feed(&mut self) -> bool {
        self.starving = false;
        self.conversation.wants_receive()
    }
}

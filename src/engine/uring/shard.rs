//! One shard on io_uring: hands completions to the connections and sockets that they concern, and does what those share:
//! accepting, the inbox, starvation, deadlines, publications, the drain.

use super::connection::{BUFFERS_PER_CONNECTION, ConnectionSlot, Context, Need};
use super::datagrams::Datagrams;
use super::op;
use super::pool::BufferPool;
use super::{Files, Options, Receive};
use crate::engine::arena::{Arena, Key};
use crate::engine::buffers::ShardContext;
use crate::engine::deadlines::Deadlines;
use crate::engine::idle_policy::IdlePolicy;
use crate::engine::shard::{Message, Shard};
use crate::engine::topics::Topics;
use crate::engine::{ACCEPT_BACKOFF, EngineError, is_accept_backoff};
use crate::protocol::{DatagramService, Peer, Publication, Service};
use crate::sys::uring::{Completion, Descriptor, Errno, Group, Ring, RingSettings, UserData};
use crate::sys::wait::Wait;
use socket2::Socket;
use std::collections::VecDeque;
use std::os::fd::AsRawFd;

/// Bytes to read from the inbox's wake-up socket at a time.
const WAKE_BYTES: usize = 64;

pub(super) struct UringShard<S: Service> {
    shard: Shard<S>,
    context: Context,
    connections: Arena<ConnectionSlot<S::Session>>,
    multishot: bool,
    /// Connections are named by slots of the direct table …
    direct: bool,
    /// … which the kernel chooses on accept. Otherwise descriptors are installed in the slot of the same number.
    accept_direct: bool,
    /// Connections that wait for receive buffers, longest first.
    starved: VecDeque<Key>,
    /// Listeners whose accept is not armed because descriptors ran out.
    backing_off: Vec<usize>,
    datagrams: Datagrams,
    deadlines: Deadlines<Key>,
    topics: Topics<Key>,
    idle_policy: IdlePolicy,
    draining: bool,
}

impl<S: Service + DatagramService> UringShard<S> {
    pub(super) fn new(options: &Options, mut shard: Shard<S>) -> Result<UringShard<S>, EngineError> {
        let datagrams = (!shard.datagrams.is_empty()).then(|| options.datagram_buffers());
        let mut ring = Ring::new(&RingSettings { datagrams, ..options.settings(shard.core) })?;
        let datagrams = Datagrams::new(std::mem::take(&mut shard.datagrams), options.datagrams, &mut ring)?;
        let direct = options.files == Files::Direct;
        Ok(UringShard {
            context: ShardContext::new(BufferPool::new(ring), shard.clock),
            connections: Arena::default(),
            multishot: options.recv == Receive::Multishot,
            direct,
            accept_direct: direct && shard.placement.is_local(),
            starved: VecDeque::new(),
            backing_off: Vec::new(),
            datagrams,
            deadlines: Deadlines::default(),
            topics: Topics::default(),
            idle_policy: IdlePolicy::new(shard.clock, options.spin),
            draining: false,
            shard,
        })
    }

    pub(super) fn run(mut self) -> Result<(), EngineError> {
        self.read_inbox();
        (0..self.shard.listeners.len()).for_each(|index| self.arm_accept(index));
        self.datagrams.start(&mut self.context);
        let _ = self.shard.ready.send(());
        let mut idle = false;
        while !self.is_over() {
            idle = !self.turn(idle)?;
        }
        self.context.stats.failed += self.connections.len() as u64;
        self.context.stats.closed += self.connections.len() as u64;
        self.context.stats.unsent += self.datagrams.unfinished();
        self.shard.shared_stats.publish(&self.context.stats);
        Ok(())
    }

    /// Submits, waits, and handles what completed. `false` when nothing had.
    fn turn(&mut self, idle: bool) -> Result<bool, EngineError> {
        self.feed_starved()?;
        self.datagrams.feed_starved(&mut self.context)?;
        let wait = self.wait(idle);
        self.context.buffers.ring.enter(wait).map_err(EngineError::io("io_uring_enter"))?;
        self.context.cx.now = self.shard.clock.now();
        // Not more than there are now: what is answered may add to them, and a turn has to end.
        let count = self.context.buffers.ring.ready_len();
        for _ in 0..count {
            let Some(completion) = self.context.buffers.ring.next_completion() else { break };
            self.handle(completion);
        }
        self.call_overdue();
        self.deliver_published();
        self.shard.shared_stats.publish(&self.context.stats);
        Ok(count > 0)
    }

    fn is_over(&self) -> bool {
        let empty = self.connections.is_empty() && self.datagrams.is_over();
        self.draining && (empty || self.idle_policy.deadline_passed())
    }

    fn wait(&mut self, idle: bool) -> Wait {
        if self.idle_policy.backoff_ended() {
            std::mem::take(&mut self.backing_off).into_iter().for_each(|index| self.arm_accept(index));
            self.datagrams.end_backoff(&mut self.context);
        }
        if !self.starved.is_empty() && self.context.buffers.free(Group::Streams) > 0 || self.context.cx.has_published()
        {
            // Those armed this turn may have nothing to receive, and then no event would bring the others their turn.
            return Wait::Poll;
        }
        self.idle_policy.wait(idle, self.deadlines.next())
    }

    #[inline]
    fn handle(&mut self, completion: Completion) {
        let UserData { kind, slot, generation } = completion.user_data;
        let key = Key { slot, generation };
        match kind {
            op::RECEIVE => self.on_receive(key, completion),
            op::SEND => self.on_send(key, completion),
            op::RECEIVE_DATAGRAM => self.on_datagram(completion),
            op::SEND_DATAGRAM => self.datagrams.on_sent(&mut self.context, completion),
            op::ROOM => self.datagrams.on_room(&mut self.context, completion),
            op::ACCEPT => self.on_accept(completion),
            op::INBOX => self.on_inbox(),
            op::CLOSE => self.remove(key),
            _ => self.operation_ended(key),
        }
    }

    // Accepting

    fn arm_accept(&mut self, index: usize) {
        let listener = self.shard.listeners[index].socket.as_raw_fd();
        self.context.buffers.ring.accept_multishot(listener, self.accept_direct, op::on_socket(op::ACCEPT, index));
    }

    fn on_accept(&mut self, completion: Completion) {
        let index = completion.user_data.slot as usize;
        if self.draining {
            return self.refuse(completion);
        }
        let endpoint = self.shard.listeners[index].number;
        match (completion.result, completion.opened) {
            (Ok(slot), None) => self.open(Descriptor::Direct(slot), None, endpoint),
            (Ok(_), Some(fd)) => {
                if let Some(socket) = self.shard.placement.place(fd.into(), endpoint) {
                    self.adopt(socket, endpoint);
                }
            }
            (Err(Errno(libc::ENFILE)), _) if self.accept_direct => {
                // The table of direct descriptors is full: go on with ordinary ones.
                self.accept_direct = false;
                self.direct = false;
            }
            (Err(Errno(errno)), _) if is_accept_backoff(errno) => {
                self.idle_policy.start_backoff(ACCEPT_BACKOFF);
                return self.backing_off.push(index);
            }
            (Err(_), _) => {}
        }
        if !completion.more {
            self.arm_accept(index);
        }
    }

    /// A connection that was accepted while the drain began: it is closed unserved.
    fn refuse(&mut self, completion: Completion) {
        if let (Ok(slot), None) = (completion.result, completion.opened) {
            self.context.buffers.ring.close_direct(slot, op::NOBODY);
        }
    }

    /// Serves a connection that came as an ordinary descriptor.
    fn adopt(&mut self, socket: Socket, endpoint: usize) {
        if !self.direct {
            return self.open(Descriptor::Fd(socket.as_raw_fd()), Some(socket), endpoint);
        }
        let slot = self.connections.next_slot();
        match self.context.buffers.ring.install(slot, &socket) {
            Ok(()) => self.open(Descriptor::Direct(slot), None, endpoint),
            Err(_) => self.open(Descriptor::Fd(socket.as_raw_fd()), Some(socket), endpoint),
        }
    }

    fn open(&mut self, descriptor: Descriptor, socket: Option<Socket>, endpoint: usize) {
        let session = self.shard.service.open(Peer { endpoint }, &mut self.context.cx);
        let multishot = self.multishot;
        let key = self.connections.insert_with(|key| ConnectionSlot::new(key, descriptor, socket, session, multishot));
        self.context.stats.opened += 1;
        let draining = self.draining;
        self.with(key, |slot, context| {
            slot.conversation.begin(context);
            if draining {
                // Another shard handed it on before it knew.
                slot.end_input(context);
            }
        });
    }

    // The inbox

    fn read_inbox(&mut self) {
        let wake = self.shard.inbox.wake.as_raw_fd();
        self.context.buffers.ring.read(wake, vec![0; WAKE_BYTES], op::on_socket(op::INBOX, 0));
    }

    fn on_inbox(&mut self) {
        for message in self.shard.inbox.take() {
            match message {
                Message::Connection { socket, listener } => self.adopt(socket, listener),
                Message::Published(publications) => self.deliver(&publications),
                Message::Drain => self.begin_drain(),
            }
        }
        self.read_inbox();
    }

    fn begin_drain(&mut self) {
        self.draining = true;
        self.backing_off.clear();
        self.idle_policy.deadline = Some(self.shard.clock.now() + self.shard.drain_timeout);
        for index in 0..self.shard.listeners.len() {
            for direct in [false, true] {
                self.context.buffers.ring.cancel_accept(op::on_socket(op::ACCEPT, index), direct, op::NOBODY);
            }
        }
        // The sockets live until the accepts have ended; then what is accepted is refused.
        self.shard.listeners.clear();
        for key in self.connections.keys() {
            self.with(key, |slot, context| slot.end_input(context));
        }
        self.datagrams.drain(&mut self.context);
    }

    // Connections

    #[inline]
    fn on_receive(&mut self, key: Key, completion: Completion) {
        completion.lease.iter().for_each(|lease| self.context.buffers.leased(lease));
        let Some(slot) = self.connections.get_mut(key) else {
            return self.context.buffers.release_any(completion.lease);
        };
        if slot.on_receive(completion, &mut self.context) == Need::Buffer {
            self.starved.push_back(key);
        }
        let over = slot.advance(&mut self.context);
        self.deadlines.arm(key, slot.conversation.deadline(), &mut slot.armed);
        self.follow_up(key, over);
    }

    #[inline]
    fn on_send(&mut self, key: Key, completion: Completion) {
        // The operation holds the slot, so it is there.
        self.with(key, |slot, context| slot.on_send(completion, context));
    }

    /// Tells a connection what happened, and does what it asks for next.
    #[inline]
    fn with(&mut self, key: Key, tell: impl FnOnce(&mut ConnectionSlot<S::Session>, &mut Context)) {
        let Some(slot) = self.connections.get_mut(key) else { return };
        tell(slot, &mut self.context);
        let over = slot.advance(&mut self.context);
        self.deadlines.arm(key, slot.conversation.deadline(), &mut slot.armed);
        self.follow_up(key, over);
    }

    #[inline]
    fn follow_up(&mut self, key: Key, over: bool) {
        if self.context.cx.has_subscribed() {
            self.topics.subscribe(&key, self.context.cx.take_subscribed());
        }
        if over {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: Key) {
        self.topics.leave(&key);
        drop(self.connections.remove(key));
    }

    fn operation_ended(&mut self, key: Key) {
        self.with(key, |slot, _| slot.operation_ended());
    }

    fn call_overdue(&mut self) {
        for (at, key) in self.deadlines.take_due(self.context.cx.now) {
            let now = self.context.cx.now;
            self.with(key, |slot, context| {
                if slot.armed.has_come(at) && slot.conversation.deadline().is_some_and(|deadline| deadline <= now) {
                    slot.conversation.timed_out(context);
                }
            });
        }
    }

    /// Hands what was published in this turn to the other shards, and to those here.
    #[inline]
    fn deliver_published(&mut self) {
        if self.context.cx.has_published() {
            let publications = self.context.cx.take_published();
            Message::publish(&self.shard.others, &publications);
            self.deliver(&publications);
        }
    }

    fn deliver(&mut self, publications: &[Publication]) {
        for publication in publications {
            for key in self.topics.subscribers(publication.topic).to_vec() {
                self.with(key, |slot, context| slot.conversation.delivered(publication, context));
            }
        }
    }

    /// Lets connections that found no buffer receive again, as many as there are buffers.
    ///
    /// That any found none means the pool is too small for this traffic, so it grows, up to what its connections can
    /// use. From there on it is slow readers that hold it: what waits for them is moved elsewhere. What is in flight to
    /// each stays, which leaves a buffer for each connection.
    fn feed_starved(&mut self) -> Result<(), EngineError> {
        if self.starved.is_empty() {
            return Ok(());
        }
        let useful = self.connections.len() * BUFFERS_PER_CONNECTION;
        let buffers = &mut self.context.buffers;
        let grown = (buffers.ring.buffer_count(Group::Streams) as usize) < useful && buffers.grow(Group::Streams)?;
        if !grown && (buffers.free(Group::Streams) as usize) < self.starved.len() {
            for key in self.connections.keys() {
                let Some(slot) = self.connections.get_mut(key) else { continue };
                slot.conversation.leave_receive_buffers(&mut self.context.buffers);
            }
        }
        let mut free = self.context.buffers.free(Group::Streams);
        while free > 0 {
            let Some(key) = self.starved.pop_front() else { break };
            // Who is gone or broken takes no buffer: the next one's turn must not wait for an event that may not come.
            self.with(key, |slot, _| free -= u32::from(slot.feed()));
        }
        Ok(())
    }

    // Datagrams

    #[inline]
    fn on_datagram(&mut self, completion: Completion) {
        if self.datagrams.on_receive(&mut self.context, &mut self.shard.service, completion) {
            self.idle_policy.start_backoff(ACCEPT_BACKOFF);
        }
    }
}

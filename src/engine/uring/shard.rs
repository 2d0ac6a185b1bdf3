//! One shard on io_uring: turns completions into steps of the connections' state, and those into operations.

use super::datagrams::{self, Datagrams, With};
use super::{Files, Options, Receive};
use crate::engine::arena::{Arena, Key};
use crate::engine::connection::{Connection, Segment};
use crate::engine::counters::Counts;
use crate::engine::pace::{Pace, Wait};
use crate::engine::shard::{Message, Shard};
use crate::engine::{ACCEPT_PAUSE, EngineError, accepting_must_rest, recycle};
use crate::protocol::{Answer, Service};
use crate::sys::uring::{self, Completion, Descriptor, Errno, Lease, Ring, RingSettings, SendBuffer, UserData};
use socket2::Socket;
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::AsRawFd;

const ACCEPT: u8 = 1;
const INBOX: u8 = 2;
const RECEIVE: u8 = 3;
const SEND: u8 = 4;
const CANCEL: u8 = 5;
const SHUTDOWN: u8 = 6;
const CLOSE: u8 = 7;
/// A connection uses one buffer to receive into while the answer before leaves another, and some are on the way back.
const BUFFERS_PER_CONNECTION: usize = 4;
/// Bytes to read from the inbox's wake-up socket at a time.
const WAKE_BYTES: usize = 64;

/// A connection and the operations that refer to it.
struct Link<Session> {
    descriptor: Descriptor,
    /// Closes an ordinary descriptor when dropped; direct ones have none.
    _socket: Option<Socket>,
    session: Session,
    state: Connection<SendBuffer>,
    /// The range of the send in flight; its payload is with the ring.
    in_flight: Range<usize>,
    /// Operations whose final completion has not come. The slot lives at least as long.
    operations: u32,
    receiving: bool,
    /// The receive is being cancelled.
    cancelling: bool,
    /// Waits for a receive buffer.
    starving: bool,
    /// The last one-shot receive left data in the socket.
    nonempty: bool,
    closing: bool,
}

/// Whether to go on with the shard.
#[derive(PartialEq, Eq)]
enum Drain {
    No,
    Yes,
}

pub(super) struct UringShard<S: Service> {
    ring: Ring,
    shard: Shard<S>,
    links: Arena<Link<S::Session>>,
    multishot: bool,
    /// Connections are named by slots of the direct table …
    direct: bool,
    /// … which the kernel chooses on accept. Otherwise descriptors are installed in the slot of the same number.
    accept_direct: bool,
    /// Connections that wait for receive buffers, longest first.
    starved: VecDeque<Key>,
    /// Receive buffers that the kernel cannot use now: being answered from or waiting to be.
    leased: u32,
    /// Listeners whose accept is not armed because descriptors ran out.
    resting: Vec<usize>,
    /// Room for what services write, used again and again.
    spare: Vec<Vec<u8>>,
    counts: Counts,
    datagrams: Datagrams,
    pace: Pace,
    drain: Drain,
}

impl<S: Service> UringShard<S> {
    pub(super) fn new(options: &Options, mut shard: Shard<S>) -> Result<UringShard<S>, EngineError> {
        let datagrams = (!shard.datagrams.is_empty()).then(|| options.datagram_buffers());
        let mut ring = Ring::new(&RingSettings { datagrams, ..options.settings(shard.core) })?;
        let datagrams = Datagrams::new(std::mem::take(&mut shard.datagrams), options.datagrams, &mut ring)?;
        let direct = options.files == Files::Direct;
        Ok(UringShard {
            ring,
            links: Arena::default(),
            multishot: options.recv == Receive::Multishot,
            direct,
            accept_direct: direct && shard.placement.is_local(),
            starved: VecDeque::new(),
            leased: 0,
            resting: Vec::new(),
            spare: Vec::new(),
            counts: Counts::default(),
            datagrams,
            pace: Pace::new(shard.clock, options.spin),
            drain: Drain::No,
            shard,
        })
    }

    pub(super) fn run(mut self) -> Result<(), EngineError> {
        self.read_inbox();
        (0..self.shard.listeners.len()).for_each(|index| self.arm_accept(index));
        self.datagrams.start(&mut self.ring);
        let _ = self.shard.ready.send(());
        let mut idle = false;
        while !self.is_over() {
            self.feed_starved()?;
            self.datagrams.feed_starved(&mut self.ring)?;
            let wait = self.wait(idle);
            self.ring.enter(wait).map_err(EngineError::io("io_uring_enter"))?;
            idle = true;
            // Not more than there are now: what is answered may add to them, and a turn has to end.
            for _ in 0..self.ring.ready_len() {
                let Some(completion) = self.ring.next_completion() else { break };
                idle = false;
                self.handle(completion);
            }
            self.shard.counters.publish(&self.counts);
        }
        self.counts.failed += self.links.len() as u64;
        self.counts.closed += self.links.len() as u64;
        self.counts.unsent += self.datagrams.unfinished();
        self.shard.counters.publish(&self.counts);
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.drain == Drain::Yes && (self.links.is_empty() && self.datagrams.is_over() || self.pace.deadline_passed())
    }

    fn wait(&mut self, idle: bool) -> uring::Wait {
        if self.pace.rest_is_over() {
            std::mem::take(&mut self.resting).into_iter().for_each(|index| self.arm_accept(index));
            self.datagrams.end_rest(&mut self.ring);
        }
        if !self.starved.is_empty() && self.free_buffers() > 0 {
            // Those armed this turn may have nothing to receive, and then no event would bring the others their turn.
            return uring::Wait::Poll;
        }
        match self.pace.wait(idle) {
            Wait::Poll => uring::Wait::Poll,
            Wait::AtMost(time) => uring::Wait::AtMost(time),
            Wait::Forever => uring::Wait::Forever,
        }
    }

    fn handle(&mut self, completion: Completion) {
        let key = Key { slot: completion.user_data.slot, generation: completion.user_data.generation };
        match completion.user_data.kind {
            RECEIVE => self.on_receive(key, completion),
            SEND => self.on_send(key, completion),
            datagrams::RECEIVE => self.on_datagram(completion),
            datagrams::SEND => self.datagrams.on_sent(&mut self.ring, &mut self.counts, completion),
            datagrams::ROOM => self.datagrams.on_room(&mut self.ring, completion),
            ACCEPT => self.on_accept(completion),
            INBOX => self.on_inbox(),
            CLOSE => drop(self.links.remove(key)),
            _ => self.operation_ended(key),
        }
    }

    // Accepting

    fn arm_accept(&mut self, index: usize) {
        let user_data = UserData { kind: ACCEPT, slot: index as u32, generation: 0 };
        self.ring.accept_multishot(self.shard.listeners[index].socket.as_raw_fd(), self.accept_direct, user_data);
    }

    fn on_accept(&mut self, completion: Completion) {
        let index = completion.user_data.slot as usize;
        if self.drain == Drain::Yes {
            return self.refuse(completion);
        }
        let listener = self.shard.listeners[index].number;
        match (completion.result, completion.opened) {
            (Ok(slot), None) => self.open(Descriptor::Direct(slot), None, listener),
            (Ok(_), Some(fd)) => {
                if let Some(socket) = self.shard.placement.place(fd.into(), listener) {
                    self.adopt(socket, listener);
                }
            }
            (Err(Errno(libc::ENFILE)), _) if self.accept_direct => {
                // The table of direct descriptors is full: go on with ordinary ones.
                self.accept_direct = false;
                self.direct = false;
            }
            (Err(Errno(errno)), _) if accepting_must_rest(errno) => {
                self.pace.rest(ACCEPT_PAUSE);
                return self.resting.push(index);
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
            self.ring.close_direct(slot, UserData { kind: SHUTDOWN, slot: u32::MAX, generation: 0 });
        }
    }

    /// Serves a connection that came as an ordinary descriptor.
    fn adopt(&mut self, socket: Socket, listener: usize) {
        if !self.direct {
            return self.open(Descriptor::Fd(socket.as_raw_fd()), Some(socket), listener);
        }
        let slot = self.links.next_slot();
        match self.ring.install(slot, &socket) {
            Ok(()) => self.open(Descriptor::Direct(slot), None, listener),
            Err(_) => self.open(Descriptor::Fd(socket.as_raw_fd()), Some(socket), listener),
        }
    }

    fn open(&mut self, descriptor: Descriptor, socket: Option<Socket>, listener: usize) {
        let session = self.shard.service.open(listener);
        let key = self.links.insert_with(|_| Link {
            descriptor,
            _socket: socket,
            session,
            state: Connection::default(),
            in_flight: 0..0,
            operations: 0,
            receiving: false,
            cancelling: false,
            starving: false,
            nonempty: false,
            closing: false,
        });
        self.counts.opened += 1;
        if self.drain == Drain::Yes {
            // Another shard handed it on before it knew.
            self.end_input(key);
        }
        self.advance(key);
    }

    // The inbox

    fn read_inbox(&mut self) {
        let user_data = UserData { kind: INBOX, slot: 0, generation: 0 };
        self.ring.read(self.shard.inbox.wake.as_raw_fd(), vec![0; WAKE_BYTES], user_data);
    }

    fn on_inbox(&mut self) {
        for message in self.shard.inbox.take() {
            match message {
                Message::Connection { socket, listener } => self.adopt(socket, listener),
                Message::Drain => self.begin_drain(),
            }
        }
        self.read_inbox();
    }

    fn begin_drain(&mut self) {
        self.drain = Drain::Yes;
        self.resting.clear();
        self.pace.deadline = Some(self.shard.clock.now() + self.shard.drain_patience);
        for index in 0..self.shard.listeners.len() {
            let accept = UserData { kind: ACCEPT, slot: index as u32, generation: 0 };
            for direct in [false, true] {
                self.ring.cancel_accept(accept, direct, UserData { kind: CANCEL, slot: u32::MAX, generation: 0 });
            }
        }
        // The sockets live until the accepts have ended; then newcomers are refused.
        self.shard.listeners.clear();
        self.links.keys().into_iter().for_each(|key| self.end_input(key));
        self.datagrams.drain(&mut self.ring);
    }

    /// Treats the connection as if the peer had sent its end of stream.
    fn end_input(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else { return };
        if !link.closing {
            link.operations += 1;
            self.ring.shutdown_read(link.descriptor, named(SHUTDOWN, key));
        }
    }

    // Receiving

    #[inline]
    fn on_receive(&mut self, key: Key, completion: Completion) {
        let Completion { result, more, nonempty, lease, .. } = completion;
        self.leased += u32::from(lease.is_some());
        let Some(link) = self.links.get_mut(key) else { return self.release(lease) };
        link.nonempty = nonempty;
        if !more {
            link.operations -= 1;
            link.receiving = false;
            link.cancelling = false;
        }
        match (result, lease) {
            (Ok(1..), Some(lease)) => self.answer(key, lease),
            (Ok(_), lease) => {
                link.state.receive_ended();
                self.release(lease);
            }
            // Who has enough to send as it is asks again when that is sent.
            (Err(Errno(libc::ENOBUFS)), _) if !link.state.wants_receive() => {}
            (Err(Errno(libc::ENOBUFS)), _) => {
                link.starving = true;
                self.counts.starved += 1;
                self.starved.push_back(key);
            }
            (Err(Errno(libc::ECANCELED | libc::EINTR | libc::EAGAIN)), lease) => self.release(lease),
            (Err(_), lease) => {
                self.release(lease);
                self.abort(key);
            }
        }
        self.advance(key);
    }

    #[inline]
    fn answer(&mut self, key: Key, lease: Lease) {
        let Some(link) = self.links.get_mut(key) else { return self.release(Some(lease)) };
        self.counts.bytes_in += lease.len() as u64;
        let mut output = self.spare.pop().unwrap_or_default();
        let back = match self.shard.service.received(&mut link.session, self.ring.bytes(&lease), &mut output) {
            Answer::Nothing => Some(SendBuffer::Lease(lease)),
            Answer::Input(range) => link.state.received(SendBuffer::Lease(lease), range),
            Answer::Output => {
                let range = 0..output.len();
                let back = link.state.received(SendBuffer::Owned(output), range);
                self.release(Some(lease));
                back.into_iter().for_each(|payload| self.give_back(payload));
                return;
            }
        };
        recycle(&mut self.spare, output);
        back.into_iter().for_each(|payload| self.give_back(payload));
    }

    /// Lets connections that found no buffer receive again, as many as there are buffers.
    ///
    /// That any found none means the pool is too small for this traffic, so it grows, up to what its connections can
    /// use. From there on it is slow readers that hold it: what waits for them is moved elsewhere. The answer in flight
    /// to each stays, which leaves more than half of the pool free.
    fn feed_starved(&mut self) -> Result<(), EngineError> {
        if self.starved.is_empty() {
            return Ok(());
        }
        let useful = self.links.len() * BUFFERS_PER_CONNECTION;
        let grown = (self.ring.buffer_count() as usize) < useful
            && self.ring.add_buffers().map_err(EngineError::io("allocating receive buffers"))?;
        if !grown && (self.free_buffers() as usize) < self.starved.len() {
            self.move_waiting_answers();
        }
        let mut free = self.free_buffers();
        while free > 0 {
            let Some(key) = self.starved.pop_front() else { break };
            let Some(link) = self.links.get_mut(key) else { continue };
            link.starving = false;
            // Who is gone or broken takes no buffer: the next one's turn must not wait for an event that may not come.
            free -= u32::from(link.state.wants_receive());
            self.advance(key);
        }
        Ok(())
    }

    fn free_buffers(&self) -> u32 {
        self.ring.buffer_count() - self.leased
    }

    /// Copies answers that wait for slow readers out of the receive buffers, so that others can receive.
    fn move_waiting_answers(&mut self) {
        let mut leases = Vec::new();
        for key in self.links.keys() {
            let Some(link) = self.links.get_mut(key) else { continue };
            for segment in link.state.waiting() {
                if let SendBuffer::Lease(lease) = &segment.payload {
                    let copy = self.ring.bytes(lease)[segment.range.clone()].to_vec();
                    segment.range = 0..copy.len();
                    let moved = std::mem::replace(&mut segment.payload, SendBuffer::Owned(copy));
                    leases.push(moved);
                }
            }
        }
        leases.into_iter().for_each(|payload| self.give_back(payload));
    }

    // Sending

    #[inline]
    fn on_send(&mut self, key: Key, completion: Completion) {
        let Some(payload) = completion.buffer else { return };
        let Some(link) = self.links.get_mut(key) else { return self.give_back(payload) };
        link.operations -= 1;
        let segment = Segment { payload, range: link.in_flight.clone() };
        let sent = completion.result.unwrap_or(0) as usize;
        self.counts.bytes_out += sent as u64;
        let back = link.state.sent(segment, sent);
        back.into_iter().for_each(|payload| self.give_back(payload));
        match completion.result {
            Ok(_) | Err(Errno(libc::EINTR | libc::EAGAIN)) => {}
            Err(_) => self.abort(key),
        }
        self.advance(key);
    }

    // Datagrams

    #[inline]
    fn on_datagram(&mut self, completion: Completion) {
        let with = With { ring: &mut self.ring, service: &mut self.shard.service, counts: &mut self.counts };
        if self.datagrams.on_receive(with, completion) {
            self.pace.rest(ACCEPT_PAUSE);
        }
    }

    // What connections have in common

    /// Does what a connection's state asks for next.
    #[inline]
    fn advance(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else { return };
        if let Some(Segment { payload, range }) = link.state.next_send() {
            link.in_flight = range.clone();
            link.operations += 1;
            self.ring.send(link.descriptor, payload, range, named(SEND, key));
        }
        let Some(link) = self.links.get_mut(key) else { return };
        match (link.state.wants_receive(), link.receiving) {
            (true, false) if !link.starving => {
                link.receiving = true;
                link.operations += 1;
                match self.multishot {
                    true => self.ring.recv_multishot(link.descriptor, named(RECEIVE, key)),
                    false => self.ring.recv_once(link.descriptor, !link.nonempty, named(RECEIVE, key)),
                }
            }
            (false, true) if !link.cancelling && (self.multishot || link.state.receiving_is_over()) => {
                link.cancelling = true;
                link.operations += 1;
                self.ring.cancel(named(RECEIVE, key), named(CANCEL, key));
            }
            _ => self.close_if_finished(key),
        }
    }

    fn operation_ended(&mut self, key: Key) {
        if let Some(link) = self.links.get_mut(key) {
            link.operations -= 1;
            self.close_if_finished(key);
        }
    }

    #[inline]
    fn close_if_finished(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else { return };
        if link.operations > 0 || link.closing || !link.state.finished() {
            return;
        }
        link.closing = true;
        self.counts.closed += 1;
        match link.descriptor {
            Descriptor::Direct(slot) => self.ring.close_direct(slot, named(CLOSE, key)),
            Descriptor::Fd(_) => drop(self.links.remove(key)),
        }
    }

    fn abort(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else { return };
        if !link.state.is_aborted() {
            self.counts.failed += 1;
            link.state
                .abort()
                .for_each(|payload| give_back(&mut self.ring, &mut self.leased, &mut self.spare, payload));
        }
    }

    fn give_back(&mut self, payload: SendBuffer) {
        give_back(&mut self.ring, &mut self.leased, &mut self.spare, payload);
    }

    fn release(&mut self, lease: Option<Lease>) {
        lease.into_iter().for_each(|lease| self.give_back(SendBuffer::Lease(lease)));
    }
}

fn named(kind: u8, key: Key) -> UserData {
    UserData { kind, slot: key.slot, generation: key.generation }
}

/// Hands a buffer back to the kernel, or room back to the spares.
#[inline]
fn give_back(ring: &mut Ring, leased: &mut u32, spare: &mut Vec<Vec<u8>>, payload: SendBuffer) {
    match payload {
        SendBuffer::Lease(lease) => {
            *leased -= 1;
            ring.release(lease);
        }
        SendBuffer::Owned(room) => recycle(spare, room),
        SendBuffer::Static(_) => {}
    }
}

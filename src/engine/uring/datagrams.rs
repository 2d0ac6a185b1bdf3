//! Datagram sockets on io_uring: one multishot receive for each, answers straight from the buffers, as many on their way
//! as there are buffers.
//!
//! An answer that finds the socket full waits, and those after it wait behind it. Each keeps its buffer meanwhile: in the
//! end nothing is received, and what comes then waits in the socket.
//!
//! Of those already on their way one may still overtake another while the socket is full. UDP promises no order; unix
//! sockets keep it, so there one answer is on its way at a time. Nor does one wait for room in the kernel there: its code
//! takes the bytes before it sees that the destination has no room; io_uring then tries again, and sends an empty datagram
//! (seen on Linux 6.18). So there is waited for room first, and then sent.

use crate::engine::counters::Counts;
use crate::engine::datagram::{DatagramOptions, DatagramSocket, Reply, converse};
use crate::engine::{EngineError, recycle};
use crate::protocol::Service;
use crate::sys::datagram::{is_writable, port_of, segments, set_gro};
use crate::sys::uring::{Completion, Datagram, Errno, Lease, OnFull, Ring, SendBuffer, UserData};
use socket2::Domain;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Answers sent at a time to a socket that was full a moment ago.
const MAX_STEP: usize = 64;
/// Kinds of operations on datagram sockets, for their user data; the slot there is the index of the socket.
pub(super) const RECEIVE: u8 = 16;
pub(super) const SEND: u8 = 17;
const CANCEL: u8 = 18;
/// There is room again in a unix socket.
pub(super) const ROOM: u8 = 19;

/// A socket and what becomes of its receive.
struct Served {
    datagrams: DatagramSocket,
    receiving: Receiving,
    /// Something came since the receive was armed.
    received: bool,
    outgoing: Outgoing,
}

/// The answers of a socket.
#[derive(Default)]
struct Outgoing {
    /// One at a time.
    in_order: bool,
    /// Those whose completion has not come.
    under_way: usize,
    /// Those that wait for room in the socket, in the order to be sent. Not empty only while some are under way, or room
    /// is watched for.
    waiting: VecDeque<Answer>,
    /// `ROOM` will be told.
    watched: bool,
    /// As many of them, the first ones, found no room since the socket was last tried.
    returned: usize,
    /// How many to send at a time when there is room again.
    step: usize,
}

/// What to send to where the datagram in the buffer came from.
struct Answer {
    lease: Lease,
    /// These bytes; otherwise the datagram itself.
    bytes: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Armed,
    /// Armed for what has arrived already, as the server drains.
    Emptying,
    /// Found no buffer.
    Starved,
    /// Failed in a way that may last.
    Resting,
    Over,
}

/// What is said to one datagram of a batch.
enum Piece {
    Input(Range<usize>),
    Output(Vec<u8>),
}

/// What a shard lends for a step.
pub(super) struct With<'a, S> {
    pub(super) ring: &'a mut Ring,
    pub(super) service: &'a mut S,
    pub(super) counts: &'a mut Counts,
}

/// The datagram sockets of a shard.
pub(super) struct Datagrams {
    sockets: Vec<Served>,
    /// Buffers that the kernel cannot use now.
    leased: u32,
    draining: bool,
    /// Any of the sockets is starved.
    starved: bool,
    /// Room for what services write, and for the answers to a batch, used again and again.
    spare: Vec<Vec<u8>>,
    pieces: Vec<Piece>,
}

impl Datagrams {
    /// Finds out whether the ring can serve these sockets.
    pub(super) fn new(
        sockets: Vec<DatagramSocket>,
        options: DatagramOptions,
        ring: &mut Ring,
    ) -> Result<Datagrams, EngineError> {
        if !sockets.is_empty() {
            ring.datagram_probe()?;
        }
        if options.gro {
            let all = sockets.iter().try_for_each(|datagrams| set_gro(&datagrams.socket));
            all.map_err(EngineError::io("--gro (UDP_GRO, Linux 5.0)"))?;
        }
        let serve = sockets.into_iter().map(Served::new).collect::<io::Result<_>>();
        let sockets = serve.map_err(EngineError::io("getsockname"))?;
        Ok(Datagrams { sockets, leased: 0, draining: false, starved: false, spare: Vec::new(), pieces: Vec::new() })
    }

    pub(super) fn start(&mut self, ring: &mut Ring) {
        (0..self.sockets.len()).for_each(|index| self.arm(ring, index));
    }

    /// Goes on receiving where that failed a while ago.
    pub(super) fn end_rest(&mut self, ring: &mut Ring) {
        self.arm_all(ring, Receiving::Resting);
    }

    /// Receives again where no buffer was left, when there are some again.
    pub(super) fn feed_starved(&mut self, ring: &mut Ring) -> Result<(), EngineError> {
        if !self.starved {
            return Ok(());
        }
        ring.add_datagram_buffers().map_err(EngineError::io("allocating receive buffers"))?;
        if ring.datagram_buffer_count() > self.leased {
            self.starved = false;
            self.arm_all(ring, Receiving::Starved);
        }
        Ok(())
    }

    /// Answers what has arrived.
    pub(super) fn drain(&mut self, ring: &mut Ring) {
        self.draining = true;
        for index in 0..self.sockets.len() {
            ring.cancel_datagrams(user_data(RECEIVE, index), UserData { kind: CANCEL, slot: u32::MAX, generation: 0 });
        }
        self.end_rest(ring);
    }

    /// The drain has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.sockets.iter().all(|served| served.receiving == Receiving::Over && served.outgoing.is_empty())
    }

    /// Answers that are not sent yet.
    pub(super) fn unfinished(&self) -> u64 {
        let each = self.sockets.iter().map(|served| served.outgoing.under_way + served.outgoing.waiting.len());
        each.sum::<usize>() as u64
    }

    fn arm_all(&mut self, ring: &mut Ring, those: Receiving) {
        for index in 0..self.sockets.len() {
            if self.sockets[index].receiving == those {
                self.arm(ring, index);
            }
        }
    }

    fn arm(&mut self, ring: &mut Ring, index: usize) {
        let served = &mut self.sockets[index];
        served.receiving = if self.draining { Receiving::Emptying } else { Receiving::Armed };
        served.received = false;
        ring.recv_datagrams(served.datagrams.socket.as_raw_fd(), self.draining, user_data(RECEIVE, index));
    }

    // Receiving

    /// `true`: receiving has to rest; call `end_rest` after a while.
    #[inline]
    pub(super) fn on_receive<S: Service>(&mut self, with: With<'_, S>, completion: Completion) -> bool {
        let With { ring, service, counts } = with;
        let index = completion.user_data.slot as usize;
        if let Some(lease) = completion.lease {
            self.leased += 1;
            self.sockets[index].received = true;
            self.answer(With { ring, service, counts }, index, lease);
        }
        !completion.more && self.receive_ended(ring, counts, index, completion.result.err())
    }

    fn receive_ended(&mut self, ring: &mut Ring, counts: &mut Counts, index: usize, errno: Option<Errno>) -> bool {
        let served = &mut self.sockets[index];
        let emptied = served.receiving == Receiving::Emptying && !served.received;
        match errno {
            Some(Errno(libc::EAGAIN)) if emptied => served.receiving = Receiving::Over,
            Some(Errno(libc::ENOBUFS)) => {
                counts.starved += 1;
                served.receiving = Receiving::Starved;
                self.starved = true;
            }
            Some(Errno(errno)) if !concerns_one_datagram(errno) => {
                served.receiving = if self.draining { Receiving::Over } else { Receiving::Resting };
                return !self.draining;
            }
            _ => self.arm(ring, index),
        }
        false
    }

    #[inline]
    fn answer<S: Service>(&mut self, with: With<'_, S>, index: usize, lease: Lease) {
        let datagram = with.ring.datagram(&lease);
        let number = segments(datagram.payload.len(), datagram.segment).len() as u64;
        with.counts.datagrams_in += number;
        with.counts.bytes_in += datagram.payload.len() as u64;
        if datagram.truncated {
            with.counts.truncated += 1;
        } else if !self.sockets[index].datagrams.guard.answers(port_of(datagram.name)) {
            with.counts.refused += number;
        } else if datagram.segment.is_some() {
            return self.answer_batch(with, index, lease);
        } else {
            return self.answer_one(with, index, lease);
        }
        self.release(with.ring, lease);
    }

    #[inline]
    fn answer_one<S: Service>(&mut self, with: With<'_, S>, index: usize, lease: Lease) {
        let DatagramSocket { number, guard, .. } = &self.sockets[index].datagrams;
        let datagram = with.ring.datagram(&lease);
        let (len, anonymous) = (datagram.payload.len(), datagram.name.is_empty());
        let mut output = self.spare.pop().unwrap_or_default();
        match converse(with.service, *number, guard, datagram.payload, &mut output) {
            Some(_) if anonymous => with.counts.unsent += 1,
            Some(Reply::Input(range)) if range == (0..len) => {
                self.keep(output);
                return self.send(with.ring, index, Answer { lease, bytes: None });
            }
            Some(Reply::Input(range)) => {
                output.extend_from_slice(&datagram.payload[range]);
                return self.send(with.ring, index, Answer { lease, bytes: Some(output) });
            }
            Some(Reply::Output) => return self.send(with.ring, index, Answer { lease, bytes: Some(output) }),
            None => {}
        }
        self.keep(output);
        self.release(with.ring, lease);
    }

    /// When all datagrams of a batch are answered with themselves, the answers leave as one batch.
    fn answer_batch<S: Service>(&mut self, with: With<'_, S>, index: usize, lease: Lease) {
        let mut pieces = std::mem::take(&mut self.pieces);
        let datagram = with.ring.datagram(&lease);
        let unchanged = self.converse_with_each(with.service, index, datagram, &mut pieces);
        if datagram.name.is_empty() {
            with.counts.unsent += pieces.len() as u64;
            pieces.clear();
        }
        if unchanged && !pieces.is_empty() {
            pieces.clear();
            self.send(with.ring, index, Answer { lease, bytes: None });
        } else {
            self.send_singly(with.ring, index, lease, pieces.drain(..));
        }
        self.pieces = pieces;
    }

    /// Each datagram of a batch is a conversation of its own. Whether all answers are the datagrams themselves.
    fn converse_with_each<S: Service>(
        &mut self,
        service: &mut S,
        index: usize,
        batch: Datagram<'_>,
        pieces: &mut Vec<Piece>,
    ) -> bool {
        let DatagramSocket { number, guard, .. } = &self.sockets[index].datagrams;
        let mut unchanged = true;
        let mut output = self.spare.pop().unwrap_or_default();
        for segment in segments(batch.payload.len(), batch.segment) {
            match converse(service, *number, guard, &batch.payload[segment.clone()], &mut output) {
                Some(Reply::Input(range)) => {
                    let answer = segment.start + range.start..segment.start + range.end;
                    unchanged &= answer == segment;
                    pieces.push(Piece::Input(answer));
                }
                Some(Reply::Output) => {
                    unchanged = false;
                    let room = self.spare.pop().unwrap_or_default();
                    pieces.push(Piece::Output(std::mem::replace(&mut output, room)));
                }
                None => unchanged = false,
            }
            output.clear();
        }
        self.keep(output);
        unchanged
    }

    /// Sends these as a datagram each. The last one keeps the buffer, so that what is on its way stays bounded.
    fn send_singly(
        &mut self,
        ring: &mut Ring,
        index: usize,
        lease: Lease,
        pieces: impl ExactSizeIterator<Item = Piece>,
    ) {
        let last = pieces.len().wrapping_sub(1);
        for (place, piece) in pieces.enumerate() {
            let bytes = match piece {
                Piece::Output(bytes) => bytes,
                Piece::Input(range) => {
                    let mut copy = self.spare.pop().unwrap_or_default();
                    copy.extend_from_slice(&ring.datagram(&lease).payload[range]);
                    copy
                }
            };
            if place == last {
                return self.send(ring, index, Answer { lease, bytes: Some(bytes) });
            }
            let Served { datagrams, outgoing, .. } = &mut self.sockets[index];
            outgoing.under_way += 1;
            ring.answer_also_with(datagrams.socket.as_raw_fd(), &lease, bytes, user_data(SEND, index));
        }
        self.release(ring, lease);
    }

    // Sending

    #[inline]
    fn send(&mut self, ring: &mut Ring, index: usize, answer: Answer) {
        let served = &mut self.sockets[index];
        match served.outgoing.must_wait() {
            false => served.push(ring, index, answer, OnFull::Return),
            true => served.outgoing.waiting.push_back(answer),
        }
    }

    #[inline]
    pub(super) fn on_sent(&mut self, ring: &mut Ring, counts: &mut Counts, completion: Completion) {
        let index = completion.user_data.slot as usize;
        let full = completion.result == Err(Errno(libc::EAGAIN)) && !self.sockets[index].has_room();
        let answer = match (completion.buffer, completion.lease) {
            (Some(SendBuffer::Lease(lease)), _) => Some(Answer { lease, bytes: None }),
            (Some(SendBuffer::Owned(bytes)), Some(lease)) => Some(Answer { lease, bytes: Some(bytes) }),
            (Some(SendBuffer::Owned(bytes)), None) => {
                count_sent(counts, completion.result, 1);
                self.keep(bytes);
                None
            }
            _ => None,
        };
        let outgoing = &mut self.sockets[index].outgoing;
        outgoing.under_way -= 1;
        match answer {
            Some(answer) if full => outgoing.came_back(answer),
            Some(answer) => self.answer_ended(ring, counts, index, answer, completion.result),
            None => {}
        }
        self.sockets[index].send_waiting(ring, index);
    }

    pub(super) fn on_room(&mut self, ring: &mut Ring, completion: Completion) {
        let index = completion.user_data.slot as usize;
        self.sockets[index].outgoing.watched = false;
        self.sockets[index].send_waiting(ring, index);
    }

    #[inline]
    fn answer_ended(
        &mut self,
        ring: &mut Ring,
        counts: &mut Counts,
        index: usize,
        answer: Answer,
        result: Result<u32, Errno>,
    ) {
        let Answer { lease, bytes } = answer;
        let datagram = ring.datagram(&lease);
        let (len, size) = (datagram.payload.len(), datagram.segment.filter(|_| bytes.is_none()));
        if size.is_some() && result.is_err() {
            // Where an answer leaves, batches may be impossible: a smaller MTU, a device that computes no checksums.
            return self.send_singly(ring, index, lease, segments(len, size).map(Piece::Input));
        }
        count_sent(counts, result, segments(len, size).len() as u64);
        bytes.into_iter().for_each(|bytes| self.keep(bytes));
        self.release(ring, lease);
    }

    fn release(&mut self, ring: &mut Ring, lease: Lease) {
        self.leased -= 1;
        ring.release(lease);
    }

    fn keep(&mut self, room: Vec<u8>) {
        recycle(&mut self.spare, room);
    }
}

impl Served {
    fn new(datagrams: DatagramSocket) -> io::Result<Served> {
        let in_order = datagrams.socket.domain()? == Domain::UNIX;
        let outgoing = Outgoing { in_order, ..Outgoing::default() };
        Ok(Served { datagrams, receiving: Receiving::Over, received: false, outgoing })
    }

    /// There is room in the socket, so it was the destination that had none: a unix socket whose reader does not read.
    /// Nothing tells when that ends, and nobody else is to wait for it.
    fn has_room(&self) -> bool {
        self.outgoing.in_order && is_writable(&self.datagrams.socket)
    }

    #[inline]
    fn push(&mut self, ring: &mut Ring, index: usize, answer: Answer, on_full: OnFull) {
        let fd = self.datagrams.socket.as_raw_fd();
        self.outgoing.under_way += 1;
        match answer.bytes {
            None => ring.answer(fd, answer.lease, on_full, user_data(SEND, index)),
            Some(bytes) => ring.answer_with(fd, answer.lease, bytes, on_full, user_data(SEND, index)),
        }
    }

    /// When all that was tried has ended: if any found the socket full, the first waits until there is room, alone;
    /// otherwise more at a time than before.
    #[inline]
    fn send_waiting(&mut self, ring: &mut Ring, index: usize) {
        let outgoing = &mut self.outgoing;
        if outgoing.waiting.is_empty() || outgoing.under_way > 0 || outgoing.watched {
            return;
        }
        let full = std::mem::take(&mut outgoing.returned) > 0;
        if full && outgoing.in_order {
            outgoing.watched = true;
            return ring.poll_writable(self.datagrams.socket.as_raw_fd(), user_data(ROOM, index));
        }
        outgoing.step = if full || outgoing.in_order { 1 } else { (outgoing.step * 2).clamp(1, MAX_STEP) };
        for _ in 0..outgoing.step.min(outgoing.waiting.len()) {
            let Some(answer) = self.outgoing.waiting.pop_front() else { return };
            self.push(ring, index, answer, if full { OnFull::Wait } else { OnFull::Return });
        }
    }
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.under_way == 0 && self.waiting.is_empty()
    }

    fn must_wait(&self) -> bool {
        !self.waiting.is_empty() || self.in_order && self.under_way > 0
    }

    /// An answer found no room. It keeps its place: before those that were not tried, behind those that returned first.
    fn came_back(&mut self, answer: Answer) {
        self.waiting.insert(self.returned, answer);
        self.returned += 1;
    }
}

fn user_data(kind: u8, index: usize) -> UserData {
    UserData { kind, slot: index as u32, generation: 0 }
}

fn count_sent(counts: &mut Counts, result: Result<u32, Errno>, datagrams: u64) {
    match result {
        Ok(bytes) => {
            counts.datagrams_out += datagrams;
            counts.bytes_out += u64::from(bytes);
        }
        Err(_) => counts.unsent += datagrams,
    }
}

/// Whether a receive that failed so can be tried again at once: news of an earlier answer (ip(7), IP_RECVERR), or it was
/// cancelled. Others may last.
fn concerns_one_datagram(errno: i32) -> bool {
    let of_the_network = matches!(
        errno,
        libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN | libc::EPROTO
    );
    of_the_network || matches!(errno, libc::EAGAIN | libc::EINTR | libc::ECANCELED | libc::EMSGSIZE | libc::EACCES)
}

//! Datagram sockets on io_uring: one multishot receive for each, answers straight from the buffers, as many on their way
//! as there are buffers.

use super::connection::Context;
use super::op;
use super::outgoing::{Answer, Outgoing};
use crate::engine::EngineError;
use crate::engine::buffers::{Buffers, ShardContext};
use crate::engine::datagram::{DatagramOptions, DatagramSocket, handle_datagram};
use crate::engine::stats::Stats;
use crate::protocol::{DatagramService, Reply};
use crate::sys::datagram::{port_of, segments, set_gro};
use crate::sys::uring::{Completion, Errno, Group, Lease, Ring, SendBuffer};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// A socket, what becomes of its receive, and its answers.
struct DatagramEndpoint {
    bound: DatagramSocket,
    receiving: Receiving,
    /// Something came since the receive was armed.
    received: bool,
    outgoing: Outgoing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Armed,
    /// Armed for what has arrived already, as the server drains.
    Emptying,
    /// Found no buffer.
    Starved,
    /// Failed in a way that may last.
    BackingOff,
    Over,
}

/// What is said to one datagram of a batch.
enum Piece {
    Input(Range<usize>),
    Written(Vec<u8>),
}

/// The datagram sockets of a shard.
pub(super) struct Datagrams {
    sockets: Vec<DatagramEndpoint>,
    draining: bool,
    /// Any of the sockets is starved.
    starved: bool,
    /// The answers to a batch, used again and again.
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
            let all = sockets.iter().try_for_each(|bound| set_gro(&bound.socket));
            all.map_err(EngineError::io("--gro (UDP_GRO, Linux 5.0)"))?;
        }
        let sockets = sockets.into_iter().enumerate().map(|(index, bound)| DatagramEndpoint::new(index, bound));
        let sockets = sockets.collect::<io::Result<_>>().map_err(EngineError::io("getsockname"))?;
        Ok(Datagrams { sockets, draining: false, starved: false, pieces: Vec::new() })
    }

    pub(super) fn start(&mut self, context: &mut Context) {
        (0..self.sockets.len()).for_each(|index| self.arm(context, index));
    }

    /// Goes on receiving where that failed a while ago.
    pub(super) fn end_backoff(&mut self, context: &mut Context) {
        self.arm_all(context, Receiving::BackingOff);
    }

    /// Receives again where no buffer was left, when there are some again.
    pub(super) fn feed_starved(&mut self, context: &mut Context) -> Result<(), EngineError> {
        if !self.starved {
            return Ok(());
        }
        context.buffers.grow(Group::Datagrams)?;
        if context.buffers.free(Group::Datagrams) > 0 {
            self.starved = false;
            self.arm_all(context, Receiving::Starved);
        }
        Ok(())
    }

    /// Answers what has arrived.
    pub(super) fn drain(&mut self, context: &mut Context) {
        self.draining = true;
        for index in 0..self.sockets.len() {
            context.buffers.ring.cancel_datagrams(op::on_socket(op::RECEIVE_DATAGRAM, index), op::NOBODY);
        }
        self.end_backoff(context);
    }

    /// The drain has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.sockets.iter().all(|endpoint| endpoint.receiving == Receiving::Over && endpoint.outgoing.is_empty())
    }

    /// Answers that are not sent yet.
    pub(super) fn unfinished(&self) -> u64 {
        self.sockets.iter().map(|endpoint| endpoint.outgoing.unfinished()).sum::<usize>() as u64
    }

    fn arm_all(&mut self, context: &mut Context, those: Receiving) {
        for index in 0..self.sockets.len() {
            if self.sockets[index].receiving == those {
                self.arm(context, index);
            }
        }
    }

    fn arm(&mut self, context: &mut Context, index: usize) {
        let endpoint = &mut self.sockets[index];
        endpoint.receiving = if self.draining { Receiving::Emptying } else { Receiving::Armed };
        endpoint.received = false;
        let fd = endpoint.bound.socket.as_raw_fd();
        context.buffers.ring.recv_datagrams(fd, self.draining, op::on_socket(op::RECEIVE_DATAGRAM, index));
    }

    // Receiving

    /// `true`: receiving has to rest; call `end_backoff` after a while.
    #[inline]
    pub(super) fn on_receive<S: DatagramService>(
        &mut self,
        context: &mut Context,
        service: &mut S,
        completion: Completion,
    ) -> bool {
        let index = completion.user_data.slot as usize;
        if let Some(lease) = completion.lease {
            context.buffers.leased(&lease);
            self.sockets[index].received = true;
            self.answer(context, service, index, lease);
        }
        !completion.more && self.receive_ended(context, index, completion.result.err())
    }

    fn receive_ended(&mut self, context: &mut Context, index: usize, errno: Option<Errno>) -> bool {
        let endpoint = &mut self.sockets[index];
        let emptied = endpoint.receiving == Receiving::Emptying && !endpoint.received;
        match errno {
            Some(Errno(libc::EAGAIN)) if emptied => endpoint.receiving = Receiving::Over,
            Some(Errno(libc::ENOBUFS)) => {
                context.stats.starved += 1;
                endpoint.receiving = Receiving::Starved;
                self.starved = true;
            }
            Some(Errno(errno)) if !concerns_one_datagram(errno) => {
                endpoint.receiving = if self.draining { Receiving::Over } else { Receiving::BackingOff };
                return !self.draining;
            }
            _ => self.arm(context, index),
        }
        false
    }

    #[inline]
    fn answer<S: DatagramService>(&mut self, context: &mut Context, service: &mut S, index: usize, lease: Lease) {
        let datagram = context.buffers.ring.datagram(&lease);
        let number = segments(datagram.payload.len(), datagram.segment).len() as u64;
        context.stats.datagrams_in += number;
        context.stats.bytes_in += datagram.payload.len() as u64;
        if datagram.truncated {
            context.stats.truncated += 1;
        } else if !self.sockets[index].bound.guard.answers(port_of(datagram.name)) {
            context.stats.refused += number;
        } else if datagram.segment.is_some() {
            return self.answer_batch(context, service, index, lease);
        } else {
            return self.answer_one(context, service, index, lease);
        }
        context.buffers.release(lease);
    }

    #[inline]
    fn answer_one<S: DatagramService>(&mut self, context: &mut Context, service: &mut S, index: usize, lease: Lease) {
        let endpoint = &mut self.sockets[index];
        let mut written = context.buffers.vector();
        let ShardContext { buffers, cx, stats, .. } = &mut *context;
        let datagram = buffers.ring.datagram(&lease);
        let whole = 0..datagram.payload.len();
        match handle_datagram(service, endpoint.bound.number, &endpoint.bound.guard, datagram.payload, &mut written, cx)
        {
            Some(_) if datagram.name.is_empty() => stats.unsent += 1,
            Some(Reply::Input(range)) if range == whole => {
                buffers.recycle(written);
                return endpoint.outgoing.send(&endpoint.bound, context, Answer { lease, bytes: None });
            }
            Some(reply) => {
                if let Reply::Input(range) = reply {
                    written.extend_from_slice(&datagram.payload[range]);
                }
                return endpoint.outgoing.send(&endpoint.bound, context, Answer { lease, bytes: Some(written) });
            }
            None => {}
        }
        buffers.recycle(written);
        buffers.release(lease);
    }

    /// When all datagrams of a batch are answered with themselves, the answers leave as one batch.
    fn answer_batch<S: DatagramService>(&mut self, context: &mut Context, service: &mut S, index: usize, lease: Lease) {
        let endpoint = &mut self.sockets[index];
        let unchanged = answer_each(&mut self.pieces, &endpoint.bound, context, service, &lease);
        if context.buffers.ring.datagram(&lease).name.is_empty() {
            context.stats.unsent += self.pieces.len() as u64;
            self.pieces.clear();
        }
        if unchanged && !self.pieces.is_empty() {
            self.pieces.clear();
            endpoint.outgoing.send(&endpoint.bound, context, Answer { lease, bytes: None });
        } else {
            endpoint.send_singly(context, lease, self.pieces.drain(..));
        }
    }

    // Sending

    #[inline]
    pub(super) fn on_sent(&mut self, context: &mut Context, completion: Completion) {
        let endpoint = &mut self.sockets[completion.user_data.slot as usize];
        let full = completion.result == Err(Errno(libc::EAGAIN)) && !endpoint.outgoing.has_room(&endpoint.bound);
        let buffer = completion.segment.map(|segment| segment.buffer);
        let answer = match (buffer, completion.lease) {
            (Some(SendBuffer::Received(lease)), _) => Some(Answer { lease, bytes: None }),
            (Some(SendBuffer::Owned(bytes)), Some(lease)) => Some(Answer { lease, bytes: Some(bytes) }),
            (Some(SendBuffer::Owned(bytes)), None) => {
                count_sent(&mut context.stats, completion.result, 1);
                context.buffers.recycle(bytes);
                None
            }
            _ => None,
        };
        endpoint.outgoing.ended();
        match answer {
            Some(answer) if full => endpoint.outgoing.came_back(answer),
            Some(answer) => endpoint.answer_ended(context, answer, completion.result),
            None => {}
        }
        endpoint.outgoing.send_waiting(&endpoint.bound, context);
    }

    pub(super) fn on_room(&mut self, context: &mut Context, completion: Completion) {
        let endpoint = &mut self.sockets[completion.user_data.slot as usize];
        endpoint.outgoing.has_room_again();
        endpoint.outgoing.send_waiting(&endpoint.bound, context);
    }
}

/// Each datagram of a batch is answered by itself; the answers are added to `pieces`. Whether all of them are the datagrams
/// themselves.
fn answer_each<S: DatagramService>(
    pieces: &mut Vec<Piece>,
    bound: &DatagramSocket,
    context: &mut Context,
    service: &mut S,
    lease: &Lease,
) -> bool {
    let mut unchanged = true;
    let datagram = context.buffers.ring.datagram(lease);
    for segment in segments(datagram.payload.len(), datagram.segment) {
        let mut written = context.buffers.vector();
        let input = &context.buffers.ring.datagram(lease).payload[segment.clone()];
        let reply = handle_datagram(service, bound.number, &bound.guard, input, &mut written, &mut context.cx);
        if reply == Some(Reply::Written) {
            pieces.push(Piece::Written(written));
            unchanged = false;
            continue;
        }
        context.buffers.recycle(written);
        let Some(Reply::Input(range)) = reply else {
            unchanged = false;
            continue;
        };
        let answer = segment.start + range.start..segment.start + range.end;
        unchanged &= answer == segment;
        pieces.push(Piece::Input(answer));
    }
    unchanged
}

impl DatagramEndpoint {
    fn new(index: usize, bound: DatagramSocket) -> io::Result<DatagramEndpoint> {
        let outgoing = Outgoing::new(&bound.socket, index)?;
        Ok(DatagramEndpoint { bound, receiving: Receiving::Over, received: false, outgoing })
    }

    /// Sends these as a datagram each. The last one keeps the buffer, so that what is on its way stays bounded.
    fn send_singly(&mut self, context: &mut Context, lease: Lease, pieces: impl ExactSizeIterator<Item = Piece>) {
        let last = pieces.len().wrapping_sub(1);
        for (place, piece) in pieces.enumerate() {
            let bytes = match piece {
                Piece::Written(bytes) => bytes,
                Piece::Input(range) => {
                    let mut copy = context.buffers.vector();
                    copy.extend_from_slice(&context.buffers.ring.datagram(&lease).payload[range]);
                    copy
                }
            };
            if place == last {
                return self.outgoing.send(&self.bound, context, Answer { lease, bytes: Some(bytes) });
            }
            self.outgoing.send_beside(&self.bound, context, &lease, bytes);
        }
        context.buffers.release(lease);
    }

    #[inline]
    fn answer_ended(&mut self, context: &mut Context, answer: Answer, result: Result<u32, Errno>) {
        let Answer { lease, bytes } = answer;
        let datagram = context.buffers.ring.datagram(&lease);
        let (len, size) = (datagram.payload.len(), datagram.segment.filter(|_| bytes.is_none()));
        if size.is_some() && result.is_err() {
            // Where an answer leaves, batches may be impossible: a smaller MTU, a device that computes no checksums.
            return self.send_singly(context, lease, segments(len, size).map(Piece::Input));
        }
        count_sent(&mut context.stats, result, segments(len, size).len() as u64);
        bytes.into_iter().for_each(|bytes| context.buffers.recycle(bytes));
        context.buffers.release(lease);
    }
}

fn count_sent(stats: &mut Stats, result: Result<u32, Errno>, datagrams: u64) {
    match result {
        Ok(bytes) => {
            stats.datagrams_out += datagrams;
            stats.bytes_out += u64::from(bytes);
        }
        Err(_) => stats.unsent += datagrams,
    }
}

/// Whether a receive that failed so can be tried again at once: the error of an earlier answer (ip(7), IP_RECVERR), or it was
/// cancelled. Others may last.
fn concerns_one_datagram(errno: i32) -> bool {
    let of_the_network = matches!(
        errno,
        libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN | libc::EPROTO
    );
    of_the_network || matches!(errno, libc::EAGAIN | libc::EINTR | libc::ECANCELED | libc::EMSGSIZE | libc::EACCES)
}

//! The one loop that sends and receives probes: sockets on a ring, with the kernel's stamps where it gives some.
//!
//! Does not interpret the content of probes.

use super::DiagError;
use crate::clock::Clock;
use crate::sys::recv_meta::{ExtendedError, RecvMeta};
use crate::sys::uring::{Completion, Errno, Msg, Queue, Ring, RingError, RingSettings, Taskrun, UserData, Wait};
use crate::units::Nanos;
use socket2::{SockAddr, Socket};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

const SEND: u8 = 1;
const SEND_AGAIN: u8 = 2;
const RECEIVE: u8 = 3;
const RECEIVE_ERRORS: u8 = 4;
/// A socket whose receives fail this often in a row is broken.
const MAX_FAILURES: u32 = 1000;
/// Sends under way at a time; beyond it the kernel is asked to take them first.
const MAX_SENDS: usize = 256;
/// Datagrams that are received with one wake-up.
const BATCH: usize = 16;
/// Batches that may wait: a receive buffer full of short datagrams.
const MAX_CATCH_UP: usize = 1024;
/// All that may be submitted at once: sends, each perhaps again, and a batch for both queues of a few sockets.
const ENTRIES: u32 = 1024;
const _: () = assert!(2 * MAX_SENDS + 16 * BATCH <= ENTRIES as usize);

/// Sockets, and the ring that works for them.
pub struct ProbeIo {
    ring: Ring,
    clock: Clock,
    sockets: Vec<Open>,
    #[allow(clippy::vec_box, reason = "the kernel knows where a message is while it is under way")]
    spare: Vec<Box<Msg>>,
    /// Longest datagram that is received whole.
    room: usize,
    sends: usize,
    /// Something arrived during the last turn.
    arrived: bool,
}

struct Open {
    socket: Socket,
    failures: u32,
    /// Receives under way from the data and from the errors.
    pending: [usize; 2],
}

/// The caller's name for a probe: comes back should it not get out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeId {
    /// Chosen by the caller: ping's target, trace's hop.
    pub owner: u32,
    /// The lower 16 bits of the probe's number.
    pub number: u16,
}

/// What happened.
#[derive(Debug)]
pub enum ProbeEvent<'a> {
    /// A packet arrived at one of the sockets.
    Received(ReceivedPacket<'a>),
    /// A probe was not sent.
    Unsent { id: ProbeId, error: io::Error },
}

/// What came in.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedPacket<'a> {
    /// The number that `add` returned for the socket.
    pub socket: usize,
    /// The sender; of an error whom the packet was meant for that caused it.
    pub from: Option<IpAddr>,
    /// As the socket delivers it: raw IPv4 sockets with the IP header.
    pub bytes: &'a [u8],
    /// When it arrived, in nanoseconds of the clock that [`ProbeIo::new`] was given.
    pub at: Nanos,
    /// `at` is the kernel's stamp, not our clock after the receive.
    pub stamped: bool,
    /// TTL or hop limit with which it arrived, where the kernel reports it.
    pub hop_limit: Option<u8>,
    /// `bytes` is a packet of ours that met this error.
    pub error: Option<ExtendedError>,
}

impl ProbeIo {
    /// `room`: bytes of the longest datagram that is received whole.
    pub fn new(clock: Clock, room: usize) -> Result<ProbeIo, DiagError> {
        let settings =
            |taskrun| RingSettings { entries: ENTRIES, completions: ENTRIES * 2, taskrun, ..Default::default() };
        let ring = match Ring::new(&settings(Taskrun::Defer)) {
            // An older kernel: it works too, with more interrupts.
            Err(RingError::Feature { .. }) => Ring::new(&settings(Taskrun::None))?,
            ring => ring?,
        };
        Ok(ProbeIo { ring, clock, sockets: Vec::new(), spare: Vec::new(), room, sends: 0, arrived: false })
    }

    /// Receives from a socket from now on, from its queue of errors too if it has one. Sockets are numbered from 0.
    pub fn add(&mut self, socket: Socket, queues_errors: bool) -> usize {
        let number = self.sockets.len();
        self.sockets.push(Open { socket, failures: 0, pending: [0; 2] });
        self.receive(number, Queue::Data);
        if queues_errors {
            self.receive(number, Queue::Errors);
        }
        number
    }

    /// The socket with the number that [`ProbeIo::add`] returned.
    pub fn socket(&self, number: usize) -> &Socket {
        &self.sockets[number].socket
    }

    /// Receives the next batch; one at a time of errors, which are rare.
    fn receive(&mut self, number: usize, queue: Queue) {
        let (kind, batch) = if queue == Queue::Errors { (RECEIVE_ERRORS, 1) } else { (RECEIVE, BATCH) };
        let user_data = UserData { kind, slot: number as u32, generation: 0 };
        let open = &mut self.sockets[number];
        open.pending[queue as usize] = batch;
        let msgs = (0..batch).map(|_| self.spare.pop().unwrap_or_else(|| Msg::new(0)));
        self.ring.receive_msgs(open.socket.as_raw_fd(), msgs, self.room, queue, user_data);
    }

    fn msg(&mut self) -> Box<Msg> {
        self.spare.pop().unwrap_or_else(|| Msg::new(0))
    }

    /// Whether another probe may be sent before the next `turn`.
    pub fn has_room(&self) -> bool {
        self.sends < MAX_SENDS
    }

    /// Queues a probe that `write` writes; the next `turn` sends it.
    pub fn send(
        &mut self,
        number: usize,
        to: IpAddr,
        hop_limit: Option<u8>,
        id: ProbeId,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut msg = self.msg();
        // Raw and ping sockets have no ports; a raw socket of IPv6 refuses any but 0.
        write(msg.compose(&SockAddr::from(SocketAddr::new(to, 0)), hop_limit));
        self.push(SEND, number, id, msg);
    }

    /// The socket's number travels in the bits of the user data that the probe's number leaves.
    fn push(&mut self, kind: u8, number: usize, id: ProbeId, msg: Box<Msg>) {
        let generation = (number as u32) << 16 | u32::from(id.number);
        let fd = self.sockets[number].socket.as_raw_fd();
        self.ring.send_msg(fd, msg, UserData { kind, slot: id.owner, generation });
        self.sends += 1;
    }

    /// Hands over what has arrived so far without waiting for more, so that a probe is given up only after all
    /// that came in time has been seen, however long this process was kept from looking.
    pub fn catch_up(&mut self, mut handle: impl FnMut(ProbeEvent<'_>)) -> Result<(), DiagError> {
        for _ in 0..MAX_CATCH_UP {
            self.turn(Wait::Poll, &mut handle)?;
            if self.ring.ready_len() == 0 && !self.arrived {
                break;
            }
        }
        Ok(())
    }

    /// Sends what is queued, waits as `wait` says, and hands over what happened.
    pub fn turn(&mut self, wait: Wait, mut handle: impl FnMut(ProbeEvent<'_>)) -> Result<(), DiagError> {
        self.arrived = false;
        self.ring.enter(wait).map_err(DiagError::io("entering the ring"))?;
        // Only those that are here now: what they bring about is for the next turn.
        for _ in 0..self.ring.ready_len() {
            let Some(completion) = self.ring.next_completion() else { break };
            match completion.user_data.kind {
                RECEIVE | RECEIVE_ERRORS => self.received(completion, &mut handle)?,
                _ => self.sent(completion, &mut handle),
            }
        }
        Ok(())
    }

    fn received(&mut self, completion: Completion, handle: &mut impl FnMut(ProbeEvent<'_>)) -> Result<(), DiagError> {
        let number = completion.user_data.slot as usize;
        let queue = if completion.user_data.kind == RECEIVE { Queue::Data } else { Queue::Errors };
        let Some(msg) = completion.msg else { return Ok(()) };
        match completion.result {
            Ok(len) => {
                self.arrived = true;
                self.sockets[number].failures = 0;
                handle(ProbeEvent::Received(self.packet(number, &msg, len)));
            }
            // What came after a failure in its batch.
            Err(Errno(libc::ECANCELED)) => {}
            Err(errno) => self.failed(number, errno.into())?,
        }
        self.spare.push(msg);
        let pending = &mut self.sockets[number].pending[queue as usize];
        *pending -= 1;
        if *pending == 0 {
            self.receive(number, queue);
        }
        Ok(())
    }

    fn packet<'a>(&self, socket: usize, msg: &'a Msg, len: u32) -> ReceivedPacket<'a> {
        let RecvMeta { stamp, hop_limit, error } = msg.meta();
        let at = stamp.map_or_else(|| self.clock.now(), |stamp| self.clock.instant_of(stamp));
        let (from, bytes) = (msg.from(), msg.received(len));
        ReceivedPacket { socket, from, bytes, at, stamped: stamp.is_some(), hop_limit, error }
    }

    /// A receive also fails with the ICMP error that an earlier send caused; the error queue has it too.
    fn failed(&mut self, number: usize, error: io::Error) -> Result<(), DiagError> {
        let socket = &mut self.sockets[number];
        socket.failures += 1;
        match socket.failures {
            0..MAX_FAILURES => Ok(()),
            _ => Err(DiagError::io("receiving")(error)),
        }
    }

    fn sent(&mut self, completion: Completion, handle: &mut impl FnMut(ProbeEvent<'_>)) {
        self.sends -= 1;
        let UserData { kind, slot: owner, generation } = completion.user_data;
        let id = ProbeId { owner, number: generation as u16 };
        let Some(msg) = completion.msg else { return };
        match completion.result {
            // The error may be that of an earlier probe, which the socket reports only now.
            Err(_) if kind == SEND => self.push(SEND_AGAIN, (generation >> 16) as usize, id, msg),
            Err(errno) => {
                self.spare.push(msg);
                handle(ProbeEvent::Unsent { id, error: errno.into() });
            }
            Ok(_) => self.spare.push(msg),
        }
    }
}

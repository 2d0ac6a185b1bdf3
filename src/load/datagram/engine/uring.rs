//! The completion engine: one io_uring_enter(2) per turn sends, receives and waits. Receives are multishot into the
//! ring's buffers; a send owns its bytes until its completion brings them back.
//!
//! Unix sockets alone are sent on with send(2). Their kernel code takes the bytes before it sees that the receiver has no
//! room; io_uring then waits, tries again, and sends an empty datagram (seen on Linux 6.18).

use super::{Engine, Event, Refused, Setup, Traffic, prepare_segments, refuses_segments};
use crate::load::engine::{EngineError, Wait, enter};
use crate::sys::datagram::{gso, parts};
use crate::sys::socket::is_transient;
use crate::sys::uring::{
    BufferSettings, Completion, Descriptor, Errno, Lease, Ring, RingSettings, Segment, SendBuffer, Taskrun, UserData,
};
use socket2::{Domain, Socket};
use std::io;
use std::os::fd::AsRawFd;

const RECEIVE: u8 = 1;
const SEND: u8 = 2;
/// On a socket that sends super-packets.
const SEND_SEGMENTS: u8 = 3;
const WRITABLE: u8 = 4;

/// Receive buffers are a multiple of this, and begin on one.
const BUFFER_ALIGN: usize = 64;
const SUPER_PACKET_ROOM: usize = gso::MAX_SUPER_PACKET.next_power_of_two();
/// Receive buffers: one for each datagram that may be in flight, within limits of number and of memory per thread.
const BUFFERS: std::ops::RangeInclusive<usize> = 64..=32 << 10;
const BUFFER_MEMORY: usize = 16 << 20;
/// Submission queue entries. More operations than that in one turn take more system calls.
const ENTRIES: std::ops::RangeInclusive<usize> = 64..=4096;
/// Completion queue entries at most; the kernel keeps what exceeds them.
const MAX_COMPLETIONS: usize = 64 << 10;

pub struct UringEngine {
    ring: Ring,
    sockets: Vec<Option<Seat>>,
    setup: Setup,
    /// Memory of sends that are over.
    pool: Vec<Vec<u8>>,
    /// Taken by `wait` to see whether there is any.
    first: Option<Completion>,
    traffic: Traffic,
}

struct Seat {
    socket: Socket,
    segmented: bool,
    is_unix: bool,
}

fn settings(setup: &Setup) -> RingSettings {
    // A byte more than is expected shows.
    let room = if setup.segments > 1 { SUPER_PACKET_ROOM } else { (setup.size + 1).next_multiple_of(BUFFER_ALIGN) };
    let in_flight = setup.sockets * setup.depth;
    let affordable = (BUFFER_MEMORY / room).next_power_of_two();
    let count = in_flight.next_power_of_two().min(affordable).clamp(*BUFFERS.start(), *BUFFERS.end());
    let entries = in_flight.clamp(*ENTRIES.start(), *ENTRIES.end());
    // Every buffer can be a completion, every datagram in flight a send's, and every receive can end.
    let completions = (count + in_flight + setup.sockets).min(MAX_COMPLETIONS).max(entries);
    let buffers = Some(BufferSettings { count: count as u32, size: room as u32, max: count as u32 });
    // Only where super-packets come is there more to be told than a datagram's bytes.
    let (plain, with_segments) = if setup.segments > 1 { (None, buffers) } else { (buffers, None) };
    RingSettings {
        entries: entries as u32,
        completions: completions.next_power_of_two() as u32,
        taskrun: Taskrun::Defer,
        sqpoll: None,
        direct_slots: 0,
        buffers: plain,
        datagrams: with_segments,
        spins: setup.spins,
    }
}

fn user_data(kind: u8, number: usize) -> UserData {
    UserData { kind, generation: 0, slot: number as u32 }
}

impl Engine for UringEngine {
    const RECEIVES_WHILE_TELLING: bool = false;

    fn new(setup: &Setup) -> Result<UringEngine, EngineError> {
        Ok(UringEngine {
            ring: Ring::new(&settings(setup))?,
            sockets: (0..setup.sockets).map(|_| None).collect(),
            setup: *setup,
            pool: Vec::new(),
            first: None,
            traffic: Traffic::default(),
        })
    }

    fn open(&mut self, number: usize, socket: Socket) -> io::Result<()> {
        let segmented = prepare_segments(&socket, &self.setup, &mut self.traffic);
        let is_unix = socket.domain()? == Domain::UNIX;
        self.sockets[number] = Some(Seat { socket, segmented, is_unix });
        self.receive(number);
        Ok(())
    }

    #[inline]
    fn send(
        &mut self,
        number: usize,
        count: usize,
        mut write: impl FnMut(usize, &mut [u8]) -> usize,
    ) -> Result<usize, Refused> {
        let Some(seat) = &self.sockets[number] else {
            return Err(Refused { datagrams: 0, error: io::ErrorKind::NotConnected.into() });
        };
        let is_unix = seat.is_unix;
        let count = if seat.segmented { count.min(self.setup.segments) } else { 1 };
        let mut bytes = self.memory();
        let mut len = 0;
        for index in 0..count {
            len += write(index, &mut bytes[len..][..self.setup.size]);
        }
        if is_unix {
            return self.send_at_once(number, bytes, len).map_err(|error| Refused { datagrams: 1, error });
        }
        self.submit(number, bytes, len);
        Ok(count)
    }

    fn socket(&self, number: usize) -> Option<&Socket> {
        self.sockets[number].as_ref().map(|seat| &seat.socket)
    }

    fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        self.first = enter(&mut self.ring, wait)?;
        Ok(self.first.is_some())
    }

    fn events(&mut self, mut tell: impl FnMut(usize, Event<'_>)) {
        while let Some(completion) = self.first.take().or_else(|| self.ring.next_completion()) {
            let number = completion.user_data.slot as usize;
            match completion.user_data.kind {
                RECEIVE => self.received(number, completion, |event| tell(number, event)),
                WRITABLE => tell(number, Event::Writable),
                _ => self.sent(number, completion, |event| tell(number, event)),
            }
        }
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}

impl UringEngine {
    /// Arms the receive; it is submitted with the next wait, when all buffers of this turn are back.
    fn receive(&mut self, number: usize) {
        if let Some(seat) = &self.sockets[number] {
            let fd = seat.socket.as_raw_fd();
            match self.setup.segments {
                1 => self.ring.recv_multishot(Descriptor::Fd(fd), user_data(RECEIVE, number)),
                _ => self.ring.recv_datagrams(fd, false, user_data(RECEIVE, number)),
            }
        }
    }

    fn received(&mut self, number: usize, completion: Completion, mut tell: impl FnMut(Event<'_>)) {
        match completion.result {
            Ok(_) => {
                self.traffic.receives += 1;
                let (bytes, segment) = self.contents(completion.lease.as_ref());
                let told = parts(bytes, segment).map(|part| tell(Event::Datagram(part))).count();
                self.traffic.answers += told as u64;
            }
            Err(Errno(libc::ENOBUFS | libc::EINTR | libc::EAGAIN | libc::ECANCELED)) => {}
            Err(errno) => tell(Event::Failed(errno.into())),
        }
        if let Some(lease) = completion.lease {
            self.ring.release(lease);
        }
        if !completion.more {
            self.receive(number);
        }
    }

    /// What a receive brought, and the size of its parts. An empty datagram may come without a buffer.
    #[inline]
    fn contents(&self, lease: Option<&Lease>) -> (&[u8], Option<usize>) {
        match lease {
            None => (&[], None),
            Some(lease) if self.setup.segments == 1 => (self.ring.bytes(lease), None),
            Some(lease) => {
                let datagram = self.ring.datagram(lease);
                (datagram.payload, datagram.segment)
            }
        }
    }

    /// Room for the largest send. The pool grows to the largest number under way at a time, and no further.
    #[inline]
    fn memory(&mut self) -> Vec<u8> {
        self.pool.pop().unwrap_or_else(|| vec![0; self.setup.segments * self.setup.size])
    }

    /// Sends the first `len` bytes: one datagram, or several of the greatest size.
    #[inline]
    fn submit(&mut self, number: usize, bytes: Vec<u8>, len: usize) {
        if let Some(seat) = &self.sockets[number] {
            let kind = if seat.segmented { SEND_SEGMENTS } else { SEND };
            // Nothing is used twice here that needs a generation: the length takes its place.
            let user_data = UserData { generation: len as u32, ..user_data(kind, number) };
            self.ring.send(Descriptor::Fd(seat.socket.as_raw_fd()), SendBuffer::Owned(bytes), 0..len, user_data);
        }
    }

    /// Sends one datagram on a unix socket, if its peer has room.
    fn send_at_once(&mut self, number: usize, bytes: Vec<u8>, len: usize) -> io::Result<usize> {
        let Some(seat) = &self.sockets[number] else { return Err(io::ErrorKind::NotConnected.into()) };
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let outcome = seat.socket.send_with_flags(&bytes[..len], flags);
        self.pool.push(bytes);
        match outcome {
            Ok(_) => {
                self.traffic.sends += 1;
                Ok(1)
            }
            Err(error) if is_transient(&error) => {
                self.ring.poll_writable(seat.socket.as_raw_fd(), user_data(WRITABLE, number));
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn sent(&mut self, number: usize, completion: Completion, mut tell: impl FnMut(Event<'_>)) {
        let Some(Segment { buffer: SendBuffer::Owned(bytes), .. }) = completion.segment else { return };
        let UserData { kind, generation: len, .. } = completion.user_data;
        let Err(errno) = completion.result else {
            self.traffic.sends += 1;
            return self.pool.push(bytes);
        };
        let error = io::Error::from(errno);
        if kind == SEND_SEGMENTS && refuses_segments(&error) && self.end_segments(number, &error) {
            self.send_apart(number, &bytes[..len as usize]);
            return self.pool.push(bytes);
        }
        if is_transient(&error) {
            return self.submit(number, bytes, len as usize);
        }
        self.pool.push(bytes);
        tell(Event::Failed(error));
    }

    /// Super-packets cannot be sent: from now on none is. `false` where the kernel does not even take that.
    #[cold]
    fn end_segments(&mut self, number: usize, error: &io::Error) -> bool {
        let Some(seat) = &mut self.sockets[number] else { return false };
        seat.segmented = false;
        self.traffic.unsegmented = error.raw_os_error();
        gso::set_gso(&seat.socket, 0).is_ok()
    }

    #[cold]
    fn send_apart(&mut self, number: usize, bytes: &[u8]) {
        for datagram in bytes.chunks(self.setup.size) {
            let mut memory = self.memory();
            memory[..datagram.len()].copy_from_slice(datagram);
            self.submit(number, memory, datagram.len());
        }
    }
}

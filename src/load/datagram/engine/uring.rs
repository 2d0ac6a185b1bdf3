//! The completion engine: one io_uring_enter(2) per turn sends, receives and waits. Receives are multishot into the
//! ring's buffers; a send owns its bytes until its completion brings them back.
//!
//! Unix sockets alone are sent on with send(2). Their kernel code takes the bytes before it sees that the receiver has
//! no room; io_uring then waits, tries again, and sends an empty datagram (seen on Linux 6.18).

use super::{DatagramEngine, Event, IoStats, Refused, Writer, prepare_segments, refuses_segments};
use crate::load::engine::{Engine, EngineConfig, EngineError, EventRing, ring_settings};
use crate::sys::datagram::{gso, parts};
use crate::sys::socket::is_transient;
use crate::sys::uring::{
    BufferSettings, Completion, Descriptor, Errno, Lease, RingSettings, Segment, SendBuffer, UserData,
};
use crate::sys::wait::Wait;
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
    events: EventRing,
    sockets: Vec<Option<ClientSocket>>,
    config: EngineConfig,
    /// Memory of sends that are over.
    pool: Vec<Vec<u8>>,
    stats: IoStats,
}

struct ClientSocket {
    socket: Socket,
    segmented: bool,
    is_unix: bool,
}

fn settings(config: &EngineConfig) -> RingSettings {
    // A byte more than is expected shows.
    let room = if config.segments > 1 { SUPER_PACKET_ROOM } else { (config.size + 1).next_multiple_of(BUFFER_ALIGN) };
    let in_flight = config.sockets * config.depth;
    let affordable = (BUFFER_MEMORY / room).next_power_of_two();
    let count = in_flight.next_power_of_two().min(affordable).clamp(*BUFFERS.start(), *BUFFERS.end());
    let entries = in_flight.clamp(*ENTRIES.start(), *ENTRIES.end());
    // Every buffer can be a completion, every datagram in flight a send's, and every receive can end.
    let completions = (count + in_flight + config.sockets).min(MAX_COMPLETIONS).max(entries);
    let buffers = Some(BufferSettings { count: count as u32, size: room as u32, max: count as u32 });
    // Only where super-packets come is there more to be known than a datagram's bytes.
    let (plain, with_segments) = if config.segments > 1 { (None, buffers) } else { (buffers, None) };
    RingSettings { buffers: plain, datagrams: with_segments, ..ring_settings(entries, completions, config) }
}

fn user_data(kind: u8, number: usize) -> UserData {
    UserData { kind, generation: 0, slot: number as u32 }
}

impl Engine for UringEngine {
    const RECEIVES_IN_EVENTS: bool = false;

    fn new(config: &EngineConfig) -> Result<UringEngine, EngineError> {
        Ok(UringEngine {
            events: EventRing::new(&settings(config))?,
            sockets: (0..config.sockets).map(|_| None).collect(),
            config: config.clone(),
            pool: Vec::new(),
            stats: IoStats::default(),
        })
    }

    fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        self.events.wait(wait)
    }
}

impl DatagramEngine for UringEngine {
    fn open(&mut self, number: usize, socket: Socket) -> io::Result<()> {
        let segmented = prepare_segments(&socket, &self.config, &mut self.stats);
        let is_unix = socket.domain()? == Domain::UNIX;
        self.sockets[number] = Some(ClientSocket { socket, segmented, is_unix });
        self.receive(number);
        Ok(())
    }

    #[inline]
    fn send(&mut self, number: usize, count: usize, mut write: impl Writer) -> Result<usize, Refused> {
        let Some(client) = &self.sockets[number] else {
            return Err(Refused { datagrams: 0, error: io::ErrorKind::NotConnected.into() });
        };
        let is_unix = client.is_unix;
        let count = if client.segmented { count.min(self.config.segments) } else { 1 };
        let mut bytes = self.memory();
        let mut len = 0;
        for index in 0..count {
            len += write(index, &mut bytes[len..][..self.config.size]);
        }
        if is_unix {
            return self.send_at_once(number, bytes, len).map_err(|error| Refused { datagrams: 1, error });
        }
        self.submit(number, bytes, len);
        Ok(count)
    }

    fn socket(&self, number: usize) -> Option<&Socket> {
        self.sockets[number].as_ref().map(|client| &client.socket)
    }

    fn events(&mut self, mut notify: impl FnMut(usize, Event<'_>)) {
        while let Some(completion) = self.events.next() {
            let number = completion.user_data.slot as usize;
            match completion.user_data.kind {
                RECEIVE => self.received(number, completion, |event| notify(number, event)),
                WRITABLE => notify(number, Event::Writable),
                _ => self.sent(number, completion, |event| notify(number, event)),
            }
        }
    }

    fn io_stats(&self) -> IoStats {
        self.stats
    }
}

impl UringEngine {
    /// Arms the receive; it is submitted with the next wait, when all buffers of this turn are back.
    fn receive(&mut self, number: usize) {
        if let Some(client) = &self.sockets[number] {
            let fd = client.socket.as_raw_fd();
            match self.config.segments {
                1 => self.events.ring.recv_multishot(Descriptor::Fd(fd), user_data(RECEIVE, number)),
                _ => self.events.ring.recv_datagrams(fd, false, user_data(RECEIVE, number)),
            }
        }
    }

    fn received(&mut self, number: usize, completion: Completion, mut notify: impl FnMut(Event<'_>)) {
        match completion.result {
            Ok(_) => {
                self.stats.receives += 1;
                let (bytes, segment) = self.contents(completion.lease.as_ref());
                let answers = parts(bytes, segment).map(|part| notify(Event::Datagram(part))).count();
                self.stats.answers += answers as u64;
            }
            Err(Errno(libc::ENOBUFS | libc::EINTR | libc::EAGAIN | libc::ECANCELED)) => {}
            Err(errno) => notify(Event::Failed(errno.into())),
        }
        if let Some(lease) = completion.lease {
            self.events.ring.release(lease);
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
            Some(lease) if self.config.segments == 1 => (self.events.ring.bytes(lease), None),
            Some(lease) => {
                let datagram = self.events.ring.datagram(lease);
                (datagram.payload, datagram.segment)
            }
        }
    }

    /// Room for the largest send. The pool grows to the largest number under way at a time, and no further.
    #[inline]
    fn memory(&mut self) -> Vec<u8> {
        self.pool.pop().unwrap_or_else(|| vec![0; self.config.segments * self.config.size])
    }

    /// Sends the first `len` bytes: one datagram, or several of the greatest size.
    #[inline]
    fn submit(&mut self, number: usize, bytes: Vec<u8>, len: usize) {
        if let Some(client) = &self.sockets[number] {
            let kind = if client.segmented { SEND_SEGMENTS } else { SEND };
            // Nothing is used twice here that needs a generation: the length takes its place.
            let user_data = UserData { generation: len as u32, ..user_data(kind, number) };
            self.events.ring.send(
                Descriptor::Fd(client.socket.as_raw_fd()),
                SendBuffer::Owned(bytes),
                0..len,
                user_data,
            );
        }
    }

    /// Sends one datagram on a unix socket, if its peer has room.
    fn send_at_once(&mut self, number: usize, bytes: Vec<u8>, len: usize) -> io::Result<usize> {
        let Some(client) = &self.sockets[number] else { return Err(io::ErrorKind::NotConnected.into()) };
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let outcome = client.socket.send_with_flags(&bytes[..len], flags);
        self.pool.push(bytes);
        match outcome {
            Ok(_) => {
                self.stats.sends += 1;
                Ok(1)
            }
            Err(error) if is_transient(&error) => {
                self.events.ring.poll_writable(client.socket.as_raw_fd(), user_data(WRITABLE, number));
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn sent(&mut self, number: usize, completion: Completion, mut notify: impl FnMut(Event<'_>)) {
        let Some(Segment { buffer: SendBuffer::Owned(bytes), .. }) = completion.segment else { return };
        let UserData { kind, generation: len, .. } = completion.user_data;
        let Err(errno) = completion.result else {
            self.stats.sends += 1;
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
        notify(Event::Failed(error));
    }

    /// Super-packets cannot be sent: from now on none is. `false` where the kernel does not even take that.
    #[cold]
    fn end_segments(&mut self, number: usize, error: &io::Error) -> bool {
        let Some(client) = &mut self.sockets[number] else { return false };
        client.segmented = false;
        self.stats.unsegmented = error.raw_os_error();
        gso::set_gso(&client.socket, 0).is_ok()
    }

    #[cold]
    fn send_apart(&mut self, number: usize, bytes: &[u8]) {
        for datagram in bytes.chunks(self.config.size) {
            let mut memory = self.memory();
            memory[..datagram.len()].copy_from_slice(datagram);
            self.submit(number, memory, datagram.len());
        }
    }
}

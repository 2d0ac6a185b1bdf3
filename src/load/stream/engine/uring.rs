//! The completion engine: one io_uring_enter(2) per turn sends, receives and waits. Receives are multishot into the
//! ring's buffers, sends go straight from where they lie for ever.

use super::{Done, Event, StreamEngine};
use crate::load::engine::{Engine, EngineConfig, EngineError, EventRing, ring_settings};
use crate::load::stream::target::Target;
use crate::sys::uring::{BufferSettings, Completion, Descriptor, Errno, RingSettings, SendBuffer, UserData};
use crate::sys::wait::Wait;
use socket2::Socket;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;

const CONNECT: u8 = 1;
const RECEIVE: u8 = 2;
const SEND: u8 = 3;
const CANCEL: u8 = 4;

/// Receive buffers: large enough for what a connection may have in flight, within these limits.
const BUFFER_BYTES: std::ops::RangeInclusive<u64> = 2 * 1024..=64 * 1024;
/// Receive buffers per connection, within limits of number and of memory per thread.
const BUFFERS_PER_CONNECTION: usize = 2;
const BUFFERS: std::ops::RangeInclusive<usize> = 16..=8192;
const BUFFER_MEMORY: u64 = 16 << 20;
/// Submission queue entries. More operations than that in one turn take more system calls.
const ENTRIES: std::ops::RangeInclusive<usize> = 64..=4096;

pub struct UringEngine {
    events: EventRing,
    target: Target,
    connections: Vec<Connection>,
}

#[derive(Default)]
struct Connection {
    socket: Option<Socket>,
    generation: u32,
    /// Operations under way, each at most once; the socket is closed when all have ended.
    connecting: bool,
    receiving: bool,
    sending: bool,
    closing: bool,
}

impl Connection {
    fn idle(&self) -> bool {
        !self.connecting && !self.receiving && !self.sending
    }

    fn user_data(&self, kind: u8, number: usize) -> UserData {
        UserData { kind, generation: self.generation, slot: number as u32 }
    }
}

fn settings(config: &EngineConfig) -> RingSettings {
    let in_flight = (config.size * config.depth) as u64;
    let size = in_flight.next_power_of_two().clamp(*BUFFER_BYTES.start(), *BUFFER_BYTES.end());
    let affordable = (BUFFER_MEMORY / size) as usize;
    let count = (config.sockets * BUFFERS_PER_CONNECTION).next_power_of_two();
    let count = count.min(affordable).clamp(*BUFFERS.start(), *BUFFERS.end());
    // Every buffer can be a completion, and each connection has at most three more: send, cancel, the receive's end.
    let entries = (2 * config.sockets).clamp(*ENTRIES.start(), *ENTRIES.end());
    let completions = (count + 3 * config.sockets).max(entries);
    let buffers = Some(BufferSettings { count: count as u32, size: size as u32, max: count as u32 });
    RingSettings { buffers, ..ring_settings(entries, completions, config) }
}

impl Engine for UringEngine {
    const RECEIVES_IN_EVENTS: bool = false;

    fn new(config: &EngineConfig) -> Result<UringEngine, EngineError> {
        Ok(UringEngine {
            events: EventRing::new(&settings(config))?,
            target: Target::new(&config.target)?,
            connections: (0..config.sockets).map(|_| Connection::default()).collect(),
        })
    }

    fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        self.events.wait(wait)
    }
}

impl StreamEngine for UringEngine {
    fn connect(&mut self, number: usize) -> io::Result<()> {
        let socket = self.target.socket()?;
        let connection = &mut self.connections[number];
        connection.generation = connection.generation.wrapping_add(1);
        connection.connecting = true;
        self.events.ring.connect(
            socket.as_raw_fd(),
            self.target.address().clone(),
            connection.user_data(CONNECT, number),
        );
        connection.socket = Some(socket);
        Ok(())
    }

    fn send(&mut self, number: usize, bytes: &'static [u8]) -> io::Result<Done<usize>> {
        let connection = &mut self.connections[number];
        let socket = connection.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let descriptor = Descriptor::Fd(socket.as_raw_fd());
        self.events.ring.send(
            descriptor,
            SendBuffer::Static(bytes),
            0..bytes.len(),
            connection.user_data(SEND, number),
        );
        connection.sending = true;
        Ok(Done::Later)
    }

    fn finish(&mut self, number: usize) {
        if let Some(socket) = &self.connections[number].socket {
            // A connection that is gone already needs no end.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, number: usize) -> Done<()> {
        let connection = &mut self.connections[number];
        if connection.idle() {
            connection.socket = None;
            return Done::Now(());
        }
        connection.closing = true;
        if connection.receiving {
            self.events.ring.cancel(connection.user_data(RECEIVE, number), connection.user_data(CANCEL, number));
        }
        if (connection.sending || connection.connecting)
            && let Some(socket) = &connection.socket
        {
            // Ends a send or connect that waits for the peer.
            let _ = socket.shutdown(Shutdown::Both);
        }
        Done::Later
    }

    fn events(&mut self, mut notify: impl FnMut(usize, Event<'_>)) {
        while let Some(completion) = self.events.next() {
            let number = completion.user_data.slot as usize;
            match completion.user_data.kind {
                CONNECT => self.connected(number, completion, &mut notify),
                RECEIVE => self.received(number, completion, &mut notify),
                SEND => self.sent(number, completion, &mut notify),
                _ => {}
            }
            self.close_when_idle(number, &mut notify);
        }
    }
}

impl UringEngine {
    fn connected(&mut self, number: usize, completion: Completion, notify: &mut impl FnMut(usize, Event<'_>)) {
        self.connections[number].connecting = false;
        match completion.result {
            Ok(_) => {
                self.receive(number);
                notify(number, Event::Connected);
            }
            Err(errno) => notify(number, Event::Failed(errno.into())),
        }
    }

    /// Arms the receive; it is submitted with the next wait, when all buffers of this turn are back.
    fn receive(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        if let (Some(socket), false) = (&connection.socket, connection.closing) {
            self.events.ring.recv_multishot(Descriptor::Fd(socket.as_raw_fd()), connection.user_data(RECEIVE, number));
            connection.receiving = true;
        }
    }

    fn received(&mut self, number: usize, completion: Completion, notify: &mut impl FnMut(usize, Event<'_>)) {
        self.connections[number].receiving = completion.more;
        let goes_on = match completion.result {
            Ok(0) => {
                notify(number, Event::Ended);
                false
            }
            Ok(_) => {
                if let Some(lease) = &completion.lease {
                    notify(number, Event::Received(self.events.ring.bytes(lease)));
                }
                true
            }
            Err(Errno(libc::ENOBUFS | libc::EINTR | libc::EAGAIN)) => true,
            Err(Errno(libc::ECANCELED)) => false,
            Err(errno) => {
                notify(number, Event::Failed(errno.into()));
                false
            }
        };
        if let Some(lease) = completion.lease {
            self.events.ring.release(lease);
        }
        if goes_on && !completion.more {
            self.receive(number);
        }
    }

    fn sent(&mut self, number: usize, completion: Completion, notify: &mut impl FnMut(usize, Event<'_>)) {
        self.connections[number].sending = false;
        match completion.result {
            Ok(len) => notify(number, Event::Sent(len as usize)),
            Err(Errno(libc::EINTR | libc::EAGAIN)) => notify(number, Event::Sent(0)),
            Err(errno) => notify(number, Event::Failed(errno.into())),
        }
    }

    fn close_when_idle(&mut self, number: usize, notify: &mut impl FnMut(usize, Event<'_>)) {
        let connection = &mut self.connections[number];
        if connection.closing && connection.idle() {
            connection.closing = false;
            connection.socket = None;
            notify(number, Event::Closed);
        }
    }
}

//! The completion engine: one io_uring_enter(2) per turn sends, receives and waits. Receives are multishot into the
//! ring's buffers, sends go straight from where they lie for ever.

use super::{Done, Engine, EngineError, Event, Setup, Wait, enter};
use crate::load::target::Target;
use crate::sys::uring::{
    BufferSettings, Completion, Descriptor, Errno, Ring, RingSettings, SendBuffer, Taskrun, UserData,
};
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
    ring: Ring,
    target: Target,
    connections: Vec<Connection>,
    /// Taken by `wait` to see whether there is any.
    first: Option<Completion>,
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

fn settings(setup: &Setup) -> RingSettings {
    let size = setup.window.next_power_of_two().clamp(*BUFFER_BYTES.start(), *BUFFER_BYTES.end());
    let affordable = (BUFFER_MEMORY / size) as usize;
    let count = (setup.connections * BUFFERS_PER_CONNECTION).next_power_of_two();
    let count = count.min(affordable).clamp(*BUFFERS.start(), *BUFFERS.end());
    // Every buffer can be a completion, and each connection has at most three more: send, cancel, the receive's end.
    let entries = (2 * setup.connections).clamp(*ENTRIES.start(), *ENTRIES.end());
    let completions = (count + 3 * setup.connections).max(entries);
    RingSettings {
        entries: entries as u32,
        completions: completions.next_power_of_two() as u32,
        taskrun: Taskrun::Defer,
        sqpoll: None,
        direct_slots: 0,
        buffers: Some(BufferSettings { count: count as u32, size: size as u32, max: count as u32 }),
        datagrams: None,
        spins: setup.spins,
    }
}

impl Engine for UringEngine {
    const RECEIVES_WHILE_TELLING: bool = false;

    fn new(setup: &Setup) -> Result<UringEngine, EngineError> {
        Ok(UringEngine {
            ring: Ring::new(&settings(setup))?,
            target: setup.target.clone(),
            connections: (0..setup.connections).map(|_| Connection::default()).collect(),
            first: None,
        })
    }

    fn connect(&mut self, number: usize) -> io::Result<()> {
        let socket = self.target.socket()?;
        let connection = &mut self.connections[number];
        connection.generation = connection.generation.wrapping_add(1);
        connection.connecting = true;
        self.ring.connect(socket.as_raw_fd(), self.target.address().clone(), connection.user_data(CONNECT, number));
        connection.socket = Some(socket);
        Ok(())
    }

    fn send(&mut self, number: usize, bytes: &'static [u8]) -> io::Result<Done<usize>> {
        let connection = &mut self.connections[number];
        let socket = connection.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let descriptor = Descriptor::Fd(socket.as_raw_fd());
        self.ring.send(descriptor, SendBuffer::Static(bytes), 0..bytes.len(), connection.user_data(SEND, number));
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
            self.ring.cancel(connection.user_data(RECEIVE, number), connection.user_data(CANCEL, number));
        }
        if (connection.sending || connection.connecting)
            && let Some(socket) = &connection.socket
        {
            // Ends a send or connect that waits for the peer.
            let _ = socket.shutdown(Shutdown::Both);
        }
        Done::Later
    }

    fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        self.first = enter(&mut self.ring, wait)?;
        Ok(self.first.is_some())
    }

    fn events(&mut self, mut tell: impl FnMut(usize, Event<'_>)) {
        while let Some(completion) = self.first.take().or_else(|| self.ring.next_completion()) {
            let number = completion.user_data.slot as usize;
            match completion.user_data.kind {
                CONNECT => self.connected(number, completion, &mut tell),
                RECEIVE => self.received(number, completion, &mut tell),
                SEND => self.sent(number, completion, &mut tell),
                _ => {}
            }
            self.close_when_idle(number, &mut tell);
        }
    }
}

impl UringEngine {
    fn connected(&mut self, number: usize, completion: Completion, tell: &mut impl FnMut(usize, Event<'_>)) {
        self.connections[number].connecting = false;
        match completion.result {
            Ok(_) => {
                self.receive(number);
                tell(number, Event::Connected);
            }
            Err(errno) => tell(number, Event::Failed(errno.into())),
        }
    }

    /// Arms the receive; it is submitted with the next wait, when all buffers of this turn are back.
    fn receive(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        if let (Some(socket), false) = (&connection.socket, connection.closing) {
            self.ring.recv_multishot(Descriptor::Fd(socket.as_raw_fd()), connection.user_data(RECEIVE, number));
            connection.receiving = true;
        }
    }

    fn received(&mut self, number: usize, completion: Completion, tell: &mut impl FnMut(usize, Event<'_>)) {
        self.connections[number].receiving = completion.more;
        let goes_on = match completion.result {
            Ok(0) => {
                tell(number, Event::Ended);
                false
            }
            Ok(_) => {
                if let Some(lease) = &completion.lease {
                    tell(number, Event::Received(self.ring.bytes(lease)));
                }
                true
            }
            Err(Errno(libc::ENOBUFS | libc::EINTR | libc::EAGAIN)) => true,
            Err(Errno(libc::ECANCELED)) => false,
            Err(errno) => {
                tell(number, Event::Failed(errno.into()));
                false
            }
        };
        if let Some(lease) = completion.lease {
            self.ring.release(lease);
        }
        if goes_on && !completion.more {
            self.receive(number);
        }
    }

    fn sent(&mut self, number: usize, completion: Completion, tell: &mut impl FnMut(usize, Event<'_>)) {
        self.connections[number].sending = false;
        match completion.result {
            Ok(len) => tell(number, Event::Sent(len as usize)),
            Err(Errno(libc::EINTR | libc::EAGAIN)) => tell(number, Event::Sent(0)),
            Err(errno) => tell(number, Event::Failed(errno.into())),
        }
    }

    fn close_when_idle(&mut self, number: usize, tell: &mut impl FnMut(usize, Event<'_>)) {
        let connection = &mut self.connections[number];
        if connection.closing && connection.idle() {
            connection.closing = false;
            connection.socket = None;
            tell(number, Event::Closed);
        }
    }
}

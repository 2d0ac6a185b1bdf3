//! The readiness engine: epoll, level-triggered, one recv(2) per readiness and one send(2) per send.

use super::{Done, Event, StreamEngine};
use crate::load::engine::{Engine, EngineConfig, EngineError, EventPoll};
use crate::load::stream::target::Target;
use crate::sys::epoll::{Epoll, Interest, Ready};
use crate::sys::socket::is_transient;
use crate::sys::wait::Wait;
use socket2::Socket;
use std::io::{self, Read};
use std::net::Shutdown;

const RECEIVE_BYTES: usize = 64 * 1024;

pub struct EpollEngine {
    poll: EventPoll,
    target: Target,
    sockets: Vec<Connection>,
    buffer: Box<[u8]>,
}

#[derive(Default)]
struct Connection {
    socket: Option<Socket>,
    state: State,
}

/// What writability means.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// The connection is made or has failed.
    #[default]
    Connecting,
    /// Nothing; it is not asked for.
    Open,
    /// A send may go on.
    Sending,
}

impl State {
    fn interest(self) -> Interest {
        match self {
            State::Connecting => Interest::WRITE,
            State::Open => Interest::READ,
            State::Sending => Interest::READ.and(Interest::WRITE),
        }
    }
}

impl Engine for EpollEngine {
    const RECEIVES_IN_EVENTS: bool = true;

    fn new(config: &EngineConfig) -> Result<EpollEngine, EngineError> {
        Ok(EpollEngine {
            poll: EventPoll::new(config)?,
            target: Target::new(&config.target)?,
            sockets: (0..config.sockets).map(|_| Connection::default()).collect(),
            buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
        })
    }

    fn wait(&mut self, wait: Wait) -> io::Result<bool> {
        self.poll.wait(wait)
    }
}

impl StreamEngine for EpollEngine {
    fn connect(&mut self, connection: usize) -> io::Result<()> {
        let socket = self.target.socket()?;
        socket.set_nonblocking(true)?;
        match socket.connect(self.target.address()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        self.poll.epoll.add(&socket, State::Connecting.interest(), connection as u64)?;
        self.sockets[connection] = Connection { socket: Some(socket), state: State::Connecting };
        Ok(())
    }

    fn send(&mut self, connection: usize, bytes: &'static [u8]) -> io::Result<Done<usize>> {
        let Connection { socket: Some(socket), state } = &mut self.sockets[connection] else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        match socket.send_with_flags(bytes, libc::MSG_NOSIGNAL) {
            Ok(len) => Ok(Done::Now(len)),
            Err(error) if is_transient(&error) => {
                *state = State::Sending;
                self.poll.epoll.modify(&*socket, state.interest(), connection as u64)?;
                Ok(Done::Later)
            }
            Err(error) => Err(error),
        }
    }

    fn finish(&mut self, connection: usize) {
        if let Some(socket) = &self.sockets[connection].socket {
            // A connection that is gone already needs no end.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, connection: usize) -> Done<()> {
        self.sockets[connection].socket = None;
        Done::Now(())
    }

    fn events(&mut self, mut notify: impl FnMut(usize, Event<'_>)) {
        let EpollEngine { poll: EventPoll { epoll, events }, sockets, buffer, .. } = self;
        for ready in events.iter() {
            let number = ready.key as usize;
            if let Connection { socket: Some(socket), state } = &mut sockets[number] {
                handle(epoll, socket, state, ready, buffer, |event| notify(number, event));
            }
        }
    }
}

fn handle(
    epoll: &Epoll,
    socket: &Socket,
    state: &mut State,
    ready: Ready,
    buffer: &mut [u8],
    mut notify: impl FnMut(Event<'_>),
) {
    if *state == State::Connecting {
        *state = State::Open;
        return notify(connected(epoll, socket, ready.key));
    }
    if *state == State::Sending && ready.writable() {
        *state = State::Open;
        match epoll.modify(socket, state.interest(), ready.key) {
            Ok(()) => notify(Event::Sent(0)),
            Err(error) => return notify(Event::Failed(error)),
        }
    }
    if ready.readable() {
        receive(socket, buffer, notify);
    }
}

fn connected(epoll: &Epoll, socket: &Socket, key: u64) -> Event<'static> {
    let outcome = socket.take_error().and_then(|error| match error {
        Some(error) => Err(error),
        None => epoll.modify(socket, State::Open.interest(), key),
    });
    match outcome {
        Ok(()) => Event::Connected,
        Err(error) => Event::Failed(error),
    }
}

fn receive(mut socket: &Socket, buffer: &mut [u8], mut notify: impl FnMut(Event<'_>)) {
    match socket.read(buffer) {
        Ok(0) => notify(Event::Ended),
        Ok(len) => notify(Event::Received(&buffer[..len])),
        Err(error) if is_transient(&error) => {}
        Err(error) => notify(Event::Failed(error)),
    }
}

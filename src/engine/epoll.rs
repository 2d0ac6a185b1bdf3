//! epoll, as a careful server uses it: non-blocking, level-triggered, one read per event, the answer written at once,
//! interest in writing only while something waits to be written. Datagrams go by the batch ([`datagrams`]).

mod datagrams;

use super::arena::{Arena, Key};
use super::connection::{Connection, Segment};
use super::datagram::DatagramOptions;
use super::idle_policy::{IdlePolicy, Wait};
use super::shard::{Message, Shard};
use super::stats::Stats;
use super::{ACCEPT_BACKOFF, BufferOptions, Engine, EngineError, ThreadingModel, is_accept_backoff, recycle_vec};
use crate::protocol::{Answer, Service};
use crate::sys::epoll::{Epoll as Poller, Events, Interest, Ready};
use crate::sys::socket::{self, Blocking, is_transient};
use crate::units::Nanos;
use datagrams::{Datagrams, ShardContext};
use socket2::Socket;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;

/// Events taken per wait.
const EVENTS: usize = 256;
/// Connections accepted per event, so that a storm of them does not starve those there are.
const ACCEPTS_PER_EVENT: usize = 64;
const INBOX: u64 = u64::MAX;
/// Set in the keys of listeners.
const LISTENER: u64 = 1 << 63;
/// Set in the keys of datagram sockets.
const DATAGRAMS: u64 = 1 << 62;

/// Options of the `epoll` engine.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub buffers: BufferOptions,

    #[command(flatten)]
    pub datagrams: DatagramOptions,

    /// Poll this long for events before sleeping.
    ///
    /// Saves the wake-up (tens of microseconds) at the price of a busy core; hurts where another thread needs it.
    #[arg(long, value_name = "TIME", default_value = "0")]
    pub spin: Nanos,
}

/// The `epoll` engine.
#[derive(Debug)]
pub struct Epoll;

impl Engine for Epoll {
    const NAME: &'static str = "epoll";
    const THREADING: ThreadingModel = ThreadingModel::ShardPerCore;
    type Options = Options;

    fn run<S: Service + Clone + Send + 'static>(options: &Options, shard: Shard<S>) -> Result<(), EngineError>
    where
        S::Session: Send,
    {
        EpollShard::new(options, shard)?.run()
    }
}

/// Bytes on their way out.
enum Payload {
    /// A receive buffer.
    Buffer(Vec<u8>),
    /// What a service wrote.
    Output(Vec<u8>),
}

impl Payload {
    fn bytes(&self) -> &[u8] {
        match self {
            Payload::Buffer(bytes) | Payload::Output(bytes) => bytes,
        }
    }
}

/// Buffers not in use, the one used last first: its memory is the likeliest to be in the cache.
struct Pool {
    buffers: Vec<Vec<u8>>,
    buffer_size: usize,
    /// More are freed: what many slow readers needed is not kept for ever.
    max_buffers: usize,
    outputs: Vec<Vec<u8>>,
}

impl Pool {
    fn new(options: &BufferOptions) -> Pool {
        let buffer_size = options.buffer_size.0 as usize;
        let buffers = (0..options.buffers).map(|_| vec![0; buffer_size]).collect();
        Pool { buffers, buffer_size, max_buffers: options.buffers as usize, outputs: Vec::new() }
    }

    #[inline]
    fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_else(|| vec![0; self.buffer_size])
    }

    #[inline]
    fn recycle(&mut self, payload: Payload) {
        match payload {
            Payload::Buffer(buffer) => {
                if self.buffers.len() < self.max_buffers {
                    self.buffers.push(buffer);
                }
            }
            Payload::Output(output) => recycle_vec(&mut self.outputs, output),
        }
    }
}

/// A connection and what epoll was told about it.
struct ConnectionSlot<Session> {
    socket: Socket,
    session: Session,
    state: Connection<Payload>,
    interest: Interest,
}

struct EpollShard<S: Service> {
    poller: Poller,
    shard: Shard<S>,
    connections: Arena<ConnectionSlot<S::Session>>,
    datagrams: Datagrams,
    pool: Pool,
    stats: Stats,
    idle_policy: IdlePolicy,
    draining: bool,
}

impl<S: Service> EpollShard<S> {
    fn new(options: &Options, mut shard: Shard<S>) -> Result<EpollShard<S>, EngineError> {
        let sockets = std::mem::take(&mut shard.datagrams);
        Ok(EpollShard {
            poller: Poller::new().map_err(EngineError::io("epoll_create1"))?,
            connections: Arena::default(),
            datagrams: Datagrams::new(sockets, &options.datagrams)?,
            pool: Pool::new(&options.buffers),
            stats: Stats::default(),
            idle_policy: IdlePolicy::new(shard.clock, options.spin),
            draining: false,
            shard,
        })
    }

    fn run(mut self) -> Result<(), EngineError> {
        self.register().map_err(EngineError::io("registering with epoll"))?;
        let _ = self.shard.ready.send(());
        let mut events = Events::with_capacity(EVENTS);
        let mut idle = false;
        while !self.is_over() {
            let wait = self.wait(idle);
            let count = self.poller.wait(&mut events, wait).map_err(EngineError::io("epoll_wait"))?;
            idle = count == 0;
            events.iter().for_each(|ready| self.handle(ready));
            self.shard.shared_stats.publish(&self.stats);
        }
        self.stats.failed += self.connections.len() as u64;
        self.stats.closed += self.connections.len() as u64;
        self.stats.unsent += self.datagrams.waiting();
        self.shard.shared_stats.publish(&self.stats);
        Ok(())
    }

    fn register(&mut self) -> io::Result<()> {
        self.shard.inbox.wake.set_nonblocking(true)?;
        self.poller.add(&self.shard.inbox.wake, Interest::READ, INBOX)?;
        self.datagrams.register(&self.poller)?;
        for (index, listener) in self.shard.listeners.iter().enumerate() {
            listener.socket.set_nonblocking(true)?;
            self.poller.add(&listener.socket, Interest::READ, LISTENER | index as u64)?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let empty = self.connections.is_empty() && self.datagrams.is_empty();
        self.draining && (empty || self.idle_policy.deadline_passed())
    }

    fn wait(&mut self, idle: bool) -> Option<std::time::Duration> {
        if self.idle_policy.backoff_ended() {
            self.set_accepting(true);
        }
        match self.idle_policy.wait(idle) {
            Wait::Poll => Some(std::time::Duration::ZERO),
            Wait::AtMost(time) => Some(time.duration()),
            Wait::Forever => None,
        }
    }

    fn handle(&mut self, ready: Ready) {
        match ready.key {
            INBOX => self.on_inbox(),
            key if key & LISTENER != 0 => self.on_listener((key & !LISTENER) as usize),
            key if key & DATAGRAMS != 0 => self.on_datagrams((key & !DATAGRAMS) as usize),
            key => self.on_connection(unpack(key), ready),
        }
    }

    #[inline]
    fn on_datagrams(&mut self, index: usize) {
        let (service, poller) = (&mut self.shard.service, &self.poller);
        self.datagrams.on_ready(index, &mut ShardContext { service, poller, stats: &mut self.stats });
    }

    // Accepting

    fn on_listener(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_EVENT {
            let Some(listener) = self.shard.listeners.get(index) else { return };
            let number = listener.number;
            match socket::accept(&listener.socket, Blocking::No) {
                Ok(socket) => {
                    let kept = self.shard.placement.place(socket, number);
                    kept.into_iter().for_each(|socket| self.open(socket, number));
                }
                Err(error) => match error.raw_os_error() {
                    Some(errno) if is_accept_backoff(errno) => {
                        self.idle_policy.start_backoff(ACCEPT_BACKOFF);
                        return self.set_accepting(false);
                    }
                    _ => return,
                },
            }
        }
    }

    fn set_accepting(&mut self, accepting: bool) {
        let interest = if accepting { Interest::READ } else { Interest::NONE };
        for (index, listener) in self.shard.listeners.iter().enumerate() {
            let _ = self.poller.modify(&listener.socket, interest, LISTENER | index as u64);
        }
    }

    fn open(&mut self, socket: Socket, listener: usize) {
        let session = self.shard.service.open(listener);
        let interest = Interest::READ;
        let key = self.connections.insert_with(|_| ConnectionSlot {
            socket,
            session,
            state: Connection::default(),
            interest,
        });
        self.stats.opened += 1;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let watched = connection
            .socket
            .set_nonblocking(true)
            .and_then(|()| self.poller.add(connection.socket.as_fd(), interest, pack(key)));
        if watched.is_err() {
            self.abort(key);
            self.settle(key);
        }
        if self.draining {
            // Another shard handed it on before it knew.
            self.end_input(key);
        }
    }

    // The inbox

    fn on_inbox(&mut self) {
        for message in self.shard.inbox.read() {
            match message {
                Message::Connection { socket, listener } => self.open(socket, listener),
                Message::Drain => self.begin_drain(),
            }
        }
    }

    fn begin_drain(&mut self) {
        self.draining = true;
        self.idle_policy.deadline = Some(self.shard.clock.now() + self.shard.drain_timeout);
        self.shard.listeners.clear();
        self.connections.keys().into_iter().for_each(|key| self.end_input(key));
        self.datagrams.begin_drain().for_each(|index| self.on_datagrams(index));
    }

    /// Treats the connection as if the peer had sent its end of stream.
    fn end_input(&mut self, key: Key) {
        let failed =
            self.connections.get_mut(key).is_some_and(|connection| connection.socket.shutdown(Shutdown::Read).is_err());
        if failed {
            self.abort(key);
            self.settle(key);
        }
    }

    // Connections

    #[inline]
    fn on_connection(&mut self, key: Key, ready: Ready) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if ready.readable() && connection.state.wants_receive() {
            self.receive(key);
        } else if ready.writable() {
            self.send(key);
        }
        self.settle(key);
    }

    #[inline]
    fn receive(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let mut buffer = self.pool.buffer();
        match connection.socket.read(&mut buffer) {
            Ok(0) => connection.state.receive_ended(),
            Ok(count) => return self.answer(key, buffer, count),
            Err(error) if is_transient(&error) => {}
            Err(_) => self.abort(key),
        }
        self.pool.recycle(Payload::Buffer(buffer));
    }

    #[inline]
    fn answer(&mut self, key: Key, buffer: Vec<u8>, count: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        self.stats.bytes_in += count as u64;
        let mut output = self.pool.outputs.pop().unwrap_or_default();
        let answer = self.shard.service.received(&mut connection.session, &buffer[..count], &mut output);
        let (payload, range, unused) = match answer {
            Answer::Nothing => (Payload::Buffer(buffer), 0..0, Payload::Output(output)),
            Answer::Input(range) => (Payload::Buffer(buffer), range, Payload::Output(output)),
            Answer::Output => {
                let range = 0..output.len();
                (Payload::Output(output), range, Payload::Buffer(buffer))
            }
        };
        self.pool.recycle(unused);
        connection.state.received(payload, range).into_iter().for_each(|payload| self.pool.recycle(payload));
        self.send(key);
    }

    /// Sends until nothing is left or the socket takes no more.
    #[inline]
    fn send(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        while let Some(segment) = connection.state.next_send() {
            let Segment { payload, range } = &segment;
            let result = connection.socket.send_with_flags(&payload.bytes()[range.clone()], libc::MSG_NOSIGNAL);
            let sent = *result.as_ref().unwrap_or(&0);
            self.stats.bytes_out += sent as u64;
            connection.state.sent(segment, sent).into_iter().for_each(|payload| self.pool.recycle(payload));
            match result {
                Ok(_) => {}
                Err(error) if is_transient(&error) => return,
                Err(_) => return self.abort(key),
            }
        }
    }

    /// Tells epoll what the connection waits for now, or closes it.
    #[inline]
    fn settle(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.state.finished() {
            self.stats.closed += 1;
            drop(self.connections.remove(key));
            return;
        }
        let read = if connection.state.wants_receive() { Interest::READ } else { Interest::NONE };
        let write = if connection.state.has_unsent() { Interest::WRITE } else { Interest::NONE };
        let interest = read.and(write);
        if interest != connection.interest {
            connection.interest = interest;
            let _ = self.poller.modify(&connection.socket, interest, pack(key));
        }
    }

    fn abort(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !connection.state.is_aborted() {
            self.stats.failed += 1;
            connection.state.abort().for_each(|payload| self.pool.recycle(payload));
        }
    }
}

fn pack(key: Key) -> u64 {
    (u64::from(key.generation) << 32) | u64::from(key.slot)
}

fn unpack(key: u64) -> Key {
    Key { slot: key as u32, generation: (key >> 32) as u32 }
}

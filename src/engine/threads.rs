//! One blocking thread per connection, spread over the cores in turn: the oldest way, and still the plainest code. Each
//! datagram socket has one too (`datagrams`).

mod connection;
mod datagrams;
mod registry;

use super::hub::Hub;
use super::shard::{Message, Shard};
use super::stats::Stats;
use super::task::ConnectionTask;
use super::{ACCEPT_BACKOFF, BufferOptions, Engine, EngineError, ShardService, ThreadingModel, is_accept_backoff};
use crate::protocol::Peer;
use crate::sys::affinity;
use crate::sys::epoll::{Epoll as Poller, Events, Interest};
use crate::sys::socket::{self, Blocking};
use connection::{Connection, ThreadWake};
use datagrams::DatagramEndpoint;
use registry::ConnectionRegistry;
use socket2::Socket;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Stack of a connection's thread: what it needs, not the 2 MiB default, as there may be thousands.
const STACK_BYTES: usize = 256 << 10;
const INBOX: u64 = u64::MAX;

/// Options of the `threads` engine.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub buffers: BufferOptions,
}

/// The `threads` engine.
#[derive(Debug)]
pub struct Threads;

impl Engine for Threads {
    const NAME: &'static str = "threads";
    const THREADING: ThreadingModel = ThreadingModel::OneShard;
    type Options = Options;

    fn run<S: ShardService>(options: &Options, mut shard: Shard<S>) -> Result<(), EngineError> {
        let buffer_size = options.buffers.buffer_size.0 as usize;
        let hub = Hub::new(std::mem::take(&mut shard.others));
        Acceptor { shard, buffer_size, registry: Arc::default(), hub, next: 0 }.run()
    }
}

struct Acceptor<S> {
    shard: Shard<S>,
    buffer_size: usize,
    registry: Arc<ConnectionRegistry>,
    hub: Arc<Hub<ThreadWake>>,
    /// Number of the next connection.
    next: u64,
}

impl<S: ShardService> Acceptor<S> {
    fn run(mut self) -> Result<(), EngineError> {
        let poller = self.register().map_err(EngineError::io("registering with epoll"))?;
        self.serve_datagrams().map_err(EngineError::io("starting a thread for a datagram socket"))?;
        let _ = self.shard.ready.send(());
        let mut events = Events::with_capacity(16);
        loop {
            poller.wait(&mut events, None).map_err(EngineError::io("epoll_wait"))?;
            for ready in events.iter() {
                match ready.key {
                    INBOX if self.told_to_drain() => return self.drain(),
                    INBOX => {}
                    index => self.accept(index as usize),
                }
            }
        }
    }

    fn register(&self) -> io::Result<Poller> {
        let poller = Poller::new()?;
        self.shard.inbox.wake.set_nonblocking(true)?;
        poller.add(&self.shard.inbox.wake, Interest::READ, INBOX)?;
        for (index, listener) in self.shard.listeners.iter().enumerate() {
            listener.socket.set_nonblocking(true)?;
            poller.add(&listener.socket, Interest::READ, index as u64)?;
        }
        Ok(poller)
    }

    /// Serves connections that others accepted, up to the drain.
    fn told_to_drain(&mut self) -> bool {
        for message in self.shard.inbox.read() {
            match message {
                Message::Connection { socket, listener } => self.serve(socket, listener),
                Message::Published(publications) => self.hub.deliver(&publications),
                Message::Drain => return true,
            }
        }
        false
    }

    fn accept(&mut self, index: usize) {
        let listener = &self.shard.listeners[index];
        match socket::accept(&listener.socket, Blocking::Yes) {
            Ok(socket) => self.serve(socket, listener.number),
            Err(error) if error.raw_os_error().is_some_and(is_accept_backoff) => {
                thread::sleep(ACCEPT_BACKOFF.duration())
            }
            Err(_) => {}
        }
    }

    fn serve(&mut self, socket: Socket, endpoint: usize) {
        let (number, core) = self.next_thread();
        let socket = Arc::new(socket);
        let service = &mut self.shard.service;
        let open = |cx: &mut _| service.open(Peer { endpoint }, cx);
        let task = ConnectionTask::new(number, self.buffer_size, self.shard.clock, self.hub.clone(), open);
        let connection = Connection::new(socket.clone(), task, self.shard.shared_stats.clone());
        self.registry.enter(number, socket);
        let registry = self.registry.clone();
        let spawned = thread::Builder::new().name("connection".into()).stack_size(STACK_BYTES).spawn(move || {
            core.map(affinity::pin_current_thread);
            connection.run();
            registry.leave(number);
        });
        if spawned.is_err() {
            // No thread to be had: the connection is refused by closing it.
            self.shard.shared_stats.add(&Stats { opened: 1, closed: 1, failed: 1, ..Stats::default() });
            self.registry.leave(number);
        }
    }

    /// Its number, and the core that it is for.
    fn next_thread(&mut self) -> (u64, Option<usize>) {
        let number = self.next;
        self.next += 1;
        match self.shard.cores.as_slice() {
            [] => (number, None),
            cores => (number, Some(cores[number as usize % cores.len()])),
        }
    }

    fn serve_datagrams(&mut self) -> io::Result<()> {
        for datagrams in std::mem::take(&mut self.shard.datagrams) {
            let (number, core) = self.next_thread();
            let endpoint = DatagramEndpoint::new(datagrams, &self.shard, &self.registry, &self.hub);
            self.registry.enter(number, endpoint.socket());
            let registry = self.registry.clone();
            thread::Builder::new().name("datagrams".into()).stack_size(STACK_BYTES).spawn(move || {
                core.map(affinity::pin_current_thread);
                endpoint.run();
                registry.leave(number);
            })?;
        }
        Ok(())
    }

    fn drain(mut self) -> Result<(), EngineError> {
        self.shard.listeners.clear();
        let timeout = self.shard.drain_timeout.duration();
        self.registry.begin_drain(timeout);
        let stayed = self.registry.wait_until_empty(timeout);
        if stayed > 0 {
            self.registry.shutdown(Shutdown::Both);
            self.registry.wait_until_empty(Duration::from_secs(1));
        }
        Ok(())
    }
}

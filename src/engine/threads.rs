//! One blocking thread per connection, spread over the cores in turn: the oldest way, and still the plainest code. Each
//! datagram socket has one too ([`datagrams`]).

mod datagrams;

use super::shard::{Message, Shard};
use super::stats::{SharedStats, Stats};
use super::{ACCEPT_BACKOFF, BufferOptions, Engine, EngineError, ThreadingModel, is_accept_backoff};
use crate::protocol::{Answer, Service};
use crate::sys::affinity;
use crate::sys::epoll::{Epoll as Poller, Events, Interest};
use crate::sys::socket::{self, Blocking};
use datagrams::DatagramEndpoint;
use socket2::Socket;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

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

    fn run<S: Service + Clone + Send + 'static>(options: &Options, shard: Shard<S>) -> Result<(), EngineError>
    where
        S::Session: Send,
    {
        let buffer_size = options.buffers.buffer_size.0 as usize;
        ThreadsShard { shard, buffer_size, registry: Arc::default(), next: 0 }.run()
    }
}

/// The sockets being served, each by its thread, to end them on a drain.
#[derive(Default)]
struct ConnectionRegistry {
    sockets: Mutex<HashMap<u64, Arc<Socket>>>,
    left: Condvar,
    /// Set when the drain begins: when the timeout ends.
    drain_ends: OnceLock<Instant>,
}

impl ConnectionRegistry {
    fn sockets(&self) -> MutexGuard<'_, HashMap<u64, Arc<Socket>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, number: u64) {
        self.sockets().remove(&number);
        self.left.notify_all();
    }

    fn shutdown(&self, how: Shutdown) {
        self.sockets().values().for_each(|socket| drop(socket.shutdown(how)));
    }

    /// Wakes every thread: what has arrived is still received, then the end of the stream, or nothing.
    fn begin_drain(&self, timeout: Duration) {
        let _ = self.drain_ends.set(Instant::now() + timeout);
        self.shutdown(Shutdown::Read);
    }

    /// Waits until all have left. Returns how many had not when the time was over.
    fn wait_until_empty(&self, timeout: Duration) -> usize {
        let end = Instant::now() + timeout;
        let mut sockets = self.sockets();
        while !sockets.is_empty() && Instant::now() < end {
            let rest = end.saturating_duration_since(Instant::now());
            sockets = self.left.wait_timeout(sockets, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        sockets.len()
    }
}

struct ThreadsShard<S> {
    shard: Shard<S>,
    buffer_size: usize,
    registry: Arc<ConnectionRegistry>,
    /// Number of the next connection.
    next: u64,
}

impl<S: Service + Clone + Send + 'static> ThreadsShard<S>
where
    S::Session: Send,
{
    fn run(mut self) -> Result<(), EngineError> {
        let poller = self.register().map_err(EngineError::io("registering with epoll"))?;
        self.serve_datagrams().map_err(EngineError::io("starting a thread for a datagram socket"))?;
        let _ = self.shard.ready.send(());
        let mut events = Events::with_capacity(16);
        loop {
            poller.wait(&mut events, None).map_err(EngineError::io("epoll_wait"))?;
            for ready in events.iter() {
                match ready.key {
                    INBOX if self.read_inbox() => return self.drain(),
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
    fn read_inbox(&mut self) -> bool {
        for message in self.shard.inbox.read() {
            match message {
                Message::Connection { socket, listener } => self.serve(socket, listener),
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

    fn serve(&mut self, socket: Socket, listener: usize) {
        let (number, core) = self.next_thread();
        let socket = Arc::new(socket);
        let mut service = self.shard.service.clone();
        let task = ConnectionTask {
            session: service.open(listener),
            service,
            socket: socket.clone(),
            shared_stats: self.shard.shared_stats.clone(),
            buffer: vec![0; self.buffer_size],
        };
        self.shard.shared_stats.add(&Stats { opened: 1, ..Stats::default() });
        self.registry.sockets().insert(number, socket);
        let registry = self.registry.clone();
        let spawned = thread::Builder::new().name("connection".into()).stack_size(STACK_BYTES).spawn(move || {
            core.map(affinity::pin_current_thread);
            let ended = ConnectionTask::run(task);
            ended.1.add(&Stats { closed: 1, failed: u64::from(ended.0.is_err()), ..Stats::default() });
            registry.leave(number);
        });
        if spawned.is_err() {
            // No thread to be had: the connection is refused by closing it.
            self.shard.shared_stats.add(&Stats { closed: 1, failed: 1, ..Stats::default() });
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
            let endpoint = DatagramEndpoint::new(
                datagrams,
                self.shard.service.clone(),
                self.shard.shared_stats.clone(),
                &self.registry,
            );
            self.registry.sockets().insert(number, endpoint.socket());
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

/// One connection: receive, answer, until the peer's end.
struct ConnectionTask<S: Service> {
    socket: Arc<Socket>,
    service: S,
    session: S::Session,
    shared_stats: Arc<SharedStats>,
    buffer: Vec<u8>,
}

impl<S: Service> ConnectionTask<S> {
    fn run(mut self) -> (io::Result<()>, Arc<SharedStats>) {
        let mut output = Vec::new();
        loop {
            match self.turn(&mut output) {
                Ok(true) => {}
                Ok(false) => return (Ok(()), self.shared_stats),
                Err(error) => return (Err(error), self.shared_stats),
            }
        }
    }

    /// Receives once and answers. `false` at the peer's end.
    fn turn(&mut self, output: &mut Vec<u8>) -> io::Result<bool> {
        let count = match (&*self.socket).read(&mut self.buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error),
        };
        output.clear();
        let input = &self.buffer[..count];
        let answer = match self.service.received(&mut self.session, input, output) {
            Answer::Nothing => &[],
            Answer::Input(range) => &input[range],
            Answer::Output => output.as_slice(),
        };
        (&*self.socket).write_all(answer)?;
        let stats = Stats { bytes_in: count as u64, bytes_out: answer.len() as u64, ..Stats::default() };
        self.shared_stats.add(&stats);
        Ok(true)
    }
}

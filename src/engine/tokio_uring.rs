//! tokio-uring 0.5, as its documentation shows it: a task per connection, owned buffers, `read` and `write_all`.
//!
//! Its ring's descriptor sits in an epoll loop, and it has neither multishot operations nor buffer rings: it stands for
//! itself, not for io_uring. Connections are accepted through tokio's reactor, so that they can be handed to any shard.
//! Datagram sockets have a task each ([`datagrams`]).

mod datagrams;

use super::acceptor::{Acceptor, Incoming};
use super::datagram::{DatagramSocket, Responder};
use super::shard::Shard;
use super::stats::{SharedStats, Stats};
use super::tokio_datagram::{DatagramEndpoint, Drained};
use super::{BufferOptions, Engine, EngineError, ThreadingModel, Unsupported};
use crate::protocol::{Answer, Service};
use crate::sys::socket::Blocking;
use crate::sys::uring::{Ring, RingSettings, Taskrun};
use datagrams::RuntimeSocket;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

/// How long aborted connections may take to end: their operations fail at once.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// How completions are run; deferred ones hang under tokio-uring 0.5, whose ring is watched from an epoll loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TaskrunChoice {
    /// At the next system call: COOP_TASKRUN (Linux 5.19).
    Coop,
    /// At once, interrupting the thread.
    None,
}

/// Options of the `tokio-uring` engine.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub buffers: BufferOptions,

    /// When completions are run. coop needs Linux 5.19; deferring them hangs tokio-uring 0.5 and is not offered.
    #[arg(long, value_enum, default_value = "coop")]
    pub taskrun: TaskrunChoice,

    /// Submission queue entries.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(8..=4096))]
    pub entries: u32,
}

/// The `tokio-uring` engine.
#[derive(Debug)]
pub struct TokioUring;

impl Engine for TokioUring {
    const NAME: &'static str = "tokio-uring";
    const THREADING: ThreadingModel = ThreadingModel::ShardPerCore;
    const WILDCARD_NOTE: Option<&'static str> = Some(
        "is served through tokio's reactor, not through the ring: a receive of tokio-uring 0.5 does not tell at which \
         address a datagram arrived, and answers are to leave from there; bind to one address to have the ring",
    );
    type Options = Options;

    fn probe(options: &Options) -> Result<(), Unsupported> {
        let taskrun = match options.taskrun {
            TaskrunChoice::Coop => Taskrun::Coop,
            TaskrunChoice::None => Taskrun::None,
        };
        let entries = options.entries;
        let completions = entries * 2;
        Ring::new(&RingSettings { entries, completions, taskrun, ..RingSettings::default() })?;
        Ok(())
    }

    fn run<S: Service + Clone + Send + 'static>(options: &Options, shard: Shard<S>) -> Result<(), EngineError>
    where
        S::Session: Send,
    {
        let mut ring = tokio_uring::uring_builder();
        if options.taskrun == TaskrunChoice::Coop {
            ring.setup_coop_taskrun();
        }
        let mut builder = tokio_uring::builder();
        builder.entries(options.entries).uring_builder(&ring);
        let runtime =
            tokio_uring::Runtime::new(&builder).map_err(EngineError::io("starting the tokio-uring runtime"))?;
        runtime.block_on(serve(shard, options.buffers.buffer_size.0 as usize))
    }
}

/// The connections being served, to end them on a drain.
type ConnectionRegistry = Rc<RefCell<HashMap<u64, Rc<TcpStream>>>>;

async fn serve<S: Service + Clone + 'static>(mut shard: Shard<S>, buffer_size: usize) -> Result<(), EngineError> {
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let (serving, drained) = watch::channel(());
    serve_datagrams(&mut shard, &drained, &alive)?;
    let mut acceptor = Acceptor::new(shard.listeners, shard.inbox, shard.placement, Blocking::Yes)?;
    let _ = shard.ready.send(());
    let registry = ConnectionRegistry::default();
    let mut next = 0;
    while let Incoming::Connection { socket, listener } = acceptor.next().await {
        // A stream of any family: tokio-uring only ever reads and writes the descriptor.
        let stream = Rc::new(TcpStream::from_std(socket.into()));
        registry.borrow_mut().insert(next, stream.clone());
        let mut service = shard.service.clone();
        let session = service.open(listener);
        let task = ConnectionTask { stream, service, session, shared_stats: shard.shared_stats.clone() };
        let (registry, alive, number) = (registry.clone(), alive.clone(), next);
        tokio_uring::spawn(async move {
            serve_connection(task, buffer_size).await;
            registry.borrow_mut().remove(&number);
            drop(alive);
        });
        next += 1;
    }
    drop((acceptor, alive, serving));
    shutdown(&registry, Shutdown::Read);
    if tokio::time::timeout(shard.drain_timeout.duration(), all_gone.recv()).await.is_err() {
        shutdown(&registry, Shutdown::Both);
        let _ = tokio::time::timeout(ABORT_TIMEOUT, all_gone.recv()).await;
    }
    Ok(())
}

/// Starts a task for each datagram socket.
fn serve_datagrams<S: Service + Clone + 'static>(
    shard: &mut Shard<S>,
    drained: &Drained,
    alive: &mpsc::Sender<()>,
) -> Result<(), EngineError> {
    for DatagramSocket { number, socket, guard } in std::mem::take(&mut shard.datagrams) {
        let endpoint =
            DatagramEndpoint::new(Responder::new(shard.service.clone(), number, guard), shard.shared_stats.clone());
        let socket =
            RuntimeSocket::new(socket).map_err(EngineError::io("registering a datagram socket with the runtime"))?;
        let (drained, alive) = (drained.clone(), alive.clone());
        tokio_uring::spawn(async move {
            socket.serve(endpoint, drained).await;
            drop(alive);
        });
    }
    Ok(())
}

fn shutdown(registry: &ConnectionRegistry, how: Shutdown) {
    registry.borrow().values().for_each(|stream| drop(stream.shutdown(how)));
}

async fn serve_connection<S: Service>(task: ConnectionTask<S>, buffer_size: usize) {
    let shared_stats = task.shared_stats.clone();
    shared_stats.add_alone(&Stats { opened: 1, ..Stats::default() });
    let ended = task.run(buffer_size).await;
    shared_stats.add_alone(&Stats { closed: 1, failed: u64::from(ended.is_err()), ..Stats::default() });
}

struct ConnectionTask<S: Service> {
    stream: Rc<TcpStream>,
    service: S,
    session: S::Session,
    shared_stats: Arc<SharedStats>,
}

impl<S: Service> ConnectionTask<S> {
    async fn run(mut self, buffer_size: usize) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(buffer_size);
        let mut output = Vec::new();
        loop {
            let (read, filled) = self.stream.read(buffer).await;
            buffer = filled;
            let count = match read? {
                0 => return Ok(()),
                count => count,
            };
            output.clear();
            let written = match self.service.received(&mut self.session, &buffer[..count], &mut output) {
                Answer::Nothing => 0,
                Answer::Input(range) => {
                    let len = range.len();
                    let (result, slice) = self.stream.write_all(buffer.slice(range)).await;
                    buffer = slice.into_inner();
                    result.map(|()| len)?
                }
                Answer::Output => {
                    let len = output.len();
                    let (result, back) = self.stream.write_all(output).await;
                    output = back;
                    result.map(|()| len)?
                }
            };
            self.shared_stats.add_alone(&Stats {
                bytes_in: count as u64,
                bytes_out: written as u64,
                ..Stats::default()
            });
        }
    }
}

//! tokio-uring 0.5: a task per connection, with a `read` and a `write` under way side by side, each owning its buffer.
//!
//! Its ring's descriptor sits in an epoll loop, and it has neither multishot operations nor buffer rings: it stands for
//! itself, not for io_uring. Connections are accepted through tokio's reactor, so that they can be handed to any shard.
//! Datagram sockets have a task each (`datagrams`).

mod connection;
mod datagrams;

use super::acceptor::Acceptor;
use super::hub::Hub;
use super::shard::Shard;
use super::task::ConnectionTask;
use super::tokio_datagram;
use super::{BufferOptions, Engine, EngineError, ShardService, ThreadingModel, Unsupported};
use crate::protocol::Peer;
use crate::sys::socket::Blocking;
use crate::sys::uring::{Ring, RingSettings, Taskrun};
use connection::Connection;
use datagrams::DatagramEndpoint;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
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

    fn run<S: ShardService>(options: &Options, shard: Shard<S>) -> Result<(), EngineError> {
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

async fn serve<S: ShardService>(mut shard: Shard<S>, buffer_size: usize) -> Result<(), EngineError> {
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let (serving, drained) = watch::channel(());
    let hub = Hub::new(std::mem::take(&mut shard.others));
    for (socket, task) in tokio_datagram::tasks(&mut shard, &hub) {
        let endpoint = DatagramEndpoint::new(socket);
        let endpoint = endpoint.map_err(EngineError::io("registering a datagram socket with the runtime"))?;
        let (drained, alive) = (drained.clone(), alive.clone());
        tokio_uring::spawn(async move {
            endpoint.serve(task, drained).await;
            drop(alive);
        });
    }
    let (listeners, placement) = (std::mem::take(&mut shard.listeners), shard.placement);
    let mut acceptor = Acceptor::new(listeners, shard.inbox, placement, hub.clone(), Blocking::Yes)?;
    let _ = shard.ready.send(());
    let registry = ConnectionRegistry::default();
    let mut number = 0;
    while let Some((socket, endpoint)) = acceptor.next().await {
        number += 1;
        // A stream of any family: tokio-uring only ever reads and writes the descriptor.
        let stream = Rc::new(TcpStream::from_std(socket.into()));
        registry.borrow_mut().insert(number, stream.clone());
        let open = |cx: &mut _| shard.service.open(Peer { endpoint }, cx);
        let task = ConnectionTask::new(number, buffer_size, shard.clock, hub.clone(), open);
        let connection = Connection::new(stream, task, shard.shared_stats.clone());
        let (registry, alive) = (registry.clone(), alive.clone());
        tokio_uring::spawn(async move {
            connection.serve().await;
            registry.borrow_mut().remove(&number);
            drop(alive);
        });
    }
    drop((acceptor, alive, serving));
    shutdown(&registry, Shutdown::Read);
    if tokio::time::timeout(shard.drain_timeout.duration(), all_gone.recv()).await.is_err() {
        shutdown(&registry, Shutdown::Both);
        let _ = tokio::time::timeout(ABORT_TIMEOUT, all_gone.recv()).await;
    }
    Ok(())
}

fn shutdown(registry: &ConnectionRegistry, how: Shutdown) {
    registry.borrow().values().for_each(|stream| drop(stream.shutdown(how)));
}

//! tokio: a current-thread runtime per core, and a task per connection that reads and writes whenever the socket lets it, as
//! hyper's do. Datagram sockets have a task each (`datagrams`).

mod connection;
mod datagrams;

use super::acceptor::Acceptor;
use super::hub::Hub;
use super::shard::Shard;
use super::stats::Stats;
use super::task::ConnectionTask;
use super::tokio_datagram;
use super::{BufferOptions, Engine, EngineError, ShardService, ThreadingModel};
use crate::protocol::{Peer, Session};
use crate::sys::socket::Blocking;
use connection::Connection;
use datagrams::DatagramEndpoint;
use socket2::{Domain, Socket};
use std::sync::Arc;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, mpsc, watch};

/// Options of the `tokio` engine.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub buffers: BufferOptions,
}

/// The `tokio` engine.
#[derive(Debug)]
pub struct Tokio;

impl Engine for Tokio {
    const NAME: &'static str = "tokio";
    const THREADING: ThreadingModel = ThreadingModel::ShardPerCore;
    type Options = Options;

    fn run<S: ShardService>(options: &Options, shard: Shard<S>) -> Result<(), EngineError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(EngineError::io("starting the tokio runtime"))?;
        runtime.block_on(serve(shard, options.buffers.buffer_size.0 as usize))
    }
}

async fn serve<S: ShardService>(mut shard: Shard<S>, buffer_size: usize) -> Result<(), EngineError> {
    // Every task holds a sender; when the last one is gone, so are the connections.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let (serving, drained) = watch::channel(());
    let hub = Hub::new(std::mem::take(&mut shard.others));
    for (socket, task) in tokio_datagram::tasks(&mut shard, &hub) {
        let endpoint = DatagramEndpoint::new(socket);
        let endpoint = endpoint.map_err(EngineError::io("registering a datagram socket with the runtime"))?;
        let (drained, alive) = (drained.clone(), alive.clone());
        tokio::spawn(async move {
            endpoint.serve(task, drained).await;
            drop(alive);
        });
    }
    let (listeners, placement) = (std::mem::take(&mut shard.listeners), shard.placement);
    let mut acceptor = Acceptor::new(listeners, shard.inbox, placement, hub.clone(), Blocking::No)?;
    let _ = shard.ready.send(());
    let drain = Arc::new(Notify::new());
    let mut number = 0;
    while let Some((socket, endpoint)) = acceptor.next().await {
        number += 1;
        let open = |cx: &mut _| shard.service.open(Peer { endpoint }, cx);
        let task = ConnectionTask::new(number, buffer_size, shard.clock, hub.clone(), open);
        let connection = Connection::new(task, shard.shared_stats.clone());
        // From here on, before the task first runs, it hears of the drain.
        let drained = drain.clone().notified_owned();
        tokio::spawn(serve_connection(socket, connection, drained, alive.clone()));
    }
    drop((acceptor, alive, serving));
    drain.notify_waiters();
    if tokio::time::timeout(shard.drain_timeout.duration(), all_gone.recv()).await.is_err() {
        // What is left ends with the runtime.
        let stats = shard.shared_stats.read();
        let left = stats.opened - stats.closed;
        shard.shared_stats.add_alone(&Stats { closed: left, failed: left, ..Stats::default() });
    }
    Ok(())
}

/// One connection's task, from its opening to its end.
async fn serve_connection<S: Session>(
    socket: Socket,
    mut connection: Connection<S>,
    drained: OwnedNotified,
    alive: mpsc::Sender<()>,
) {
    let ended = match socket.domain() {
        Ok(Domain::UNIX) => match UnixStream::from_std(socket.into()) {
            Ok(stream) => connection.serve(stream, drained).await,
            Err(error) => Err(error),
        },
        _ => match TcpStream::from_std(socket.into()) {
            Ok(stream) => connection.serve(stream, drained).await,
            Err(error) => Err(error),
        },
    };
    connection.finish(ended.is_err());
    drop(alive);
}

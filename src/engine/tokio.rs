//! tokio, as its documentation shows it: a current-thread runtime per core, a task per connection, `read` and
//! `write_all`. Datagram sockets have a task each ([`datagrams`]).

mod datagrams;

use super::acceptor::{Acceptor, Incoming};
use super::datagram::{DatagramSocket, Responder};
use super::shard::Shard;
use super::stats::{SharedStats, Stats};
use super::tokio_datagram::{DatagramEndpoint, Drained};
use super::{BufferOptions, Engine, EngineError, ThreadingModel};
use crate::protocol::{Answer, Service};
use crate::sys::socket::Blocking;
use datagrams::RuntimeSocket;
use socket2::{Domain, SockRef, Socket};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
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

    fn run<S: Service + Clone + Send + 'static>(options: &Options, shard: Shard<S>) -> Result<(), EngineError>
    where
        S::Session: Send,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(EngineError::io("starting the tokio runtime"))?;
        runtime.block_on(serve(shard, options.buffers.buffer_size.0 as usize))
    }
}

async fn serve<S: Service + Clone + Send + 'static>(mut shard: Shard<S>, buffer_size: usize) -> Result<(), EngineError>
where
    S::Session: Send,
{
    // Every task holds a sender; when the last one is gone, so are the connections.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let (serving, drained) = watch::channel(());
    serve_datagrams(&mut shard, &drained, &alive)?;
    let mut acceptor = Acceptor::new(shard.listeners, shard.inbox, shard.placement, Blocking::No)?;
    let _ = shard.ready.send(());
    let drain = Arc::new(Notify::new());
    while let Incoming::Connection { socket, listener } = acceptor.next().await {
        let mut service = shard.service.clone();
        let session = service.open(listener);
        let shared_stats = shard.shared_stats.clone();
        let task = ConnectionTask { service, session, shared_stats, buffer: vec![0; buffer_size] };
        // From here on, before the task first runs, it hears of the drain.
        let drained = drain.clone().notified_owned();
        tokio::spawn(serve_connection(socket, task, drained, alive.clone()));
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

/// Starts a task for each datagram socket.
fn serve_datagrams<S>(shard: &mut Shard<S>, drained: &Drained, alive: &mpsc::Sender<()>) -> Result<(), EngineError>
where
    S: Service + Clone + Send + 'static,
    S::Session: Send,
{
    for DatagramSocket { number, socket, guard } in std::mem::take(&mut shard.datagrams) {
        let endpoint =
            DatagramEndpoint::new(Responder::new(shard.service.clone(), number, guard), shard.shared_stats.clone());
        let socket =
            RuntimeSocket::new(socket).map_err(EngineError::io("registering a datagram socket with the runtime"))?;
        let (drained, alive) = (drained.clone(), alive.clone());
        tokio::spawn(async move {
            socket.serve(endpoint, drained).await;
            drop(alive);
        });
    }
    Ok(())
}

/// One connection's task, from its opening to its end.
async fn serve_connection<S: Service>(
    socket: Socket,
    task: ConnectionTask<S>,
    drained: OwnedNotified,
    alive: mpsc::Sender<()>,
) {
    let shared_stats = task.shared_stats.clone();
    shared_stats.add_alone(&Stats { opened: 1, ..Stats::default() });
    let ended = match socket.domain() {
        Ok(Domain::UNIX) => match UnixStream::from_std(socket.into()) {
            Ok(stream) => task.run(stream, drained).await,
            Err(error) => Err(error),
        },
        _ => match TcpStream::from_std(socket.into()) {
            Ok(stream) => task.run(stream, drained).await,
            Err(error) => Err(error),
        },
    };
    shared_stats.add_alone(&Stats { closed: 1, failed: u64::from(ended.is_err()), ..Stats::default() });
    drop(alive);
}

struct ConnectionTask<S: Service> {
    service: S,
    session: S::Session,
    shared_stats: Arc<SharedStats>,
    buffer: Vec<u8>,
}

impl<S: Service> ConnectionTask<S> {
    async fn run<T>(mut self, mut stream: T, drained: OwnedNotified) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + AsFd + Unpin,
    {
        tokio::pin!(drained);
        let mut draining = false;
        let mut output = Vec::new();
        loop {
            let count = tokio::select! {
                biased;
                count = stream.read(&mut self.buffer) => count?,
                () = &mut drained, if !draining => {
                    draining = true;
                    SockRef::from(&stream).shutdown(Shutdown::Read)?;
                    continue;
                }
            };
            if count == 0 {
                return Ok(());
            }
            output.clear();
            let input = &self.buffer[..count];
            let answer = match self.service.received(&mut self.session, input, &mut output) {
                Answer::Nothing => &[],
                Answer::Input(range) => &input[range],
                Answer::Output => output.as_slice(),
            };
            stream.write_all(answer).await?;
            let stats = Stats { bytes_in: count as u64, bytes_out: answer.len() as u64, ..Stats::default() };
            self.shared_stats.add_alone(&stats);
        }
    }
}

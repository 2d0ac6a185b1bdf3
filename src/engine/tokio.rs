//! tokio, as its documentation shows it: a current-thread runtime per core, a task per connection, `read` and
//! `write_all`. Datagram sockets have a task each ([`datagrams`]).

mod datagrams;

use super::counters::{Counters, Counts};
use super::datagram::{DatagramSocket, Responder};
use super::reactor_datagrams::{Desk, Drained};
use super::reception::{Arrival, Reception};
use super::shard::Shard;
use super::{BufferOptions, Engine, EngineError, Layout};
use crate::protocol::{Answer, Service};
use crate::sys::socket::Blocking;
use datagrams::Post;
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
    const LAYOUT: Layout = Layout::ShardPerCore;
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
    let mut reception = Reception::new(shard.listeners, shard.inbox, shard.placement, Blocking::No)?;
    let _ = shard.ready.send(());
    let drain = Arc::new(Notify::new());
    while let Arrival::Connection { socket, listener } = reception.next().await {
        let mut service = shard.service.clone();
        let session = service.open(listener);
        let counters = shard.counters.clone();
        let talk = Talk { service, session, counters, buffer: vec![0; buffer_size] };
        // From here on, before the task first runs, it hears of the drain.
        let drained = drain.clone().notified_owned();
        tokio::spawn(serve_connection(socket, talk, drained, alive.clone()));
    }
    drop((reception, alive, serving));
    drain.notify_waiters();
    if tokio::time::timeout(shard.drain_patience.duration(), all_gone.recv()).await.is_err() {
        // What is left ends with the runtime.
        let counts = shard.counters.read();
        let left = counts.opened - counts.closed;
        shard.counters.add_alone(&Counts { closed: left, failed: left, ..Counts::default() });
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
        let desk = Desk::new(Responder::new(shard.service.clone(), number, guard), shard.counters.clone());
        let post = Post::new(socket).map_err(EngineError::io("registering a datagram socket with the runtime"))?;
        let (drained, alive) = (drained.clone(), alive.clone());
        tokio::spawn(async move {
            post.serve(desk, drained).await;
            drop(alive);
        });
    }
    Ok(())
}

/// One connection's task, from its opening to its end.
async fn serve_connection<S: Service>(socket: Socket, talk: Talk<S>, drained: OwnedNotified, alive: mpsc::Sender<()>) {
    let counters = talk.counters.clone();
    counters.add_alone(&Counts { opened: 1, ..Counts::default() });
    let ended = match socket.domain() {
        Ok(Domain::UNIX) => match UnixStream::from_std(socket.into()) {
            Ok(stream) => talk.run(stream, drained).await,
            Err(error) => Err(error),
        },
        _ => match TcpStream::from_std(socket.into()) {
            Ok(stream) => talk.run(stream, drained).await,
            Err(error) => Err(error),
        },
    };
    counters.add_alone(&Counts { closed: 1, failed: u64::from(ended.is_err()), ..Counts::default() });
    drop(alive);
}

struct Talk<S: Service> {
    service: S,
    session: S::Session,
    counters: Arc<Counters>,
    buffer: Vec<u8>,
}

impl<S: Service> Talk<S> {
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
            let counts = Counts { bytes_in: count as u64, bytes_out: answer.len() as u64, ..Counts::default() };
            self.counters.add_alone(&counts);
        }
    }
}

//! Datagrams on a tokio runtime: what the `tokio` and `tokio-uring` engines share.
//!
//! Sockets whose answers need more than the engines' own calls can say go this way with both: unix sockets, whose names
//! may be abstract, and UDP sockets that are bound to every address and answer from the one that was asked.

use super::ACCEPT_BACKOFF;
use super::ShardService;
use super::datagram::{BUFFER_BYTES, DatagramSocket, Responder};
use super::hub::Hub;
use super::shard::Shard;
use super::stats::SharedStats;
use super::task_wake::TaskWake;
use crate::protocol::DatagramService;
use crate::sys::datagram::{self, Received};
use crate::sys::socket::{self, Blocking, is_transient};
use socket2::{Domain, Socket};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch::Receiver;
use tokio::task::coop;

/// Where a datagram socket's task learns of the drain: it has begun when the sender is gone.
pub(super) type Drained = Receiver<()>;

/// Whether the drain has not begun.
#[inline]
pub(super) fn serves(drained: &Drained) -> bool {
    drained.has_changed().is_ok()
}

/// Whether a bound socket is one of those that the module's head speaks of.
pub(super) fn needs_more(socket: &Socket) -> io::Result<bool> {
    Ok(socket.domain()? == Domain::UNIX || datagram::is_bound_to_all(socket)?)
}

/// The datagram sockets of a shard, each with what its task works with.
pub(super) fn tasks<S: ShardService>(
    shard: &mut Shard<S>,
    hub: &Arc<Hub<TaskWake>>,
) -> impl Iterator<Item = (Socket, DatagramTask<S>)> {
    let sockets = std::mem::take(&mut shard.datagrams).into_iter();
    sockets.map(|DatagramSocket { number, socket, guard }| {
        let responder = Responder::new(shard.service.clone(), number, guard, shard.clock);
        (socket, DatagramTask::new(responder, hub.clone(), shard.shared_stats.clone()))
    })
}

/// Registers a socket with the runtime that the calling code runs in.
pub(super) fn watch(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    socket.set_nonblocking(true)?;
    socket::watch(socket)
}

/// What the task of a datagram socket works with.
pub(super) struct DatagramTask<S> {
    pub responder: Responder<S>,
    hub: Arc<Hub<TaskWake>>,
    pub shared_stats: Arc<SharedStats>,
    pub buffer: Vec<u8>,
}

impl<S: DatagramService> DatagramTask<S> {
    pub(super) fn new(
        responder: Responder<S>,
        hub: Arc<Hub<TaskWake>>,
        shared_stats: Arc<SharedStats>,
    ) -> DatagramTask<S> {
        DatagramTask { responder, hub, shared_stats, buffer: vec![0; BUFFER_BYTES] }
    }

    /// Serves it until the drain.
    pub(super) async fn serve(mut self, socket: AsyncFd<Socket>, mut drained: Drained) {
        while serves(&drained) {
            let ready = tokio::select! {
                biased;
                ready = socket.readable() => ready,
                _ = drained.changed() => break,
            };
            // An error is the end of the runtime.
            let Ok(mut ready) = ready else { return };
            match datagram::receive_with_local(socket.get_ref(), &mut self.buffer, Blocking::No) {
                Ok(arrived) => self.answer(socket.get_ref(), &arrived).await,
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(_) => tokio::time::sleep(ACCEPT_BACKOFF.duration()).await,
            }
            // While datagrams arrive it is never waited for, and the shard's other tasks must get to run.
            coop::consume_budget().await;
        }
        self.answer_rest(socket.get_ref()).await;
    }

    /// Answers what has arrived, without waiting for more.
    pub(super) async fn answer_rest(&mut self, socket: &Socket) {
        loop {
            match datagram::receive_with_local(socket, &mut self.buffer, Blocking::No) {
                Ok(arrived) => self.answer(socket, &arrived).await,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
            // Whoever waits for the end of the drain timeout must get to run.
            tokio::task::yield_now().await;
        }
    }

    /// Passes on what was counted and published since the last time.
    pub(super) fn account(&mut self) {
        self.hub.publish(self.responder.take_published());
        self.shared_stats.add_alone(&self.responder.take_stats());
    }

    async fn answer(&mut self, socket: &Socket, arrived: &Received) {
        let input = &self.buffer[..arrived.len];
        if let Some(reply) = self.responder.answer(input, arrived.port(), arrived.truncated) {
            let answer = reply.bytes(input, &self.responder.written);
            let (len, sent) = (answer.len(), send(socket, answer, arrived).await);
            self.responder.answered(len, sent.is_ok());
        }
        self.account();
    }
}

/// Sends to where a datagram came from; waits while the socket takes no more.
async fn send(socket: &Socket, bytes: &[u8], to: &Received) -> io::Result<()> {
    loop {
        match datagram::send(socket, bytes, &to.source, to.local) {
            Err(error) if is_transient(&error) => socket::wait_until_writable(socket).await?,
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::datagram::ReflectionGuard;
    use super::*;
    use crate::clock::Clock;
    use crate::protocol::{Kind, Services};
    use std::net::UdpSocket;
    use std::sync::mpsc;
    use std::time::Duration;
    use tokio::sync::watch;

    /// Serves a socket that answers itself for ever, until another task of the same thread has had some turns.
    async fn serve_beside_another_task() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"again", socket.local_addr().unwrap()).unwrap();
        let (_serving, drained) = watch::channel(());
        let responder =
            Responder::new(Services::new([Kind::Echo]), 0, ReflectionGuard::new(false, [].into()), Clock::start());
        let task = DatagramTask::new(responder, Hub::new(Vec::new()), Arc::default());
        let serving = tokio::spawn(task.serve(watch(socket.into()).unwrap(), drained));
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!serving.is_finished());
    }

    #[test]
    fn a_socket_at_which_datagrams_never_end_leaves_other_tasks_their_turns() {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve_beside_another_task());
            tell.send(()).unwrap();
        });
        told.recv_timeout(Duration::from_secs(20)).expect("the other task got to run");
    }
}

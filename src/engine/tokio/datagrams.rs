//! A task for each datagram socket, as tokio's documentation shows it: `recv_from` and `send_to`. Sockets that those do
//! not suffice for are watched by tokio, and read and written by calls of our own ([`DatagramTask::serve`]).

use crate::engine::ACCEPT_BACKOFF;
use crate::engine::tokio_datagram::{DatagramTask, Drained, needs_more, serves, watch};
use crate::protocol::DatagramService;
use socket2::{SockRef, Socket};
use std::io;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;

/// A datagram socket in the runtime's care.
pub(super) enum DatagramEndpoint {
    Udp(UdpSocket),
    Watched(AsyncFd<Socket>),
}

impl DatagramEndpoint {
    /// Must be called within the runtime.
    pub(super) fn new(socket: Socket) -> io::Result<DatagramEndpoint> {
        if needs_more(&socket)? {
            return watch(socket).map(DatagramEndpoint::Watched);
        }
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket.into()).map(DatagramEndpoint::Udp)
    }

    /// Serves it until the drain.
    pub(super) async fn serve<S: DatagramService>(self, task: DatagramTask<S>, drained: Drained) {
        match self {
            DatagramEndpoint::Udp(socket) => serve_udp(socket, task, drained).await,
            DatagramEndpoint::Watched(socket) => task.serve(socket, drained).await,
        }
    }
}

async fn serve_udp<S: DatagramService>(socket: UdpSocket, mut task: DatagramTask<S>, mut drained: Drained) {
    while serves(&drained) {
        let received = tokio::select! {
            biased;
            received = socket.recv_from(&mut task.buffer) => received,
            _ = drained.changed() => break,
        };
        let Ok((len, source)) = received else {
            tokio::time::sleep(ACCEPT_BACKOFF.duration()).await;
            continue;
        };
        let input = &task.buffer[..len];
        // The buffer holds whatever UDP can carry: nothing is ever cut.
        if let Some(reply) = task.responder.answer(input, Some(source.port()), false) {
            let answer = reply.bytes(input, &task.responder.written);
            let (len, sent) = (answer.len(), socket.send_to(answer, source).await);
            task.responder.answered(len, sent.is_ok());
        }
        task.account();
    }
    task.answer_rest(&SockRef::from(&socket)).await;
}

//! A task for each datagram socket, as tokio's documentation shows it: `recv_from` and `send_to`. Sockets that those do
//! not suffice for are watched by tokio, and read and written by calls of our own ([`DatagramEndpoint::serve`]).

use crate::engine::ACCEPT_BACKOFF;
use crate::engine::tokio_datagram::{DatagramEndpoint, Drained, needs_more, serves, watch};
use crate::protocol::Service;
use socket2::{SockRef, Socket};
use std::io;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;

/// A datagram socket in the runtime's care.
pub(super) enum RuntimeSocket {
    Udp(UdpSocket),
    Watched(AsyncFd<Socket>),
}

impl RuntimeSocket {
    /// Must be called within the runtime.
    pub(super) fn new(socket: Socket) -> io::Result<RuntimeSocket> {
        if needs_more(&socket)? {
            return watch(socket).map(RuntimeSocket::Watched);
        }
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket.into()).map(RuntimeSocket::Udp)
    }

    /// Serves it until the drain.
    pub(super) async fn serve<S: Service>(self, endpoint: DatagramEndpoint<S>, drained: Drained) {
        match self {
            RuntimeSocket::Udp(socket) => serve_udp(socket, endpoint, drained).await,
            RuntimeSocket::Watched(socket) => endpoint.serve(socket, drained).await,
        }
    }
}

async fn serve_udp<S: Service>(socket: UdpSocket, mut endpoint: DatagramEndpoint<S>, mut drained: Drained) {
    while serves(&drained) {
        let received = tokio::select! {
            biased;
            received = socket.recv_from(&mut endpoint.buffer) => received,
            _ = drained.changed() => break,
        };
        let Ok((len, source)) = received else {
            tokio::time::sleep(ACCEPT_BACKOFF.duration()).await;
            continue;
        };
        let input = &endpoint.buffer[..len];
        // The buffer holds whatever UDP can carry: nothing is ever cut.
        if let Some(reply) = endpoint.responder.answer(input, Some(source.port()), false) {
            let answer = reply.bytes(input, &endpoint.responder.output);
            let (len, sent) = (answer.len(), socket.send_to(answer, source).await);
            endpoint.responder.answered(len, sent.is_ok());
        }
        endpoint.shared_stats.add_alone(&endpoint.responder.take_stats());
    }
    endpoint.answer_rest(&SockRef::from(&socket)).await;
}

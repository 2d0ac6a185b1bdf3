//! A task for each datagram socket, as tokio's documentation shows it: `recv_from` and `send_to`. Sockets that those do
//! not suffice for are watched by tokio, and read and written by calls of our own ([`Desk::serve`]).

use crate::engine::ACCEPT_PAUSE;
use crate::engine::reactor_datagrams::{Desk, Drained, needs_more, serves, watch};
use crate::protocol::Service;
use socket2::{SockRef, Socket};
use std::io;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;

/// A datagram socket in the runtime's care.
pub(super) enum Post {
    Udp(UdpSocket),
    Watched(AsyncFd<Socket>),
}

impl Post {
    /// Must be called within the runtime.
    pub(super) fn new(socket: Socket) -> io::Result<Post> {
        if needs_more(&socket)? {
            return watch(socket).map(Post::Watched);
        }
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket.into()).map(Post::Udp)
    }

    /// Serves it until the drain.
    pub(super) async fn serve<S: Service>(self, desk: Desk<S>, drained: Drained) {
        match self {
            Post::Udp(socket) => serve_udp(socket, desk, drained).await,
            Post::Watched(socket) => desk.serve(socket, drained).await,
        }
    }
}

async fn serve_udp<S: Service>(socket: UdpSocket, mut desk: Desk<S>, mut drained: Drained) {
    while serves(&drained) {
        let received = tokio::select! {
            biased;
            received = socket.recv_from(&mut desk.buffer) => received,
            _ = drained.changed() => break,
        };
        let Ok((len, source)) = received else {
            tokio::time::sleep(ACCEPT_PAUSE.duration()).await;
            continue;
        };
        let input = &desk.buffer[..len];
        // The buffer holds whatever UDP can carry: nothing is ever cut.
        if let Some(reply) = desk.responder.answer(input, Some(source.port()), false) {
            let answer = reply.bytes(input, &desk.responder.output);
            let (len, sent) = (answer.len(), socket.send_to(answer, source).await);
            desk.responder.answered(len, sent.is_ok());
        }
        desk.counters.add_alone(&desk.responder.take_counts());
    }
    desk.answer_rest(&SockRef::from(&socket)).await;
}

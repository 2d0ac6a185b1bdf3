//! A task for each datagram socket, with tokio-uring's own `recv_from` and `send_to`. Unix sockets, for which it knows no
//! names, and those bound to every address, as its receives bring no ancillary data, go through tokio's reactor.

use crate::engine::ACCEPT_PAUSE;
use crate::engine::datagram::{BUFFER_BYTES, Reply};
use crate::engine::reactor_datagrams::{Desk, Drained, needs_more, watch};
use crate::protocol::Service;
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio_uring::BufResult;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::UdpSocket;

/// How long a drain waits for another datagram. What has arrived is already in the ring's hands or about to be: it
/// takes but a turn of the reactor, of which nothing else would tell that it is over.
const DRAIN_GLANCE: Duration = Duration::from_millis(20);

/// A datagram socket in the runtime's care.
pub(super) enum Post {
    Udp(UdpSocket),
    Watched(AsyncFd<Socket>),
}

impl Post {
    /// Must be called within the runtime.
    pub(super) fn new(socket: Socket) -> io::Result<Post> {
        match needs_more(&socket)? {
            true => watch(socket).map(Post::Watched),
            false => Ok(Post::Udp(UdpSocket::from_std(socket.into()))),
        }
    }

    /// Serves it until the drain.
    pub(super) async fn serve<S: Service>(self, desk: Desk<S>, drained: Drained) {
        match self {
            Post::Udp(socket) => serve_udp(&socket, desk, drained).await,
            Post::Watched(socket) => desk.serve(socket, drained).await,
        }
    }
}

async fn serve_udp<S: Service>(socket: &UdpSocket, mut desk: Desk<S>, mut drained: Drained) {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    while let Some((received, filled)) = receive(socket, buffer, &mut drained).await {
        buffer = match received {
            Ok((len, source)) => answer(socket, &mut desk, filled, len, source).await,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE.duration()).await;
                filled
            }
        };
    }
}

/// The next datagram, or `None` when the drain has begun and nothing more has arrived.
async fn receive(
    socket: &UdpSocket,
    buffer: Vec<u8>,
    drained: &mut Drained,
) -> Option<BufResult<(usize, SocketAddr), Vec<u8>>> {
    let receiving = socket.recv_from(buffer);
    tokio::pin!(receiving);
    tokio::select! {
        biased;
        received = &mut receiving => return Some(received),
        _ = drained.changed() => {}
    }
    tokio::time::timeout(DRAIN_GLANCE, receiving).await.ok()
}

/// Answers the first `len` bytes of the buffer, and gives it back.
async fn answer<S: Service>(
    socket: &UdpSocket,
    desk: &mut Desk<S>,
    mut buffer: Vec<u8>,
    len: usize,
    source: SocketAddr,
) -> Vec<u8> {
    // The buffer holds whatever UDP can carry: nothing is ever cut.
    match desk.responder.answer(&buffer[..len], Some(source.port()), false) {
        None => {}
        Some(Reply::Input(range)) => {
            let len = range.len();
            let (sent, slice) = socket.send_to(buffer.slice(range), source).await;
            buffer = slice.into_inner();
            desk.responder.answered(len, sent.is_ok());
        }
        Some(Reply::Output) => {
            let output = std::mem::take(&mut desk.responder.output);
            let len = output.len();
            let (sent, output) = socket.send_to(output, source).await;
            desk.responder.output = output;
            desk.responder.answered(len, sent.is_ok());
        }
    }
    desk.counters.add_alone(&desk.responder.take_counts());
    buffer
}

//! A task for each datagram socket, with tokio-uring's own `recv_from` and `send_to`. Unix sockets, for which it knows no
//! names, and those bound to every address, as its receives bring no ancillary data, go through tokio's reactor.

use crate::engine::ACCEPT_BACKOFF;
use crate::engine::datagram::BUFFER_BYTES;
use crate::engine::tokio_datagram::{DatagramTask, Drained, needs_more, watch};
use crate::protocol::{DatagramService, Reply};
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
pub(super) enum DatagramEndpoint {
    Udp(UdpSocket),
    Watched(AsyncFd<Socket>),
}

impl DatagramEndpoint {
    /// Must be called within the runtime.
    pub(super) fn new(socket: Socket) -> io::Result<DatagramEndpoint> {
        match needs_more(&socket)? {
            true => watch(socket).map(DatagramEndpoint::Watched),
            false => Ok(DatagramEndpoint::Udp(UdpSocket::from_std(socket.into()))),
        }
    }

    /// Serves it until the drain.
    pub(super) async fn serve<S: DatagramService>(self, task: DatagramTask<S>, drained: Drained) {
        match self {
            DatagramEndpoint::Udp(socket) => serve_udp(&socket, task, drained).await,
            DatagramEndpoint::Watched(socket) => task.serve(socket, drained).await,
        }
    }
}

async fn serve_udp<S: DatagramService>(socket: &UdpSocket, mut task: DatagramTask<S>, mut drained: Drained) {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    while let Some((received, filled)) = receive(socket, buffer, &mut drained).await {
        buffer = match received {
            Ok((len, source)) => answer(socket, &mut task, filled, len, source).await,
            Err(_) => {
                tokio::time::sleep(ACCEPT_BACKOFF.duration()).await;
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
async fn answer<S: DatagramService>(
    socket: &UdpSocket,
    task: &mut DatagramTask<S>,
    mut buffer: Vec<u8>,
    len: usize,
    source: SocketAddr,
) -> Vec<u8> {
    // The buffer holds whatever UDP can carry: nothing is ever cut.
    match task.responder.answer(&buffer[..len], Some(source.port()), false) {
        None => {}
        Some(Reply::Input(range)) => {
            let len = range.len();
            let (sent, slice) = socket.send_to(buffer.slice(range), source).await;
            buffer = slice.into_inner();
            task.responder.answered(len, sent.is_ok());
        }
        Some(Reply::Written) => {
            let written = std::mem::take(&mut task.responder.written);
            let len = written.len();
            let (sent, written) = socket.send_to(written, source).await;
            task.responder.written = written;
            task.responder.answered(len, sent.is_ok());
        }
    }
    task.account();
    buffer
}

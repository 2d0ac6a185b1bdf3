//! Plain blocking clients over std::net with a watchdog on every call.

use super::pattern::{self, Random};
use super::server::Process;
use super::{WATCHDOG, wait_until};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

/// What TCP and unix streams have in common here.
pub trait Stream: Read + Write + Send + Sized + 'static {
    fn duplicate(&self) -> Self;
    fn finish(&self);
    fn watch_over(&self);
}

macro_rules! impl_stream {
    ($($stream:ty)*) => {$(
        impl Stream for $stream {
            fn duplicate(&self) -> Self {
                self.try_clone().expect("duplicating a socket")
            }

            fn finish(&self) {
                self.shutdown(Shutdown::Write).expect("shutting down the sending side");
            }

            fn watch_over(&self) {
                self.set_read_timeout(Some(WATCHDOG)).expect("setting a timeout");
                self.set_write_timeout(Some(WATCHDOG)).expect("setting a timeout");
            }
        }
    )*};
}

impl_stream!(TcpStream UnixStream);

/// One end of a connection whose other end echoes: sends the stream of its seed and checks what comes back.
pub struct Peer<S = TcpStream> {
    pub stream: S,
    pub seed: u64,
    pub sent: u64,
    pub received: u64,
}

impl Peer<TcpStream> {
    pub fn connect(address: SocketAddr, seed: u64) -> Peer {
        let stream = TcpStream::connect_timeout(&address, WATCHDOG).expect("connecting");
        stream.set_nodelay(true).expect("setting TCP_NODELAY");
        Peer::new(stream, seed)
    }

    /// With small socket buffers, so that little fills them.
    pub fn connect_small(address: SocketAddr, seed: u64, buffer: usize) -> Peer {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("making a socket");
        let sized = socket.set_send_buffer_size(buffer).and_then(|()| socket.set_recv_buffer_size(buffer));
        sized.expect("setting buffers");
        socket.connect_timeout(&address.into(), WATCHDOG).expect("connecting");
        Peer::new(socket.into(), seed)
    }

    /// Ends the connection with a reset instead of an end of stream.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("setting SO_LINGER");
    }

    /// Sends what the socket takes now, at most `limit` in all. Returns whether it took any.
    fn push(&mut self, limit: u64) -> bool {
        let chunk = pattern::bytes(self.seed, self.sent, (limit - self.sent).min(16 << 10) as usize);
        match uninterrupted(|| self.stream.write(&chunk)) {
            Ok(count) => {
                self.sent += count as u64;
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("sending failed: {error}"),
        }
    }
}

impl<S: Stream> Peer<S> {
    pub fn new(stream: S, seed: u64) -> Peer<S> {
        stream.watch_over();
        Peer { stream, seed, sent: 0, received: 0 }
    }

    pub fn send(&mut self, count: usize) {
        self.stream.write_all(&pattern::bytes(self.seed, self.sent, count)).expect("sending");
        self.sent += count as u64;
    }

    /// Receives some of what was sent, at most `most`, and checks it. Returns how much; 0 at the end of the stream.
    #[track_caller]
    pub fn receive_some(&mut self, most: usize) -> usize {
        let mut room = vec![0; most];
        let count = uninterrupted(|| self.stream.read(&mut room))
            .unwrap_or_else(|error| panic!("receiving after {} of {} bytes failed: {error}", self.received, self.sent));
        pattern::check(self.seed, self.received, &room[..count]);
        self.received += count as u64;
        count
    }

    /// Receives until everything up to this position of the stream is back.
    #[track_caller]
    pub fn receive_until(&mut self, position: u64) {
        while self.received < position {
            let most = (position - self.received).min(64 << 10) as usize;
            assert!(self.receive_some(most) > 0, "the stream ended at {} of {position}", self.received);
        }
    }

    #[track_caller]
    pub fn receive_all(&mut self) {
        self.receive_until(self.sent);
    }

    /// One message there and back.
    #[track_caller]
    pub fn echo(&mut self, count: usize) {
        self.send(count);
        self.receive_all();
    }

    /// Nothing more comes but the end of the stream.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let count = self.receive_some(1 << 10);
        assert_eq!(count, 0, "bytes that nobody sent after all {}", self.sent);
    }

    /// Sends this much in pieces of random sizes from another thread, receives it in others.
    #[track_caller]
    pub fn echo_in_pieces(&mut self, count: usize, random: &mut Random) {
        let mut writer = self.stream.duplicate();
        let (seed, start, mut sizes) = (self.seed, self.sent, random.clone());
        let sending = thread::spawn(move || {
            let message = pattern::bytes(seed, start, count);
            let mut rest = message.as_slice();
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(sizes.size(1, 256 << 10).min(rest.len()));
                writer.write_all(piece).expect("sending");
                rest = later;
            }
        });
        self.sent += count as u64;
        while self.received < self.sent {
            let most = random.size(1, 256 << 10).min((self.sent - self.received) as usize);
            assert!(self.receive_some(most) > 0, "the stream ended at {} of {}", self.received, self.sent);
        }
        sending.join().expect("the sending thread");
    }
}

/// A ring that this process has had (asking whether there can be one) may interrupt calls with a timeout later.
fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Sends on all of them without receiving until none takes any more, and not because the server has had no core; each at
/// most `limit` bytes.
pub fn send_until_stuck(server: &Process, peers: &mut [Peer], limit: u64) {
    /// So many looks at an idle server in which nothing was taken; while the whole machine stands still nobody looks.
    const STUCK: u32 = 30;
    set_nonblocking(peers, true);
    let mut idle = 0;
    wait_until("slow readers are held back", || {
        let mut pushed = 0;
        for peer in peers.iter_mut() {
            assert!(peer.sent < limit, "the server took {limit} bytes of a client that reads nothing");
            pushed += usize::from(peer.push(limit));
        }
        idle = if pushed > 0 || !server.is_asleep() { 0 } else { idle + 1 };
        idle > STUCK
    });
    set_nonblocking(peers, false);
}

fn set_nonblocking(peers: &[Peer], on: bool) {
    peers.iter().for_each(|peer| peer.stream.set_nonblocking(on).expect("setting O_NONBLOCK"));
}

/// What a connection to a server says within a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    Yes,
    /// Neither answered nor closed.
    NotYet,
    Closed,
}

/// Sends a byte on each and looks which answer; gives up on the others once none has answered for half a second of a
/// server that waits.
pub fn who_is_served(server: &Process, peers: &mut [Peer]) -> Vec<Served> {
    const LOOK: Duration = Duration::from_millis(5);
    /// Looks at a server that waits (half a second), and at one that always has something else to do.
    const IDLE: u32 = 100;
    const ANY: u32 = 800;
    set_nonblocking(peers, true);
    peers.iter_mut().for_each(|peer| drop(peer.stream.write(b"?")));
    let mut served = vec![Served::NotYet; peers.len()];
    let (mut idle, mut looks) = (0, 0);
    while served.contains(&Served::NotYet) && idle < IDLE && looks < ANY {
        (idle, looks) = if server.is_asleep() { (idle + 1, looks + 1) } else { (0, looks + 1) };
        for (peer, state) in peers.iter_mut().zip(&mut served).filter(|(_, state)| **state == Served::NotYet) {
            *state = match uninterrupted(|| peer.stream.read(&mut [0])) {
                Ok(1..) => Served::Yes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Ok(0) | Err(_) => Served::Closed,
            };
            (idle, looks) = (0, 0);
        }
        thread::sleep(LOOK);
    }
    set_nonblocking(peers, false);
    served
}

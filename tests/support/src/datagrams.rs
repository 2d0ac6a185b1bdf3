//! Clients of datagram servers: plain sockets that wait for an answer, but not for ever.

use super::{WATCHDOG, pattern};
use std::net::{SocketAddr, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, UnixDatagram};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Largest datagram over IPv4: 65 535 less the headers of IP and UDP.
pub const LARGEST: usize = 65_507;
/// Long enough that what was going to come has come.
const SILENCE: Duration = Duration::from_millis(100);

/// Where a datagram server is.
#[derive(Clone, Debug)]
pub enum Place {
    Udp(SocketAddr),
    Unix(PathBuf),
}

/// A socket that talks to one place.
#[derive(Debug)]
pub enum Client {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Client {
    /// A unix client gets an abstract name, so that answers find it.
    pub fn new(place: &Place) -> Client {
        match place {
            Place::Udp(server) => Client::at(SocketAddr::new(server.ip(), 0), *server),
            Place::Unix(path) => {
                let socket = unix_socket();
                socket.connect(path).expect("connecting");
                Client::Unix(socket)
            }
        }
    }

    /// A unix client that is not connected.
    pub fn unconnected() -> Client {
        Client::Unix(unix_socket())
    }

    /// For a client that is not connected.
    pub fn send_to(&self, bytes: &[u8], place: &Place) {
        let (Client::Unix(socket), Place::Unix(path)) = (self, place) else { panic!("a unix client") };
        assert_eq!(socket.send_to(bytes, path).expect("sending"), bytes.len());
    }

    /// As `send_to`; `false` when there is no room for it now.
    pub fn send_to_at_once(&self, bytes: &[u8], place: &Place) -> bool {
        let (Client::Unix(socket), Place::Unix(path)) = (self, place) else { panic!("a unix client") };
        socket.set_nonblocking(true).expect("an option");
        let sent = socket.send_to(bytes, path).is_ok();
        socket.set_nonblocking(false).expect("an option");
        sent
    }

    /// A UDP client with an address of its own.
    pub fn at(own: SocketAddr, server: SocketAddr) -> Client {
        let socket = UdpSocket::bind(own).expect("binding");
        socket.connect(server).expect("connecting");
        socket.set_read_timeout(Some(WATCHDOG)).expect("a timeout");
        Client::Udp(socket)
    }

    pub fn send(&self, bytes: &[u8]) {
        let sent = match self {
            Client::Udp(socket) => socket.send(bytes),
            Client::Unix(socket) => socket.send(bytes),
        };
        assert_eq!(sent.expect("sending"), bytes.len());
    }

    /// Sends to a unix socket; `false` when there is no room for it for a while.
    pub fn send_soon(&self, bytes: &[u8]) -> bool {
        let Client::Unix(socket) = self else { panic!("a unix client") };
        socket.set_write_timeout(Some(SILENCE)).expect("a timeout");
        match socket.send(bytes) {
            Ok(len) => len == bytes.len(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Err(error) => panic!("sending: {error}"),
        }
    }

    /// The next datagram.
    #[track_caller]
    pub fn receive(&self) -> Vec<u8> {
        self.try_receive().expect("an answer comes")
    }

    fn try_receive(&self) -> std::io::Result<Vec<u8>> {
        let mut buffer = vec![0; 1 << 18];
        loop {
            let received = match self {
                Client::Udp(socket) => socket.recv(&mut buffer),
                Client::Unix(socket) => socket.recv(&mut buffer),
            };
            match received {
                // The kernel clears up after a ring that this thread had to see whether io_uring works here.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => {
                    buffer.truncate(received?);
                    return Ok(buffer);
                }
            }
        }
    }

    /// Sends bytes of a pattern and gets the same back.
    #[track_caller]
    pub fn echo(&self, seed: u64, len: usize) {
        let bytes = pattern::bytes(seed, 0, len);
        self.send(&bytes);
        let answer = self.receive();
        assert_eq!(answer.len(), len, "the datagram comes back whole");
        pattern::check(seed, 0, &answer);
    }

    /// The next datagram, if it is there or about to come.
    pub fn receive_soon(&self) -> Option<Vec<u8>> {
        let timeout = |time| match self {
            Client::Udp(socket) => socket.set_read_timeout(time),
            Client::Unix(socket) => socket.set_read_timeout(time),
        };
        timeout(Some(SILENCE)).expect("a timeout");
        let came = self.try_receive().ok();
        timeout(Some(WATCHDOG)).expect("a timeout");
        came
    }

    /// Nothing more comes.
    #[track_caller]
    pub fn expect_silence(&self) {
        if let Some(bytes) = self.receive_soon() {
            panic!("{} bytes came", bytes.len());
        }
    }
}

fn unix_socket() -> UnixDatagram {
    static CLIENTS: AtomicU32 = AtomicU32::new(0);
    let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
    let name = format!("ringmark-test-{}-{number}", std::process::id());
    let name = net::SocketAddr::from_abstract_name(name).expect("a name");
    let socket = UnixDatagram::bind_addr(&name).expect("binding");
    socket.set_read_timeout(Some(WATCHDOG)).expect("a timeout");
    socket
}

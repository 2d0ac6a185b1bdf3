//! Echo servers for datagrams that do to them what networks do, by an exact schedule: drop, duplicate, reorder, delay,
//! flip. Plain threads; they end with the test's process.

use ringmark::sys::raw;
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What happens to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Drop,
    /// It is sent twice.
    Duplicate,
    /// So many later answers to the same socket go first.
    Overtaken(u32),
    /// It is sent after this time.
    Delay(Duration),
    /// A bit of this byte is wrong.
    Flip(usize),
    /// It lacks its last byte.
    Cut,
    /// It has a byte too many.
    Extend,
    /// It is empty.
    Empty,
    /// An answer to a request that was never sent comes in its place.
    Invent,
}

/// Faults come one after the other, on every so manieth datagram, when this time has passed since the load began, which
/// is when a second request comes from any socket (the first is for admission): well within what the generator counts.
const SPACING: u64 = 15;
const CALM: Duration = Duration::from_millis(250);

pub struct Peer {
    pub address: String,
    /// Requests that arrived.
    pub requests: Arc<Mutex<u64>>,
}

impl Peer {
    pub fn udp(at: &str, faults: &[Fault]) -> Peer {
        let socket = roomy(at);
        let address = format!("udp://{}", socket.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(0));
        let peer = Peer { address, requests: requests.clone() };
        let faults = faults.to_vec();
        thread::spawn(move || Network::new(socket, faults).run(&requests));
        peer
    }

    pub fn unix(path: &Path) -> Peer {
        let socket = UnixDatagram::bind(path).unwrap();
        let requests = Arc::new(Mutex::new(0));
        let peer = Peer { address: format!("unixgram:{}", path.display()), requests: requests.clone() };
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 17];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                *requests.lock().unwrap() += 1;
                // The generator may be gone.
                let _ = socket.send_to_addr(&buffer[..len], &from);
            }
        });
        peer
    }

    /// Takes `pause` for every answer and has hardly any receive buffer.
    pub fn slow(pause: Duration) -> Peer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(1).unwrap();
        let address = format!("udp://{}", socket.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(0));
        let peer = Peer { address, requests: requests.clone() };
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                *requests.lock().unwrap() += 1;
                thread::sleep(pause);
                let _ = socket.send_to(&buffer[..len], from);
            }
        });
        peer
    }
}

/// A socket with as much room as it gets: with the default, whether a burst of large ones is lost depends on who runs first.
pub fn roomy(at: &str) -> UdpSocket {
    let socket = socket2::Socket::from(UdpSocket::bind(at).unwrap());
    raw::grow_receive_buffer(&socket, 8 << 20).unwrap();
    UdpSocket::from(socket)
}

/// An answer that others are to overtake.
struct Held {
    answer: Vec<u8>,
    left: u32,
}

struct Network {
    socket: Arc<UdpSocket>,
    faults: Vec<Fault>,
    /// Datagrams since the calm was over.
    number: u64,
    held: HashMap<SocketAddr, Held>,
}

impl Network {
    fn new(socket: UdpSocket, faults: Vec<Fault>) -> Network {
        Network { socket: Arc::new(socket), faults, number: 0, held: HashMap::new() }
    }

    fn run(mut self, requests: &Mutex<u64>) {
        let mut buffer = vec![0; 1 << 16];
        let mut begun = None;
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            *requests.lock().unwrap() += 1;
            if begun.is_none() && buffer[..len].get(..8).is_some_and(|number| number != [0; 8]) {
                begun = Some(Instant::now());
            }
            let calm = begun.is_none_or(|begun| begun.elapsed() < CALM);
            let fault = if calm { None } else { self.next_fault(from) };
            self.answer(buffer[..len].to_vec(), from, fault);
        }
    }

    /// A fault that is due waits while an answer to the same socket is held: one at a time is overtaken.
    fn next_fault(&mut self, to: SocketAddr) -> Option<Fault> {
        let number = self.number;
        let due = number.is_multiple_of(SPACING);
        if due && self.held.contains_key(&to) {
            return None;
        }
        self.number += 1;
        self.faults.get((number / SPACING) as usize).copied().filter(|_| due)
    }

    fn answer(&mut self, mut answer: Vec<u8>, to: SocketAddr, fault: Option<Fault>) {
        match fault {
            None => {}
            Some(Fault::Drop) => return,
            Some(Fault::Duplicate) => self.send(&answer, to),
            Some(Fault::Overtaken(left)) => {
                self.held.insert(to, Held { answer, left });
                return;
            }
            Some(Fault::Delay(time)) => return self.send_later(answer, to, time),
            Some(Fault::Flip(at)) => answer[at] ^= 0x10,
            Some(Fault::Cut) => answer.truncate(answer.len() - 1),
            Some(Fault::Extend) => answer.push(0),
            Some(Fault::Empty) => answer.clear(),
            Some(Fault::Invent) => answer[..8].copy_from_slice(&(1u64 << 40).to_le_bytes()),
        }
        self.send(&answer, to);
        self.overtake(to);
    }

    fn overtake(&mut self, to: SocketAddr) {
        let Some(held) = self.held.get_mut(&to) else { return };
        held.left -= 1;
        if held.left == 0 {
            let held = self.held.remove(&to).unwrap();
            self.send(&held.answer, to);
        }
    }

    fn send(&self, answer: &[u8], to: SocketAddr) {
        // The generator may be gone, and then the next call says so.
        let _ = self.socket.send_to(answer, to);
    }

    fn send_later(&self, answer: Vec<u8>, to: SocketAddr, time: Duration) {
        let (socket, due) = (self.socket.clone(), Instant::now() + time);
        thread::spawn(move || {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let _ = socket.send_to(&answer, to);
        });
    }
}

//! Servers for the generator to meet: one that echoes, and several that do it wrong. Plain blocking threads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

/// What a server does to each connection.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    Echo,
    /// Flips a bit of the byte at this position of the stream.
    FlipAt(u64),
    /// Leaves out the byte at this position.
    DropAt(u64),
    /// Sends a byte too many after this position.
    AddAfter(u64),
    /// Sends a byte too many when the client has ended its side.
    AddAtEnd,
    /// Closes after echoing so many bytes.
    CloseAfter(u64),
    /// Goes silent after echoing so many bytes.
    SilentAfter(u64),
    /// Does nothing for the first part of every so much time, on all connections at once.
    Stall {
        every: Duration,
        length: Duration,
    },
    /// Closes a connection that says nothing for so long.
    CloseSilent(Duration),
    /// Sleeps so long after each receive.
    Slow(Duration),
    /// Works so long after each receive.
    Busy(Duration),
}

/// A running server; its threads end with the test's process.
pub struct Peer {
    pub address: String,
    /// Bytes received over all connections, and connections made.
    pub received: Arc<AtomicU64>,
    pub connections: Arc<AtomicU64>,
}

impl Peer {
    pub fn tcp(manner: Manner) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Peer::serve(address, manner, move || {
            let stream = listener.accept().unwrap().0;
            stream.set_nodelay(true).unwrap();
            if let Manner::CloseSilent(time) = manner {
                stream.set_read_timeout(Some(time)).unwrap();
            }
            stream
        })
    }

    pub fn unix(path: &Path, manner: Manner) -> Peer {
        let listener = UnixListener::bind(path).unwrap();
        Peer::serve(format!("unix:{}", path.display()), manner, move || listener.accept().unwrap().0)
    }

    fn serve<S, A>(address: String, manner: Manner, accept: A) -> Peer
    where
        S: Read + Write + Send + 'static,
        A: Fn() -> S + Send + 'static,
    {
        let (received, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let peer = Peer { address, received: received.clone(), connections: connections.clone() };
        thread::spawn(move || {
            loop {
                let stream = accept();
                connections.fetch_add(1, Ordering::SeqCst);
                let received = received.clone();
                thread::Builder::new().stack_size(256 << 10).spawn(move || talk(stream, manner, &received)).unwrap();
            }
        });
        peer
    }
}

fn talk(mut stream: impl Read + Write, manner: Manner, received: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    let mut position = 0;
    loop {
        let len = match stream.read(&mut buffer) {
            Ok(0) if matches!(manner, Manner::AddAtEnd) => return drop(stream.write_all(b"!")),
            Ok(0) | Err(_) => return,
            Ok(len) => len,
        };
        received.fetch_add(len as u64, Ordering::SeqCst);
        let pause = pause(manner, BEGUN.elapsed());
        if pause > Duration::ZERO {
            thread::sleep(pause);
        }
        if let Manner::Busy(time) = manner {
            let begun = Instant::now();
            while begun.elapsed() < time {}
        }
        let (answer, goes_on) = answer(manner, position, &buffer[..len]);
        position += len as u64;
        if stream.write_all(&answer).is_err() || !goes_on {
            return;
        }
    }
}

/// What stalls counts from.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How long to do nothing at this time.
fn pause(manner: Manner, time: Duration) -> Duration {
    match manner {
        Manner::Stall { every, length } => {
            let into = Duration::from_nanos((time.as_nanos() % every.as_nanos()) as u64);
            length.saturating_sub(into)
        }
        Manner::Slow(time) => time,
        _ => Duration::ZERO,
    }
}

/// What to send back for the bytes at this position, and whether to go on.
fn answer(manner: Manner, position: u64, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut answer = bytes.to_vec();
    let index = |at: u64| at.checked_sub(position).map(|at| at as usize).filter(|at| *at < bytes.len());
    let left = |limit: u64| limit.saturating_sub(position).min(bytes.len() as u64) as usize;
    match manner {
        Manner::Echo
        | Manner::AddAtEnd
        | Manner::Stall { .. }
        | Manner::CloseSilent(_)
        | Manner::Slow(_)
        | Manner::Busy(_) => {}
        Manner::FlipAt(at) => index(at).into_iter().for_each(|at| answer[at] ^= 0x10),
        Manner::DropAt(at) => index(at).into_iter().for_each(|at| {
            answer.remove(at);
        }),
        Manner::AddAfter(at) => index(at).into_iter().for_each(|at| answer.insert(at + 1, !bytes[at])),
        Manner::CloseAfter(limit) => {
            answer.truncate(left(limit));
            return (answer, position + (bytes.len() as u64) < limit);
        }
        Manner::SilentAfter(limit) => answer.truncate(left(limit)),
    }
    (answer, true)
}

/// An address where nothing listens: one of loopback that nobody uses. A port that was free a moment ago may be another
/// test's by now.
pub fn refused_address() -> SocketAddr {
    SocketAddr::from(([127, 77, 77, 77], 9))
}

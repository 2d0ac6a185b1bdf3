//! What the kernel alone takes for a request: one thread that sends its bytes over a pair of loopback sockets, receives
//! them, sends them back and receives them again, with send(2) and recv(2) only, all at once where the sockets take it
//! (tried: 1 MiB in parts of 64 KiB costs a third more). The CPU time of a server and its client is told as a multiple of
//! it. It is a measure, no bound: who handles many requests in one call enters the kernel less often.

use crate::clock::Clock;
use crate::record::FloorSliceRecord;
use crate::sys::accounting::thread_cpu;
use crate::sys::affinity::pin_current_thread;
use crate::sys::poll::{self, Watched};
use crate::sys::socket::is_transient;
use crate::units::{Bytes, Nanos};
use socket2::{Domain, Socket, Type};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Loopback delivers at once; what has not come after so long is lost.
const STALLED: Nanos = Nanos::from_secs(2);

/// A thread with a pair of connected sockets, which sleeps between slices. It ends with this.
#[derive(Debug)]
pub struct Floor {
    /// What it is about, for messages.
    name: String,
    /// Lengths of slices; `None` once the thread is to end.
    lengths: Option<SyncSender<Nanos>>,
    /// First whether it could be set up, then one for each length.
    results: Receiver<io::Result<FloorSliceRecord>>,
    thread: Option<JoinHandle<()>>,
}

impl Floor {
    /// Sets it up over `tcp`, `udp`, `unix` or `unixgram` on this core, where the thread is pinned (the caller's stays where
    /// it is), and tries one request of this size; of a mix of sizes that is its mean.
    ///
    /// # Errors
    /// Another protocol; a core that this process may not use; a datagram larger than the protocol carries; no descriptors
    /// or no memory left.
    pub fn open(protocol: &str, size: Bytes, core: usize) -> io::Result<Floor> {
        let name = format!("the floor ({} bytes over {protocol} and back on core {core})", size.0);
        let (lengths, asked) = sync_channel(1);
        let (answers, results) = sync_channel(1);
        let protocol = protocol.to_owned();
        let run = move || serve_slices(|| set_up(&protocol, size, core), &asked, &answers);
        let thread = thread::Builder::new().name("floor".into()).spawn(run)?;
        let floor = Floor { name, lengths: Some(lengths), results, thread: Some(thread) };
        floor.result().map(|_| floor)
    }

    /// Measures for this long, at least one request. The record's round is 0.
    ///
    /// # Errors
    /// What the sockets report, or that nothing arrives; after that every further slice is an error too.
    pub fn slice(&self, length: Nanos) -> io::Result<FloorSliceRecord> {
        // A thread that has ended gives no result either.
        let _ = self.lengths.as_ref().map(|lengths| lengths.send(length));
        self.result()
    }

    fn result(&self) -> io::Result<FloorSliceRecord> {
        let ended = |_| Err(io::Error::other("given up after an earlier error"));
        let result = self.results.recv().unwrap_or_else(ended);
        result.map_err(|error| io::Error::new(error.kind(), format!("measuring {} failed: {error}", self.name)))
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.lengths = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; and if it did, its figures were asked for before.
            let _ = thread.join();
        }
    }
}

fn set_up(protocol: &str, size: Bytes, core: usize) -> io::Result<Pair> {
    pin_current_thread(core).map_err(io::Error::other)?;
    let mut pair = Pair::new(protocol, size)?;
    pair.request()?;
    Ok(pair)
}

/// Answers until nothing more is asked, or to the first error.
fn serve_slices(
    set_up: impl FnOnce() -> io::Result<Pair>,
    asked: &Receiver<Nanos>,
    answers: &SyncSender<io::Result<FloorSliceRecord>>,
) {
    let (mut pair, mut result) = match set_up() {
        Ok(pair) => (pair, Ok(FloorSliceRecord::default())),
        Err(error) => return drop(answers.send(Err(error))),
    };
    loop {
        let failed = result.is_err();
        if answers.send(result).is_err() || failed {
            return;
        }
        let Ok(length) = asked.recv() else { return };
        result = pair.slice(length);
    }
}

/// Two sockets connected to each other, neither of which waits in a call.
struct Pair {
    ends: [Socket; 2],
    payload: Vec<u8>,
    room: Vec<u8>,
}

impl Pair {
    fn new(protocol: &str, size: Bytes) -> io::Result<Pair> {
        let ends = match protocol {
            "tcp" => tcp_pair()?,
            "udp" => udp_pair()?,
            "unix" => unix_pair(Type::STREAM)?,
            "unixgram" => unix_pair(Type::DGRAM)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "no such protocol: tcp, udp, unix or unixgram",
                ));
            }
        };
        for end in &ends {
            end.set_nonblocking(true)?;
            // What came from elsewhere before they were connected.
            while (&*end).read(&mut [0]).is_ok() {}
        }
        let size = usize::try_from(size.0.max(1)).map_err(io::Error::other)?;
        Ok(Pair { ends, payload: vec![b'r'; size], room: vec![0; size] })
    }

    fn slice(&mut self, length: Nanos) -> io::Result<FloorSliceRecord> {
        let (clock, before) = (Clock::start(), thread_cpu()?);
        let mut requests = 0;
        while requests == 0 || clock.now() < length {
            self.request()?;
            requests += 1;
        }
        Ok(FloorSliceRecord { round: 0, requests, cpu_ns: thread_cpu()?.since(before).0 })
    }

    /// There and back.
    fn request(&mut self) -> io::Result<()> {
        let [one, other] = &self.ends;
        pass(one, other, &self.payload, &mut self.room)?;
        pass(other, one, &self.payload, &mut self.room)
    }
}

/// Sends all of it and receives it at the other end: by turns, as the buffers between may not hold all.
fn pass(from: &Socket, to: &Socket, payload: &[u8], room: &mut [u8]) -> io::Result<()> {
    let (mut sent, mut received) = (0, 0);
    while received < payload.len() {
        let before = (sent, received);
        if sent < payload.len() {
            sent += moved(from.send(&payload[sent..]))?;
        }
        received += match (&*to).read(&mut room[received..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            result => moved(result)?,
        };
        if (sent, received) == before {
            wait(from, to, sent < payload.len())?;
        }
    }
    Ok(())
}

/// Bytes that a call moved; none where it would have waited.
fn moved(result: io::Result<usize>) -> io::Result<usize> {
    result.or_else(|error| if is_transient(&error) { Ok(0) } else { Err(error) })
}

/// Until there is something to receive, or room to send where more is `to_send`.
fn wait(from: &Socket, to: &Socket, to_send: bool) -> io::Result<()> {
    let clock = Clock::start();
    while clock.now() < STALLED {
        let mut ends = [Watched::new(from.as_fd(), false, to_send), Watched::new(to.as_fd(), true, false)];
        poll::wait(&mut ends, Some(STALLED))?;
        if ends.iter().any(|end| end.readable || end.writable || end.broken) {
            return Ok(());
        }
    }
    let lost = format!("nothing arrived in {STALLED}: enlarge net.core.rmem_default, or send less at once");
    Err(io::Error::new(io::ErrorKind::TimedOut, lost))
}

const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn tcp_pair() -> io::Result<[Socket; 2]> {
    let listener = TcpListener::bind(ANY_PORT)?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let own = client.local_addr()?;
    let server = accept_from(&listener, own)?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    Ok([client.into(), server.into()])
}

/// Another program may have connected first.
fn accept_from(listener: &TcpListener, client: SocketAddr) -> io::Result<TcpStream> {
    loop {
        let (stream, peer) = listener.accept()?;
        if peer == client {
            return Ok(stream);
        }
    }
}

fn udp_pair() -> io::Result<[Socket; 2]> {
    let ends = [UdpSocket::bind(ANY_PORT)?, UdpSocket::bind(ANY_PORT)?];
    ends[0].connect(ends[1].local_addr()?)?;
    ends[1].connect(ends[0].local_addr()?)?;
    Ok(ends.map(Socket::from))
}

fn unix_pair(kind: Type) -> io::Result<[Socket; 2]> {
    Socket::pair(Domain::UNIX, kind, None).map(|(one, other)| [one, other])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::affinity::available;

    const STREAM_SIZES: [u64; 4] = [1, 64, 64 << 10, 1 << 20];
    const DATAGRAM_SIZES: [u64; 3] = [16, 1_472, 65_507];

    fn all() -> impl Iterator<Item = (&'static str, u64)> {
        let with = |protocol, sizes: &'static [u64]| sizes.iter().map(move |size| (protocol, *size));
        let streams = ["tcp", "unix"].into_iter().flat_map(move |protocol| with(protocol, &STREAM_SIZES));
        streams.chain(["udp", "unixgram"].into_iter().flat_map(move |protocol| with(protocol, &DATAGRAM_SIZES)))
    }

    fn core() -> usize {
        available().unwrap().as_slice()[0]
    }

    #[test]
    fn every_protocol_and_size_is_measured_at_once_and_again() {
        let measure = |(protocol, size)| {
            let floor = Floor::open(protocol, Bytes(size), core()).unwrap();
            for length in [Nanos::from_millis(20), Nanos::ZERO] {
                let slice = floor.slice(length).unwrap();
                assert!(slice.requests > 0 && slice.cpu_ns > 0, "{protocol} {size}: {slice:?}");
            }
        };
        thread::scope(|scope| all().for_each(|one| drop(scope.spawn(move || measure(one)))));
    }

    #[test]
    fn all_bytes_come_through_both_ways() {
        for (protocol, size) in all() {
            let mut pair = Pair::new(protocol, Bytes(size)).unwrap();
            pair.payload = (0..size).map(|number| (number * 31 % 251) as u8).collect();
            let [one, other] = &pair.ends;
            for (from, to) in [(one, other), (other, one)] {
                pair.room.fill(0xff);
                pass(from, to, &pair.payload, &mut pair.room).unwrap();
                assert!(pair.room == pair.payload, "{protocol} {size}");
            }
        }
    }

    #[test]
    fn the_callers_thread_stays_where_it_is() {
        let before = available().unwrap();
        let floor = Floor::open("unix", Bytes(64), core()).unwrap();
        assert_eq!(available().unwrap(), before);
        drop(floor);
    }

    #[test]
    fn what_cannot_be_measured_is_an_error_that_says_what() {
        for (protocol, size, core, part) in
            [("quic", 64, core(), "no such protocol"), ("udp", 70_000, core(), "udp"), ("tcp", 64, 100_000, "100000")]
        {
            let error = Floor::open(protocol, Bytes(size), core).unwrap_err().to_string();
            assert!(error.starts_with("measuring the floor") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn after_an_error_there_are_only_errors() {
        let (lengths, asked) = sync_channel(1);
        let (answers, results) = sync_channel(1);
        let broken = || {
            let mut pair = Pair::new("unix", Bytes(64))?;
            pair.ends[1] = unix_pair(Type::STREAM)?.into_iter().next().unwrap();
            Ok(pair)
        };
        let thread = thread::spawn(move || serve_slices(broken, &asked, &answers));
        let floor = Floor { name: "it".into(), lengths: Some(lengths), results, thread: Some(thread) };
        floor.result().unwrap();
        for part in ["measuring it failed", "earlier error"] {
            let error = floor.slice(Nanos::ZERO).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}

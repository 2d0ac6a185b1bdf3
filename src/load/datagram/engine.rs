//! How the generator moves datagrams. An engine counts nothing, times nothing and decides nothing.
//!
//! # The contract
//!
//! In each turn (see [`crate::load::engine::Engine`]) it is called once for `events`, then any number of times for
//! `open` and `send`.
//!
//! - Sockets are numbers below the count given at the start; each is opened once, with a socket that is connected.
//! - From then on every datagram that arrives is notified with [`Event::Datagram`], empty ones too, super-packets in
//!   their parts. One that is longer than those sent comes as one byte too long at least, never as shorter.
//! - `send` takes the first of the datagrams offered, as many as it can at once, and returns how many. It returns 0
//!   where the kernel takes none now: then [`Event::Writable`] follows. What it takes it sends, each once, in order.
//! - What the kernel does not take for any other reason than a full socket is lost: nothing sends it again, and no
//!   event follows when the next may succeed. `send` returns that ([`Refused`]), or, where the datagrams were taken
//!   already, [`Event::Failed`] does.
//! - [`Event::Failed`] ends nothing. The error is that, or one that the kernel keeps for the socket (ECONNREFUSED after
//!   an ICMP message).
//! - Super-packets are sent where `segments` is more than 1, and no longer where the kernel refuses them.
//! - Once the buffers in use have reached their number, a datagram costs no allocation; none costs a lock or dynamic
//!   dispatch.

pub mod epoll;
pub mod uring;

use crate::load::engine::{Engine, EngineConfig};
use crate::sys::datagram::{gso, set_gro};
use socket2::Socket;
use std::io;

/// What happened on a socket.
#[derive(Debug)]
pub enum Event<'a> {
    /// Datagrams were received just now; they follow. Notified where [`Engine::RECEIVES_IN_EVENTS`].
    Batch,
    Datagram(&'a [u8]),
    /// More may be sent.
    Writable,
    Failed(io::Error),
}

/// Datagrams that the kernel refused: the first so many of those offered are lost.
#[derive(Debug)]
pub struct Refused {
    pub datagrams: usize,
    pub error: io::Error,
}

/// Sends and receives, super-packets counted once.
#[derive(Clone, Copy, Debug, Default)]
pub struct IoStats {
    pub sends: u64,
    pub receives: u64,
    /// Datagrams received.
    pub answers: u64,
    /// Why super-packets are not sent though they were asked for.
    pub unsegmented: Option<i32>,
}

impl IoStats {
    pub fn plus(self, other: IoStats) -> IoStats {
        IoStats {
            sends: self.sends + other.sends,
            receives: self.receives + other.receives,
            answers: self.answers + other.answers,
            unsegmented: self.unsegmented.or(other.unsegmented),
        }
    }
}

/// Writes the datagram with an index among those offered to its room, and returns its length.
pub trait Writer: FnMut(usize, &mut [u8]) -> usize {}

impl<F: FnMut(usize, &mut [u8]) -> usize> Writer for F {}

/// Sends and receives the datagrams of one thread's sockets, which are named by numbers.
pub trait DatagramEngine: Engine {
    fn open(&mut self, number: usize, socket: Socket) -> io::Result<()>;

    /// Offers `count` datagrams, at least one, each with room of `size` bytes.
    fn send(&mut self, number: usize, count: usize, write: impl Writer) -> Result<usize, Refused>;

    fn socket(&self, number: usize) -> Option<&Socket>;

    fn events(&mut self, notify: impl FnMut(usize, Event<'_>));

    fn io_stats(&self) -> IoStats;
}

/// Lets a socket send and receive super-packets where they are asked for. Whether it sends them; where the kernel
/// cannot, `stats` keeps why.
pub fn prepare_segments(socket: &Socket, config: &EngineConfig, stats: &mut IoStats) -> bool {
    if config.segments <= 1 {
        return false;
    }
    // Where the kernel cannot, they arrive in parts.
    let _ = set_gro(socket);
    let size = u16::try_from(config.size).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE));
    match size.and_then(|size| gso::set_gso(socket, size)) {
        Ok(()) => true,
        Err(error) => {
            stats.unsegmented = error.raw_os_error();
            false
        }
    }
}

/// Whether an error of a send can be one of super-packets: they do not fit the path (EINVAL, later kernels EMSGSIZE),
/// or its device computes no checksums (EIO).
pub fn refuses_segments(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::epoll::EpollEngine;
    use super::uring::UringEngine;
    use super::*;
    use crate::sys::wait::Wait;
    use crate::units::Nanos;
    use std::net::UdpSocket;
    use std::time::Duration;

    fn config() -> EngineConfig {
        let target = "udp://127.0.0.1:1".parse().unwrap();
        EngineConfig { target, sockets: 1, size: 50, depth: 8, segments: 4, spins: false }
    }

    /// An engine with a socket that is prepared so, and its peer.
    fn connected<E: DatagramEngine>(config: &EngineConfig, prepare: impl FnOnce(&Socket)) -> (E, UdpSocket) {
        let [own, peer] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        own.connect(peer.local_addr().unwrap()).unwrap();
        peer.connect(own.local_addr().unwrap()).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let own = Socket::from(own);
        prepare(&own);
        let mut engine = E::new(config).unwrap();
        engine.open(0, own).unwrap();
        (engine, peer)
    }

    /// Offers datagrams whose bytes are their numbers until all are taken.
    fn send(engine: &mut impl DatagramEngine, numbers: std::ops::Range<u8>, len: impl Fn(u8) -> usize) {
        let mut next = numbers.start;
        while next < numbers.end {
            let write = |index: usize, room: &mut [u8]| {
                let number = next + index as u8;
                room[..len(number)].fill(number);
                len(number)
            };
            let taken = engine.send(0, usize::from(numbers.end - next), write).unwrap();
            next += taken as u8;
        }
    }

    /// Turns until so many datagrams came; the first byte and the length of each.
    fn receive(engine: &mut impl DatagramEngine, count: usize) -> Vec<(u8, usize)> {
        let mut got = Vec::new();
        for _ in 0..1000 {
            if got.len() >= count {
                break;
            }
            engine.wait(Wait::AtMost(Nanos::from_millis(20))).unwrap();
            engine.events(|_, event| match event {
                Event::Datagram(bytes) => got.push((bytes[0], bytes.len())),
                Event::Failed(error) => panic!("{error}"),
                Event::Batch | Event::Writable => {}
            });
        }
        got
    }

    /// Sends the datagrams, of which each has its length, and takes in what the peer sends back: the same.
    fn assert_echoed(
        engine: &mut impl DatagramEngine,
        peer: &UdpSocket,
        numbers: std::ops::Range<u8>,
        len: fn(u8) -> usize,
    ) {
        send(engine, numbers.clone(), len);
        let echo = std::thread::scope(|scope| {
            let echoing = scope.spawn(|| {
                let mut buffer = [0; 500];
                for _ in numbers.clone() {
                    let len = peer.recv(&mut buffer).unwrap();
                    peer.send(&buffer[..len]).unwrap();
                }
            });
            let echo = receive(engine, numbers.len());
            echoing.join().unwrap();
            echo
        });
        assert_eq!(echo, numbers.map(|number| (number, len(number))).collect::<Vec<_>>());
    }

    fn goes_on_without_super_packets<E: DatagramEngine>() {
        let (mut engine, peer) = connected::<E>(&config(), |own| gso::refuse_segments(own).unwrap());
        for numbers in [0..7, 7..9] {
            assert_echoed(&mut engine, &peer, numbers, |_| config().size);
        }
        assert_eq!((engine.io_stats().unsegmented, engine.io_stats().sends), (Some(libc::EINVAL), 9));
    }

    fn sends_each_as_long_as_it_is<E: DatagramEngine>() {
        let (mut engine, peer) = connected::<E>(&EngineConfig { segments: 1, ..config() }, |_| ());
        for numbers in [0..8, 8..16, 16..24] {
            assert_echoed(&mut engine, &peer, numbers, |number| [50, 1, 17][usize::from(number) % 3]);
        }
    }

    /// Runs it for epoll and, where it can be had, for io_uring.
    fn on_both(epoll: fn(), uring: fn()) {
        epoll();
        match crate::sys::uring::usable() {
            Ok(()) => uring(),
            Err(reason) => eprintln!("skipped for io_uring: {reason}"),
        }
    }

    /// Offers three datagrams that the kernel has no memory for.
    fn loses_what_there_is_no_memory_for<E: DatagramEngine>() {
        if !crate::sys::loopbacks().contains(&"[::1]:0") {
            return;
        }
        let [own, peer] = [(); 2].map(|()| UdpSocket::bind("[::1]:0").unwrap());
        own.connect(peer.local_addr().unwrap()).unwrap();
        let own = Socket::from(own);
        gso::starve_long_sends(&own).unwrap();
        let mut engine = E::new(&EngineConfig { size: 8000, segments: 1, ..config() }).unwrap();
        engine.open(0, own).unwrap();
        let mut lost = match engine.send(0, 3, |_, room| {
            room.fill(7);
            room.len()
        }) {
            Ok(count) => {
                assert_eq!(count, 1, "each has a send of its own");
                0
            }
            Err(Refused { datagrams, error }) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS));
                datagrams
            }
        };
        // What spins never comes to the end of this.
        while engine.wait(Wait::AtMost(Nanos::from_millis(50))).unwrap() {
            engine.events(|_, event| match event {
                Event::Failed(error) if error.raw_os_error() == Some(libc::ENOBUFS) => lost += 1,
                event => panic!("{event:?}"),
            });
            assert!(lost <= 1, "it is tried again");
        }
        assert_eq!((lost, engine.io_stats().sends), (1, 0));
    }

    #[test]
    fn where_the_kernel_refuses_super_packets_every_datagram_still_leaves_once() {
        on_both(goes_on_without_super_packets::<EpollEngine>, goes_on_without_super_packets::<UringEngine>);
    }

    #[test]
    fn datagrams_of_several_sizes_leave_as_long_as_they_are() {
        on_both(sends_each_as_long_as_it_is::<EpollEngine>, sends_each_as_long_as_it_is::<UringEngine>);
    }

    #[test]
    fn a_datagram_that_there_is_no_memory_for_is_lost_and_nothing_spins() {
        on_both(loses_what_there_is_no_memory_for::<EpollEngine>, loses_what_there_is_no_memory_for::<UringEngine>);
    }
}

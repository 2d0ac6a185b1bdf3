//! Once a connection is open, an echoed message costs the engines `uring` and `epoll` no allocation; nor does a datagram.
//! Each runs a shard in this process, whose allocator counts.

use ringmark::engine::Engine;
use ringmark::engine::epoll::Epoll;
use ringmark::engine::uring::Uring;
use ringmark::protocol::{Kind, Services};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use support::shard::RunningShard;
use support::skip::skip;
use support::without_uring;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Messages before counting, in which what grows with use has grown …
const WARMUP: usize = 2_000;
/// … and while counting.
const COUNTED: usize = 10_000;
const CONNECTIONS: usize = 4;
/// Bytes of a message; the longest fits in a receive buffer.
const SIZES: [usize; 3] = [1, 64, 4_000];

/// Everything in one test: what runs beside it would allocate too. The client has its buffers before counting begins.
#[test]
fn an_echoed_message_costs_no_allocation() {
    for words in [&[][..], &["--gro"]] {
        counts::<Epoll>(words);
    }
    if let Some(reason) = without_uring() {
        return skip(reason);
    }
    for words in [&[][..], &["--recv", "oneshot"], &["--files", "fd"], &["--gro"]] {
        counts::<Uring>(words);
    }
}

fn counts<E: Engine>(words: &[&str]) {
    let shard = RunningShard::start_with_datagrams::<E>(Services::new([Kind::Echo]), words, 0);
    let what = format!("{} {words:?}", E::NAME);
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| shard.connect()).collect();
    let sockets: Vec<UdpSocket> = (0..CONNECTIONS).map(|_| datagram_socket(&shard)).collect();
    for size in SIZES {
        expect_none(&format!("{what}, {size} bytes over TCP"), |count| echo_streams(&mut streams, size, count));
        expect_none(&format!("{what}, {size} bytes over UDP"), |count| echo_datagrams(&sockets, size, count));
    }
    drop(streams);
    shard.drain();
}

fn datagram_socket(shard: &RunningShard) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binding");
    socket.connect(shard.datagrams.expect("it serves datagrams")).expect("connecting");
    socket.set_read_timeout(Some(support::WATCHDOG)).expect("setting a timeout");
    socket
}

#[track_caller]
fn expect_none(what: &str, mut echo: impl FnMut(usize)) {
    echo(WARMUP);
    let region = Region::new(ALLOCATOR);
    echo(COUNTED);
    let change = region.change();
    assert!(counts_itself(), "the allocator counts");
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{what}: {COUNTED} messages: {change:?}");
}

/// As many messages on each connection, on all at the same time.
fn echo_streams(streams: &mut [TcpStream], size: usize, count: usize) {
    let (message, mut answer) = ([7; 4_000], [0; 4_000]);
    for _ in 0..count / streams.len() {
        streams.iter_mut().for_each(|stream| stream.write_all(&message[..size]).expect("sending"));
        for stream in streams.iter_mut() {
            stream.read_exact(&mut answer[..size]).expect("receiving");
        }
    }
}

fn echo_datagrams(sockets: &[UdpSocket], size: usize, count: usize) {
    let (message, mut answer) = ([7; 4_000], [0; 4_000]);
    for _ in 0..count / sockets.len() {
        for socket in sockets {
            assert_eq!(socket.send(&message[..size]).expect("sending"), size);
        }
        for socket in sockets {
            assert_eq!(socket.recv(&mut answer).expect("receiving"), size);
        }
    }
}

fn counts_itself() -> bool {
    let region = Region::new(ALLOCATOR);
    drop(std::hint::black_box(Box::new(1)));
    region.change().allocations > 0
}

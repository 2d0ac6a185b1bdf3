//! What `ringmark serve` says besides echo, on every engine and over every kind of socket: discard (RFC 863), chargen (RFC
//! 864) and daytime (RFC 867), and a full-duplex echo. The server is the real program in a process of its own; every byte
//! is checked, under short writes, slow readers, resets and a drain.

use ringmark::engine::Engine;
use signal_hook::consts::SIGTERM;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::cell::Cell;
use support::characters::{self, Characters};
use support::client::{Peer, Stream};
use support::datagrams::Client;
use support::instantiate;
use support::pattern::{self, Random};
use support::server::{Server, fields};
use support::{WATCHDOG, wait_until};

const TCP: &str = "tcp://127.0.0.1:0";
const UDP: &str = "udp://127.0.0.1:0";
const SMALL_BUFFERS: [&str; 4] = ["--sndbuf", "16k", "--rcvbuf", "16k"];

macro_rules! suite {
    ($name:ident, $cell:expr) => {
        instantiate!($name, $cell, [
            discard_takes_everything_says_nothing_and_counts_it
            chargen_speaks_first_and_ends_with_the_peer
            chargen_sends_while_it_receives
            chargen_comes_whole_through_short_writes
            chargen_is_held_back_by_slow_readers_alone
            chargen_ends_within_the_drain_timeout
            resets_at_any_point_leave_nothing_behind
            daytime_says_the_time_and_ends_in_order
            datagrams_are_answered_within_their_limit
            echo_sends_while_it_receives
            all_protocols_are_served_at_once
        ]);
    };
}

macro_rules! engines {
    ($($variant:ident, $engine:ty, $about:literal;)*) => {
        $(suite!($variant, Cell { engine: <$engine as Engine>::NAME, options: &["--cores", "1"] });)*
    };
}

macro_rules! variants {
    ($($name:ident: $engine:literal $($option:literal)*;)*) => {
        $(suite!($name, Cell { engine: $engine, options: &[$($option),*] });)*
    };
}

ringmark::for_each_engine!(engines);

variants! {
    uring_oneshot: "uring" "--cores" "1" "--recv" "oneshot";
    uring_fd: "uring" "--cores" "1" "--files" "fd";
    uring_sqpoll: "uring" "--cores" "1" "--sqpoll";
    uring_tiny_pool: "uring" "--cores" "1" "--buffers" "1" "--buffer-size" "64";
    uring_balanced: "uring" "--cores" "2";
    epoll_balanced: "epoll" "--cores" "2";
    tokio_balanced: "tokio" "--cores" "2";
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, WATCHDOG).expect("connecting");
    stream.watch_over();
    stream
}

/// A connection with a small receive buffer and small segments, which do not have to wait for room for a large one.
fn connect_small(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("making a socket");
    socket.set_recv_buffer_size(4 << 10).and_then(|()| socket.set_tcp_mss(536)).expect("setting options");
    socket.connect_timeout(&address.into(), WATCHDOG).expect("connecting");
    let stream = TcpStream::from(socket);
    stream.watch_over();
    stream
}

fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("setting SO_LINGER");
}

/// Pieces of random sizes until so many bytes are sent.
fn send(stream: &mut TcpStream, count: usize) {
    let mut random = Random::new(count as u64);
    let message = pattern::bytes(0, 0, count);
    let mut rest = message.as_slice();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(random.size(1, 256 << 10).min(rest.len()));
        stream.write_all(piece).expect("sending");
        rest = later;
    }
}

#[track_caller]
fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the end of the stream");
    assert_eq!(rest.len(), 0, "bytes that nobody asked for");
}

// Discard

fn discard_takes_everything_says_nothing_and_counts_it(cell: &Cell) {
    // With buffers of 64 bytes a million receives would be needed.
    let each = if cell.options.contains(&"64") { 1 << 20 } else { 25 << 20 };
    let Some(server) = Server::of(cell, &[], &[("discard", TCP)]) else { return };
    let address = server.address(0);
    let take = || {
        let mut stream = connect(address);
        send(&mut stream, each);
        stream.finish();
        expect_end(&mut stream);
    };
    thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(take))));
    let ended = server.drain();
    assert_eq!((ended.count("connections"), ended.count("failed")), (2, 0));
    assert_eq!((ended.count("bytes_in"), ended.count("bytes_out")), (2 * each as u64, 0));
}

// Chargen

fn chargen_speaks_first_and_ends_with_the_peer(cell: &Cell) {
    let Some(server) = Server::of(cell, &[], &[("chargen", TCP)]) else { return };
    let mut readers: Vec<_> = (0..8).map(|_| Characters::new(connect(server.address(0)))).collect();
    readers.iter_mut().zip(1..).for_each(|(reader, turn)| reader.read_until(turn * 100_000));
    let received: u64 = thread::scope(|scope| {
        let ends = |reader: &mut Characters| {
            reader.stream.finish();
            reader.read_to_end()
        };
        let ending: Vec<_> = readers.iter_mut().map(|reader| scope.spawn(move || ends(reader))).collect();
        ending.into_iter().map(|reader| reader.join().expect("a reader")).sum()
    });
    let ended = server.drain();
    assert_eq!((ended.count("connections"), ended.count("failed")), (8, 0));
    assert_eq!((ended.count("bytes_in"), ended.count("bytes_out")), (0, received));
}

fn chargen_sends_while_it_receives(cell: &Cell) {
    const SENT: usize = 5 << 20;
    let sent = if cell.options.contains(&"64") { SENT / 8 } else { SENT };
    let Some(server) = Server::of(cell, &[], &[("chargen", TCP)]) else { return };
    let mut reader = Characters::new(connect(server.address(0)));
    let mut writer = reader.stream.duplicate();
    let sending = thread::spawn(move || {
        send(&mut writer, sent);
        writer.finish();
    });
    let received = reader.read_to_end();
    sending.join().expect("the sending thread");
    let ended = server.drain();
    assert_eq!(ended.count("failed"), 0);
    assert_eq!((ended.count("bytes_in"), ended.count("bytes_out")), (sent as u64, received));
}

fn chargen_comes_whole_through_short_writes(cell: &Cell) {
    let Some(server) = Server::of(cell, &["--sndbuf", "4k"], &[("chargen", TCP)]) else { return };
    let mut reader = Characters::new(connect_small(server.address(0)));
    let mut random = Random::new(1);
    while reader.received < 300_000 {
        assert!(reader.read_some(random.size(1, 4 << 10)).expect("receiving") > 0, "the stream ended");
    }
    reader.stream.finish();
    let received = reader.read_to_end();
    assert_eq!(server.drain().count("bytes_out"), received);
}

/// What the server holds for a reader that does not read, its threads' stacks and what engines keep for each included.
const MAX_HELD: u64 = 1 << 20;

fn chargen_is_held_back_by_slow_readers_alone(cell: &Cell) {
    const READERS: usize = 40;
    let Some(server) = Server::of(cell, &SMALL_BUFFERS, &[("chargen", TCP), ("echo", TCP)]) else { return };
    let before = server.process.resident_bytes();
    let mut slow: Vec<_> = (0..READERS).map(|_| Characters::new(connect_small(server.address(0)))).collect();
    slow.iter_mut().for_each(|reader| reader.read_until(1));
    server.process.wait_until_idle();
    let held = server.process.resident_bytes().saturating_sub(before);
    assert!(held < READERS as u64 * MAX_HELD, "{held} bytes for {READERS} readers");
    let mut other = Peer::connect(server.address(1), 1);
    (0..10).for_each(|_| other.echo(10_000));
    let mut active = Characters::new(connect(server.address(0)));
    active.read_until(1 << 20);
    // All at once: the longer a window was shut, the longer TCP waits before it looks whether it is open again.
    thread::scope(|scope| slow.iter_mut().for_each(|reader| drop(scope.spawn(|| reader.read_until(100_000)))));
    slow.iter().chain([&active]).for_each(|reader| reset(&reader.stream));
    drop((slow, active, other));
    server.drain();
}

fn chargen_ends_within_the_drain_timeout(cell: &Cell) {
    const READERS: usize = 4;
    let options = [&SMALL_BUFFERS[..], &["--drain", "2s"]].concat();
    let Some(server) = Server::of(cell, &options, &[("chargen", TCP)]) else { return };
    let mut readers: Vec<_> = (0..READERS).map(|_| Characters::new(connect(server.address(0)))).collect();
    readers.iter_mut().for_each(|reader| reader.read_until(1));
    let mut stuck = Characters::new(connect_small(server.address(0)));
    stuck.read_until(1);
    let (received, ended) = thread::scope(|scope| {
        let reading: Vec<_> = readers.iter_mut().map(|reader| scope.spawn(|| reader.read_to_end())).collect();
        // Until the server has filled all that there is for the one that does not read.
        thread::sleep(Duration::from_millis(300));
        server.process.signal(SIGTERM);
        let ended = server.drained();
        (reading.into_iter().map(|reader| reader.join().expect("a reader")).sum::<u64>(), ended)
    });
    // Whoever reads gets everything and the end; whoever does not is given up.
    assert_eq!((ended.count("connections"), ended.count("failed")), (READERS as u64 + 1, 1));
    // What of a send was sent when it was given up may not be known.
    assert!(ended.count("bytes_out") >= received, "{received} came, of {ended:?}");
    assert_eq!(ended.count("bytes_in"), 0);
}

/// Reads so much, ends with a reset; a reset while the server works on the connection is one of both ends.
fn resets_at_any_point_leave_nothing_behind(cell: &Cell) {
    const ROUNDS: u64 = 40;
    let endpoints = [("chargen", TCP), ("daytime", TCP), ("discard", TCP), ("echo", TCP)];
    let Some(server) = Server::of(cell, &["--stats", "20ms"], &endpoints) else { return };
    let mut random = Random::new(1);
    for round in 0..ROUNDS {
        for endpoint in 0..endpoints.len() {
            let mut stream = connect(server.address(endpoint));
            reset(&stream);
            match round % 4 {
                0 => {}
                1 => drop(stream.write_all(&[1; 100])),
                2 if endpoint == 0 => Characters::new(stream).read_until(random.next_u64() % (1 << 20)),
                2 => drop(stream.write(&vec![2; 1 << 20])),
                // Half an end, and then the reset.
                _ => drop(stream.shutdown(Shutdown::Write)),
            }
        }
    }
    // A multishot receive may miss the last of several events that reach it at once, here the reset, if it does not take
    // all data at once (seen on Linux 6.18): then the drain ends the connection.
    if !cell.options.contains(&"64") {
        server.wait_for_stats("closed", ROUNDS * endpoints.len() as u64);
    }
    Characters::new(connect(server.address(0))).read_until(100_000);
    Peer::connect(server.address(3), 1).echo(100_000);
    let ended = server.drain();
    assert_eq!(ended.count("connections"), ROUNDS * endpoints.len() as u64 + 2);
}

// Daytime

/// `Thursday, November 26, 2026 14:58:18-UTC`, the time being now.
#[track_caller]
fn check_daytime(line: &[u8]) {
    let line = std::str::from_utf8(line).expect("text");
    let date = line.strip_suffix("-UTC\r\n").unwrap_or_else(|| panic!("{line:?}"));
    let parts: Vec<&str> = date.split(' ').collect();
    let [weekday, month, day, year, time] = parts[..] else { panic!("{line:?}") };
    assert!(weekday.ends_with("day,") && month.bytes().all(|byte| byte.is_ascii_alphabetic()), "{line:?}");
    assert!(day.ends_with(',') && year.len() == 4, "{line:?}");
    let time: Vec<u64> = time.split(':').map(|part| part.parse().expect("a number")).collect();
    let [hour, minute, second] = time[..] else { panic!("{line:?}") };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() % 86_400;
    let said = hour * 3600 + minute * 60 + second;
    assert!((now + 86_400 - said) % 86_400 < WATCHDOG.as_secs(), "{line:?} at {now} seconds of the day");
}

fn daytime_says_the_time_and_ends_in_order(cell: &Cell) {
    const ROUNDS: u64 = 10;
    let Some(server) = Server::of(cell, &[], &[("daytime", TCP)]) else { return };
    for round in 0..ROUNDS {
        // What was sent before, read or not, must not turn the end into a reset.
        for sent in [0, 1, 100_000] {
            let mut stream = connect(server.address(0));
            match stream.write_all(&vec![b'?'; sent]) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("sending {sent} bytes: {error}"),
                _ if round % 2 == 0 => thread::sleep(Duration::from_millis(20)),
                _ => {}
            }
            let mut line = Vec::new();
            stream.read_to_end(&mut line).unwrap_or_else(|error| panic!("after {sent} bytes: {error}"));
            check_daytime(&line);
        }
    }
    let ended = server.drain();
    assert_eq!((ended.count("connections"), ended.count("failed")), (3 * ROUNDS, 0));
}

// Datagrams

fn datagrams_are_answered_within_their_limit(cell: &Cell) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| format!("unixgram:{}/{name}", directory.path().display());
    let paths = ["discard", "chargen", "daytime"].map(path);
    let [discard, chargen, daytime] = paths.each_ref().map(String::as_str);
    let endpoints = [
        ("discard", UDP),
        ("chargen", UDP),
        ("daytime", UDP),
        ("discard", discard),
        ("chargen", chargen),
        ("daytime", daytime),
    ];
    let Some(server) = Server::of(cell, &[], &endpoints) else { return };
    for first in [0, 3] {
        let [discard, chargen, daytime] = [0, 1, 2].map(|index| Client::new(&server.datagrams(first + index)));
        for size in [0, 1, 1000] {
            [&discard, &chargen, &daytime].iter().for_each(|client| client.send(&vec![7; size]));
            let answer = chargen.receive();
            assert!((1..=512).contains(&answer.len()), "{} characters", answer.len());
            characters::check(0, &answer);
            check_daytime(&daytime.receive());
        }
        [discard, chargen, daytime].iter().for_each(Client::expect_silence);
    }
    let ended = server.drain();
    assert_eq!((ended.count("datagrams_in"), ended.count("datagrams_out")), (18, 12));
    assert_eq!(ended.count("bytes_in"), 6 * 1001);
}

// Echo, and all at once

fn echo_sends_while_it_receives(cell: &Cell) {
    let count = if cell.options.contains(&"64") { 1 << 20 } else { 10 << 20 };
    let Some(server) = Server::of(cell, &[], &[("echo", TCP)]) else { return };
    let mut peer = server.connect(1);
    let mut writer = peer.stream.duplicate();
    let message = pattern::bytes(1, 0, count);
    let sending = thread::spawn(move || writer.write_all(&message).expect("sending"));
    peer.sent = count as u64;
    peer.receive_all();
    sending.join().expect("the sending thread");
    let ended = server.drain();
    assert_eq!((ended.count("bytes_in"), ended.count("bytes_out")), (count as u64, count as u64));
}

fn all_protocols_are_served_at_once(cell: &Cell) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("chargen");
    let over_unix = format!("unix:{}", path.display());
    let endpoints = [
        ("echo", TCP),
        ("discard", TCP),
        ("chargen", TCP),
        ("daytime", TCP),
        ("broadcast", TCP),
        ("chargen", &over_unix),
        ("chargen", UDP),
    ];
    let Some(server) = Server::of(cell, &["--stats", "1h"], &endpoints) else { return };
    let [echo, discard, chargen, daytime, broadcast] = [0, 1, 2, 3, 4].map(|index| server.address(index));
    let datagrams = server.datagrams(6);
    thread::scope(|scope| {
        for seed in 0..3 {
            scope.spawn(move || Peer::connect(echo, seed).echo_in_pieces(300_000, &mut Random::new(seed)));
            scope.spawn(move || send(&mut connect(discard), 300_000));
            scope.spawn(move || Characters::new(connect(chargen)).read_until(300_000));
            scope.spawn(move || expect_daytime(connect(daytime)));
            scope.spawn(move || expect_own_line(connect(broadcast), seed));
        }
        scope.spawn(|| Characters::new(UnixStream::connect(&path).expect("connecting")).read_until(300_000));
        scope.spawn(|| {
            let client = Client::new(&datagrams);
            client.send(b"?");
            characters::check(0, &client.receive());
        });
    });
    let ended = server.drain();
    assert_eq!((ended.count("connections"), ended.count("datagrams_out")), (16, 1));
    assert!(fields(ended.stdout.last().expect("counters")).contains_key("per_shard"));
    wait_until("the socket's file is gone", || !path.exists());
}

fn expect_daytime(mut stream: TcpStream) {
    let mut line = Vec::new();
    stream.read_to_end(&mut line).expect("receiving");
    check_daytime(&line);
}

/// Sends a line and waits for it among those of others.
fn expect_own_line(mut stream: TcpStream, seed: u64) {
    let line = format!("line {seed}\n");
    stream.write_all(line.as_bytes()).expect("sending");
    let mut heard = String::new();
    while !heard.contains(&line) {
        let mut room = [0; 1000];
        let count = stream.read(&mut room).expect("receiving");
        assert!(count > 0, "the stream ended after {heard:?}");
        heard += std::str::from_utf8(&room[..count]).expect("text");
    }
}

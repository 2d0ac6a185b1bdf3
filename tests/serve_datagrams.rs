//! The datagram part of the engine contract (src/engine/mod.rs), from outside: one suite, instantiated for every engine
//! and for the variants whose code paths differ, over IPv4, IPv6 and unix sockets. The server is the real program in a
//! process of its own, the clients are plain blocking sockets; every byte is checked, no time is measured.

use ringmark::engine::Engine;
use ringmark::sys::datagram::{RecvBatch, set_gro};
use signal_hook::consts::SIGTERM;
use socket2::Socket;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use support::cell::Cell;
use support::datagrams::{Client, LARGEST, Place};
use support::instantiate;
use support::net::has_ipv6;
use support::pattern;
use support::server::{Server, ringmark};
use support::skip::skip;
use tempfile::TempDir;

macro_rules! suite {
    ($name:ident, $cell:expr) => {
        instantiate!($name, $cell, [
            every_size_comes_back_whole
            many_clients_each_get_their_own_answers
            a_burst_is_answered_once_each
            a_client_that_is_gone_harms_nobody
            a_unix_client_that_does_not_read_holds_up_nobody
            what_waits_for_room_in_a_full_socket_comes_whole_and_in_order
            what_finds_neither_the_socket_nor_the_reader_with_room_does_not_come_empty
            answers_leave_from_the_address_that_was_asked
            sources_that_could_loop_are_refused
            two_servers_pointed_at_each_other_fall_silent
            what_is_longer_than_the_buffer_is_counted_and_not_answered
            discarding_answers_nothing
            streams_and_datagrams_share_a_server
            drain_answers_what_had_arrived
            drain_ends_though_others_send_on
            waiting_costs_nothing
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
    uring_two_cores: "uring" "--cores" "2";
    uring_oneshot: "uring" "--cores" "1" "--recv" "oneshot";
    uring_fd: "uring" "--cores" "1" "--files" "fd";
    uring_coop: "uring" "--cores" "1" "--taskrun" "coop";
    uring_taskrun_none: "uring" "--cores" "1" "--taskrun" "none";
    uring_sqpoll: "uring" "--cores" "1" "--sqpoll";
    uring_tiny_pool: "uring" "--cores" "1" "--buffers" "1";
    uring_gro: "uring" "--cores" "1" "--gro";
    epoll_two_cores: "epoll" "--cores" "2";
    epoll_gro: "epoll" "--cores" "1" "--gro";
    threads_two_cores: "threads" "--cores" "2";
    tokio_two_cores: "tokio" "--cores" "2";
}

/// A server of one endpoint, and what must live as long.
struct Running {
    server: Server,
    place: Place,
    _directory: TempDir,
}

/// The places a server can be at.
fn families() -> Vec<&'static str> {
    [over_ip(), vec!["unixgram:DIRECTORY/echo"]].concat()
}

/// Over both versions of IP, where this machine has them.
fn over_ip() -> Vec<&'static str> {
    let six = has_ipv6().then_some("udp://[::1]:0");
    ["udp://127.0.0.1:0"].into_iter().chain(six).collect()
}

fn start(cell: &Cell, kind: &str, address: &str, more: &[&str]) -> Option<Running> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let address = address.replace("DIRECTORY", &directory.path().display().to_string());
    let words = cell.words(&[more, &[kind, &address]].concat())?;
    let server = Server::spawn(ringmark(["serve"].into_iter().chain(words)), 1);
    let place = server.datagrams(0);
    Some(Running { server, place, _directory: directory })
}

fn echo_server(cell: &Cell, address: &str) -> Option<Running> {
    start(cell, "--echo", address, &["--stats", "20ms"])
}

// Bytes

fn every_size_comes_back_whole(cell: &Cell) {
    const SIZES: [usize; 8] = [0, 1, 63, 64, 1472, 9000, 32_768, LARGEST];
    for address in families() {
        let Some(Running { server, place, _directory }) = echo_server(cell, address) else { return };
        let client = Client::new(&place);
        for (seed, size) in SIZES.into_iter().chain(SIZES.into_iter().rev()).enumerate() {
            client.echo(seed as u64, size);
        }
        client.expect_silence();
        let ended = server.drain();
        let bytes = 2 * SIZES.iter().sum::<usize>() as u64;
        assert_eq!((ended.count("datagrams_in"), ended.count("datagrams_out")), (16, 16), "{address}");
        assert_eq!((ended.count("bytes_in"), ended.count("bytes_out")), (bytes, bytes), "{address}");
        assert_eq!((ended.count("truncated"), ended.count("unsent"), ended.count("refused")), (0, 0, 0), "{address}");
    }
}

fn many_clients_each_get_their_own_answers(cell: &Cell) {
    const CLIENTS: u64 = 50;
    const EACH: usize = 8;
    /// So many ask before the answers are read: the server's socket holds what they send though it has no core for a while.
    const AT_ONCE: usize = 8;
    for address in families() {
        let Some(Running { server, place, _directory }) = echo_server(cell, address) else { return };
        // What clients have not read yet takes room in a unix server's send buffer; over UDP it takes none.
        let crowd = if matches!(place, Place::Unix(_)) { CLIENTS / 10 } else { CLIENTS };
        let clients: Vec<(u64, Client)> = (0..crowd).map(|seed| (seed, Client::new(&place))).collect();
        for round in 0..3 {
            let size = 40 + 700 * round;
            for clients in clients.chunks(AT_ONCE) {
                for (seed, client) in clients {
                    (0..EACH).for_each(|index| client.send(&pattern::bytes(*seed, (index * size) as u64, size)));
                }
                for (seed, client) in clients {
                    // One server thread per socket and one socket per client's hash: what a client sent stays in order.
                    for index in 0..EACH {
                        let answer = client.receive();
                        assert_eq!(answer.len(), size);
                        pattern::check(*seed, (index * size) as u64, &answer);
                    }
                }
            }
        }
        let ended = server.drain();
        assert_eq!(ended.count("datagrams_out"), crowd * EACH as u64 * 3, "{address}");
    }
}

fn a_burst_is_answered_once_each(cell: &Cell) {
    const BURST: u64 = 150;
    let Some(Running { server, place, _directory }) = echo_server(cell, "udp://127.0.0.1:0") else { return };
    let client = Client::new(&place);
    client.echo(0, 10);
    server.freeze();
    (0..BURST).for_each(|number| client.send(&number.to_le_bytes()));
    server.thaw();
    let mut answers: Vec<u64> =
        (0..BURST).map(|_| u64::from_le_bytes(client.receive().try_into().expect("eight bytes"))).collect();
    client.expect_silence();
    answers.sort_unstable();
    assert_eq!(answers, (0..BURST).collect::<Vec<_>>());
    assert_eq!(server.drain().count("datagrams_in"), BURST + 1);
}

// Neighbours

fn a_client_that_is_gone_harms_nobody(cell: &Cell) {
    for address in families() {
        let Some(Running { server, place, _directory }) = echo_server(cell, address) else { return };
        let stays = Client::new(&place);
        for round in 0..5 {
            let gone = Client::new(&place);
            gone.echo(round, 10);
            server.freeze();
            (0..5).for_each(|_| gone.send(b"nobody waits for this"));
            drop(gone);
            stays.send(&pattern::bytes(round, 0, 500));
            server.thaw();
            pattern::check(round, 0, &stays.receive());
            stays.echo(round, 1000);
        }
        server.drain();
    }
}

fn a_unix_client_that_does_not_read_holds_up_nobody(cell: &Cell) {
    /// More than wait for a reader (net.unix.max_dgram_qlen), fewer than fill the server's send buffer.
    const UNREAD: u64 = 40;
    let queued = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap_or_default();
    if queued.trim().parse().is_ok_and(|queued: u64| queued >= UNREAD - 5) {
        return skip(format_args!("net.unix.max_dgram_qlen is {queued}"));
    }
    let Some(Running { server, place, _directory }) = echo_server(cell, "unixgram:DIRECTORY/echo") else { return };
    // Only a client that is not connected has a limit of its own; others fill the server's send buffer.
    let (silent, active) = (Client::unconnected(), Client::new(&place));
    (0..UNREAD).for_each(|number| silent.send_to(&number.to_le_bytes(), &place));
    (0..20).for_each(|seed| active.echo(seed, 1000));
    // What was answered before the queue was full is there, in order; the rest is told.
    let mut read = 0;
    while let Some(bytes) = silent.receive_soon() {
        assert_eq!(bytes, u64::to_le_bytes(read));
        read += 1;
    }
    let ended = server.drain();
    assert!(read > 0 && ended.count("unsent") > 0, "{read} read");
    assert_eq!(read + ended.count("unsent"), UNREAD);
}

/// A client that is connected to the server has no limit of its own but that of the server's send buffer.
fn what_waits_for_room_in_a_full_socket_comes_whole_and_in_order(cell: &Cell) {
    const SIZE: usize = 700;
    /// Far more than any send buffer holds (net.core.wmem_default).
    const MOST: u64 = 100_000;
    let Some(Running { server, place, _directory }) = echo_server(cell, "unixgram:DIRECTORY/echo") else { return };
    let client = Client::new(&place);
    let mut sent = 0;
    // Until the server's send buffer is full, and then those that wait for it.
    while sent < MOST {
        match client.send_soon(&pattern::bytes(sent, 0, SIZE)) {
            true => sent += 1,
            // The server may have had no core for a while.
            false if server.process.is_asleep() => break,
            false => {}
        }
    }
    assert!((50..MOST).contains(&sent), "{sent} were sent");
    for number in 0..sent {
        let answer = client.receive();
        assert_eq!(answer.len(), SIZE, "answer {number} of {sent}");
        pattern::check(number, 0, &answer);
    }
    client.expect_silence();
    let ended = server.drain();
    assert_eq!((ended.count("datagrams_out"), ended.count("unsent")), (sent, 0));
}

/// An answer waits for room in the server's socket; when there is some, its reader has none.
fn what_finds_neither_the_socket_nor_the_reader_with_room_does_not_come_empty(cell: &Cell) {
    const SIZE: usize = 700;
    let Some(Running { server, place, _directory }) = echo_server(cell, "unixgram:DIRECTORY/echo") else { return };
    let (silent, active) = (Client::unconnected(), Client::new(&place));
    (0..11).for_each(|seed| silent.send_to(&pattern::bytes(seed, 0, SIZE), &place));
    let mut sent = 0;
    while sent < 2000 && active.send_soon(&pattern::bytes(sent, 0, SIZE)) {
        sent += 1;
    }
    // As the active one reads, the server gets to the other's requests between those that wait.
    let mut asked = 0;
    for number in 0..sent {
        assert_eq!(active.receive().len(), SIZE, "answer {number} of {sent}");
        asked += usize::from(asked < 20 && silent.send_to_at_once(&pattern::bytes(number, 0, SIZE), &place));
    }
    let lengths: Vec<usize> = std::iter::from_fn(|| silent.receive_soon()).map(|answer| answer.len()).collect();
    assert!(!lengths.is_empty() && lengths.iter().all(|len| *len == SIZE), "{lengths:?}");
    server.drain();
}

/// The clients are connected: what comes from another address of the server never reaches them.
fn answers_leave_from_the_address_that_was_asked(cell: &Cell) {
    const V4: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    for (bound, asked) in [("udp://0.0.0.0:0", V4), ("udp://[::]:0", ["::1", V4[0], V4[1]])] {
        let Some(Running { server, place, _directory }) = echo_server(cell, bound) else { return };
        let Place::Udp(address) = place else { panic!("a UDP server") };
        let clients = asked.map(|ip| Client::new(&Place::Udp(SocketAddr::new(ip.parse().unwrap(), address.port()))));
        for (seed, size) in [0, 1, 64, 1472, LARGEST].into_iter().enumerate() {
            clients.iter().for_each(|client| client.echo(seed as u64, size));
        }
        // Many at once, and those that a drain answers.
        server.freeze();
        for (seed, client) in clients.iter().enumerate() {
            (0..20).for_each(|index| client.send(&pattern::bytes(seed as u64, index * 100, 100)));
        }
        server.process.signal(SIGTERM);
        server.thaw();
        for (seed, client) in clients.iter().enumerate() {
            (0..20).for_each(|index| pattern::check(seed as u64, index * 100, &client.receive()));
        }
        let ended = server.drained_with_remarks();
        assert_eq!((ended.count("datagrams_out"), ended.count("unsent")), (75, 0), "{bound}");
        let stands_aside = cell.engine == "tokio-uring";
        let remarks = [("can be reached by others", true), ("not through the ring", stands_aside)];
        remarks.iter().for_each(|(remark, said)| assert_eq!(ended.stderr.contains(remark), *said, "{ended:?}"));
    }
}

fn sources_that_could_loop_are_refused(cell: &Cell) {
    let Some(Running { server, place, _directory }) = echo_server(cell, "udp://127.0.0.1:0") else { return };
    let Place::Udp(address) = place else { panic!("a UDP server") };
    // The server's own port, on another address of this machine.
    let twin = Client::at(SocketAddr::new([127, 0, 0, 2].into(), address.port()), address);
    twin.send(b"answer me");
    server.wait_for_stats("refused", 1);
    twin.expect_silence();
    Client::new(&place).echo(1, 100);
    let ended = server.drain();
    assert_eq!((ended.count("refused"), ended.count("datagrams_out")), (1, 1));
}

fn two_servers_pointed_at_each_other_fall_silent(cell: &Cell) {
    for address in over_ip() {
        let Some(first) = echo_server(cell, address) else { return };
        let Place::Udp(to) = first.place else { panic!("a UDP server") };
        Client::new(&first.place).echo(1, 10);
        first.server.freeze();
        // A request whose source will be another server by the time it is answered.
        let forged = UdpSocket::bind(SocketAddr::new(to.ip(), 0)).expect("binding");
        forged.send_to(b"pass it on", to).expect("sending");
        let source = forged.local_addr().expect("an address");
        drop(forged);
        let Some(second) = echo_server(cell, &format!("udp://{source}")) else { return };
        first.server.thaw();
        first.server.wait_for_stats("datagrams_out", 2);
        thread::sleep(Duration::from_millis(200));
        let (first, second) = (first.server.drain(), second.server.drain());
        assert_eq!((first.count("datagrams_in"), second.count("datagrams_in")), (2, 0));
    }
}

fn what_is_longer_than_the_buffer_is_counted_and_not_answered(cell: &Cell) {
    // Only unix sockets carry datagrams of this length.
    let Some(Running { server, place, _directory }) = echo_server(cell, "unixgram:DIRECTORY/echo") else { return };
    let client = Client::new(&place);
    client.send(&vec![7; 100_000]);
    server.wait_for_stats("truncated", 1);
    client.expect_silence();
    client.echo(1, LARGEST);
    let ended = server.drain();
    assert_eq!((ended.count("datagrams_in"), ended.count("datagrams_out")), (2, 1));
}

// Services and transports

fn discarding_answers_nothing(cell: &Cell) {
    for address in families() {
        let Some(running) = start(cell, "--discard", address, &["--stats", "20ms"]) else { return };
        let client = Client::new(&running.place);
        (0..10).for_each(|size| client.send(&vec![1; size * 100]));
        running.server.wait_for_stats("datagrams_in", 10);
        client.expect_silence();
        let ended = running.server.drain();
        assert_eq!((ended.count("bytes_in"), ended.count("datagrams_out")), (4500, 0));
    }
}

fn streams_and_datagrams_share_a_server(cell: &Cell) {
    // Where there is no IPv6, another address of loopback does.
    let second = if has_ipv6() { "[::1]:0" } else { "127.0.0.2:0" };
    let Some(words) = cell.words(&["--echo", "127.0.0.1:0", "--echo", second, "--discard", "udp://127.0.0.1:0"]) else {
        return;
    };
    let server = Server::spawn(ringmark(["serve"].into_iter().chain(words)), 5);
    let kinds: Vec<_> = server.listeners.iter().map(|line| line.rsplit_once(' ').expect("an address")).collect();
    let names: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(names, ["echo tcp", "echo udp", "echo tcp", "echo udp", "discard udp"]);
    assert!(kinds[0].1 == kinds[1].1 && kinds[2].1 == kinds[3].1, "one port for both: {kinds:?}");
    let mut stream = server.connect(1);
    let clients = [1, 3].map(|listener| Client::new(&server.datagrams(listener)));
    let silent = Client::new(&server.datagrams(4));
    for round in 0..20 {
        stream.send(1000);
        clients.iter().for_each(|client| client.echo(round, 300));
        silent.send(b"nothing");
        stream.receive_all();
    }
    silent.expect_silence();
    drop(stream);
    let ended = server.drain();
    assert_eq!((ended.count("connections"), ended.count("datagrams_out")), (1, 40));
}

// The end

fn drain_answers_what_had_arrived(cell: &Cell) {
    const WAITING: u64 = 40;
    for address in families() {
        let Some(Running { server, place, _directory }) = echo_server(cell, address) else { return };
        let clients = [Client::new(&place), Client::new(&place)];
        clients.iter().for_each(|client| client.echo(1, 10));
        server.freeze();
        // A unix socket holds ten or so datagrams for a reader (net.unix.max_dgram_qlen).
        let each = if matches!(place, Place::Unix(_)) { 4 } else { WAITING };
        clients.iter().for_each(|client| (0..each).for_each(|number| client.send(&number.to_le_bytes())));
        server.process.signal(SIGTERM);
        server.thaw();
        for client in &clients {
            let mut answers: Vec<_> = (0..each).map(|_| client.receive()).collect();
            answers.sort();
            let mut expected: Vec<_> = (0..each).map(|number| number.to_le_bytes().to_vec()).collect();
            expected.sort();
            assert_eq!(answers, expected);
        }
        assert_eq!(server.drained().count("datagrams_out"), 2 + 2 * each, "{address}");
        if let Place::Unix(path) = place {
            assert!(!path.exists(), "the socket's file is still there");
        }
    }
}

/// The patience is longer than the watchdog's.
fn drain_ends_though_others_send_on(cell: &Cell) {
    let Some(Running { server, place, _directory }) = start(cell, "--echo", "udp://127.0.0.1:0", &["--drain", "100s"])
    else {
        return;
    };
    let Place::Udp(to) = place else { panic!("a UDP server") };
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("binding");
            while !ended.load(Ordering::Relaxed) {
                let _ = socket.send_to(&[7; 64], to);
                thread::sleep(Duration::from_micros(100));
            }
        });
        let _end = defer(|| ended.store(true, Ordering::Relaxed));
        let client = Client::new(&place);
        // The others leave no room for it now and then.
        support::wait_until("an answer among the others'", || {
            client.send(b"and mine");
            client.receive_soon().is_some()
        });
        assert!(server.drain().count("datagrams_in") > 0);
    });
}

/// Runs it at the end of the scope, also where that ends with a panic.
fn defer(end: impl FnMut()) -> impl Drop {
    struct Deferred<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Deferred<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Deferred(end)
}

fn waiting_costs_nothing(cell: &Cell) {
    let Some(Running { server, place, _directory }) = start(cell, "--echo", "udp://127.0.0.1:0", &[]) else { return };
    let client = Client::new(&place);
    (0..100).for_each(|seed| client.echo(seed, 100));
    let before = server.process.cpu_ticks();
    thread::sleep(Duration::from_millis(500));
    let used = server.process.cpu_ticks() - before;
    assert!(used < 20, "{used}0 ms of CPU used in 500 ms of waiting");
    server.drain();
}

/// Only tests that somebody else's socket on the port is noticed, though the server binds several itself.
#[test]
fn a_port_that_is_taken_is_an_error() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("binding");
    let address = format!("udp://{}", taken.local_addr().expect("an address"));
    for cores in ["1", "2"] {
        let ended = support::server::run(["serve", "epoll", "--cores", cores, "--echo", &address]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("another program listens there"), "{ended:?}");
    }
    let Some(first) = Cell { engine: "epoll", options: &["--cores", "2"] }.words(&["--echo", "udp://127.0.0.1:0"])
    else {
        return;
    };
    let first = Server::spawn(ringmark(["serve"].into_iter().chain(first)), 1);
    let Place::Udp(address) = first.datagrams(0) else { panic!("a UDP server") };
    let ended = support::server::run(["serve", "epoll", "--cores", "2", "--echo", &format!("udp://{address}")]);
    assert!(ended.stderr.contains("another program listens there"), "{ended:?}");
}

/// Datagrams that a client hands over with one call (UDP_SEGMENT) are each answered, and come back with one.
#[test]
fn what_was_sent_as_one_comes_back_as_one() {
    for engine in ["epoll", "uring"] {
        let cell = Cell { engine, options: &["--cores", "1", "--gro"] };
        what_was_sent_as_one_comes_back_as_one_from(&cell, "udp://127.0.0.1:0", "127.0.0.1");
        // Bound to every address it has to say from which it answers as well.
        what_was_sent_as_one_comes_back_as_one_from(&cell, "udp://0.0.0.0:0", "127.0.0.2");
        what_was_sent_as_one_comes_back_as_one_from(&cell, "udp://[::]:0", "::1");
        what_was_sent_as_one_comes_back_as_one_from(&cell, "udp://[::]:0", "127.0.0.2");
    }
}

fn what_was_sent_as_one_comes_back_as_one_from(cell: &Cell, bound: &str, asked: &str) {
    const SIZE: usize = 100;
    const COUNT: usize = 20;
    let Some(Running { server, place: Place::Udp(to), _directory }) = echo_server(cell, bound) else { return };
    let own = if asked.contains(':') { "[::1]:0" } else { "127.0.0.1:0" };
    let client = UdpSocket::bind(own).expect("binding");
    client.connect(SocketAddr::new(asked.parse().expect("an address"), to.port())).expect("connecting");
    client.set_read_timeout(Some(support::WATCHDOG)).expect("a timeout");
    let socket = Socket::from(client.try_clone().expect("a copy"));
    set_gro(&socket).expect("setting UDP_GRO");
    let mut batch = RecvBatch::new(1 << 16);
    // What comes back first is answered in turn: with all of it, cut into datagrams.
    let bytes = pattern::bytes(1, 0, COUNT * SIZE);
    client.send(&bytes).expect("sending");
    for segment in [None, Some(SIZE)] {
        client.peek(&mut [0]).expect("an answer comes");
        assert_eq!(batch.receive(&socket).expect("receiving"), 1);
        let (received, answers) = batch.parts();
        let back = received.messages().next().expect("one message");
        assert_eq!((back.payload, back.segment), (&bytes[..], segment), "{} {bound} {asked}", cell.engine);
        if segment.is_none() {
            (0..COUNT).for_each(|index| answers.push_range(0, index * SIZE..(index + 1) * SIZE, Some(SIZE)));
            assert_eq!(batch.send(&socket).datagrams, COUNT as u64);
        }
    }
    server.process.signal(SIGTERM);
    let ended = server.drained_with_remarks();
    let count = 1 + COUNT as u64;
    assert_eq!(
        (ended.count("datagrams_in"), ended.count("datagrams_out")),
        (count, count),
        "{} {bound} {asked}",
        cell.engine
    );
    assert_eq!(ended.count("bytes_out"), 2 * bytes.len() as u64);
}

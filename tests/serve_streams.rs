//! The engine contract (src/engine/mod.rs), from outside: one suite, instantiated for every engine and for the variants
//! whose code paths differ. The server is the real program in a process of its own, the clients are plain blocking
//! sockets; every byte is checked, no time is measured.

use ringmark::engine::Engine;
use signal_hook::consts::SIGTERM;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use support::cell::Cell;
use support::client::{Peer, Served, Stream, send_until_stuck, who_is_served};
use support::instantiate;
use support::pattern::Random;
use support::programs;
use support::server::{Server, fields, ringmark};

/// A slow reader is held back long before this, its socket buffers being small.
const BOUND_BYTES: u64 = 4 << 20;
const SMALL_BUFFERS: [&str; 4] = ["--sndbuf", "64k", "--rcvbuf", "64k"];
/// For crowds. A single connection would crawl with windows below a segment.
const SMALLEST_BUFFERS: [&str; 4] = ["--sndbuf", "16k", "--rcvbuf", "16k"];

macro_rules! suite {
    ($name:ident, $cell:expr) => {
        instantiate!($name, $cell, [
            every_byte_comes_back_in_any_chunking
            two_hundred_connections_live_at_once
            half_closing_gets_everything_then_the_end
            resets_harm_nobody_else
            a_slow_reader_is_held_back_alone
            many_slow_readers_do_not_stop_an_active_one
            drain_answers_what_had_arrived
            drain_gives_up_on_who_never_reads
            drain_turns_newcomers_away_and_does_not_spin
            a_storm_of_connections_is_served_and_counted
            unix_sockets_echo_and_leave_no_file
            running_out_of_descriptors_is_survived
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
    uring_coop: "uring" "--cores" "1" "--taskrun" "coop";
    uring_taskrun_none: "uring" "--cores" "1" "--taskrun" "none";
    uring_sqpoll: "uring" "--cores" "1" "--sqpoll";
    uring_tiny_pool: "uring" "--cores" "1" "--buffers" "1" "--buffer-size" "64";
    uring_tiny_pool_oneshot: "uring" "--cores" "1" "--buffers" "1" "--buffer-size" "64" "--recv" "oneshot";
    uring_balanced: "uring" "--cores" "2";
    uring_balanced_fd: "uring" "--cores" "2" "--files" "fd";
    uring_reuseport: "uring" "--cores" "2" "--accept" "reuseport";
    epoll_balanced: "epoll" "--cores" "2";
    tokio_balanced: "tokio" "--cores" "2";
}

// Bytes

fn every_byte_comes_back_in_any_chunking(cell: &Cell) {
    const SIZES: [usize; 8] = [1, 63, 64, 65, 4096, 32_767, 65_537, 1 << 20];
    let Some(server) = cell.start(&[]) else { return };
    let address = server.address(0);
    let talk = |seed: u64| {
        let mut peer = Peer::connect(address, seed);
        let mut random = Random::new(seed);
        SIZES.iter().for_each(|size| peer.echo_in_pieces(*size, &mut random));
        (0..20).for_each(|_| peer.echo_in_pieces(random.clone().size(1, 16 << 10), &mut random));
        peer.sent
    };
    let sent: u64 = thread::scope(|scope| {
        let talks: Vec<_> = (1..=2).map(|seed| scope.spawn(move || talk(seed))).collect();
        talks.into_iter().map(|talk| talk.join().expect("a client")).sum()
    });
    let ended = server.drain();
    assert_eq!((ended.count("bytes_in"), ended.count("bytes_out")), (sent, sent));
    assert_eq!(ended.count("failed"), 0);
}

fn two_hundred_connections_live_at_once(cell: &Cell) {
    let Some(server) = cell.start(&[]) else { return };
    let mut peers = server.connect_many(0..200);
    for round in 0..4 {
        peers.iter_mut().for_each(|peer| peer.send(1 + 500 * round));
        peers.iter_mut().rev().for_each(|peer| peer.receive_all());
    }
    let ended = server.drain();
    peers.iter_mut().for_each(|peer| peer.expect_end());
    assert_eq!((ended.count("connections"), ended.count("failed")), (200, 0));
}

fn half_closing_gets_everything_then_the_end(cell: &Cell) {
    let Some(server) = cell.start(&[]) else { return };
    let mut peer = server.connect(1);
    let mut writer = Peer::new(peer.stream.duplicate(), 1);
    let sending = thread::spawn(move || {
        writer.send(1 << 20);
        writer.stream.finish();
    });
    peer.sent = 1 << 20;
    peer.receive_all();
    peer.expect_end();
    sending.join().expect("the sending thread");
    // An end of stream without a byte before it.
    let mut silent = server.connect(2);
    silent.stream.finish();
    silent.expect_end();
    assert_eq!(server.drain().count("failed"), 0);
}

// Neighbours

fn resets_harm_nobody_else(cell: &Cell) {
    const VICTIMS: u64 = 10;
    let Some(server) = cell.start(&[]) else { return };
    let mut others = server.connect_many(100..110);
    let echo_all = |peers: &mut [Peer]| peers.iter_mut().for_each(|peer| peer.echo(3000));
    let mut idle = server.connect_many(0..VICTIMS);
    let mut unread = server.connect_many(VICTIMS..2 * VICTIMS);
    echo_all(&mut idle);
    echo_all(&mut others);
    for peer in &mut unread {
        peer.send(100_000);
        peer.receive_until(1);
    }
    idle.into_iter().for_each(Peer::reset);
    echo_all(&mut others);
    unread.into_iter().for_each(Peer::reset);
    echo_all(&mut others);
    // Their places are taken by others, which must not get what was meant for them.
    let mut successors = server.connect_many(200..200 + 2 * VICTIMS);
    echo_all(&mut successors);
    echo_all(&mut others);
    drop((others, successors));
    let ended = server.drain();
    assert_eq!((ended.count("connections"), ended.count("failed")), (50, 2 * VICTIMS));
}

fn a_slow_reader_is_held_back_alone(cell: &Cell) {
    let Some(server) = cell.start(&SMALL_BUFFERS) else { return };
    let mut active = server.connect_many(10..14);
    let mut slow = [Peer::connect_small(server.address(0), 1, 64 << 10)];
    send_until_stuck(&server.process, &mut slow, BOUND_BYTES);
    active.iter_mut().for_each(|peer| (0..10).for_each(|_| peer.echo(1000)));
    let [mut slow] = slow;
    slow.receive_all();
    slow.echo_in_pieces(300_000, &mut Random::new(7));
    slow.stream.finish();
    slow.expect_end();
    assert_eq!(server.drain().count("failed"), 0);
}

fn many_slow_readers_do_not_stop_an_active_one(cell: &Cell) {
    many_slow_readers(cell, 80);
}

/// The pool grows to four buffers per connection, and a slow reader fills more than that.
#[test]
fn slow_readers_that_need_more_than_all_buffers_do_not_stop_an_active_one() {
    let options = &["--cores", "1", "--buffers", "1", "--buffer-size", "64"];
    many_slow_readers(&Cell { engine: "uring", options }, 300);
}

fn many_slow_readers(cell: &Cell, count: u64) {
    let Some(server) = cell.start(&SMALLEST_BUFFERS) else { return };
    let mut active = server.connect(10_000);
    let mut slow: Vec<_> = (0..count).map(|seed| Peer::connect_small(server.address(0), seed, 16 << 10)).collect();
    send_until_stuck(&server.process, &mut slow, BOUND_BYTES);
    active.echo_in_pieces(100_000, &mut Random::new(count));
    server.connect(10_001).echo(10_000);
    // All at once: the longer a window was shut, the longer TCP waits before it looks whether it is open again.
    thread::scope(|scope| slow.iter_mut().for_each(|peer| drop(scope.spawn(|| peer.receive_all()))));
    slow.iter_mut().for_each(|peer| peer.echo(1000));
    assert_eq!(server.drain().count("failed"), 0);
}

// The end

fn drain_answers_what_had_arrived(cell: &Cell) {
    // Less than a fresh connection's receive window, so that all of it has arrived once it is sent.
    const UNANSWERED: usize = 40_000;
    let Some(server) = cell.start(&[]) else { return };
    let mut waiting = server.connect_many(0..10);
    let mut idle = server.connect_many(10..20);
    waiting.iter_mut().chain(&mut idle).for_each(|peer| peer.echo(10));
    server.freeze();
    waiting.iter_mut().for_each(|peer| peer.send(UNANSWERED));
    server.process.signal(signal_hook::consts::SIGTERM);
    server.thaw();
    for peer in waiting.iter_mut().chain(&mut idle) {
        peer.receive_all();
        peer.expect_end();
    }
    let ended = server.drained();
    assert_eq!((ended.count("connections"), ended.count("failed")), (20, 0));
    assert_eq!(ended.count("bytes_out"), (20 * 10 + 10 * UNANSWERED) as u64);
}

fn drain_gives_up_on_who_never_reads(cell: &Cell) {
    let Some(server) = cell.start(&[&SMALL_BUFFERS[..], &["--drain", "1s"]].concat()) else { return };
    let mut active = server.connect_many(0..2);
    let mut stuck = [Peer::connect_small(server.address(0), 9, 64 << 10)];
    send_until_stuck(&server.process, &mut stuck, BOUND_BYTES);
    active.iter_mut().for_each(|peer| peer.echo(1000));
    let ended = server.drain();
    active.iter_mut().for_each(|peer| peer.expect_end());
    assert_eq!((ended.count("connections"), ended.count("failed")), (3, 1));
}

fn drain_turns_newcomers_away_and_does_not_spin(cell: &Cell) {
    let Some(server) = cell.start(&[&SMALL_BUFFERS[..], &["--drain", "1h"]].concat()) else { return };
    // Keeps the drain from ending, as long as it is there.
    let mut stuck = [Peer::connect_small(server.address(0), 9, 64 << 10)];
    send_until_stuck(&server.process, &mut stuck, BOUND_BYTES);
    server.process.signal(SIGTERM);
    support::wait_until("newcomers are refused", || TcpStream::connect(server.address(0)).is_err());
    does_not_spin(&server);
    drop(stuck);
    server.drained();
}

// Many and none

fn a_storm_of_connections_is_served_and_counted(cell: &Cell) {
    const STORM: u64 = 500;
    let Some(server) = cell.start(&["--stats", "20ms"]) else { return };
    for seed in 0..STORM {
        let mut peer = server.connect(seed);
        match seed % 3 {
            0 => {}
            1 => peer.send(100),
            _ => peer.stream.shutdown(Shutdown::Both).expect("shutting down"),
        }
    }
    server.connect_many(0..4).iter_mut().for_each(|peer| peer.echo(10_000));
    server.wait_for_stats("connections", STORM + 4);
    assert_eq!(server.drain().count("connections"), STORM + 4);
}

fn unix_sockets_echo_and_leave_no_file(cell: &Cell) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("echo");
    let address = format!("unix:{}", path.display());
    let Some(words) = cell.words(&["--echo"]) else { return };
    if cell.accepts_by_reuseport() {
        return;
    }
    let words = ["serve"].into_iter().chain(words).chain([address.as_str()]);
    let server = Server::spawn(ringmark(words), 1);
    assert_eq!(server.path(0), path);
    let connect = |seed| Peer::new(std::os::unix::net::UnixStream::connect(&path).expect("connecting"), seed);
    let mut peers: Vec<_> = (0..4).map(connect).collect();
    for peer in &mut peers {
        peer.echo_in_pieces(300_000, &mut Random::new(3));
        peer.stream.finish();
        peer.expect_end();
    }
    peers.truncate(2);
    let mut idle = connect(4);
    idle.echo(1);
    let ended = server.drain();
    idle.expect_end();
    assert_eq!((ended.count("connections"), ended.count("failed")), (5, 0));
    assert!(!path.exists(), "the socket's file is still there");
}

fn running_out_of_descriptors_is_survived(cell: &Cell) {
    const LIMIT: usize = 64;
    // More than two rings and the process have places for.
    const CROWD: u64 = 220;
    let Some(words) = cell.words(&["--echo", "tcp://127.0.0.1:0"]) else { return };
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {LIMIT}; exec \"$0\" serve \"$@\""), programs::ringmark()]).args(words);
    let server = Server::spawn(shell, 1);
    let mut busy = server.connect(1);
    let mut crowd = server.connect_many(0..CROWD);
    let states = who_is_served(&server.process, &mut crowd);
    let [served, waiting, closed] =
        [Served::Yes, Served::NotYet, Served::Closed].map(|one| states.iter().filter(|state| **state == one).count());
    assert!(
        (8..=3 * LIMIT).contains(&served),
        "of {CROWD} with {LIMIT} descriptors {served} are served, {waiting} wait, {closed} were closed"
    );
    does_not_spin(&server);
    // Somebody who is served all the time must not keep those who wait for a place from being accepted.
    let over = AtomicBool::new(false);
    let again = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                busy.echo(100);
            }
        });
        drop(crowd);
        let again = (0..10).any(|_| who_is_served(&server.process, &mut [server.connect(3)]) == [Served::Yes]);
        over.store(true, Ordering::Relaxed);
        again
    });
    assert!(again, "nobody new is served though others have gone");
    server.drain();
}

/// Sees a loop that never sleeps: it would use most of the time that passes.
fn does_not_spin(server: &Server) {
    let before = server.process.cpu_ticks();
    thread::sleep(std::time::Duration::from_millis(500));
    let used = server.process.cpu_ticks() - before;
    assert!(used < 20, "{used}0 ms of CPU used in 500 ms of waiting");
}

macro_rules! check_balance {
    ($($variant:ident, $engine:ty, $about:literal;)*) => {
        $(spreads_evenly(&Cell { engine: <$engine as Engine>::NAME, options: &["--cores", "2"] });)*
    };
}
/// Connections are handed round the cores in turn.
#[test]
fn balanced_accepting_spreads_connections_evenly() {
    ringmark::for_each_engine!(check_balance);
}

fn spreads_evenly(cell: &Cell) {
    let Some(server) = cell.start(&[]) else { return };
    server.connect_many(0..10).iter_mut().for_each(|peer| peer.echo(100));
    let ended = server.drain();
    let line = ended.stdout.last().expect("counters");
    let shown = fields(line)["per_shard"];
    // The engine with threads is one shard that spreads them itself.
    assert!(["5,5", "10"].contains(&shown), "{line}");
}

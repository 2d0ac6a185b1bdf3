//! What one connection says to others: the broadcast that `ringmark serve` offers to tests, on every engine, with the
//! connections spread over the shards; and the deadline by which a silent connection is told that it is. The server is the
//! real program in a process of its own.

use ringmark::engine::Engine;
use signal_hook::consts::SIGTERM;
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use support::WATCHDOG;
use support::cell::Cell;
use support::client::Stream;
use support::instantiate;
use support::server::Server;

const TCP: &str = "tcp://127.0.0.1:0";
/// What a connection is told that has sent nothing for so long.
const IDLE: &str = "idle\n";
const IDLE_AFTER: Duration = Duration::from_millis(300);

macro_rules! suite {
    ($name:ident, $cell:expr) => {
        instantiate!($name, $cell, [
            every_line_reaches_everybody_in_its_senders_order
            who_is_silent_is_told_once_until_it_sends_again
            who_does_not_read_costs_little_and_holds_up_nobody
            members_that_leave_in_any_way_leave_nothing_behind
            a_line_without_end_ends_the_connection
            drain_ends_members_in_order
        ]);
    };
}

macro_rules! engines {
    ($($variant:ident, $engine:ty, $about:literal;)*) => {
        $(suite!($variant, Cell { engine: <$engine as Engine>::NAME, options: &["--cores", "2"] });)*
    };
}

macro_rules! variants {
    ($($name:ident: $engine:literal $($option:literal)*;)*) => {
        $(suite!($name, Cell { engine: $engine, options: &[$($option),*] });)*
    };
}

ringmark::for_each_engine!(engines);

variants! {
    uring_one_core: "uring" "--cores" "1";
    uring_oneshot: "uring" "--cores" "2" "--recv" "oneshot";
    uring_fd: "uring" "--cores" "2" "--files" "fd";
    uring_tiny_pool: "uring" "--cores" "1" "--buffers" "1" "--buffer-size" "64";
    uring_reuseport: "uring" "--cores" "2" "--accept" "reuseport";
    epoll_one_core: "epoll" "--cores" "1";
    epoll_reuseport: "epoll" "--cores" "2" "--accept" "reuseport";
    tokio_one_core: "tokio" "--cores" "1";
}

/// One connection, line by line.
struct Member {
    stream: BufReader<TcpStream>,
}

impl Member {
    fn new(stream: TcpStream) -> Member {
        stream.watch_over();
        stream.set_nodelay(true).expect("setting TCP_NODELAY");
        Member { stream: BufReader::new(stream) }
    }

    fn connect(address: SocketAddr) -> Member {
        Member::new(TcpStream::connect_timeout(&address, WATCHDOG).expect("connecting"))
    }

    /// Connected, and known to be a member: it has been told that it is silent.
    #[track_caller]
    fn join(address: SocketAddr) -> Member {
        let mut member = Member::connect(address);
        assert_eq!(member.line(), IDLE);
        member
    }

    fn send(&mut self, line: &str) {
        self.stream.get_mut().write_all(line.as_bytes()).expect("sending");
    }

    /// The next line; empty at the end of the stream.
    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        // It goes on by itself after an interruption.
        self.stream.read_until(b'\n', &mut line).expect("receiving a line");
        String::from_utf8(line).expect("text")
    }

    /// The next line that somebody sent.
    #[track_caller]
    fn heard(&mut self) -> String {
        loop {
            let line = self.line();
            if line != IDLE {
                return line;
            }
        }
    }

    /// What comes within this time.
    fn hear_for(&mut self, time: Duration) -> String {
        let (end, mut heard) = (Instant::now() + time, Vec::new());
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.stream.get_ref().set_read_timeout(Some(left)).expect("setting a timeout");
            let mut room = [0; 4096];
            match self.stream.read(&mut room) {
                Ok(0) => break,
                Ok(count) => heard.extend_from_slice(&room[..count]),
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {}
                Err(error) => panic!("receiving: {error}"),
            }
        }
        self.stream.get_ref().watch_over();
        String::from_utf8(heard).expect("text")
    }

    #[track_caller]
    fn expect_end(&mut self) {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).expect("the end of the stream");
        assert_eq!(rest.replace(IDLE, ""), "");
    }

    fn reset(&self) {
        SockRef::from(self.stream.get_ref()).set_linger(Some(Duration::ZERO)).expect("setting SO_LINGER");
    }
}

fn start(cell: &Cell, more: &[&str]) -> Option<Server> {
    Server::of(cell, more, &[("broadcast", TCP)])
}

/// So many members, who join at the same time.
fn join_many(server: &Server, count: usize) -> Vec<Member> {
    let mut members: Vec<_> = (0..count).map(|_| Member::connect(server.address(0))).collect();
    members.iter_mut().for_each(|member| assert_eq!(member.line(), IDLE));
    members
}

fn every_line_reaches_everybody_in_its_senders_order(cell: &Cell) {
    const MEMBERS: usize = 200;
    const SENDERS: usize = 5;
    const LINES: usize = 10;
    let Some(server) = start(cell, &[]) else { return };
    let mut members = join_many(&server, MEMBERS);
    for number in 0..LINES {
        for (sender, member) in members.iter_mut().enumerate().take(SENDERS) {
            member.send(&format!("{sender} {number} "));
            member.send("whole\n");
        }
    }
    for (index, member) in members.iter_mut().enumerate() {
        let mut next: HashMap<String, usize> = HashMap::new();
        for _ in 0..SENDERS * LINES {
            let line = member.heard();
            let words: Vec<&str> = line.split_whitespace().collect();
            let [sender, number, "whole"] = words[..] else { panic!("member {index} heard {line:?}") };
            let expected = next.entry(sender.to_owned()).or_default();
            assert_eq!(number, expected.to_string(), "member {index} of sender {sender}");
            *expected += 1;
        }
        assert!(next.len() == SENDERS && next.values().all(|count| *count == LINES), "member {index}: {next:?}");
        member.stream.get_ref().finish();
    }
    members.iter_mut().for_each(Member::expect_end);
    let ended = server.drain();
    assert_eq!((ended.count("connections"), ended.count("failed")), (MEMBERS as u64, 0));
}

fn who_is_silent_is_told_once_until_it_sends_again(cell: &Cell) {
    let Some(server) = start(cell, &[]) else { return };
    let begun = Instant::now();
    let mut member = Member::join(server.address(0));
    let mut listener = Member::join(server.address(0));
    // Its time began when it was accepted, which may be a while before or after this thread went on.
    assert!(begun.elapsed() >= IDLE_AFTER, "told after {:?}", begun.elapsed());
    assert_eq!(member.hear_for(3 * IDLE_AFTER), "", "told once");
    for round in 0..2 {
        let (line, sent) = (format!("round {round}\n"), Instant::now());
        member.send(&line);
        assert_eq!(member.line(), line);
        assert_eq!(member.line(), IDLE);
        assert!(sent.elapsed() >= IDLE_AFTER, "told after {:?}", sent.elapsed());
        assert_eq!(member.hear_for(2 * IDLE_AFTER), "", "told once");
    }
    // What others send does not make it less silent.
    assert_eq!(listener.hear_for(IDLE_AFTER / 3), "round 0\nround 1\n");
    server.drain();
}

fn who_does_not_read_costs_little_and_holds_up_nobody(cell: &Cell) {
    /// Ten times what the server may hold for the one that does not read.
    const LINES: usize = 1000;
    const MAX_HELD: u64 = 8 << 20;
    let Some(server) = start(cell, &["--sndbuf", "16k"]) else { return };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("making a socket");
    socket.set_recv_buffer_size(4 << 10).expect("setting a buffer");
    socket.connect_timeout(&server.address(0).into(), WATCHDOG).expect("connecting");
    let mut slow = Member::new(socket.into());
    assert_eq!(slow.line(), IDLE);
    let (mut sender, mut other) = (Member::join(server.address(0)), Member::join(server.address(0)));
    let before = server.process.resident_bytes();
    let text = "x".repeat(2500);
    for number in 0..LINES {
        let line = format!("{number} {text}\n");
        sender.send(&line);
        assert!(sender.heard() == line && other.heard() == line, "line {number} did not come");
    }
    let held = server.process.resident_bytes().saturating_sub(before);
    assert!(held < MAX_HELD, "{held} bytes for who does not read");
    // Lines that there was no room for are missing; those that come are whole and in order.
    slow.stream.get_ref().finish();
    let (mut last, mut lines) = (None, 0);
    loop {
        let line = slow.heard();
        let Some((number, rest)) = line.split_once(' ') else { break assert_eq!(line, "") };
        let number: usize = number.parse().expect("a number");
        assert!(rest.trim_end() == text && last.is_none_or(|last| last < number), "line {number} after {last:?}");
        (last, lines) = (Some(number), lines + 1);
    }
    assert!((1..LINES).contains(&lines), "{lines} lines of {LINES} came");
    assert_eq!(server.drain().count("failed"), 0);
}

fn members_that_leave_in_any_way_leave_nothing_behind(cell: &Cell) {
    const ROUNDS: u64 = 40;
    let Some(server) = start(cell, &["--stats", "20ms"]) else { return };
    let mut stays = Member::join(server.address(0));
    for round in 0..ROUNDS {
        let mut leaves = Member::connect(server.address(0));
        match round % 4 {
            0 => {}
            1 => leaves.send("half of a line"),
            2 => leaves.send(&"a line\n".repeat(300)),
            _ => leaves.stream.get_ref().finish(),
        }
        if round % 8 < 4 {
            leaves.reset();
        }
        stays.send(&format!("round {round}\n"));
    }
    while stays.heard() != format!("round {}\n", ROUNDS - 1) {}
    server.wait_for_stats("closed", ROUNDS);
    let ended = server.drain();
    assert_eq!(ended.count("connections"), ROUNDS + 1);
}

fn a_line_without_end_ends_the_connection(cell: &Cell) {
    let Some(server) = start(cell, &[]) else { return };
    let (mut wrong, mut right) = (Member::join(server.address(0)), Member::join(server.address(0)));
    let longest = format!("{}\n", "y".repeat(4095));
    right.send(&longest);
    assert!(wrong.heard() == longest && right.heard() == longest);
    wrong.send(&"z".repeat(5000));
    wrong.expect_end();
    right.send("goes on\n");
    assert_eq!(right.heard(), "goes on\n");
    let ended = server.drain();
    assert_eq!((ended.count("connections"), ended.count("failed")), (2, 0));
}

fn drain_ends_members_in_order(cell: &Cell) {
    const MEMBERS: usize = 20;
    let Some(server) = start(cell, &[]) else { return };
    let mut members = join_many(&server, MEMBERS);
    members[0].send("the last line\n");
    members.iter_mut().for_each(|member| assert_eq!(member.heard(), "the last line\n"));
    server.process.signal(SIGTERM);
    thread::scope(|scope| members.iter_mut().for_each(|member| drop(scope.spawn(|| member.expect_end()))));
    let ended = server.drained();
    assert_eq!((ended.count("connections"), ended.count("failed")), (MEMBERS as u64, 0));
}

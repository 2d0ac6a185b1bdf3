//! Engines as a library: each runs one shard on a thread of this process, with services that no program offers, and is
//! told what to do through its mailbox.

use ringmark::engine::Engine;
use ringmark::engine::shard::Message;
use ringmark::protocol::{Answer, Cx, DatagramService, Out, Peer, Service, Session, Wants};
use socket2::Socket;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use support::client::Stream;
use support::pattern::{self, Random};
use support::shard::RunningShard;
use support::{WATCHDOG, wait_until};

/// A service that is asked for nothing on datagram sockets, as these tests give it none.
macro_rules! no_datagrams {
    ($($service:ty)*) => {
        $(impl DatagramService for $service {
            fn datagram(&mut self, _peer: Peer, _input: &[u8], _answer: &mut Answer<'_>, _cx: &mut Cx) {}
        })*
    };
}

no_datagrams!(Twice Window Upper Gate);

/// Answers each byte twice, in bytes of its own, and takes no more than there is room to answer.
#[derive(Clone)]
struct Twice;

impl Service for Twice {
    type Session = Twice;

    fn open(&mut self, _peer: Peer, _cx: &mut Cx) -> Twice {
        Twice
    }
}

impl Session for Twice {
    fn received(&mut self, input: &[u8], out: &mut Out, _cx: &mut Cx) -> usize {
        let taken = input.len().min(out.room() / 2);
        input[..taken].iter().for_each(|byte| out.write(&[*byte, *byte]));
        taken
    }
}

/// Answers only these positions of the stream, out of the receive buffer.
#[derive(Clone)]
struct Window {
    from: usize,
    to: usize,
    position: usize,
}

impl Service for Window {
    type Session = Window;

    fn open(&mut self, _peer: Peer, _cx: &mut Cx) -> Window {
        self.clone()
    }
}

impl Session for Window {
    fn received(&mut self, input: &[u8], out: &mut Out, _cx: &mut Cx) -> usize {
        let within = |edge: usize| edge.saturating_sub(self.position).min(input.len());
        out.input(within(self.from)..within(self.to));
        self.position += input.len();
        input.len()
    }
}

/// Drops what is below 128 and answers the rest, in whichever way suits the chunk; endpoint 7 also greets.
#[derive(Clone)]
struct Upper {
    greets: bool,
}

impl Service for Upper {
    type Session = Upper;

    fn open(&mut self, peer: Peer, _cx: &mut Cx) -> Upper {
        Upper { greets: peer.endpoint == 7 }
    }
}

impl Session for Upper {
    fn received(&mut self, input: &[u8], out: &mut Out, _cx: &mut Cx) -> usize {
        if input.iter().all(|byte| *byte >= 128) {
            out.input(0..input.len());
            return input.len();
        }
        let taken = input.len().min(out.room());
        let kept: Vec<u8> = input[..taken].iter().copied().filter(|byte| *byte >= 128).collect();
        out.write(&kept);
        taken
    }

    fn writable(&mut self, out: &mut Out, _cx: &mut Cx) {
        self.greets = false;
        out.fixed(b"7");
    }

    fn wants(&self) -> Wants {
        Wants { produce: self.greets, ..Wants::READ }
    }
}

/// Tells that it has got input, and does not return until it is allowed to: meanwhile messages pile up in the mailbox.
#[derive(Clone)]
struct Gate {
    reached: mpsc::Sender<()>,
    opened: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Service for Gate {
    type Session = Gate;

    fn open(&mut self, _peer: Peer, _cx: &mut Cx) -> Gate {
        self.clone()
    }
}

impl Session for Gate {
    fn received(&mut self, input: &[u8], out: &mut Out, _cx: &mut Cx) -> usize {
        self.reached.send(()).expect("the test listens");
        self.opened.lock().expect("no panic").recv_timeout(WATCHDOG).expect("the gate opens");
        out.input(0..input.len());
        input.len()
    }
}

/// Sends it all in random pieces, then the end of the stream; returns all that is answered.
fn converse(mut stream: TcpStream, message: &[u8]) -> Vec<u8> {
    let mut writer = stream.duplicate();
    let message = message.to_vec();
    let sending = thread::spawn(move || {
        let mut random = Random::new(message.len() as u64);
        let mut rest = message.as_slice();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(random.size(1, 100_000).min(rest.len()));
            writer.write_all(piece).expect("sending");
            rest = later;
        }
        writer.finish();
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("receiving");
    sending.join().expect("the sending thread");
    answer
}

fn services_get_and_say_every_byte<E: Engine>(words: &[&str]) {
    let message = pattern::bytes(1, 0, 500_000);
    let twice = RunningShard::start::<E>(Twice, words, 0);
    let doubled: Vec<u8> = message.iter().flat_map(|byte| [*byte, *byte]).collect();
    assert!(converse(twice.connect(), &message) == doubled, "answers in bytes of the service's own");
    let stats = twice.drain();
    assert_eq!((stats.opened, stats.closed, stats.failed), (1, 1, 0));
    assert_eq!((stats.bytes_in, stats.bytes_out), (500_000, 1_000_000));

    let window = RunningShard::start::<E>(Window { from: 12_345, to: 400_001, position: 0 }, words, 0);
    assert!(converse(window.connect(), &message) == message[12_345..400_001], "a range of the input");
    window.drain();

    let upper = RunningShard::start::<E>(Upper { greets: false }, words, 7);
    let mixed = [&message[..100_000], &[200; 100_000], &[1; 100_000]].concat();
    let kept: Vec<u8> = [b'7'].into_iter().chain(mixed.iter().copied().filter(|byte| *byte >= 128)).collect();
    assert!(converse(upper.connect(), &mixed) == kept, "all kinds of answers");
    upper.drain();
}

/// A connection as another shard of this engine would hand it on: its client's end and the message.
fn handed_over<E: Engine>() -> (TcpStream, Message) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listening");
    let client = TcpStream::connect(listener.local_addr().expect("getsockname")).expect("connecting");
    client.watch_over();
    let socket: Socket = listener.accept().expect("accepting").0.into();
    socket.set_nonblocking(matches!(E::NAME, "tokio" | "skeleton")).expect("setting O_NONBLOCK");
    (client, Message::Connection { socket, listener: 3 })
}

fn all_of(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("receiving");
    answer
}

/// Connections that arrive through the mailbox, before, together with and after the drain.
fn connections_through_the_mailbox_are_served_and_drained<E: Engine>(words: &[&str]) {
    let running = RunningShard::start::<E>(Twice, words, 0);
    let (client, message) = handed_over::<E>();
    running.outbox.deliver(message);
    assert_eq!(converse(client, b"abc"), b"aabbcc");

    let (mut idle, message) = handed_over::<E>();
    idle.write_all(b"de").expect("sending");
    running.outbox.deliver(message);
    running.outbox.deliver(Message::Drain);
    // Its end must not wait for the client's, which does not come.
    assert_eq!(all_of(idle), b"ddee");
    let stats = running.ended();
    assert_eq!((stats.opened, stats.closed, stats.failed), (2, 2, 0));
}

/// A connection that was handed on while the drain began is answered or closed, but not kept.
fn a_connection_after_the_drain_does_not_hold_it_up<E: Engine>(words: &[&str]) {
    let ((reached, is_reached), (open_gate, opened)) = (mpsc::channel(), mpsc::channel());
    let running = RunningShard::start::<E>(Gate { reached, opened: Arc::new(Mutex::new(opened)) }, words, 0);
    let mut first = running.connect();
    first.write_all(b"a").expect("sending");
    is_reached.recv_timeout(WATCHDOG).expect("the shard is at the gate");
    let (late, message) = handed_over::<E>();
    running.outbox.deliver(Message::Drain);
    running.outbox.deliver(message);
    open_gate.send(()).expect("the service waits");
    assert_eq!(all_of(first), b"a");
    let stats = running.ended();
    assert_eq!(stats.opened, stats.closed);
    assert_eq!(all_of(late), b"");
}

fn shutting_down_both_ways_frees_the_connection<E: Engine>(words: &[&str]) {
    let running = RunningShard::start::<E>(Twice, words, 0);
    for _ in 0..20 {
        let stream = running.connect();
        stream.shutdown(Shutdown::Both).expect("shutting down");
    }
    wait_until("all connections are closed", || running.shared_stats.read().closed == 20);
    running.drain();
}

macro_rules! suite {
    ($name:ident, $engine:ty, $words:tt, [$($case:ident)*]) => {
        #[allow(non_snake_case, reason = "named after the engine's variant")]
        mod $name {
            $(#[test]
            fn $case() {
                if <$engine as ringmark::engine::Engine>::NAME.contains("uring")
                    && let Some(reason) = support::without_uring()
                {
                    return support::skip::skip(reason);
                }
                super::$case::<$engine>(&$words);
            })*
        }
    };
    ($name:ident, $engine:ty, $words:tt) => {
        suite!($name, $engine, $words, [
            services_get_and_say_every_byte
            connections_through_the_mailbox_are_served_and_drained
            a_connection_after_the_drain_does_not_hold_it_up
            shutting_down_both_ways_frees_the_connection
        ]);
    };
}

macro_rules! engines {
    ($($variant:ident, $engine:ty, $about:literal;)*) => { $(suite!($variant, $engine, []);)* };
}

ringmark::for_each_engine!(engines);
suite!(Skeleton, ringmark::engine::skeleton::Skeleton, []);
suite!(uring_oneshot, ringmark::engine::uring::Uring, ["--recv", "oneshot"]);
suite!(uring_fd, ringmark::engine::uring::Uring, ["--files", "fd"]);
suite!(uring_tiny_pool, ringmark::engine::uring::Uring, ["--buffers", "1", "--buffer-size", "64"]);

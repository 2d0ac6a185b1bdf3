//! Engines as a library: each runs one shard on a thread of this process, with services that no program offers, and is
//! told what to do through its mailbox.

mod support;

use ringmark::clock::Clock;
use ringmark::engine::shard::{self, Listener, Message, Outbox, Placement, Shard};
use ringmark::engine::stats::{SharedStats, Stats};
use ringmark::engine::{Engine, EngineError};
use ringmark::protocol::{Answer, Service};
use ringmark::units::Nanos;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use support::client::Stream;
use support::pattern::{self, Random};
use support::{WATCHDOG, options, wait_until};

/// Longer than any test waits: a drain that gives up instead of ending shows.
const PATIENCE: Nanos = Nanos::from_secs(600);

/// Answers each byte twice, in bytes of its own.
#[derive(Clone)]
struct Twice;

impl Service for Twice {
    type Session = ();

    fn open(&mut self, _listener: usize) {}

    fn received(&mut self, _session: &mut (), input: &[u8], output: &mut Vec<u8>) -> Answer {
        assert!(output.is_empty(), "the contract of Service::received");
        output.extend(input.iter().flat_map(|byte| [*byte, *byte]));
        Answer::Output
    }
}

/// Answers only these positions of the stream, out of the receive buffer.
#[derive(Clone)]
struct Window {
    from: usize,
    to: usize,
}

impl Service for Window {
    type Session = usize;

    fn open(&mut self, _listener: usize) -> usize {
        0
    }

    fn received(&mut self, position: &mut usize, input: &[u8], _output: &mut Vec<u8>) -> Answer {
        let within = |edge: usize| edge.saturating_sub(*position).min(input.len());
        let range = within(self.from)..within(self.to);
        *position += input.len();
        Answer::Input(range)
    }
}

/// Drops what is below 128 and answers the rest, in whichever of the three ways suits the chunk; listener 7 also
/// greets.
#[derive(Clone)]
struct Upper;

impl Service for Upper {
    type Session = bool;

    fn open(&mut self, listener: usize) -> bool {
        listener == 7
    }

    fn received(&mut self, greets: &mut bool, input: &[u8], output: &mut Vec<u8>) -> Answer {
        if std::mem::take(greets) {
            output.push(b'7');
        }
        let kept = input.iter().filter(|byte| **byte >= 128);
        match (kept.clone().count(), output.len()) {
            (0, 0) => Answer::Nothing,
            (count, 0) if count == input.len() => Answer::Input(0..count),
            _ => {
                output.extend(kept);
                Answer::Output
            }
        }
    }
}

/// Tells that it has got input, and does not return until it is allowed to: meanwhile messages pile up in the mailbox.
#[derive(Clone)]
struct Gate {
    reached: mpsc::Sender<()>,
    opened: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Service for Gate {
    type Session = ();

    fn open(&mut self, _listener: usize) {}

    fn received(&mut self, _session: &mut (), input: &[u8], _output: &mut Vec<u8>) -> Answer {
        self.reached.send(()).expect("the test listens");
        self.opened.lock().expect("no panic").recv_timeout(WATCHDOG).expect("the gate opens");
        Answer::Input(0..input.len())
    }
}

struct Running {
    address: SocketAddr,
    outbox: Outbox,
    shared_stats: Arc<SharedStats>,
    thread: JoinHandle<Result<(), EngineError>>,
}

/// Starts one shard with a listener of this number.
fn start<E: Engine>(
    service: impl Service<Session: Send> + Clone + Send + 'static,
    words: &[&str],
    number: usize,
) -> Running {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("making a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).and_then(|()| socket.listen(128)).expect("listening");
    let address = socket.local_addr().expect("getsockname").as_socket().expect("an IP address");
    let (inbox, outbox) = shard::mailbox().expect("a socket pair");
    let (ready, is_ready) = mpsc::channel();
    let shared_stats = Arc::new(SharedStats::default());
    let shard = Shard {
        listeners: vec![Listener { number, socket }],
        datagrams: Vec::new(),
        inbox,
        placement: Placement::Local,
        service,
        shared_stats: shared_stats.clone(),
        cores: Vec::new(),
        core: None,
        drain_timeout: PATIENCE,
        clock: Clock::start(),
        ready,
    };
    let options = options::<E>(words);
    let thread = thread::spawn(move || E::run(&options, shard));
    is_ready.recv_timeout(WATCHDOG).expect("the shard says that it is ready");
    Running { address, outbox, shared_stats, thread }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connecting");
        stream.watch_over();
        stream
    }

    /// Waits for the end of a shard that was told to drain.
    fn ended(self) -> Stats {
        let begun = Instant::now();
        wait_until("the shard has drained", || self.thread.is_finished());
        assert!(begun.elapsed() < WATCHDOG);
        self.thread.join().expect("no panic").expect("no error");
        self.shared_stats.read()
    }

    fn drain(self) -> Stats {
        self.outbox.deliver(Message::Drain);
        self.ended()
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
    let twice = start::<E>(Twice, words, 0);
    let doubled: Vec<u8> = message.iter().flat_map(|byte| [*byte, *byte]).collect();
    assert!(converse(twice.connect(), &message) == doubled, "answers in bytes of the service's own");
    let stats = twice.drain();
    assert_eq!((stats.opened, stats.closed, stats.failed), (1, 1, 0));
    assert_eq!((stats.bytes_in, stats.bytes_out), (500_000, 1_000_000));

    let window = start::<E>(Window { from: 12_345, to: 400_001 }, words, 0);
    assert!(converse(window.connect(), &message) == message[12_345..400_001], "a range of the input");
    window.drain();

    let upper = start::<E>(Upper, words, 7);
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
    socket.set_nonblocking(E::NAME == "tokio").expect("setting O_NONBLOCK");
    (client, Message::Connection { socket, listener: 3 })
}

fn all_of(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("receiving");
    answer
}

/// Connections that arrive through the mailbox, before, together with and after the drain.
fn connections_through_the_mailbox_are_served_and_drained<E: Engine>(words: &[&str]) {
    let running = start::<E>(Twice, words, 0);
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
    let running = start::<E>(Gate { reached, opened: Arc::new(Mutex::new(opened)) }, words, 0);
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
    let running = start::<E>(Twice, words, 0);
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
                    && let Some(reason) = super::support::without_uring()
                {
                    return println!("skipped: {reason}");
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
suite!(uring_oneshot, ringmark::engine::uring::Uring, ["--recv", "oneshot"]);
suite!(uring_fd, ringmark::engine::uring::Uring, ["--files", "fd"]);
suite!(uring_tiny_pool, ringmark::engine::uring::Uring, ["--buffers", "1", "--buffer-size", "64"]);

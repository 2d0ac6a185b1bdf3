//! One shard of an engine on a thread of the test's own process, for services that no program offers.

use super::{WATCHDOG, options, wait_until};
use ringmark::clock::Clock;
use ringmark::engine::datagram::{DatagramSocket, ReflectionGuard};
use ringmark::engine::shard::{self, Listener, Message, Outbox, Placement, Shard};
use ringmark::engine::stats::{SharedStats, Stats};
use ringmark::engine::{Engine, EngineError, ShardService};
use ringmark::units::Nanos;
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

/// Longer than any test waits: a drain that gives up instead of ending shows.
const DRAIN_TIMEOUT: Nanos = Nanos::from_secs(600);

/// A shard that serves on IPv4's loopback: on a stream listener, and where it was asked for on a datagram socket.
pub struct RunningShard {
    pub streams: SocketAddr,
    pub datagrams: Option<SocketAddr>,
    pub outbox: Outbox,
    pub shared_stats: Arc<SharedStats>,
    thread: JoinHandle<Result<(), EngineError>>,
}

fn bound(kind: Type) -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, kind, None).expect("making a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("binding");
    let address = socket.local_addr().expect("getsockname").as_socket().expect("an IP address");
    (socket, address)
}

impl RunningShard {
    /// With an engine's options as on the command line; the service knows the listener by this number.
    pub fn start<E: Engine>(service: impl ShardService, words: &[&str], number: usize) -> RunningShard {
        RunningShard::start_on::<E>(service, words, number, None)
    }

    /// As [`RunningShard::start`]; the service knows the datagram socket by the same number.
    pub fn start_with_datagrams<E: Engine>(service: impl ShardService, words: &[&str], number: usize) -> RunningShard {
        RunningShard::start_on::<E>(service, words, number, Some(bound(Type::DGRAM)))
    }

    fn start_on<E: Engine>(
        service: impl ShardService,
        words: &[&str],
        number: usize,
        datagrams: Option<(Socket, SocketAddr)>,
    ) -> RunningShard {
        let (listener, streams) = bound(Type::STREAM);
        listener.listen(128).expect("listening");
        let (socket, datagrams) = datagrams.unzip();
        let guard = ReflectionGuard::new(false, Arc::new([]));
        let (inbox, outbox) = shard::mailbox().expect("a socket pair");
        let (ready, is_ready) = mpsc::channel();
        let shared_stats = Arc::new(SharedStats::default());
        let shard = Shard {
            listeners: vec![Listener { number, socket: listener }],
            datagrams: socket
                .into_iter()
                .map(|socket| DatagramSocket { number, socket, guard: guard.clone() })
                .collect(),
            inbox,
            others: Vec::new(),
            placement: Placement::Local,
            service,
            shared_stats: shared_stats.clone(),
            cores: Vec::new(),
            core: None,
            drain_timeout: DRAIN_TIMEOUT,
            clock: Clock::start(),
            ready,
        };
        let options = options::<E>(words);
        let thread = thread::spawn(move || E::run(&options, shard));
        is_ready.recv_timeout(WATCHDOG).expect("the shard says that it is ready");
        RunningShard { streams, datagrams, outbox, shared_stats, thread }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.streams, WATCHDOG).expect("connecting");
        super::client::Stream::watch_over(&stream);
        stream
    }

    /// Waits for the end of a shard that was told to drain.
    pub fn ended(self) -> Stats {
        wait_until("the shard has drained", || self.thread.is_finished());
        self.thread.join().expect("no panic").expect("no error");
        self.shared_stats.read()
    }

    pub fn drain(self) -> Stats {
        self.outbox.deliver(Message::Drain);
        self.ended()
    }
}

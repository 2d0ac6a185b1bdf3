//! A server: listeners, shards (one pinned thread each), the placement of connections on them, drain, counters.
//!
//! It prepares what an engine needs and watches over it; it never touches a connection itself.

mod listeners;
mod signals;
mod slowed_service;

pub use listeners::ListenError;
pub use signals::SignalError;

use crate::clock::Clock;
use crate::engine::shard::{self, Message, Outbox, Placement, Shard};
use crate::engine::stats::{SharedStats, Stats};
use crate::engine::{Engine, EngineError, ThreadingModel, Unsupported};
use crate::protocol::{Kind, Services};
use crate::sys::affinity::{self, AffinityError};
use crate::sys::datagram;
use crate::sys::rlimit;
use crate::units::{Address, Bytes, CoreList, Endpoint, Nanos, SocketLocation, Transport};
use listeners::{BindPlan, BoundSockets};
use signals::Signals;
use slowed_service::SlowedService;
use socket2::Socket;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How new connections are spread over the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Accept {
    /// One shard accepts and hands them round in turn: few connections do not land on one core by hash.
    Balanced,
    /// Every shard accepts on its own SO_REUSEPORT listener; the kernel chooses by hash. TCP only.
    Reuseport,
}

/// Options of the sockets, the same for every engine.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Connections that wait to be accepted (listen(2)).
    pub backlog: u32,
    /// TCP_NODELAY (tcp(7)).
    pub nodelay: bool,
    /// SO_RCVBUF; `None` leaves it to the kernel's autotuning, and asks for 4 MiB at datagram sockets, which have none.
    pub rcvbuf: Option<Bytes>,
    /// SO_SNDBUF; `None` leaves it to the kernel's autotuning.
    pub sndbuf: Option<Bytes>,
}

/// What to serve, where, and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// What to serve, and where.
    pub endpoints: Vec<(Kind, Endpoint)>,
    /// Cores for shards; one shard per core, unless the engine is of one shard.
    pub cores: CoreList,
    /// Whether shards are pinned to their cores.
    pub pin: bool,
    /// How accepted connections come to shards.
    pub accept: Accept,
    /// Options of all sockets.
    pub socket: SocketOptions,
    /// Print the counters this often.
    pub stats: Option<Nanos>,
    /// How long a drain waits for connections to end.
    pub drain_timeout: Nanos,
    /// Busy time added to each message answered, for tests; 0 adds nothing.
    pub handicap: Nanos,
}

/// What all shards serve.
type Answerer = SlowedService<Services>;

/// The server could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error(transparent)]
    Affinity(#[from] AffinityError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Signals(#[from] SignalError),
    #[error("{what} failed: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("a shard's thread panicked; this is a bug in ringmark, please report it")]
    Panicked,
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |source| ServerError::Io { what, source }
}

/// All shards, and copies of their datagram sockets, to ask the kernel how many datagrams it dropped.
struct Shards {
    running: Vec<Running>,
    datagrams: Vec<Socket>,
}

impl Shards {
    fn total(&self) -> Stats {
        self.running.iter().map(|shard| shard.shared_stats.read()).fold(Stats::default(), |sum, stats| sum + stats)
    }

    /// Datagrams lost at this server's sockets.
    fn dropped(&self) -> u64 {
        self.datagrams.iter().map(|socket| u64::from(datagram::drops(socket).unwrap_or(0))).sum()
    }
}

/// A shard's thread and the way to reach it.
struct Running {
    outbox: Outbox,
    shared_stats: Arc<SharedStats>,
    thread: JoinHandle<Result<(), EngineError>>,
}

/// Serves until SIGINT or SIGTERM, then drains. What scripts read goes to `out`: a line per listener once the server
/// can be used, and the counters at the end.
pub fn run<E: Engine>(config: &Config, options: &E::Options, out: &mut dyn Write) -> Result<(), ServerError> {
    E::probe(options)?;
    // First of all: a signal during the start must not be lost.
    let signals = Signals::catch()?;
    if config.pin {
        // Not only the shards: whatever the server does, it does on its own cores.
        affinity::restrict_current_thread(&config.cores)?;
    }
    rlimit::raise_open_files().map_err(io_error("raising the limit of open files"))?;
    let shard_count = if E::THREADING == ThreadingModel::ShardPerCore { config.cores.len() } else { 1 };
    let reuseport = (config.accept == Accept::Reuseport).then_some(shard_count);
    let plan = BindPlan { reuseport, cores: config.cores.len() };
    let mut bound = listeners::bind_all(&config.endpoints, &config.socket, plan)?;
    let datagrams = bound.watch_datagrams().map_err(io_error("copying a socket"))?;
    let running = start::<E>(config, options, &mut bound)?;
    announce(&bound, E::WILDCARD_NOTE, out).map_err(io_error("writing to standard output"))?;
    let shards = Shards { running, datagrams };
    watch(config, &signals, &shards, out);
    drain(shards, &bound, out)
}

/// Starts a thread per shard and waits until all can serve.
fn start<E: Engine>(
    config: &Config,
    options: &E::Options,
    bound: &mut BoundSockets,
) -> Result<Vec<Running>, ServerError> {
    let (ready, all_ready) = mpsc::channel();
    let shards = make_shards::<E>(config, bound, &ready)?;
    drop(ready);
    let count = shards.len();
    let mut running = Vec::new();
    for (shard, outbox) in shards {
        let shared_stats = shard.shared_stats.clone();
        let options = options.clone();
        let name = shard.core.map_or("shard".into(), |core| format!("shard-{core}"));
        let thread = thread::Builder::new().name(name).spawn(move || run_shard::<E>(&options, shard));
        running.push(Running { outbox, shared_stats, thread: thread.map_err(io_error("starting a shard's thread"))? });
    }
    wait_until_ready(count, &all_ready, running)
}

fn run_shard<E: Engine>(options: &E::Options, shard: Shard<Answerer>) -> Result<(), EngineError> {
    if let Some(core) = shard.core {
        affinity::pin_current_thread(core).map_err(EngineError::Affinity)?;
    }
    E::run(options, shard)
}

fn make_shards<E: Engine>(
    config: &Config,
    bound: &mut BoundSockets,
    ready: &Sender<()>,
) -> Result<Vec<(Shard<Answerer>, Outbox)>, ServerError> {
    let clock = Clock::start();
    let one_shard = E::THREADING == ThreadingModel::OneShard;
    let count = if one_shard { 1 } else { config.cores.len() };
    let mailboxes = (0..count).map(|_| shard::mailbox()).collect::<io::Result<Vec<_>>>();
    let mailboxes = mailboxes.map_err(io_error("making a socket pair"))?;
    let outboxes: Vec<_> = mailboxes.iter().map(|(_, outbox)| outbox.clone()).collect();
    let services = Services::new(bound.addresses().map(|(kind, _)| kind));
    let services = SlowedService::new(services, config.handicap, clock);
    let mut shards = Vec::new();
    for (index, (inbox, outbox)) in mailboxes.into_iter().enumerate() {
        let shard = Shard {
            listeners: bound.take_listeners(),
            datagrams: bound.take_datagrams(config.cores.len() / count),
            inbox,
            others: outboxes
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, one)| one.clone())
                .collect(),
            placement: placement(config.accept, index, &outboxes),
            service: services.clone(),
            shared_stats: Arc::new(SharedStats::default()),
            cores: if config.pin { config.cores.as_slice().to_vec() } else { Vec::new() },
            core: (config.pin && !one_shard).then(|| config.cores.as_slice()[index]),
            drain_timeout: config.drain_timeout,
            clock,
            ready: ready.clone(),
        };
        shards.push((shard, outbox));
    }
    Ok(shards)
}

fn placement(accept: Accept, own: usize, outboxes: &[Outbox]) -> Placement {
    if accept == Accept::Reuseport || outboxes.len() == 1 {
        return Placement::Local;
    }
    let others = outboxes.iter().enumerate().map(|(index, outbox)| (index != own).then(|| outbox.clone()));
    Placement::Rotate { shards: others.collect(), next: 0 }
}

/// Waits for every shard to be ready; if one ends before, returns its error.
fn wait_until_ready(
    count: usize,
    all_ready: &Receiver<()>,
    running: Vec<Running>,
) -> Result<Vec<Running>, ServerError> {
    // A shard that fails while others live does not close the channel: they keep their senders.
    const POLL_INTERVAL: Duration = Duration::from_millis(20);
    let mut ready = 0;
    while ready < count {
        match all_ready.recv_timeout(POLL_INTERVAL) {
            Ok(()) => ready += 1,
            Err(RecvTimeoutError::Timeout) if !any_ended(&running) => {}
            Err(_) => {
                running.iter().for_each(|shard| shard.outbox.deliver(Message::Drain));
                let ended: Vec<_> = running.into_iter().map(join).collect();
                ended.into_iter().collect::<Result<(), _>>()?;
                return Err(ServerError::Panicked);
            }
        }
    }
    Ok(running)
}

fn any_ended(running: &[Running]) -> bool {
    running.iter().any(|shard| shard.thread.is_finished())
}

fn join(shard: Running) -> Result<(), ServerError> {
    shard.thread.join().map_err(|_| ServerError::Panicked)?.map_err(ServerError::from)
}

/// A line for each socket, which programs read, and on standard error what may surprise.
fn announce(bound: &BoundSockets, aside: Option<&'static str>, out: &mut dyn Write) -> io::Result<()> {
    for (kind, address) in bound.addresses() {
        let separator = if matches!(address.location, SocketLocation::Unix(_)) { ":" } else { " " };
        writeln!(out, "listening {kind} {}{separator}{}", address.protocol(), address.location)?;
        if address.transport == Transport::Datagram {
            remarks(address, aside).for_each(|remark| drop(writeln!(io::stderr(), "ringmark: {address} {remark}")));
        }
    }
    out.flush()
}

/// What may surprise of a datagram socket; `aside` is of the engine.
fn remarks(address: &Address, aside: Option<&'static str>) -> impl Iterator<Item = &'static str> {
    let exposed = "can be reached by others: ports below 1024 and this server's own are not answered (they are counted as \
                   refused), and no answer is longer than its request";
    let exposed = (!address.location.is_local()).then_some(exposed);
    exposed.into_iter().chain(aside.filter(|_| address.location.is_everywhere()))
}

/// Sleeps until a signal comes or a shard ends by itself; prints statistics at the interval that was asked for.
fn watch(config: &Config, signals: &Signals, shards: &Shards, out: &mut dyn Write) {
    // A shard that fails must not go unnoticed for long, though it hardly ever happens.
    const POLL_INTERVAL: Duration = Duration::from_millis(500);
    let interval = config.stats.map_or(POLL_INTERVAL, Nanos::duration);
    let mut before = Stats::default();
    loop {
        match signals.wait(interval) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
        if any_ended(&shards.running) {
            return;
        }
        if config.stats.is_some() {
            before = print_stats(shards, before, interval, out);
        }
    }
}

fn print_stats(shards: &Shards, before: Stats, interval: Duration, out: &mut dyn Write) -> Stats {
    let now = shards.total();
    let per_second = |after: u64, before: u64| (after - before) as f64 / interval.as_secs_f64() / 1e6;
    let (received, sent) = (per_second(now.bytes_in, before.bytes_in), per_second(now.bytes_out, before.bytes_out));
    let open = now.opened.saturating_sub(now.closed);
    // A reader that is gone needs no line.
    let _ =
        writeln!(out, "stats open={open} in={received:.2}MB/s out={sent:.2}MB/s {now} dropped={}", shards.dropped())
            .and_then(|()| out.flush());
    now
}

/// Sends every shard the drain message, waits for them, and prints what they did.
fn drain(shards: Shards, bound: &BoundSockets, out: &mut dyn Write) -> Result<(), ServerError> {
    let dropped = shards.dropped();
    // Without it those who go on sending would keep the server; so at worst they do until the timeout ends.
    shards.datagrams.iter().for_each(|socket| drop(datagram::stop_ingress(socket)));
    shards.running.iter().for_each(|shard| shard.outbox.deliver(Message::Drain));
    let shared_stats: Vec<_> = shards.running.iter().map(|shard| shard.shared_stats.clone()).collect();
    let ended = shards.running.into_iter().map(join).collect::<Vec<_>>();
    bound.remove_paths();
    let stats: Vec<Stats> = shared_stats.iter().map(|shared_stats| shared_stats.read()).collect();
    let sum = stats.iter().fold(Stats::default(), |sum, one| sum + *one);
    let list = |of: fn(&Stats) -> u64| stats.iter().map(|one| of(one).to_string()).collect::<Vec<_>>().join(",");
    let (connections, datagrams) = (list(|stats| stats.opened), list(|stats| stats.datagrams_in));
    // A reader that is gone needs no line.
    let _ = writeln!(out, "drained {sum} dropped={dropped} per_shard={connections} datagrams_per_shard={datagrams}");
    ended.into_iter().collect()
}

//! epoll, as a careful server uses it: non-blocking, level-triggered, one read per event, the answer written at once,
//! interest in writing only while something waits to be written. Datagrams go by the batch (`datagrams`).

mod connection;
mod datagrams;

use super::arena::{Arena, Key};
use super::buffers::{ShardContext, VectorBuffers};
use super::datagram::DatagramOptions;
use super::deadlines::Deadlines;
use super::idle_policy::IdlePolicy;
use super::shard::{Message, Shard};
use super::topics::Topics;
use super::{ACCEPT_BACKOFF, BufferOptions, Engine, EngineError, ShardService, ThreadingModel, is_accept_backoff};
use crate::protocol::{Peer, Publication, Service};
use crate::sys::epoll::{Epoll as Poller, Events, Interest, Ready};
use crate::sys::socket::{self, Blocking};
use crate::sys::wait::Wait;
use crate::units::Nanos;
use connection::ConnectionSlot;
use datagrams::Datagrams;
use socket2::Socket;
use std::io;

/// Events taken per wait.
const EVENTS: usize = 256;
/// Connections accepted per event, so that a storm of them does not starve those there are.
const ACCEPTS_PER_EVENT: usize = 64;
const INBOX: u64 = u64::MAX;
/// Set in the keys of listeners.
const LISTENER: u64 = 1 << 63;
/// Set in the keys of datagram sockets.
const DATAGRAMS: u64 = 1 << 62;

/// Options of the `epoll` engine.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub buffers: BufferOptions,

    #[command(flatten)]
    pub datagrams: DatagramOptions,

    /// Poll this long for events before sleeping.
    ///
    /// Saves the wake-up (tens of microseconds) at the price of a busy core; hurts where another thread needs it.
    #[arg(long, value_name = "TIME", default_value = "0")]
    pub spin: Nanos,
}

/// The `epoll` engine.
#[derive(Debug)]
pub struct Epoll;

impl Engine for Epoll {
    const NAME: &'static str = "epoll";
    const THREADING: ThreadingModel = ThreadingModel::ShardPerCore;
    type Options = Options;

    fn run<S: ShardService>(options: &Options, shard: Shard<S>) -> Result<(), EngineError> {
        EpollShard::new(options, shard)?.run()
    }
}

type Context = ShardContext<VectorBuffers>;

struct EpollShard<S: Service> {
    poller: Poller,
    shard: Shard<S>,
    context: Context,
    connections: Arena<ConnectionSlot<S::Session>>,
    datagrams: Datagrams,
    deadlines: Deadlines<Key>,
    topics: Topics<Key>,
    idle_policy: IdlePolicy,
    draining: bool,
}

impl<S: ShardService> EpollShard<S> {
    fn new(options: &Options, mut shard: Shard<S>) -> Result<EpollShard<S>, EngineError> {
        let sockets = std::mem::take(&mut shard.datagrams);
        let BufferOptions { buffers, buffer_size } = options.buffers;
        let buffers = VectorBuffers::new(buffers as usize, buffer_size.0 as usize);
        Ok(EpollShard {
            poller: Poller::new().map_err(EngineError::io("epoll_create1"))?,
            context: ShardContext::new(buffers, shard.clock),
            connections: Arena::default(),
            datagrams: Datagrams::new(sockets, &options.datagrams)?,
            deadlines: Deadlines::default(),
            topics: Topics::default(),
            idle_policy: IdlePolicy::new(shard.clock, options.spin),
            draining: false,
            shard,
        })
    }

    fn run(mut self) -> Result<(), EngineError> {
        self.register().map_err(EngineError::io("registering with epoll"))?;
        let _ = self.shard.ready.send(());
        let mut events = Events::with_capacity(EVENTS);
        let mut idle = false;
        while !self.is_over() {
            let wait = self.wait(idle);
            let count = self.poller.wait(&mut events, wait).map_err(EngineError::io("epoll_wait"))?;
            idle = count == 0;
            self.context.cx.now = self.shard.clock.now();
            events.iter().for_each(|ready| self.handle(ready));
            self.call_overdue();
            self.deliver_published();
            self.shard.shared_stats.publish(&self.context.stats);
        }
        self.context.stats.failed += self.connections.len() as u64;
        self.context.stats.closed += self.connections.len() as u64;
        self.context.stats.unsent += self.datagrams.waiting();
        self.shard.shared_stats.publish(&self.context.stats);
        Ok(())
    }

    fn register(&mut self) -> io::Result<()> {
        self.shard.inbox.wake.set_nonblocking(true)?;
        self.poller.add(&self.shard.inbox.wake, Interest::READ, INBOX)?;
        self.datagrams.register(&self.poller)?;
        for (index, listener) in self.shard.listeners.iter().enumerate() {
            listener.socket.set_nonblocking(true)?;
            self.poller.add(&listener.socket, Interest::READ, LISTENER | index as u64)?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let empty = self.connections.is_empty() && self.datagrams.is_empty();
        self.draining && (empty || self.idle_policy.deadline_passed())
    }

    fn wait(&mut self, idle: bool) -> Option<std::time::Duration> {
        if self.idle_policy.backoff_ended() {
            self.set_accepting(true);
        }
        if self.context.cx.has_published() {
            return Wait::Poll.timeout();
        }
        self.idle_policy.wait(idle, self.deadlines.next()).timeout()
    }

    fn handle(&mut self, ready: Ready) {
        match ready.key {
            INBOX => self.on_inbox(),
            key if key & LISTENER != 0 => self.on_listener((key & !LISTENER) as usize),
            key if key & DATAGRAMS != 0 => self.on_datagrams((key & !DATAGRAMS) as usize),
            key => self.with(unpack(key), |slot, context| slot.on_ready(ready, context)),
        }
    }

    #[inline]
    fn on_datagrams(&mut self, index: usize) {
        self.datagrams.on_ready(index, &mut self.shard.service, &mut self.context, &self.poller);
    }

    // Accepting

    fn on_listener(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_EVENT {
            let Some(listener) = self.shard.listeners.get(index) else { return };
            let number = listener.number;
            match socket::accept(&listener.socket, Blocking::No) {
                Ok(socket) => {
                    let kept = self.shard.placement.place(socket, number);
                    kept.into_iter().for_each(|socket| self.open(socket, number));
                }
                Err(error) => match error.raw_os_error() {
                    Some(errno) if is_accept_backoff(errno) => {
                        self.idle_policy.start_backoff(ACCEPT_BACKOFF);
                        return self.set_accepting(false);
                    }
                    _ => return,
                },
            }
        }
    }

    fn set_accepting(&mut self, accepting: bool) {
        let interest = if accepting { Interest::READ } else { Interest::NONE };
        for (index, listener) in self.shard.listeners.iter().enumerate() {
            let _ = self.poller.modify(&listener.socket, interest, LISTENER | index as u64);
        }
    }

    fn open(&mut self, socket: Socket, endpoint: usize) {
        let session = self.shard.service.open(Peer { endpoint }, &mut self.context.cx);
        let key = self.connections.insert_with(|_| ConnectionSlot::new(socket, session));
        self.context.stats.opened += 1;
        let (poller, draining) = (&self.poller, self.draining);
        let Some(slot) = self.connections.get_mut(key) else { return };
        let watched = slot.register(poller, pack(key)).is_ok();
        self.with(key, |slot, context| match watched {
            true => slot.begin(draining, context),
            false => slot.abort(context),
        });
    }

    // The inbox

    fn on_inbox(&mut self) {
        for message in self.shard.inbox.read() {
            match message {
                Message::Connection { socket, listener } => self.open(socket, listener),
                Message::Published(publications) => self.deliver(&publications),
                Message::Drain => self.begin_drain(),
            }
        }
    }

    fn begin_drain(&mut self) {
        self.draining = true;
        self.idle_policy.deadline = Some(self.shard.clock.now() + self.shard.drain_timeout);
        self.shard.listeners.clear();
        for key in self.connections.keys() {
            self.with(key, |slot, _| slot.end_input());
        }
        self.datagrams.begin_drain().for_each(|index| self.on_datagrams(index));
    }

    // Connections

    /// Tells a connection what happened, and does what it asks for next.
    #[inline]
    fn with(&mut self, key: Key, tell: impl FnOnce(&mut ConnectionSlot<S::Session>, &mut Context)) {
        let Some(slot) = self.connections.get_mut(key) else { return };
        tell(slot, &mut self.context);
        let over = slot.settle(&self.poller, pack(key), &mut self.context);
        self.deadlines.arm(key, slot.conversation.deadline(), &mut slot.armed);
        if self.context.cx.has_subscribed() {
            self.topics.subscribe(&key, self.context.cx.take_subscribed());
        }
        if over {
            self.topics.leave(&key);
            drop(self.connections.remove(key));
        }
    }

    fn call_overdue(&mut self) {
        for (at, key) in self.deadlines.take_due(self.context.cx.now) {
            self.with(key, |slot, context| slot.on_deadline(at, context));
        }
    }

    /// Hands what was published in this turn to the other shards, and to those here.
    #[inline]
    fn deliver_published(&mut self) {
        if self.context.cx.has_published() {
            let publications = self.context.cx.take_published();
            Message::publish(&self.shard.others, &publications);
            self.deliver(&publications);
        }
    }

    fn deliver(&mut self, publications: &[Publication]) {
        for publication in publications {
            for key in self.topics.subscribers(publication.topic).to_vec() {
                self.with(key, |slot, context| slot.on_publication(publication, context));
            }
        }
    }
}

fn pack(key: Key) -> u64 {
    (u64::from(key.generation) << 32) | u64::from(key.slot)
}

fn unpack(key: u64) -> Key {
    Key { slot: key as u32, generation: (key >> 32) as u32 }
}

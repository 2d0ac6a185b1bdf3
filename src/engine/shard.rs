//! What an engine gets to run one shard: its listeners, its inbox, and where to put the connections it accepts.

use super::datagram::DatagramSocket;
use super::stats::SharedStats;
use crate::clock::Clock;
use crate::protocol::Publication;
use crate::units::Nanos;
use socket2::Socket;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

/// A listening socket and the number by which the service knows it.
#[derive(Debug)]
pub struct Listener {
    pub number: usize,
    pub socket: Socket,
}

/// Everything one shard works with.
#[derive(Debug)]
pub struct Shard<S> {
    /// Bound and listening; accepted sockets inherit their options. Empty where another shard accepts.
    pub listeners: Vec<Listener>,
    /// Bound, with the same options for every engine. One of each address for every core that the shard has, so one
    /// for an engine with a shard per core; unix sockets are with the first shard only.
    pub datagrams: Vec<DatagramSocket>,
    pub inbox: Inbox,
    /// The inboxes of the server's other shards.
    pub others: Vec<Outbox>,
    pub placement: Placement,
    pub service: S,
    pub shared_stats: Arc<SharedStats>,
    /// The cores of the server; an engine with a thread per connection spreads them over these, others are pinned
    /// before they run. Empty when nothing is to be pinned.
    pub cores: Vec<usize>,
    /// The core this shard is pinned to.
    pub core: Option<usize>,
    /// How long a drain waits for connections to end.
    pub drain_timeout: Nanos,
    pub clock: Clock,
    /// Told once the shard can serve.
    pub ready: Sender<()>,
}

/// What one is told through an inbox.
#[derive(Debug)]
pub enum Message {
    /// A connection that another shard accepted on this listener.
    Connection { socket: Socket, listener: usize },
    /// What sessions of another shard published.
    Published(Arc<[Publication]>),
    /// Accept nothing more, answer what has arrived, then end.
    Drain,
}

impl Message {
    /// Hands what sessions published to other shards.
    pub fn publish(others: &[Outbox], publications: &[Publication]) {
        if !others.is_empty() {
            let publications: Arc<[Publication]> = publications.into();
            others.iter().for_each(|other| other.deliver(Message::Published(publications.clone())));
        }
    }
}

/// Bytes of publications that wait for a shard at most; what comes beyond is dropped, as the shard is that far behind.
const MAX_PUBLISHED_BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
struct Queue {
    messages: Vec<Message>,
    published_bytes: usize,
}

impl Queue {
    fn has_room_for(&mut self, message: &Message) -> bool {
        if let Message::Published(publications) = message {
            self.published_bytes += publications.iter().map(Publication::held_bytes).sum::<usize>();
        }
        !matches!(message, Message::Published(_)) || self.published_bytes <= MAX_PUBLISHED_BYTES
    }
}

/// Where messages to a shard arrive. The shard watches `wake` for readability.
#[derive(Debug)]
pub struct Inbox {
    queue: Arc<Mutex<Queue>>,
    pub wake: UnixStream,
}

/// The sending side of an inbox.
#[derive(Clone, Debug)]
pub struct Outbox {
    queue: Arc<Mutex<Queue>>,
    wake: Arc<UnixStream>,
}

/// An inbox and its sending side.
pub fn mailbox() -> io::Result<(Inbox, Outbox)> {
    let (reader, writer) = UnixStream::pair()?;
    let queue = Arc::new(Mutex::new(Queue::default()));
    Ok((Inbox { queue: queue.clone(), wake: reader }, Outbox { queue, wake: Arc::new(writer) }))
}

impl Outbox {
    /// Delivers a message; wakes the shard when it is the first one waiting.
    pub fn deliver(&self, message: Message) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.has_room_for(&message) {
            return;
        }
        queue.messages.push(message);
        if queue.messages.len() == 1 {
            // At most one byte per emptied queue is under way, so this never blocks; a shard that is gone needs none.
            let _ = (&*self.wake).write_all(&[1]);
        }
    }
}

impl Inbox {
    /// All messages that wait. Call it after `wake` was readable and read.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner)).messages
    }

    /// Reads the wake-up bytes (never blocks when `wake` is non-blocking or was readable), then takes the messages.
    pub fn read(&self) -> Vec<Message> {
        let mut bytes = [0; 64];
        let _ = (&self.wake).read(&mut bytes);
        self.take()
    }
}

/// Which shard gets the next accepted connection.
#[derive(Debug)]
pub enum Placement {
    /// Always the one that accepted it: the kernel has chosen (SO_REUSEPORT), or there is only one shard.
    Local,
    /// All shards in turn, so that few connections do not land on one core. `None` marks the accepting shard itself.
    Rotate { shards: Vec<Option<Outbox>>, next: usize },
}

impl Placement {
    /// Whether every connection stays with the shard that accepted it.
    pub fn is_local(&self) -> bool {
        matches!(self, Placement::Local)
    }

    /// Hands the connection on, or gives it back to be served here.
    pub fn place(&mut self, socket: Socket, listener: usize) -> Option<Socket> {
        let Placement::Rotate { shards, next } = self else { return Some(socket) };
        let outbox = &shards[*next];
        *next = (*next + 1) % shards.len();
        match outbox {
            None => Some(socket),
            Some(outbox) => {
                outbox.deliver(Message::Connection { socket, listener });
                None
            }
        }
    }
}

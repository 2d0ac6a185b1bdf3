//! Where the next engine begins: copy this file, rename the types, and add a line to [`crate::for_each_engine`]. Its word
//! after `ringmark serve`, its options and its place in the test suites follow from that.
//!
//! The example is the plainest loop that keeps the contract in `engine/mod.rs`: it looks at every socket in turn, and sleeps
//! for a moment where nothing has happened. It is compiled and tested as every engine is, but not offered.

use super::buffers::{ShardContext, VectorBuffers};
use super::conversation::{Conversation, SENDS_PER_TURN};
use super::datagram::{BUFFER_BYTES, Responder};
use super::shard::{Message, Shard};
use super::{BufferOptions, Engine, EngineError, ShardService, ThreadingModel};
use crate::protocol::{Peer, Publication, Session};
use crate::sys::datagram;
use crate::sys::send_buffer::Filled;
use crate::sys::socket::{self, Blocking, is_transient};
use crate::units::Nanos;
use socket2::Socket;
use std::io::Read;
use std::net::Shutdown;
use std::time::Duration;

/// How long it sleeps when nothing has happened. A real engine asks the kernel to be woken.
const NAP: Duration = Duration::from_millis(1);

/// Options after the engine's word; what the engines have in common is flattened in.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub buffers: BufferOptions,
}

/// The engine.
#[derive(Debug)]
pub struct Skeleton;

impl Engine for Skeleton {
    const NAME: &'static str = "skeleton";
    const THREADING: ThreadingModel = ThreadingModel::ShardPerCore;
    type Options = Options;

    // `probe` tells whether the engine can run here, and if not, what is missing; by default it can.

    fn run<S: ShardService>(options: &Options, shard: Shard<S>) -> Result<(), EngineError> {
        SkeletonShard::new(options, shard).run()
    }
}

type Context = ShardContext<VectorBuffers>;

/// A connection: its socket, and the conversation on it, which decides everything.
struct Connection<S> {
    socket: Socket,
    conversation: Conversation<S, Filled>,
    /// Whether its session subscribed to anything. This example delivers every publication to all such; `Topics` is what
    /// the other engines use.
    subscribed: bool,
}

/// What one thread works with. Everything that is shared with others comes in the [`Shard`].
struct SkeletonShard<S: ShardService> {
    shard: Shard<S>,
    context: Context,
    connections: Vec<Connection<S::Session>>,
    /// Each with what answers at it.
    datagrams: Vec<(Socket, Responder<S>)>,
    /// What a datagram is received into.
    buffer: Vec<u8>,
    drain_ends: Option<Nanos>,
}

impl<S: ShardService> SkeletonShard<S> {
    fn new(options: &Options, mut shard: Shard<S>) -> SkeletonShard<S> {
        let buffers = VectorBuffers::new(1, options.buffers.buffer_size.0 as usize);
        let context = ShardContext::new(buffers, shard.clock);
        let responder = |number, guard| Responder::new(shard.service.clone(), number, guard, shard.clock);
        let datagrams = std::mem::take(&mut shard.datagrams).into_iter();
        let datagrams = datagrams.map(|bound| (bound.socket, responder(bound.number, bound.guard))).collect();
        let (connections, buffer) = (Vec::new(), vec![0; BUFFER_BYTES]);
        SkeletonShard { shard, context, connections, datagrams, buffer, drain_ends: None }
    }

    fn run(mut self) -> Result<(), EngineError> {
        let nonblocking = |socket: &Socket| socket.set_nonblocking(true);
        self.shard.inbox.wake.set_nonblocking(true).map_err(EngineError::io("setting O_NONBLOCK"))?;
        let listeners = self.shard.listeners.iter().try_for_each(|listener| nonblocking(&listener.socket));
        listeners.map_err(EngineError::io("setting O_NONBLOCK"))?;
        // Only now: whoever waits for it may connect at once.
        let _ = self.shard.ready.send(());
        while !self.is_over() {
            if !self.turn() {
                std::thread::sleep(NAP);
            }
            self.shard.shared_stats.publish(&self.context.stats);
        }
        let left = self.connections.len() as u64;
        self.context.stats.failed += left;
        self.context.stats.closed += left;
        self.shard.shared_stats.publish(&self.context.stats);
        Ok(())
    }

    fn is_over(&self) -> bool {
        let now = self.shard.clock.now();
        self.drain_ends.is_some_and(|end| self.connections.is_empty() || now >= end)
    }

    /// Does whatever can be done without waiting. Whether anything could.
    fn turn(&mut self) -> bool {
        self.context.cx.now = self.shard.clock.now();
        let before = self.context.stats;
        self.read_inbox();
        self.accept();
        self.answer_datagrams();
        self.connections.iter_mut().for_each(|connection| connection.turn(&mut self.context));
        self.deliver_published();
        self.connections.retain(|connection| !connection.is_over(&mut self.context));
        self.context.stats != before
    }

    fn read_inbox(&mut self) {
        for message in self.shard.inbox.read() {
            match message {
                Message::Connection { socket, listener } => self.open(socket, listener),
                Message::Published(publications) => self.deliver(&publications),
                Message::Drain => self.drain(),
            }
        }
    }

    fn accept(&mut self) {
        for index in 0..self.shard.listeners.len() {
            let (listener, number) = (&self.shard.listeners[index].socket, self.shard.listeners[index].number);
            // A real engine rests for a while where descriptors ran out (`is_accept_backoff`).
            let Ok(socket) = socket::accept(listener, Blocking::No) else { continue };
            // The connection may be another shard's.
            if let Some(socket) = self.shard.placement.place(socket, number) {
                self.open(socket, number);
            }
        }
    }

    fn open(&mut self, socket: Socket, endpoint: usize) {
        let session = self.shard.service.open(Peer { endpoint }, &mut self.context.cx);
        let subscribed = !self.context.cx.take_subscribed().is_empty();
        let mut connection = Connection { socket, conversation: Conversation::new(session), subscribed };
        self.context.stats.opened += 1;
        let usable = connection.socket.set_nonblocking(true).is_ok();
        match usable {
            true => connection.conversation.begin(&mut self.context),
            false => connection.abort(&mut self.context),
        }
        if self.drain_ends.is_some() {
            connection.end_input();
        }
        self.connections.push(connection);
    }

    /// Accepts nothing more; what has arrived is still answered.
    fn drain(&mut self) {
        self.drain_ends = Some(self.shard.clock.now() + self.shard.drain_timeout);
        self.shard.listeners.clear();
        self.answer_datagrams();
        self.datagrams.clear();
        self.connections.iter().for_each(Connection::end_input);
    }

    /// What sessions here published goes to those here and to the other shards.
    fn deliver_published(&mut self) {
        let publications = self.context.cx.take_published();
        Message::publish(&self.shard.others, &publications);
        self.deliver(&publications);
    }

    fn deliver(&mut self, publications: &[Publication]) {
        for publication in publications {
            for connection in self.connections.iter_mut().filter(|connection| connection.subscribed) {
                connection.conversation.delivered(publication, &mut self.context);
            }
        }
    }

    fn answer_datagrams(&mut self) {
        for (socket, responder) in &mut self.datagrams {
            while let Ok(received) = datagram::receive_with_local(socket, &mut self.buffer, Blocking::No) {
                let input = &self.buffer[..received.len];
                if let Some(reply) = responder.answer(input, received.port(), received.truncated) {
                    let answer = reply.bytes(input, &responder.written);
                    // A real engine keeps an answer for which the socket has no room now, and does not wait here.
                    let sent = datagram::send_waiting(socket, answer, &received.source, received.local).is_ok();
                    let len = answer.len();
                    responder.answered(len, sent);
                }
                self.context.stats = self.context.stats + responder.take_stats();
            }
        }
    }
}

impl<S: Session> Connection<S> {
    /// Does what the conversation asks for, as far as that goes without waiting.
    fn turn(&mut self, context: &mut Context) {
        self.send(context);
        if self.conversation.wants_receive() {
            self.receive(context);
            self.send(context);
        }
        // A real engine asks `Deadlines` which connections to look at.
        if self.conversation.deadline().is_some_and(|deadline| deadline <= context.cx.now) {
            self.conversation.timed_out(context);
        }
        if self.conversation.wants_shutdown() {
            let _ = self.socket.shutdown(Shutdown::Write);
            self.conversation.shut_down(context.cx.now);
        }
    }

    fn receive(&mut self, context: &mut Context) {
        let mut vector = context.buffers.buffer();
        match self.socket.read(&mut vector) {
            Ok(0) => self.conversation.receive_ended(context),
            Ok(len) => return self.conversation.received(Filled { vector, len }, context),
            Err(error) if is_transient(&error) => {}
            Err(_) => self.abort(context),
        }
        context.buffers.put(vector);
    }

    fn send(&mut self, context: &mut Context) {
        for _ in 0..SENDS_PER_TURN {
            let Some(segment) = self.conversation.next_send() else { return };
            let result = self.socket.send_with_flags(segment.bytes(Filled::bytes), libc::MSG_NOSIGNAL);
            // However much was sent, the segment goes back.
            self.conversation.sent(segment, *result.as_ref().unwrap_or(&0), context);
            match result {
                Ok(_) => {}
                Err(error) if is_transient(&error) => return,
                Err(_) => return self.abort(context),
            }
        }
    }

    fn abort(&mut self, context: &mut Context) {
        if self.conversation.abort(context) {
            context.stats.failed += 1;
        }
    }

    /// Treats the connection as if the peer had sent its end of stream.
    fn end_input(&self) {
        let _ = self.socket.shutdown(Shutdown::Read);
    }

    fn is_over(&self, context: &mut Context) -> bool {
        let over = self.conversation.finished();
        context.stats.closed += u64::from(over);
        over
    }
}

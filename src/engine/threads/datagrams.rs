//! One blocking thread for a datagram socket: receive, ask the service, send, until the drain.

use super::connection::ThreadWake;
use super::registry::ConnectionRegistry;
use crate::engine::ACCEPT_BACKOFF;
use crate::engine::datagram::{BUFFER_BYTES, DatagramSocket, Responder};
use crate::engine::hub::Hub;
use crate::engine::shard::Shard;
use crate::engine::stats::SharedStats;
use crate::protocol::DatagramService;
use crate::sys::datagram::{self, Received};
use crate::sys::socket::{Blocking, is_transient};
use socket2::Socket;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// A datagram socket and all that its thread needs.
pub(super) struct DatagramEndpoint<S> {
    socket: Arc<Socket>,
    /// Answers leave from where requests arrived, which the kernel tells.
    anywhere: bool,
    responder: Responder<S>,
    shared_stats: Arc<SharedStats>,
    registry: Arc<ConnectionRegistry>,
    hub: Arc<Hub<ThreadWake>>,
    buffer: Vec<u8>,
}

impl<S: DatagramService + Clone> DatagramEndpoint<S> {
    pub(super) fn new(
        datagrams: DatagramSocket,
        shard: &Shard<S>,
        registry: &Arc<ConnectionRegistry>,
        hub: &Arc<Hub<ThreadWake>>,
    ) -> DatagramEndpoint<S> {
        let DatagramSocket { number, socket, guard } = datagrams;
        let responder = Responder::new(shard.service.clone(), number, guard, shard.clock);
        let anywhere = datagram::is_bound_to_all(&socket).unwrap_or(true);
        let buffer = vec![0; BUFFER_BYTES];
        DatagramEndpoint {
            socket: socket.into(),
            anywhere,
            responder,
            shared_stats: shard.shared_stats.clone(),
            registry: registry.clone(),
            hub: hub.clone(),
            buffer,
        }
    }

    /// The socket, to wake the thread by shutting it down.
    pub(super) fn socket(&self) -> Arc<Socket> {
        self.socket.clone()
    }

    pub(super) fn run(mut self) {
        while !self.drain_is_over() && self.turn() {}
    }

    /// Receives a datagram and answers it. `false` when nothing more has arrived before the drain.
    fn turn(&mut self) -> bool {
        let arrived = match self.receive() {
            Ok(arrived) if arrived.is_nothing() && self.registry.drain_ends.get().is_some() => return false,
            Ok(arrived) => arrived,
            Err(error) if is_transient(&error) => return true,
            Err(_) => {
                thread::sleep(ACCEPT_BACKOFF.duration());
                return true;
            }
        };
        let input = &self.buffer[..arrived.len];
        if let Some(reply) = self.responder.answer(input, arrived.port(), arrived.truncated) {
            let answer = reply.bytes(input, &self.responder.written);
            let sent = datagram::send_waiting(&self.socket, answer, &arrived.source, arrived.local).is_ok();
            let len = answer.len();
            self.responder.answered(len, sent);
        }
        self.hub.publish(self.responder.take_published());
        self.shared_stats.add(&self.responder.take_stats());
        true
    }

    fn receive(&mut self) -> io::Result<Received> {
        match self.anywhere {
            true => datagram::receive_with_local(&self.socket, &mut self.buffer, Blocking::Yes),
            false => datagram::receive(&self.socket, &mut self.buffer, Blocking::Yes),
        }
    }

    fn drain_is_over(&self) -> bool {
        self.registry.drain_ends.get().is_some_and(|end| Instant::now() >= *end)
    }
}

//! Datagrams on epoll, by the batch: recvmmsg, the service, sendmmsg, until nothing has arrived.

use super::{Context, DATAGRAMS};
use crate::engine::EngineError;
use crate::engine::buffers::Buffers;
use crate::engine::datagram::{BUFFER_BYTES, DatagramOptions, DatagramSocket, ReceivedMeta, handle_datagram};
use crate::engine::stats::Stats;
use crate::protocol::{Cx, DatagramService, Reply};
use crate::sys::datagram::{BATCH, RecvBatch, RecvMsg, ReplyBatch, segments, set_gro};
use crate::sys::epoll::{Epoll as Poller, Interest};
use std::io::{self, ErrorKind};
use std::ops::Range;

/// Batches per event, so that one busy socket does not starve the others.
const BATCHES_PER_EVENT: usize = 4;

/// The datagram sockets of a shard.
pub(super) struct Datagrams {
    endpoints: Vec<Option<DatagramEndpoint>>,
    /// Batches not in use: as many as sockets were full at a time, and one.
    spare: Vec<RecvBatch>,
    draining: bool,
}

struct DatagramEndpoint {
    bound: DatagramSocket,
    /// Answers for which the socket had no room: they are sent before anything is received.
    waiting: Option<RecvBatch>,
}

/// Why a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There may be more in the socket; its event comes again.
    More,
    /// Nothing more has arrived.
    Empty,
    /// The socket has no room for answers.
    Full,
}

impl Datagrams {
    pub(super) fn new(sockets: Vec<DatagramSocket>, options: &DatagramOptions) -> Result<Datagrams, EngineError> {
        if options.gro {
            let all_set = sockets.iter().try_for_each(|bound| set_gro(&bound.socket));
            all_set.map_err(EngineError::io("setting UDP_GRO (Linux 5.0; it goes without --gro)"))?;
        }
        let endpoints = sockets.into_iter().map(|bound| Some(DatagramEndpoint { bound, waiting: None })).collect();
        Ok(Datagrams { endpoints, spare: Vec::new(), draining: false })
    }

    pub(super) fn register(&self, poller: &Poller) -> io::Result<()> {
        let mut all = self.endpoints.iter().flatten().enumerate();
        all.try_for_each(|(index, endpoint)| poller.add(&endpoint.bound.socket, Interest::READ, key(index)))
    }

    /// All sockets are left.
    pub(super) fn is_empty(&self) -> bool {
        self.endpoints.iter().all(Option::is_none)
    }

    /// Answers that never got room.
    pub(super) fn waiting(&self) -> u64 {
        self.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.waiting).map(RecvBatch::waiting).sum()
    }

    /// From now on a socket is left as soon as nothing more has arrived there. Returns those to look at.
    pub(super) fn begin_drain(&mut self) -> Range<usize> {
        self.draining = true;
        0..self.endpoints.len()
    }

    #[inline]
    pub(super) fn on_ready<S: DatagramService>(
        &mut self,
        index: usize,
        service: &mut S,
        context: &mut Context,
        poller: &Poller,
    ) {
        let Some(Some(endpoint)) = self.endpoints.get_mut(index) else { return };
        let was_full = endpoint.waiting.is_some();
        let batch = endpoint.waiting.take().or_else(|| self.spare.pop());
        let mut batch = batch.unwrap_or_else(|| RecvBatch::new(BUFFER_BYTES));
        let turn = endpoint.turn(&mut batch, service, context);
        match turn {
            Turn::Full => endpoint.waiting = Some(batch),
            Turn::More | Turn::Empty => self.spare.push(batch),
        }
        if was_full != (turn == Turn::Full) {
            let interest = if was_full { Interest::READ } else { Interest::WRITE };
            let _ = poller.modify(&endpoint.bound.socket, interest, key(index));
        }
        if self.draining && turn == Turn::Empty {
            // Others may hold copies of the socket, so that closing it would not be enough.
            let _ = poller.delete(&endpoint.bound.socket);
            self.endpoints[index] = None;
        }
    }
}

impl DatagramEndpoint {
    fn turn<S: DatagramService>(&self, batch: &mut RecvBatch, service: &mut S, context: &mut Context) -> Turn {
        if !self.send(batch, &mut context.stats) {
            return Turn::Full;
        }
        for _ in 0..BATCHES_PER_EVENT {
            let count = match batch.receive(&self.bound.socket) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Empty,
                // It has been fetched by that, and concerns nobody here.
                Err(_) => continue,
            };
            self.answer_all(batch, service, context);
            match self.send(batch, &mut context.stats) {
                false => return Turn::Full,
                true if count < BATCH => return Turn::Empty,
                true => {}
            }
        }
        Turn::More
    }

    #[inline]
    fn answer_all<S: DatagramService>(&self, batch: &mut RecvBatch, service: &mut S, context: &mut Context) {
        let mut written = context.buffers.vector();
        let (received, answers) = batch.parts();
        for message in received.messages() {
            let RecvMsg { payload, truncated, source_port, .. } = message;
            let datagrams = segments(payload.len(), message.segment).len();
            let meta = ReceivedMeta { datagrams, bytes: payload.len(), truncated, source_port };
            if self.bound.guard.admits(meta, &mut context.stats) {
                self.answer(&message, answers, &mut written, service, &mut context.cx);
            }
        }
        context.buffers.recycle(written);
    }

    /// Gives the service each datagram of a message by itself.
    #[inline]
    fn answer<S: DatagramService>(
        &self,
        message: &RecvMsg,
        answers: &mut ReplyBatch,
        written: &mut Vec<u8>,
        service: &mut S,
        cx: &mut Cx,
    ) {
        for part in segments(message.payload.len(), message.segment) {
            let input = &message.payload[part.clone()];
            match handle_datagram(service, self.bound.number, &self.bound.guard, input, written, cx) {
                None => {}
                Some(Reply::Input(range)) => {
                    let range = part.start + range.start..part.start + range.end;
                    answers.push_range(message.index, range, message.segment);
                }
                Some(Reply::Written) => answers.push_bytes(message.index, written),
            }
            written.clear();
        }
    }

    /// `false` where the socket had no room for all.
    #[inline]
    fn send(&self, batch: &mut RecvBatch, stats: &mut Stats) -> bool {
        let sent = batch.send(&self.bound.socket);
        stats.datagrams_out += sent.datagrams;
        stats.bytes_out += sent.bytes;
        stats.unsent += sent.unsent;
        !sent.blocked
    }
}

fn key(index: usize) -> u64 {
    DATAGRAMS | index as u64
}

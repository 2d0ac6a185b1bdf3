//! Datagrams on epoll, by the batch: recvmmsg, the service, sendmmsg, until nothing has arrived.

use super::DATAGRAMS;
use crate::engine::EngineError;
use crate::engine::counters::Counts;
use crate::engine::datagram::{BUFFER_BYTES, Came, DatagramOptions, DatagramSocket, Reply, converse};
use crate::protocol::Service;
use crate::sys::datagram::{BATCH, RecvBatch, RecvMsg, ReplyBatch, segments, set_gro};
use crate::sys::epoll::{Epoll as Poller, Interest};
use std::io::{self, ErrorKind};
use std::ops::Range;

/// Batches per event, so that one busy socket does not starve the others.
const BATCHES_PER_EVENT: usize = 4;

/// The datagram sockets of a shard.
pub(super) struct Datagrams {
    stations: Vec<Option<Station>>,
    /// Batches not in use: as many as sockets were full at a time, and one.
    spare: Vec<RecvBatch>,
    /// What a service writes; empty between datagrams.
    output: Vec<u8>,
    draining: bool,
}

struct Station {
    bound: DatagramSocket,
    /// Answers for which the socket had no room: they are sent before anything is received.
    waiting: Option<RecvBatch>,
}

/// What a shard lends to its datagram sockets.
pub(super) struct Context<'a, S> {
    pub service: &'a mut S,
    pub poller: &'a Poller,
    pub counts: &'a mut Counts,
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
        let stations = sockets.into_iter().map(|bound| Some(Station { bound, waiting: None })).collect();
        Ok(Datagrams { stations, spare: Vec::new(), output: Vec::new(), draining: false })
    }

    pub(super) fn register(&self, poller: &Poller) -> io::Result<()> {
        let mut all = self.stations.iter().flatten().enumerate();
        all.try_for_each(|(index, station)| poller.add(&station.bound.socket, Interest::READ, key(index)))
    }

    /// All sockets are left.
    pub(super) fn is_empty(&self) -> bool {
        self.stations.iter().all(Option::is_none)
    }

    /// Answers that never got room.
    pub(super) fn waiting(&self) -> u64 {
        self.stations.iter().flatten().flat_map(|station| &station.waiting).map(RecvBatch::waiting).sum()
    }

    /// From now on a socket is left as soon as nothing more has arrived there. Returns those to look at.
    pub(super) fn begin_drain(&mut self) -> Range<usize> {
        self.draining = true;
        0..self.stations.len()
    }

    #[inline]
    pub(super) fn on_ready<S: Service>(&mut self, index: usize, context: &mut Context<'_, S>) {
        let Some(Some(station)) = self.stations.get_mut(index) else { return };
        let was_full = station.waiting.is_some();
        let batch = station.waiting.take().or_else(|| self.spare.pop());
        let mut batch = batch.unwrap_or_else(|| RecvBatch::new(BUFFER_BYTES));
        let turn = station.turn(&mut batch, &mut self.output, context);
        match turn {
            Turn::Full => station.waiting = Some(batch),
            Turn::More | Turn::Empty => self.spare.push(batch),
        }
        if was_full != (turn == Turn::Full) {
            let interest = if was_full { Interest::READ } else { Interest::WRITE };
            let _ = context.poller.modify(&station.bound.socket, interest, key(index));
        }
        if self.draining && turn == Turn::Empty {
            // Others may hold copies of the socket, so that closing it would not be enough.
            let _ = context.poller.delete(&station.bound.socket);
            self.stations[index] = None;
        }
    }
}

impl Station {
    fn turn<S: Service>(&self, batch: &mut RecvBatch, output: &mut Vec<u8>, context: &mut Context<'_, S>) -> Turn {
        if !self.send(batch, context.counts) {
            return Turn::Full;
        }
        for _ in 0..BATCHES_PER_EVENT {
            let count = match batch.receive(&self.bound.socket) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Empty,
                // It has been fetched by that, and concerns nobody here.
                Err(_) => continue,
            };
            self.answer_all(batch, output, context);
            match self.send(batch, context.counts) {
                false => return Turn::Full,
                true if count < BATCH => return Turn::Empty,
                true => {}
            }
        }
        Turn::More
    }

    #[inline]
    fn answer_all<S: Service>(&self, batch: &mut RecvBatch, output: &mut Vec<u8>, context: &mut Context<'_, S>) {
        let (received, answers) = batch.parts();
        for message in received.messages() {
            let RecvMsg { payload, truncated, source_port, .. } = message;
            let datagrams = segments(payload.len(), message.segment).len();
            let came = Came { datagrams, bytes: payload.len(), truncated, source_port };
            if self.bound.guard.admits(came, context.counts) {
                self.answer(&message, answers, output, context.service);
            }
        }
    }

    /// Gives the service each datagram of a message by itself.
    #[inline]
    fn answer<S: Service>(&self, message: &RecvMsg, answers: &mut ReplyBatch, output: &mut Vec<u8>, service: &mut S) {
        for part in segments(message.payload.len(), message.segment) {
            let input = &message.payload[part.clone()];
            match converse(service, self.bound.number, &self.bound.guard, input, output) {
                None => {}
                Some(Reply::Input(range)) => {
                    let range = part.start + range.start..part.start + range.end;
                    answers.push_range(message.index, range, message.segment);
                }
                Some(Reply::Output) => answers.push_bytes(message.index, output),
            }
            output.clear();
        }
    }

    /// `false` where the socket had no room for all.
    #[inline]
    fn send(&self, batch: &mut RecvBatch, counts: &mut Counts) -> bool {
        let sent = batch.send(&self.bound.socket);
        counts.datagrams_out += sent.datagrams;
        counts.bytes_out += sent.bytes;
        counts.unsent += sent.unsent;
        !sent.blocked
    }
}

fn key(index: usize) -> u64 {
    DATAGRAMS | index as u64
}

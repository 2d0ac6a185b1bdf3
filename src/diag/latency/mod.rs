//! How long a server takes to answer, read off the packets alone. No sockets, no clock: packets come with their time.
//!
//! **What is measured.** On a TCP connection payload flows in turns. A run of payload towards the server is a request,
//! the run back is its answer; the next payload towards the server ends the answer, as does the server's FIN or a reset.
//! *Service time* is from the first segment of the request to the last of the answer, *first answer* from the last
//! segment of the request to the first of the answer, both where the packets were captured. On UDP each datagram towards
//! the server is a request, and each one back answers the oldest request of its two ends.
//!
//! **What is told apart.** Segments without payload change nothing. A segment whose bytes were seen before is a
//! retransmission: it is counted, and the first copy's time stands. Bytes that were never seen (a hole in the sequence
//! numbers of either side, or an acknowledgement of what was not captured) make the exchange *torn*: no sample. Neither
//! gives the exchange one that was under way when the first packet of a connection was captured.
//!
//! **Pipelining.** Without knowing the protocol, requests that follow each other without waiting look like one. A client
//! that sends more before it has the whole answer, which its acknowledgement number shows, makes the exchange and the
//! next one *overlapping*: counted, no sample. Requests made of several writes before any answer are counted too: they
//! are one request in pieces, or several; the time then is that of the run.

mod record;
mod tcp;
mod times;
mod udp;

pub use record::report;
pub use tcp::{Flags, Segment};
pub use times::{Spread, Times, Total};

use crate::record::SeenRecord;
use crate::units::Nanos;
use lru::LruCache;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use tcp::Connection;
use udp::Flow;

/// The direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    Server,
    Client,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ends {
    pub transport: Transport,
    pub client: SocketAddr,
    pub server: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    Tcp,
    Udp,
}

/// What bounds the memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections remembered; beyond it the one longest unseen is forgotten.
    pub connections: NonZeroUsize,
    /// Requests of UDP waiting for an answer, for each pair of ends.
    pub datagrams: usize,
    /// A datagram without an answer for so long gets none.
    pub patience: Nanos,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: NonZeroUsize::new(4096).unwrap_or(NonZeroUsize::MIN),
            datagrams: 64,
            patience: Nanos::from_secs(1),
        }
    }
}

enum State {
    Tcp(Connection),
    Udp(Flow),
}

struct Entry {
    state: State,
    times: Times,
}

/// Watches one port of a server.
pub struct Watch {
    port: u16,
    limits: Limits,
    table: LruCache<Ends, Entry>,
    pub total: Total,
    pub seen: SeenRecord,
}

impl Watch {
    pub fn new(port: u16, limits: Limits) -> Watch {
        Watch {
            port,
            limits,
            table: LruCache::new(limits.connections),
            total: Total::default(),
            seen: SeenRecord::default(),
        }
    }

    /// A segment of TCP from one end to another.
    pub fn tcp(&mut self, at: Nanos, from: SocketAddr, to: SocketAddr, segment: Segment) {
        let Some((ends, toward)) = self.classify(Transport::Tcp, from, to) else { return };
        let (entry, total, seen) = self.entry(ends);
        if let State::Tcp(connection) = &mut entry.state {
            connection.segment(at, toward, segment, &mut Record { times: &mut entry.times, total, seen });
        }
    }

    /// A datagram from one end to another.
    pub fn udp(&mut self, at: Nanos, from: SocketAddr, to: SocketAddr) {
        let Some((ends, toward)) = self.classify(Transport::Udp, from, to) else { return };
        let limits = self.limits;
        let (entry, total, seen) = self.entry(ends);
        if let State::Udp(flow) = &mut entry.state {
            flow.datagram(at, toward, limits, &mut Record { times: &mut entry.times, total, seen });
        }
    }

    /// Packets were lost about here. TCP tells by its numbers which exchanges that tore; what waits for a datagram
    /// might be answered by the wrong one, and is given up.
    pub fn lost(&mut self) {
        for (_, entry) in self.table.iter_mut() {
            if let State::Udp(flow) = &mut entry.state {
                self.seen.torn += flow.give_up();
            }
        }
    }

    /// No more packets come: an answer whose last segment ended a write was whole.
    pub fn finish(&mut self) {
        let (total, seen) = (&mut self.total, &mut self.seen);
        for (_, Entry { state, times }) in self.table.iter_mut() {
            match state {
                State::Tcp(connection) => connection.finish(&mut Record { times, total, seen }),
                State::Udp(flow) => seen.unanswered += flow.give_up(),
            }
        }
    }

    /// The connections that are remembered, those with the most samples first.
    pub fn connections(&self) -> Vec<(Ends, &Times)> {
        let mut all: Vec<_> = self.table.iter().map(|(ends, entry)| (*ends, &entry.times)).collect();
        all.sort_by_key(|(ends, times)| (std::cmp::Reverse(times.samples()), *ends));
        all
    }

    /// Who is the server: the end with the port. Where both have it, who spoke first is the client.
    fn classify(&mut self, transport: Transport, from: SocketAddr, to: SocketAddr) -> Option<(Ends, Toward)> {
        let to_server = Ends { transport, client: from, server: to };
        let to_client = Ends { transport, client: to, server: from };
        match (from.port() == self.port, to.port() == self.port) {
            (false, false) => None,
            (true, false) => Some((to_client, Toward::Client)),
            (true, true) if self.table.contains(&to_client) => Some((to_client, Toward::Client)),
            (_, true) => Some((to_server, Toward::Server)),
        }
    }

    fn entry(&mut self, ends: Ends) -> (&mut Entry, &mut Total, &mut SeenRecord) {
        if !self.table.contains(&ends) {
            let state = match ends.transport {
                Transport::Tcp => State::Tcp(Connection::default()),
                Transport::Udp => State::Udp(Flow::default()),
            };
            self.seen.connections += 1;
            let forgotten = self.table.push(ends, Entry { state, times: Times::default() });
            self.seen.forgotten += u64::from(forgotten.is_some());
        }
        let new = || Entry { state: State::Udp(Flow::default()), times: Times::default() };
        (self.table.get_or_insert_mut(ends, new), &mut self.total, &mut self.seen)
    }
}

/// Where a connection's samples and oddities go.
struct Record<'a> {
    times: &'a mut Times,
    total: &'a mut Total,
    seen: &'a mut SeenRecord,
}

impl Record<'_> {
    fn service(&mut self, time: Nanos) {
        self.times.record(time);
        self.total.service.record(time);
    }
}

#[cfg(test)]
mod tests;

//! How long a server takes to answer, read off the packets alone. No sockets, no clock: packets come with their time.
//!
//! **What is measured.** On a TCP connection payload flows in turns. A run of payload towards the server is a request,
//! the run back is its answer; the next payload towards the server ends the answer, as does the server's FIN or a reset.
//! *Service time* is from the first segment of the request to the last of the answer, *first answer* from the last
//! segment of the request to the first of the answer, both where the packets were captured. On UDP each datagram towards
//! the server is a request, and each one back answers the oldest request of its two ends.
//!
//! **What is distinguished.** Segments without payload change nothing. A segment whose bytes were seen before is a
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
pub use times::{TimeHistogram, Times, Total};

use crate::record::SeenRecord;
use crate::units::Nanos;
use lru::LruCache;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use tcp::TcpFlow;
use udp::UdpFlow;

/// The direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Server,
    /// From the server to the client.
    Client,
}

/// What identifies a flow: the transport and both socket addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// TCP or UDP.
    pub transport: IpProtocol,
    /// The other end.
    pub client: SocketAddr,
    /// The end with the port that is watched.
    pub server: SocketAddr,
}

/// The transport protocols that are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IpProtocol {
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
    pub timeout: Nanos,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: NonZeroUsize::new(4096).unwrap_or(NonZeroUsize::MIN),
            datagrams: 64,
            timeout: Nanos::from_secs(1),
        }
    }
}

enum FlowState {
    Tcp(TcpFlow),
    Udp(UdpFlow),
}

struct Entry {
    state: FlowState,
    times: Times,
}

/// The flows to one port of a server, and the times measured in them.
pub struct FlowTable {
    port: u16,
    limits: Limits,
    flows: LruCache<FlowKey, Entry>,
    /// Times of all flows together.
    pub total: Total,
    /// What was counted beside the times.
    pub seen: SeenRecord,
}

impl FlowTable {
    /// `port`: the port of the server, of TCP and of UDP.
    pub fn new(port: u16, limits: Limits) -> FlowTable {
        FlowTable {
            port,
            limits,
            flows: LruCache::new(limits.connections),
            total: Total::default(),
            seen: SeenRecord::default(),
        }
    }

    /// A segment of TCP from one end to another.
    pub fn tcp(&mut self, at: Nanos, from: SocketAddr, to: SocketAddr, segment: Segment) {
        let Some((key, direction)) = self.classify(IpProtocol::Tcp, from, to) else { return };
        let (entry, total, seen) = self.entry(key);
        if let FlowState::Tcp(connection) = &mut entry.state {
            connection.segment(at, direction, segment, &mut SampleSink { times: &mut entry.times, total, seen });
        }
    }

    /// A datagram from one end to another.
    pub fn udp(&mut self, at: Nanos, from: SocketAddr, to: SocketAddr) {
        let Some((key, direction)) = self.classify(IpProtocol::Udp, from, to) else { return };
        let limits = self.limits;
        let (entry, total, seen) = self.entry(key);
        if let FlowState::Udp(flow) = &mut entry.state {
            flow.datagram(at, direction, limits, &mut SampleSink { times: &mut entry.times, total, seen });
        }
    }

    /// Packets were lost about here. Sequence numbers show which exchanges of TCP are affected; what waits for a datagram
    /// might be answered by the wrong one, and is given up.
    pub fn lost(&mut self) {
        for (_, entry) in self.flows.iter_mut() {
            if let FlowState::Udp(flow) = &mut entry.state {
                self.seen.torn += flow.give_up();
            }
        }
    }

    /// No more packets come: an answer whose last segment ended a write was whole.
    pub fn finish(&mut self) {
        let (total, seen) = (&mut self.total, &mut self.seen);
        for (_, Entry { state, times }) in self.flows.iter_mut() {
            match state {
                FlowState::Tcp(connection) => connection.finish(&mut SampleSink { times, total, seen }),
                FlowState::Udp(flow) => seen.unanswered += flow.give_up(),
            }
        }
    }

    /// The connections that are remembered, those with the most samples first.
    pub fn connections(&self) -> Vec<(FlowKey, &Times)> {
        let mut all: Vec<_> = self.flows.iter().map(|(key, entry)| (*key, &entry.times)).collect();
        all.sort_by_key(|(key, times)| (std::cmp::Reverse(times.samples()), *key));
        all
    }

    /// Which end is the server: the one with the port. Where both have it, the sender of the first packet is the client.
    fn classify(&mut self, transport: IpProtocol, from: SocketAddr, to: SocketAddr) -> Option<(FlowKey, Direction)> {
        let to_server = FlowKey { transport, client: from, server: to };
        let to_client = FlowKey { transport, client: to, server: from };
        match (from.port() == self.port, to.port() == self.port) {
            (false, false) => None,
            (true, false) => Some((to_client, Direction::Client)),
            (true, true) if self.flows.contains(&to_client) => Some((to_client, Direction::Client)),
            (_, true) => Some((to_server, Direction::Server)),
        }
    }

    fn entry(&mut self, key: FlowKey) -> (&mut Entry, &mut Total, &mut SeenRecord) {
        if !self.flows.contains(&key) {
            let state = match key.transport {
                IpProtocol::Tcp => FlowState::Tcp(TcpFlow::default()),
                IpProtocol::Udp => FlowState::Udp(UdpFlow::default()),
            };
            self.seen.connections += 1;
            let forgotten = self.flows.push(key, Entry { state, times: Times::default() });
            self.seen.forgotten += u64::from(forgotten.is_some());
        }
        let new = || Entry { state: FlowState::Udp(UdpFlow::default()), times: Times::default() };
        (self.flows.get_or_insert_mut(key, new), &mut self.total, &mut self.seen)
    }
}

/// Where a connection's samples and oddities go.
struct SampleSink<'a> {
    times: &'a mut Times,
    total: &'a mut Total,
    seen: &'a mut SeenRecord,
}

impl SampleSink<'_> {
    fn service(&mut self, time: Nanos) {
        self.times.record(time);
        self.total.service.record(time);
    }
}

#[cfg(test)]
mod tests;

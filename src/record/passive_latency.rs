//! What `ringmark sniff --latency` stores.

use super::LatencyFigures;
use super::histogram::HistogramError;
use crate::units::Nanos;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of [`PassiveLatencyReport`].
pub const PASSIVE_LATENCY_SCHEMA: &str = "ringmark.sniff-latency/1";

/// The latency of a server, read off the packets of its port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PassiveLatencyReport {
    pub schema: String,
    /// Version of ringmark that wrote it.
    pub ringmark: String,
    /// When the watching ended, UTC.
    pub ended: String,
    pub device: String,
    pub port: u16,
    pub duration_ns: u64,
    pub packets: PacketsRecord,
    pub seen: SeenRecord,
    /// From a request's first packet to its answer's last.
    pub service: LatencyFigures,
    /// From a request's last packet to its answer's first.
    pub first_answer: LatencyFigures,
    /// From SYN to SYN/ACK: to the server and back from where the packets were captured.
    pub handshake_server: LatencyFigures,
    /// From SYN/ACK to ACK: to the client and back.
    pub handshake_client: LatencyFigures,
    /// Those remembered, with the most samples first.
    pub connections: Vec<ConnectionRecord>,
}

/// Packets that were handed over; that passed the filter; and those of them that the kernel had no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PacketsRecord {
    pub captured: u64,
    pub received: u64,
    pub dropped: u64,
}

/// What was seen beside the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeenRecord {
    /// Connections, and pairs of ends on UDP.
    pub connections: u64,
    /// Connections forgotten because there were more than the limit.
    pub forgotten: u64,
    /// Exchanges without a sample: packets of theirs were not captured.
    pub torn: u64,
    /// Exchanges without a sample: the client sent more before it had the whole answer.
    pub overlapping: u64,
    /// Requests of several writes: in pieces, or pipelined.
    pub in_pieces: u64,
    pub retransmissions: u64,
    pub unanswered: u64,
    /// Packets with payload from the server that no request had asked for.
    pub unsolicited: u64,
    /// Datagrams sent while an earlier one waited for its answer.
    pub queued: u64,
}

/// The service time of one connection, in nanoseconds, to 2 significant digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionRecord {
    /// `tcp` or `udp`.
    pub transport: String,
    pub client: String,
    pub server: String,
    pub samples: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

impl PassiveLatencyReport {
    /// Computes the figures again from the histograms.
    pub fn fill(&mut self) -> Result<(), HistogramError> {
        let all = [&mut self.service, &mut self.first_answer, &mut self.handshake_server, &mut self.handshake_client];
        all.into_iter().try_for_each(LatencyFigures::fill)
    }

    /// All kinds of times, with their names.
    pub fn kinds(&self) -> [(&'static str, &LatencyFigures); 4] {
        [
            ("service time", &self.service),
            ("first answer", &self.first_answer),
            ("handshake, server", &self.handshake_server),
            ("handshake, client", &self.handshake_client),
        ]
    }

    /// Exchanges per second.
    pub fn throughput_per_s(&self) -> f64 {
        self.service.samples as f64 / Nanos(self.duration_ns.max(1)).as_secs_f64()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::histogram::tests::stored;
    use super::*;

    pub fn report() -> PassiveLatencyReport {
        let figures = |values: &[u64]| {
            let mut figures = LatencyFigures { histogram: stored(values), ..LatencyFigures::default() };
            figures.fill().unwrap();
            figures
        };
        let connection = |client: &str, samples| ConnectionRecord {
            transport: "tcp".into(),
            client: client.into(),
            server: "10.0.0.2:80".into(),
            samples,
            p50: 1000,
            p99: 2000,
            max: 3000,
        };
        PassiveLatencyReport {
            schema: PASSIVE_LATENCY_SCHEMA.into(),
            ringmark: "0.0.0".into(),
            ended: "2026-01-31T23:59:59Z".into(),
            device: "lo".into(),
            port: 80,
            duration_ns: 2_000_000_000,
            packets: PacketsRecord { captured: 12, received: 13, dropped: 1 },
            seen: SeenRecord { connections: 3, torn: 5, ..SeenRecord::default() },
            service: figures(&[1000, 2000, 3000]),
            first_answer: figures(&[500]),
            handshake_server: figures(&[]),
            handshake_client: figures(&[]),
            connections: vec![connection("10.0.0.1:1", 2), connection("10.0.0.1:2", 1), connection("10.0.0.1:3", 0)],
        }
    }

    #[test]
    fn figures_come_from_the_histograms() {
        let mut changed = report();
        changed.service.samples = 9;
        changed.service.latency_ns.p99 = 1;
        changed.fill().unwrap();
        assert_eq!(changed, report());
        assert_eq!(changed.throughput_per_s(), 1.5);
    }
}

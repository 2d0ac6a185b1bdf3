//! What `ringmark sniff --latency` found: its stored form, and as text.

use super::histogram::HistogramError;
use super::schema::LatencyRecord;
use super::times::FiguresRecord;
use crate::units::{Nanos, counted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

pub const WIRE_SCHEMA: &str = "ringmark.sniff-latency/1";
/// Connections that the text names.
const CONNECTIONS_SHOWN: usize = 10;

/// The latency of a server, read off the packets of its port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WireReport {
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
    pub service: FiguresRecord,
    /// From a request's last packet to its answer's first.
    pub first_answer: FiguresRecord,
    /// From SYN to SYN/ACK: to the server and back from where the packets were captured.
    pub handshake_server: FiguresRecord,
    /// From SYN/ACK to ACK: to the client and back.
    pub handshake_client: FiguresRecord,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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

impl WireReport {
    /// Computes the figures again from the histograms.
    pub fn fill(&mut self) -> Result<(), HistogramError> {
        let all = [&mut self.service, &mut self.first_answer, &mut self.handshake_server, &mut self.handshake_client];
        all.into_iter().try_for_each(FiguresRecord::fill)
    }

    /// All kinds of times, with their names.
    pub fn kinds(&self) -> [(&'static str, &FiguresRecord); 4] {
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

/// As text, with a final line break.
pub fn render(report: &WireReport) -> String {
    let mut text = format!(
        "port {} on {}, {}: {}, {} dropped by the kernel, {}\n\n{}",
        report.port,
        report.device,
        Nanos(report.duration_ns),
        counted(report.packets.captured, "packet"),
        report.packets.dropped,
        counted(report.seen.connections, "connection"),
        header()
    );
    report.kinds().iter().for_each(|(name, figures)| row(&mut text, name, figures.samples, &figures.latency_ns));
    oddities(&report.seen, &mut text);
    by_connection(report, &mut text);
    text
}

/// Names of the columns that [`row`] writes.
pub fn header() -> String {
    let names = ["samples", "min", "mean", "p50", "p90", "p99", "p99.9", "max"];
    let columns: String = names.iter().map(|name| format!("{name:>9}")).collect();
    format!("{:18}{columns}\n", "")
}

/// A line of the table.
pub fn row(text: &mut String, name: &str, samples: u64, latency: &LatencyRecord) {
    let LatencyRecord { min, mean, p50, p90, p99, p999, max } = *latency;
    let _ = write!(text, "{name:18}{samples:>9}");
    if samples > 0 {
        for value in [min, mean as u64, p50, p90, p99, p999, max] {
            let _ = write!(text, "{:>9}", Nanos(value));
        }
    }
    text.push('\n');
}

/// What gave no sample, and what a reader must know about those there are; nothing is said of what did not happen.
fn oddities(seen: &SeenRecord, text: &mut String) {
    let mut begin = "\n";
    for (count, what) in [
        (seen.torn, "exchanges without a sample: packets of theirs were not captured"),
        (seen.overlapping, "exchanges without a sample: the client sent more before it had the whole answer"),
        (seen.unanswered, "requests without an answer"),
        (seen.in_pieces, "requests of several writes: in pieces, or pipelined and measured as one"),
        (seen.queued, "datagrams sent while an earlier one had no answer: matched in order"),
        (seen.retransmissions, "retransmissions: the first copy counts"),
        (seen.unsolicited, "packets with payload that no request had asked for"),
        (seen.forgotten, "connections forgotten beyond the limit of --connections"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{begin}{count:>9} {what}");
            begin = "";
        }
    }
}

fn by_connection(report: &WireReport, text: &mut String) {
    let with_samples = || report.connections.iter().filter(|connection| connection.samples > 0);
    let (all, shown) = (with_samples().count(), with_samples().take(CONNECTIONS_SHOWN));
    if all < 2 {
        return;
    }
    let _ = writeln!(text, "\nthe {} of {all} connections with the most samples:", all.min(CONNECTIONS_SHOWN));
    for one in shown {
        let (p50, p99, max) = (Nanos(one.p50), Nanos(one.p99), Nanos(one.max));
        let ends = format!("{} {} > {}", one.transport, one.client, one.server);
        let _ = writeln!(text, "  {ends:<46}{:>9} samples, p50 {p50}, p99 {p99}, max {max}", one.samples);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::histogram::tests::stored;
    use super::*;

    pub fn report() -> WireReport {
        let figures = |values: &[u64]| {
            let mut figures = FiguresRecord { histogram: stored(values), ..FiguresRecord::default() };
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
        WireReport {
            schema: WIRE_SCHEMA.into(),
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
    fn text_tells_what_gave_no_sample_and_is_silent_about_what_did_not_happen() {
        let text = render(&report());
        for part in ["1 dropped by the kernel", "5 exchanges without a sample: packets", "the 2 of 2 connections"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("retransmissions") && !text.contains("10.0.0.1:3"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
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

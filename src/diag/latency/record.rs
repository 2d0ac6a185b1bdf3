//! What was seen on the wire, in its stored form.

use super::{FlowKey, FlowTable, IpProtocol, TimeHistogram, Times};
use crate::clock;
use crate::diag::sniff::Outcome;
use crate::record::{ConnectionRecord, LatencyFigures, PASSIVE_LATENCY_SCHEMA, PacketsRecord, PassiveLatencyReport};

/// The stored form of what was seen on a port of this device.
pub fn report(device: &str, port: u16, table: &FlowTable, outcome: &Outcome) -> PassiveLatencyReport {
    let (received, dropped) = (outcome.stats.received, outcome.stats.dropped);
    let total = &table.total;
    PassiveLatencyReport {
        schema: PASSIVE_LATENCY_SCHEMA.into(),
        ringmark: env!("CARGO_PKG_VERSION").into(),
        ended: clock::utc_now(),
        device: device.to_owned(),
        port,
        duration_ns: outcome.took.0,
        packets: PacketsRecord { captured: outcome.captured, received, dropped },
        seen: table.seen,
        service: figures(&total.service),
        first_answer: figures(&total.first_answer),
        handshake_server: figures(&total.handshake_server),
        handshake_client: figures(&total.handshake_client),
        connections: table.connections().into_iter().map(connection).collect(),
    }
}

fn figures(histogram: &TimeHistogram) -> LatencyFigures {
    LatencyFigures::of(histogram.histogram())
}

fn connection((key, times): (FlowKey, &Times)) -> ConnectionRecord {
    ConnectionRecord {
        transport: if key.transport == IpProtocol::Tcp { "tcp" } else { "udp" }.into(),
        client: key.client.to_string(),
        server: key.server.to_string(),
        samples: times.samples(),
        p50: times.quantile(0.5).0,
        p99: times.quantile(0.99).0,
        max: times.quantile(1.0).0,
    }
}

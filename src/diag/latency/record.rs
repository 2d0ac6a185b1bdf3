//! What was seen on the wire, in its stored form.

use super::{Ends, Spread, Times, Transport, Watch};
use crate::clock;
use crate::diag::sniff::Outcome;
use crate::record::{ConnectionRecord, FiguresRecord, PacketsRecord, WIRE_SCHEMA, WireReport};

/// The stored form of what was seen on a port of this device.
pub fn report(device: &str, port: u16, watch: &Watch, outcome: &Outcome) -> WireReport {
    let (received, dropped) = (outcome.counted.received, outcome.counted.dropped);
    let total = &watch.total;
    WireReport {
        schema: WIRE_SCHEMA.into(),
        ringmark: env!("CARGO_PKG_VERSION").into(),
        ended: clock::utc_now(),
        device: device.to_owned(),
        port,
        duration_ns: outcome.took.0,
        packets: PacketsRecord { captured: outcome.captured, received, dropped },
        seen: watch.seen,
        service: figures(&total.service),
        first_answer: figures(&total.first_answer),
        handshake_server: figures(&total.handshake_server),
        handshake_client: figures(&total.handshake_client),
        connections: watch.connections().into_iter().map(connection).collect(),
    }
}

fn figures(spread: &Spread) -> FiguresRecord {
    FiguresRecord::of(spread.histogram())
}

fn connection((ends, times): (Ends, &Times)) -> ConnectionRecord {
    ConnectionRecord {
        transport: if ends.transport == Transport::Tcp { "tcp" } else { "udp" }.into(),
        client: ends.client.to_string(),
        server: ends.server.to_string(),
        samples: times.samples(),
        p50: times.quantile(0.5).0,
        p99: times.quantile(0.99).0,
        max: times.quantile(1.0).0,
    }
}

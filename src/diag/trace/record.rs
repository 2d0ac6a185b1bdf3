//! What a trace found, in its stored form.

use super::{Config, Hop, Method, Outcome, Path};
use crate::clock;
use crate::diag::record::{errors, kind};
use crate::record::{AddressRecord, HopRecord, LatencyFigures, TRACE_SCHEMA, TraceReport};
use std::net::IpAddr;

/// The stored form of a trace that is over.
pub fn report(config: &Config, outcome: &Outcome) -> TraceReport {
    let (probes, destination_port) = match config.method {
        Method::Udp { port } => ("UDP", Some(port)),
        Method::Tcp { port } => ("TCP", Some(port)),
        Method::Icmp => ("ICMP", None),
    };
    TraceReport {
        schema: TRACE_SCHEMA.into(),
        ringmark: env!("CARGO_PKG_VERSION").into(),
        ended: clock::utc_now(),
        name: config.host.name.clone(),
        address: config.host.address.to_string(),
        reached: outcome.path.is_reached(),
        probes: probes.into(),
        source_port: outcome.flow.source_port,
        destination_port,
        icmp_socket: kind(outcome.access),
        interval_ns: config.interval.0,
        timeout_ns: config.timeout.0,
        duration_ns: outcome.duration.0,
        hops: hops(&outcome.path, LatencyFigures::of),
        losing_only_answers: outcome.path.losing_only_answers(),
    }
}

/// The hops, with this of their round trips.
pub fn hops(path: &Path, figures: fn(&hdrhistogram::Histogram<u64>) -> LatencyFigures) -> Vec<HopRecord> {
    path.hops().iter().zip(1..).map(|(hop, number)| record(number, hop, figures(&hop.stats.round_trips))).collect()
}

fn record(hop: u8, Hop { stats, addresses }: &Hop, round_trips_ns: LatencyFigures) -> HopRecord {
    let address =
        |(address, answers): (&IpAddr, &u64)| AddressRecord { address: address.to_string(), answers: *answers };
    HopRecord {
        hop,
        addresses: addresses.iter().map(address).collect(),
        sent: stats.sent,
        answered: stats.answered,
        late: stats.late,
        latest_ns: stats.latest.0,
        unsent: stats.unsent,
        unsent_because: stats.unsent_because.clone(),
        lost: stats.lost(),
        duplicates: stats.duplicates,
        errors: errors(stats),
        round_trips_ns,
    }
}

//! What a trace found, in its stored form.

use super::{Config, Hop, Outcome, Path, Way};
use crate::clock;
use crate::diag::record::{errors, kind};
use crate::record::{AddressRecord, FiguresRecord, HopRecord, TRACE_SCHEMA, TraceReport};
use std::net::IpAddr;

/// The stored form of a trace that is over.
pub fn report(config: &Config, outcome: &Outcome) -> TraceReport {
    let (probes, destination_port) = match config.way {
        Way::Udp { port } => ("UDP", Some(port)),
        Way::Tcp { port } => ("TCP", Some(port)),
        Way::Icmp => ("ICMP", None),
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
        hops: hops(&outcome.path, FiguresRecord::of),
        losing_only_answers: outcome.path.losing_only_answers(),
    }
}

/// The hops, with this of their round trips.
pub fn hops(path: &Path, figures: fn(&hdrhistogram::Histogram<u64>) -> FiguresRecord) -> Vec<HopRecord> {
    path.hops().iter().zip(1..).map(|(hop, number)| record(number, hop, figures(&hop.tally.round_trips))).collect()
}

fn record(hop: u8, Hop { tally, addresses }: &Hop, round_trips_ns: FiguresRecord) -> HopRecord {
    let address =
        |(address, answers): (&IpAddr, &u64)| AddressRecord { address: address.to_string(), answers: *answers };
    HopRecord {
        hop,
        addresses: addresses.iter().map(address).collect(),
        sent: tally.sent,
        answered: tally.answered,
        late: tally.late,
        latest_ns: tally.latest.0,
        unsent: tally.unsent,
        unsent_because: tally.unsent_because.clone(),
        lost: tally.lost(),
        duplicates: tally.duplicates,
        errors: errors(tally),
        round_trips_ns,
    }
}

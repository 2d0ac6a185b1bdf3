//! A trace for programs: one JSON object, times in integer nanoseconds.

use crate::cli::diagnosis::{ErrorRecord, RoundTripsRecord};
use crate::diag::trace::{Config, Hop, Outcome, Way};
use crate::sys::raw::Access;
use anyhow::Result;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct TraceRecord {
    schema: &'static str,
    name: String,
    address: String,
    reached: bool,
    probes: &'static str,
    /// The same for all probes. The source is the echo identifier where the probes are echo requests; they have no
    /// destination port.
    source_port: u16,
    destination_port: Option<u16>,
    icmp_socket: &'static str,
    interval_ns: u64,
    timeout_ns: u64,
    duration_ns: u64,
    /// From the first.
    hops: Vec<HopRecord>,
    /// Hops that lost more than the target did: they limit their answers, or give none.
    losing_only_answers: Vec<u8>,
}

#[derive(Debug, Serialize)]
struct HopRecord {
    hop: u8,
    addresses: Vec<AddressRecord>,
    sent: u64,
    answered: u64,
    late: u64,
    unsent: u64,
    lost: u64,
    duplicates: u64,
    errors: Vec<ErrorRecord>,
    round_trips_ns: RoundTripsRecord,
}

#[derive(Debug, Serialize)]
struct AddressRecord {
    address: String,
    answers: u64,
}

pub fn json(config: &Config, outcome: &Outcome) -> Result<String> {
    let (probes, destination_port) = match config.way {
        Way::Udp { port } => ("UDP", Some(port)),
        Way::Tcp { port } => ("TCP", Some(port)),
        Way::Icmp => ("ICMP", None),
    };
    let record = TraceRecord {
        schema: "ringmark.trace/1",
        name: config.host.name.clone(),
        address: config.host.address.to_string(),
        reached: outcome.path.is_reached(),
        probes,
        source_port: outcome.flow.source_port,
        destination_port,
        icmp_socket: if outcome.access == Access::Raw { "raw" } else { "ping" },
        interval_ns: config.interval.0,
        timeout_ns: config.timeout.0,
        duration_ns: outcome.duration.0,
        hops: outcome.path.hops().iter().zip(1..).map(|(hop, number)| record(number, hop)).collect(),
        losing_only_answers: outcome.path.losing_only_answers(),
    };
    Ok(serde_json::to_string_pretty(&record)? + "\n")
}

fn record(number: u8, hop: &Hop) -> HopRecord {
    let tally = &hop.tally;
    let address = |(address, answers): (&std::net::IpAddr, &u64)| AddressRecord {
        address: address.to_string(),
        answers: *answers,
    };
    HopRecord {
        hop: number,
        addresses: hop.addresses.iter().map(address).collect(),
        sent: tally.sent,
        answered: tally.answered,
        late: tally.late,
        unsent: tally.unsent,
        lost: tally.lost(),
        duplicates: tally.duplicates,
        errors: ErrorRecord::of(tally),
        round_trips_ns: (&tally.round_trips).into(),
    }
}

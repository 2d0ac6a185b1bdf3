//! Ping for programs: one JSON object, times in integer nanoseconds.

use crate::cli::diagnosis::{ErrorRecord, RoundTripsRecord};
use crate::diag::icmp::Family;
use crate::diag::ping::{Config, Outcome};
use crate::diag::tally::Tally;
use crate::sys::raw::Access;
use anyhow::Result;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct PingRecord {
    schema: &'static str,
    size_bytes: u64,
    interval_ns: u64,
    timeout_ns: u64,
    duration_ns: u64,
    sockets: Vec<SocketRecord>,
    /// Answers whose instant is the kernel's, and those for which the clock was read after the receive.
    kernel_stamps: u64,
    clock_stamps: u64,
    overflowed: u64,
    strangers: u64,
    targets: Vec<TargetRecord>,
}

#[derive(Debug, Serialize)]
struct SocketRecord {
    family: &'static str,
    kind: &'static str,
}

/// `sent` = answered + late + refused + unsent + lost.
#[derive(Debug, Serialize)]
struct TargetRecord {
    name: String,
    address: String,
    reachable: bool,
    sent: u64,
    answered: u64,
    late: u64,
    refused: u64,
    unsent: u64,
    lost: u64,
    duplicates: u64,
    reordered: u64,
    corrupt: u64,
    latest_ns: u64,
    errors: Vec<ErrorRecord>,
    unsent_because: Option<String>,
    round_trips_ns: RoundTripsRecord,
}

pub fn json(config: &Config, outcome: &Outcome) -> Result<String> {
    let record = PingRecord {
        schema: "ringmark.ping/1",
        size_bytes: config.size.0,
        interval_ns: config.interval.0,
        timeout_ns: config.timeout.0,
        duration_ns: outcome.duration.0,
        sockets: outcome.access.iter().map(|(family, access)| socket(*family, *access)).collect(),
        kernel_stamps: outcome.stamps.kernel,
        clock_stamps: outcome.stamps.clock,
        overflowed: outcome.overflowed,
        strangers: outcome.strangers,
        targets: config.targets.iter().zip(&outcome.targets).map(|(host, tally)| target(host, tally)).collect(),
    };
    Ok(serde_json::to_string_pretty(&record)? + "\n")
}

fn socket(family: Family, access: Access) -> SocketRecord {
    SocketRecord {
        family: if family == Family::V4 { "IPv4" } else { "IPv6" },
        kind: if access == Access::Raw { "raw" } else { "ping" },
    }
}

fn target(host: &crate::diag::names::Host, tally: &Tally) -> TargetRecord {
    TargetRecord {
        name: host.name.clone(),
        address: host.address.to_string(),
        reachable: tally.is_reachable(),
        sent: tally.sent,
        answered: tally.answered,
        late: tally.late,
        refused: tally.refused,
        unsent: tally.unsent,
        lost: tally.lost(),
        duplicates: tally.duplicates,
        reordered: tally.reordered,
        corrupt: tally.corrupt,
        latest_ns: tally.latest.0,
        errors: ErrorRecord::of(tally),
        unsent_because: tally.unsent_because.clone(),
        round_trips_ns: (&tally.round_trips).into(),
    }
}

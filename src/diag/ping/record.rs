//! What a ping measured, in its stored form.

use super::{Config, Outcome};
use crate::clock;
use crate::diag::icmp::Family;
use crate::diag::names::Host;
use crate::diag::probe_stats::ProbeStats;
use crate::diag::record::{errors, kind};
use crate::record::{LatencyFigures, PING_SCHEMA, PingReport, SocketRecord, TargetRecord};
use crate::sys::raw::Access;

/// The stored form of a ping that is over.
pub fn report(config: &Config, outcome: &Outcome) -> PingReport {
    PingReport {
        schema: PING_SCHEMA.into(),
        ringmark: env!("CARGO_PKG_VERSION").into(),
        ended: clock::utc_now(),
        size_bytes: config.size.0,
        interval_ns: config.interval.0,
        timeout_ns: config.timeout.0,
        duration_ns: outcome.duration.0,
        sockets: outcome.access.iter().map(socket).collect(),
        kernel_stamps: outcome.stamps.kernel,
        clock_stamps: outcome.stamps.clock,
        overflowed: outcome.overflowed,
        strangers: outcome.strangers,
        targets: config.targets.iter().zip(&outcome.targets).map(|(host, stats)| target(host, stats)).collect(),
    }
}

fn socket((family, access): &(Family, Access)) -> SocketRecord {
    SocketRecord { family: if *family == Family::V4 { "IPv4" } else { "IPv6" }.into(), kind: kind(*access) }
}

fn target(host: &Host, stats: &ProbeStats) -> TargetRecord {
    TargetRecord {
        name: host.name.clone(),
        address: host.address.to_string(),
        reachable: stats.is_reachable(),
        sent: stats.sent,
        answered: stats.answered,
        late: stats.late,
        refused: stats.refused,
        unsent: stats.unsent,
        lost: stats.lost(),
        duplicates: stats.duplicates,
        reordered: stats.reordered,
        corrupt: stats.corrupt,
        latest_ns: stats.latest.0,
        errors: errors(stats),
        unsent_because: stats.unsent_because.clone(),
        round_trips_ns: LatencyFigures::of(&stats.round_trips),
    }
}

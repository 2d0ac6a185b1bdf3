//! What the stored forms of ping and trace have in common.

use super::probe_stats::{ProbeStats, Refusal};
use crate::record::IcmpErrorRecord;
use crate::sys::raw::Access;

/// The ICMP errors received for these probes.
pub fn errors(stats: &ProbeStats) -> Vec<IcmpErrorRecord> {
    let record = |(refusal, count): (&Refusal, &u64)| IcmpErrorRecord {
        from: refusal.from.to_string(),
        meaning: refusal.reason.to_string(),
        icmp_type: refusal.reason.kind,
        icmp_code: refusal.reason.code,
        count: *count,
    };
    stats.refusals.iter().map(record).collect()
}

/// The kind of an ICMP socket, in one word.
pub fn kind(access: Access) -> String {
    if access == Access::Raw { "raw" } else { "ping" }.to_owned()
}

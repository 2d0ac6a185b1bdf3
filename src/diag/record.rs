//! What the stored forms of ping and trace have in common.

use super::tally::{Refusal, Tally};
use crate::record::ErrorRecord;
use crate::sys::raw::Access;

/// All that ICMP told of these probes.
pub fn errors(tally: &Tally) -> Vec<ErrorRecord> {
    let record = |(refusal, count): (&Refusal, &u64)| ErrorRecord {
        from: refusal.from.to_string(),
        meaning: refusal.meaning.to_string(),
        icmp_type: refusal.meaning.kind,
        icmp_code: refusal.meaning.code,
        count: *count,
    };
    tally.refusals.iter().map(record).collect()
}

/// How an ICMP socket was had, in one word.
pub fn kind(access: Access) -> String {
    if access == Access::Raw { "raw" } else { "ping" }.to_owned()
}

//! What the records of ping and trace share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An ICMP error message, and how often it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IcmpErrorRecord {
    pub from: String,
    pub meaning: String,
    pub icmp_type: u8,
    pub icmp_code: u8,
    pub count: u64,
}

impl IcmpErrorRecord {
    pub fn note(&self, whose: &str) -> String {
        format!("{whose}: {} x {} says: {}", self.count, self.from, self.meaning)
    }
}

/// A host as named, and its address where that is something else.
pub(super) fn label(name: &str, address: &str) -> String {
    if name == address { address.to_owned() } else { format!("{name} ({address})") }
}

/// Of the probes that were sent and are over, the share that was not answered in time.
pub(super) fn share_lost(answered: u64, otherwise: u64) -> f64 {
    otherwise as f64 / answered.saturating_add(otherwise).max(1) as f64
}

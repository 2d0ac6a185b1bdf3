//! What `ringmark trace` stores.

use super::histogram::HistogramError;
use super::{IcmpErrorRecord, LatencyFigures, label, share_lost};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of [`TraceReport`].
pub const TRACE_SCHEMA: &str = "ringmark.trace/1";

/// The way to a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceReport {
    /// [`TRACE_SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    #[serde(default)]
    pub ringmark: String,
    /// When it ended: UTC, `2026-01-31T23:59:59Z`.
    #[serde(default)]
    pub ended: String,
    pub name: String,
    pub address: String,
    /// The target itself has answered.
    pub reached: bool,
    /// `UDP`, `TCP` or `ICMP`.
    pub probes: String,
    /// The same for all probes. It is the echo identifier where the probes are echo requests; they have no destination
    /// port.
    pub source_port: u16,
    pub destination_port: Option<u16>,
    /// `raw` or `ping`.
    pub icmp_socket: String,
    /// From one round to the next.
    pub interval_ns: u64,
    pub timeout_ns: u64,
    pub duration_ns: u64,
    /// From the first.
    pub hops: Vec<HopRecord>,
    /// Hops that lost more than the target did: they limit their answers, or give none.
    pub losing_only_answers: Vec<u8>,
}

/// Probes that were to get this far; `sent` = `answered` + `late` + `unsent` + `lost`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HopRecord {
    /// 1 is the first.
    pub hop: u8,
    /// Who answered: more than one where the way changes.
    pub addresses: Vec<AddressRecord>,
    pub sent: u64,
    /// In time.
    pub answered: u64,
    /// Answered after the time limit.
    pub late: u64,
    /// Longest of the late ones.
    #[serde(default)]
    pub latest_ns: u64,
    /// Probes that the kernel did not take.
    pub unsent: u64,
    #[serde(default)]
    pub unsent_because: Option<String>,
    pub lost: u64,
    /// Further answers to a probe.
    pub duplicates: u64,
    pub errors: Vec<IcmpErrorRecord>,
    pub round_trips_ns: LatencyFigures,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddressRecord {
    pub address: String,
    pub answers: u64,
}

impl TraceReport {
    /// Computes the figures again from the histograms.
    pub fn fill(&mut self) -> Result<(), HistogramError> {
        self.hops.iter_mut().try_for_each(|hop| hop.round_trips_ns.fill())
    }

    pub fn label(&self) -> String {
        label(&self.name, &self.address)
    }

    /// The last hop, where it is the target.
    pub fn target(&self) -> Option<&HopRecord> {
        self.hops.last().filter(|_| self.reached)
    }
}

impl HopRecord {
    /// Of the probes that were sent, the share that was not answered in time.
    pub fn loss(&self) -> f64 {
        share_lost(self.answered, self.late + self.lost)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::histogram::tests::stored;
    use super::*;

    /// A silent hop, and the target behind it.
    pub fn report() -> TraceReport {
        let hop = |hop, address: &str, answered, times: &[u64]| HopRecord {
            hop,
            addresses: vec![AddressRecord { address: address.into(), answers: answered }; usize::from(answered > 0)],
            sent: 4,
            answered,
            lost: 4 - answered,
            round_trips_ns: LatencyFigures { histogram: stored(times), ..LatencyFigures::default() },
            ..HopRecord::default()
        };
        let mut report = TraceReport {
            schema: TRACE_SCHEMA.into(),
            ringmark: "0.0.0".into(),
            ended: "2026-01-31T23:59:59Z".into(),
            name: "there.example".into(),
            address: "192.0.2.1".into(),
            reached: true,
            probes: "TCP".into(),
            source_port: 40_000,
            destination_port: Some(443),
            icmp_socket: "raw".into(),
            interval_ns: 1_000_000_000,
            timeout_ns: 1_000_000_000,
            duration_ns: 4_000_000_000,
            hops: vec![hop(1, "", 0, &[]), hop(2, "192.0.2.1", 3, &[1000, 2000, 3000])],
            losing_only_answers: vec![1],
        };
        report.fill().unwrap();
        report
    }
}

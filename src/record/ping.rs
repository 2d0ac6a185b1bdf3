//! What `ringmark ping` stores.

use super::histogram::HistogramError;
use super::{IcmpErrorRecord, LatencyFigures, label, share_lost};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of [`PingReport`].
pub const PING_SCHEMA: &str = "ringmark.ping/1";

/// Echo requests to some targets in turn, and what became of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PingReport {
    /// [`PING_SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    #[serde(default)]
    pub ringmark: String,
    /// When it ended: UTC, `2026-01-31T23:59:59Z`.
    #[serde(default)]
    pub ended: String,
    /// Of payload.
    pub size_bytes: u64,
    /// From one request to a target to the next to it.
    pub interval_ns: u64,
    /// An answer that takes longer is late.
    pub timeout_ns: u64,
    pub duration_ns: u64,
    /// How ICMP was had, for each version of IP in use.
    pub sockets: Vec<SocketRecord>,
    /// Answers whose instant is the kernel's …
    pub kernel_stamps: u64,
    /// … and those for which the clock was read after the receive.
    pub clock_stamps: u64,
    /// Arrivals that overflowed a receive buffer, also those that were not for us.
    pub overflowed: u64,
    /// Answers to us from addresses that are no target.
    pub strangers: u64,
    pub targets: Vec<TargetRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SocketRecord {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// `raw` or `ping`.
    pub kind: String,
}

/// `sent` = `answered` + `late` + `refused` + `unsent` + `lost`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetRecord {
    pub name: String,
    pub address: String,
    pub reachable: bool,
    pub sent: u64,
    /// In time.
    pub answered: u64,
    /// Answered after the time limit; they are not among the round trips.
    pub late: u64,
    /// Requests that met an error on the way.
    pub refused: u64,
    /// Requests that the kernel did not take.
    pub unsent: u64,
    pub lost: u64,
    /// Further answers to a request.
    pub duplicates: u64,
    /// Answers in time that came after that of a request that was sent later.
    pub reordered: u64,
    /// Answers whose payload is not what was sent.
    pub corrupt: u64,
    /// Longest of the late ones.
    pub latest_ns: u64,
    pub errors: Vec<IcmpErrorRecord>,
    pub unsent_because: Option<String>,
    pub round_trips_ns: LatencyFigures,
}

impl PingReport {
    /// Computes the figures again from the histograms.
    pub fn fill(&mut self) -> Result<(), HistogramError> {
        self.targets.iter_mut().try_for_each(|target| target.round_trips_ns.fill())
    }
}

impl TargetRecord {
    pub fn label(&self) -> String {
        label(&self.name, &self.address)
    }

    /// Of the requests that were sent, the share that was not answered in time.
    pub fn loss(&self) -> f64 {
        share_lost(self.answered, self.late + self.refused + self.lost)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::histogram::tests::stored;
    use super::*;

    /// Two targets, of which one is silent.
    pub fn report() -> PingReport {
        let figures = |values: &[u64]| {
            let mut figures = LatencyFigures { histogram: stored(values), ..LatencyFigures::default() };
            figures.fill().unwrap();
            figures
        };
        let target = |address: &str, answered, late, lost, times: &[u64]| TargetRecord {
            name: address.into(),
            address: address.into(),
            reachable: answered > 0,
            sent: answered + late + lost,
            answered,
            late,
            lost,
            latest_ns: late * 2_000_000_000,
            round_trips_ns: figures(times),
            ..TargetRecord::default()
        };
        PingReport {
            schema: PING_SCHEMA.into(),
            ringmark: "0.0.0".into(),
            ended: "2026-01-31T23:59:59Z".into(),
            size_bytes: 56,
            interval_ns: 1_000_000,
            timeout_ns: 1_000_000_000,
            duration_ns: 2_000_000_000,
            sockets: vec![SocketRecord { family: "IPv6".into(), kind: "raw".into() }],
            kernel_stamps: 4,
            clock_stamps: 0,
            overflowed: 0,
            strangers: 0,
            targets: vec![target("::1", 3, 1, 0, &[1000, 2000, 3000]), target("192.0.2.1", 0, 0, 4, &[])],
        }
    }

    #[test]
    fn what_an_older_version_printed_reads() {
        let mut old = serde_json::to_value(report()).unwrap();
        for field in ["ringmark", "ended"] {
            old.as_object_mut().unwrap().remove(field).unwrap();
        }
        old["targets"][0]["round_trips_ns"].as_object_mut().unwrap().remove("samples").unwrap();
        let mut read: PingReport = serde_json::from_value(old).unwrap();
        read.fill().unwrap();
        assert_eq!(read.targets, report().targets);
    }
}

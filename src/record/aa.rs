//! What `ringmark compare --aa` stores.

use super::{CellRecord, JudgedRatioRecord, RatioRecord, Reason, RunContext, SlicesRecord, Stopped, Verdict, reason};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of [`AaReport`].
pub const AA_SCHEMA: &str = "ringmark.aa/1";

/// What `ringmark compare --aa` prints and saves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AaReport {
    #[serde(flatten)]
    pub context: RunContext,
    /// The workload; it lists no contestants.
    pub cell: CellRecord,
    /// The contestant, as typed.
    pub words: String,
    /// Rounds of each comparison.
    pub rounds: u64,
    /// Comparisons asked for.
    pub asked: u64,
    pub stopped: Stopped,
    /// How the load passed from one to the other within a round; `None` where each had trials of its own.
    #[serde(default)]
    pub slices: Option<SlicesRecord>,
    pub comparisons: Vec<AaComparison>,
    /// Derived: how often a difference was claimed in what is compared: the throughput, in an open loop 1/p99.
    #[serde(flatten)]
    pub alarms: AlarmsRecord,
    /// Derived: how often in the server's CPU time per request; `None` where that is not known.
    #[serde(default)]
    pub server_cpu: Option<AlarmsRecord>,
}

/// How often a difference was claimed that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlarmsRecord {
    /// Comparisons with a verdict.
    pub decided: u64,
    /// Verdicts other than "no difference shown".
    pub false_alarms: u64,
    /// The share of false alarms, and its 95 % interval (Wilson). `None` without a verdict.
    pub rate: Option<RateRecord>,
}

/// A share and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RateRecord {
    pub share: f64,
    pub low: f64,
    pub high: f64,
}

/// One comparison of the contestant with itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AaComparison {
    pub seed: u64,
    /// Of each round in which both are valid, how many times the throughput (in an open loop 1/p99) of the one is that of
    /// the other; in slices the middle of its blocks.
    #[serde(default)]
    pub ratios: Vec<f64>,
    /// The same of the server's CPU time per request.
    #[serde(default)]
    pub server_cpu_ratios: Vec<f64>,
    /// Requests per second of both instead, in files older than `ratios`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<(f64, f64)>,
    /// Why the other rounds do not count, each reason once.
    #[serde(flatten, with = "reason::problems")]
    #[schemars(with = "reason::problems::Stored")]
    pub problems: Vec<Reason>,
    /// Derived.
    pub ratio: Option<RatioRecord>,
    /// Derived.
    pub verdict: Option<Verdict>,
    /// Derived, of the server's CPU time per request.
    #[serde(default)]
    pub server_cpu: Option<JudgedRatioRecord>,
}

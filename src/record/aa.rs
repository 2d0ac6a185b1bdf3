//! What `ringmark compare --aa` stores.

use super::{CellRecord, RatioRecord, Reason, RunContext, Stopped, Verdict, reason};
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
    pub comparisons: Vec<AaComparison>,
    /// Derived: comparisons with a verdict.
    pub decided: u64,
    /// Derived: verdicts other than "no difference shown".
    pub false_alarms: u64,
    /// Derived: the share of false alarms, and its 95 % interval (Wilson). `None` without a verdict.
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
    /// Requests per second of both in each round in which both are valid.
    pub pairs: Vec<(f64, f64)>,
    /// Why the other rounds do not count, each reason once.
    #[serde(flatten, with = "reason::problems")]
    #[schemars(with = "reason::problems::Stored")]
    pub problems: Vec<Reason>,
    /// Derived.
    pub ratio: Option<RatioRecord>,
    /// Derived.
    pub verdict: Option<Verdict>,
}

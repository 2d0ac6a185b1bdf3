//! What a result offers to be compared with another of its kind.

use super::threshold::Subject;
use crate::record::QuantileRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One side of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SideRecord {
    /// Median over the valid rounds.
    pub throughput_per_s: Option<f64>,
    pub rounds: u64,
    pub quantiles: Vec<QuantileRecord>,
}

/// The two cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiffError {
    #[error("one is a comparison, the other a single run; give two of a kind")]
    Different,
    #[error("what ping, trace and sniff found is not compared; give what `ringmark compare` or `ringload` stored")]
    Diagnosis,
    #[error(
        "comparisons of a contestant with itself are not compared; give what `ringmark compare` or `ringload` stored"
    )]
    Itself,
    #[error("they have no contestant under the same workload in common")]
    NothingInCommon,
}

/// What a result may be compared by.
pub struct Compared {
    /// What should be the same on both sides, and what it is.
    pub settings: Vec<(&'static str, String)>,
    /// Likewise the fields of its workload: what they belong to, and each by its name.
    pub fields: (&'static str, Map<String, Value>),
    pub seed: u64,
    pub sides: Vec<Side>,
}

/// A run or a contestant.
pub struct Side {
    /// What finds it in another result.
    pub key: String,
    pub subject: Subject,
    /// Of each valid round, more being better.
    pub scores: Vec<f64>,
    /// It is an open loop.
    pub paced: bool,
    /// Why it must not be used.
    pub problem: Option<String>,
    pub record: SideRecord,
}

/// The fields of a workload.
pub fn fields(what: &'static str, workload: &impl Serialize) -> (&'static str, Map<String, Value>) {
    match serde_json::to_value(workload) {
        Ok(Value::Object(fields)) => (what, fields),
        _ => (what, Map::new()),
    }
}

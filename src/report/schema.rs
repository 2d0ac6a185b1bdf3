//! The stored form of a result. Scripts rely on these names; add fields, never rename or reuse them.
//!
//! Times are integer nanoseconds. Histograms are stored whole (HdrHistogram V2 deflate, base64), so that every figure
//! derived from them can be computed again and several runs can be added; percentiles are never averaged.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of [`LoadReport`]: raised when a reader of the old form would misread the new one.
pub const LOAD_SCHEMA: &str = "ringload/1";
/// Version of the comparison's report.
pub const COMPARE_SCHEMA: &str = "ringmark.compare/1";

/// What `ringload --format json` prints: one run of the generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// [`LOAD_SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    pub ringmark: String,
    pub target: String,
    pub workload: WorkloadRecord,
    /// Requests whose whole answer arrived within the counted time.
    pub requests: u64,
    /// Length of the counted time.
    pub duration_ns: u64,
    pub throughput_per_s: f64,
    /// Service time: from the send call of a request to the last byte of its answer. A closed loop knows no other.
    pub latency_ns: LatencyRecord,
    /// Every kind is always present, most of them 0: connect, timeout, reset, closed, corrupt, other.
    pub errors: BTreeMap<String, u64>,
    /// Why this run's figures must not be used; empty when they may.
    pub invalid: Vec<String>,
    /// What the reader should know though the figures stand.
    pub warnings: Vec<String>,
    pub cpu: CpuRecord,
    /// The latency histogram: HdrHistogram V2 deflate, base64; values in nanoseconds, 3 significant digits.
    pub histogram: String,
}

/// The workload as it was run, every default spelled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRecord {
    pub connections: u64,
    pub threads: u64,
    /// Bytes of a request; the answer has as many.
    pub size: u64,
    /// Requests in flight per connection.
    pub depth: u64,
    pub connect_per_request: bool,
    pub warmup_ns: u64,
    pub timeout_ns: u64,
    pub spin_ns: u64,
    pub seed: u64,
    /// The generator's engine: `uring` or `epoll`.
    pub engine: String,
    /// Cores the generator's threads are pinned to, as `0-3,6`; `None` when not pinned.
    pub cores: Option<String>,
}

/// Latency in nanoseconds. All zero when nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyRecord {
    pub min: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// CPU time of both processes, all their threads (user and system), within the counted time.
///
/// Read a moment before and after the counted instants and scaled to the counted time by the length of the read span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuRecord {
    pub generator_ns: u64,
    /// `None` when no server process was named.
    pub server_ns: Option<u64>,
    pub generator_ns_per_request: Option<f64>,
    pub server_ns_per_request: Option<f64>,
}

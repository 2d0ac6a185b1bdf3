//! What one run of the generator stores.

use super::{AccountingRecord, DatagramRecord, Reason, SliceRecord, Workload, reason};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of [`LoadReport`]: raised when a reader of the old form would misread the new one.
pub const LOAD_SCHEMA: &str = "ringload/1";

/// What `ringload --format json` prints: one run of the generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadReport {
    /// [`LOAD_SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    pub ringmark: String,
    pub target: String,
    pub workload: Workload,
    /// Requests whose whole answer arrived within the counted time.
    pub requests: u64,
    /// Length of the counted time.
    pub duration_ns: u64,
    pub throughput_per_s: f64,
    /// Service time, the only one that a closed loop knows: from `sent` to `done`. In an open loop it hides how long a
    /// request waited to be sent: read `response_ns` there.
    ///
    /// `sent` is read once per turn of a generator's thread, right before it begins to submit, and is that of all
    /// requests sent in that turn: a request's place in the turn is part of its latency (with `uring` they then go to
    /// the kernel together). With a connection per request it lies before the connection is made. `done` is read when
    /// the last byte of the answer is there: with `epoll` after the recv(2) that brought it, with `uring` after the wait
    /// that its completion ended, once for all answers of the turn.
    pub latency_ns: LatencyRecord,
    /// Every kind is always present, most of them 0: connect, timeout, reset, closed, corrupt, other.
    pub errors: BTreeMap<String, u64>,
    /// Why this run's figures must not be used; empty when they may.
    #[serde(flatten, with = "reason::invalid")]
    #[schemars(with = "reason::invalid::Stored")]
    pub invalid: Vec<Reason>,
    /// What the reader should know though the figures stand.
    #[serde(flatten, with = "reason::warnings")]
    #[schemars(with = "reason::warnings::Stored")]
    pub warnings: Vec<Reason>,
    pub cpu: CpuRecord,
    /// What both ends used beyond that; `None` in files older than it.
    #[serde(default)]
    pub accounting: Option<AccountingRecord>,
    /// The histogram of `latency_ns`: HdrHistogram V2 deflate, base64; values in nanoseconds, 3 significant digits.
    pub histogram: String,
    /// Response time, from the *intended* instant to `done`: what a user meets who comes when he comes. Open loop only.
    ///
    /// As of every time here, of the requests answered within the counted time, whenever they were due: what the begin
    /// adds of a queue, the end leaves out. A server that falls behind answers less than was asked for, and beyond 2 % the
    /// run is invalid.
    #[serde(default)]
    pub response_ns: Option<LatencyRecord>,
    /// The histogram of `response_ns`, in the form of `histogram`.
    #[serde(default)]
    pub response_histogram: Option<String>,
    /// Send lag, from the intended instant to `sent`: response time without service time. Open loop only.
    #[serde(default)]
    pub send_lag_ns: Option<LatencyRecord>,
    #[serde(default)]
    pub send_lag_histogram: Option<String>,
    /// The generator's own share of the send lag: by how much later than intended it looked at a request, whether or not
    /// a connection could take that then. It is the error of the timer, and what the generator did meanwhile. The first
    /// reports, of 2026-11-24, have it of those requests only for which a connection was free. Open loop only.
    #[serde(default)]
    pub timer_error_ns: Option<LatencyRecord>,
    /// What the protocol measures beyond that, by name: histograms in the form of `histogram`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub series: BTreeMap<String, String>,
    /// How the warm-up ended; `None` where none was asked for.
    #[serde(default)]
    pub steady: Option<SteadyRecord>,
    /// The counted time second by second; empty where it has no more than one.
    #[serde(default)]
    pub intervals: Vec<IntervalRecord>,
    /// The slices that it was measured in, where the load came and went; the figures are those of all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceRecord>,
    /// What became of the datagrams; `None` for streams.
    #[serde(default)]
    pub datagrams: Option<DatagramRecord>,
    /// How far the quantiles of what a client waits can be trusted (response time where it is known, else service time),
    /// the intervals being the batches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<QuantileRecord>,
}

/// How the warm-up ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SteadyRecord {
    /// Its length; what ran before is not counted.
    pub warmup_ns: u64,
    /// Throughput was steady by then; else the longest warm-up allowed was over.
    pub reached: bool,
    /// The last look: the slope of the intervals' throughput, as a share of its mean per interval. 0 without a look.
    pub slope_per_interval: f64,
    pub interval_ns: u64,
}

/// A part of the counted time. The parts' histograms add up to the report's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IntervalRecord {
    /// Since the counted time began.
    pub start_ns: u64,
    pub length_ns: u64,
    pub requests: u64,
    /// Service times, in the form of [`LoadReport::histogram`].
    pub histogram: String,
    /// Response times. Open loop only.
    pub response_histogram: Option<String>,
}

impl LoadReport {
    /// The histogram of what a client waits: response time where it is known, else service time.
    pub fn waiting_histogram(&self) -> &str {
        self.response_histogram.as_deref().unwrap_or(&self.histogram)
    }

    /// What a comparison compares, more being better: of a closed loop the throughput; of an open loop, whose throughput
    /// is what was asked for, how many p99 response times go into a second.
    pub fn score(&self) -> f64 {
        self.response_ns.map_or(self.throughput_per_s, |response| 1e9 / response.p99 as f64)
    }

    /// What a client waits: response time where it is known, else service time.
    pub fn waiting_ns(&self) -> &LatencyRecord {
        self.response_ns.as_ref().unwrap_or(&self.latency_ns)
    }
}

impl IntervalRecord {
    /// As [`LoadReport::waiting_histogram`], of the interval.
    pub fn waiting_histogram(&self) -> &str {
        self.response_histogram.as_deref().unwrap_or(&self.histogram)
    }
}

/// Latency in nanoseconds. All zero when nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyRecord {
    pub min: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// A quantile of the latency and its 95 % interval, by ranks in the sample. A bound is `None` where the data cannot carry
/// it: too few batches, or too few samples beyond the quantile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuantileRecord {
    /// 0.99 for the 99th percentile.
    pub quantile: f64,
    pub value_ns: u64,
    pub low_ns: Option<u64>,
    pub high_ns: Option<u64>,
    /// How many independent samples the samples are worth, judged by how much the batches differ (batch means). `None`
    /// with fewer than 6 batches, or where half as many have nearly all samples: they do not tell.
    pub effective_samples: Option<u64>,
    /// Stretches of samples that were kept apart: the valid rounds of a comparison, the intervals of a run; without those
    /// in which nothing was answered.
    pub batches: u64,
}

/// CPU time of both processes, all their threads (user and system), within the counted time.
///
/// Read a moment before and after the counted instants and scaled to the counted time by the length of the read span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CpuRecord {
    pub generator_ns: u64,
    /// `None` when no server process was named.
    pub server_ns: Option<u64>,
    pub generator_ns_per_request: Option<f64>,
    pub server_ns_per_request: Option<f64>,
}

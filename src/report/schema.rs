//! The stored form of a result. Scripts rely on these names; add fields, never rename or reuse them.
//!
//! Times are integer nanoseconds. Histograms are stored whole (HdrHistogram V2 deflate, base64), so that every figure
//! derived from them can be computed again and several runs can be added; percentiles are never averaged.

mod datagrams;
mod workload;

pub use super::accounting::{
    AccountingRecord, CountRecord, EndRecord, InterruptsRecord, SYSTEM_CALLS, UnavailableRecord, UseRecord,
};
use crate::stats::{Interval, PairedRatio};
pub use datagrams::{DatagramRecord, TrafficRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
pub use workload::{GeneratorRecord, LoadSettings, ShapeRecord, WorkloadRecord};

/// Version of [`LoadReport`]: raised when a reader of the old form would misread the new one.
pub const LOAD_SCHEMA: &str = "ringload/1";
/// Version of the comparison's report.
pub const COMPARE_SCHEMA: &str = "ringmark.compare/1";

/// What `ringload --format json` prints: one run of the generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    pub invalid: Vec<String>,
    /// What the reader should know though the figures stand.
    pub warnings: Vec<String>,
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
    /// How the warm-up ended; `None` where none was asked for.
    #[serde(default)]
    pub steady: Option<SteadyRecord>,
    /// The counted time second by second; empty where it has no more than one.
    #[serde(default)]
    pub intervals: Vec<IntervalRecord>,
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
    pub fn speed(&self) -> f64 {
        self.response_ns.map_or(self.throughput_per_s, |response| 1e9 / response.p99 as f64)
    }

    /// What a client waits: response time where it is known, else service time.
    pub fn waiting_ns(&self) -> &LatencyRecord {
        self.response_ns.as_ref().unwrap_or(&self.latency_ns)
    }
}

impl ContestantRecord {
    /// Whether its trials are open loops, so that their speed is that of their response times.
    pub fn is_paced(&self) -> bool {
        self.trials.iter().filter_map(TrialRecord::valid).any(|load| load.response_ns.is_some())
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

/// What ran a comparison, where, and how: what comparisons of all kinds begin with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SceneRecord {
    /// [`COMPARE_SCHEMA`] or [`super::aa::AA_SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    pub ringmark: String,
    /// When the comparison started: UTC, `2026-01-31T23:59:59Z`.
    pub started: String,
    /// The command line, word by word.
    pub command: Vec<String>,
    pub host: HostRecord,
    /// Decides the order of the contestants in each round, the payload, and the resamples of the intervals.
    pub seed: u64,
    /// Cores the server's threads run on, as `0-3,6`.
    pub server_cores: String,
    pub load_cores: String,
    /// Server and generator had to share a core: they took time from each other.
    pub cores_shared: bool,
    /// Server and generator ran on different hardware threads of one physical core: each slowed the other.
    #[serde(default)]
    pub siblings_shared: bool,
    pub load: LoadSettings,
}

/// What `ringmark compare --format json` prints and what it saves: the raw trials, and the figures derived from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompareReport {
    #[serde(flatten)]
    pub scene: SceneRecord,
    /// Rounds asked for; how many of them count is in [`ContestantRecord::rounds`].
    ///
    /// With `limits` it is the least number of them.
    pub rounds: u64,
    /// When the rounds end, where their number was not fixed.
    #[serde(default)]
    pub limits: Option<LimitsRecord>,
    /// Name of the contestant that the others are compared to.
    pub baseline: String,
    pub stopped: Stopped,
    pub cells: Vec<CellRecord>,
}

/// The machine it ran on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostRecord {
    pub kernel: String,
    pub cpu: String,
    /// Cores the comparison was allowed to use.
    pub cores: u64,
}

/// When the rounds of a cell end. A rule looks at how wide the intervals are, never at what they say: who stops as soon
/// as a difference shows finds one where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsRecord {
    /// Every ratio's interval is at most this wide to each side, as a share of the ratio; where nothing can be compared,
    /// every median's.
    pub precision: Option<f64>,
    pub max_rounds: u64,
    /// For all cells together; each gets its part.
    pub max_time_ns: Option<u64>,
}

/// Why no further trial was run. A comparison that still runs, or that was killed, says `interrupted`; of several cells
/// the last in this order that is true of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Stopped {
    /// The fixed number of rounds was run.
    #[serde(rename = "rounds")]
    Rounds,
    /// Every interval is narrow enough.
    #[serde(rename = "precision")]
    Precision,
    #[serde(rename = "max-rounds")]
    MaxRounds,
    #[serde(rename = "max-time")]
    MaxTime,
    #[serde(rename = "interrupted")]
    Interrupted,
}

/// One workload and how every contestant did under it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CellRecord {
    #[serde(flatten)]
    pub shape: ShapeRecord,
    /// Why no further round of it was run; `None` of a cell that was not run to its end.
    #[serde(default)]
    pub stopped: Option<Stopped>,
    pub contestants: Vec<ContestantRecord>,
}

/// One contestant in one cell. Everything but `name`, `words`, `unavailable` and `trials` is derived from the trials;
/// figures are `None` where no trial is valid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContestantRecord {
    pub name: String,
    /// What to type after `ringmark serve` to get this server.
    pub words: String,
    /// Why it cannot run here; it then has no trials.
    pub unavailable: Option<String>,
    /// Median over the valid rounds.
    pub throughput_per_s: Option<f64>,
    /// Of the added histograms of the valid rounds.
    pub latency_ns: Option<LatencyRecord>,
    /// How far the quantiles of the latency can be trusted, the valid rounds being the batches.
    #[serde(default)]
    pub quantiles: Vec<QuantileRecord>,
    /// CPU time of all valid rounds by all their requests, user and system, all threads.
    pub server_cpu_ns_per_request: Option<f64>,
    pub generator_cpu_ns_per_request: Option<f64>,
    /// Of all valid rounds; `None` for streams.
    #[serde(default)]
    pub datagrams: Option<DatagramRecord>,
    /// What both ends used beyond that, all valid rounds together.
    #[serde(default)]
    pub server_use: UseRecord,
    #[serde(default)]
    pub generator_use: UseRecord,
    /// [`LoadReport::speed`] relative to the baseline's in the same round: of a closed loop the throughput.
    pub ratio: Option<RatioRecord>,
    pub verdict: Option<Verdict>,
    /// Valid rounds.
    pub rounds: u64,
    /// Valid rounds that stand apart from the others. They count all the same.
    #[serde(default)]
    pub outliers: Vec<OutlierRecord>,
    pub trials: Vec<TrialRecord>,
}

/// Median over the rounds in which both are valid, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RatioRecord {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    /// Rounds in which both are valid.
    pub pairs: u64,
}

impl From<PairedRatio> for RatioRecord {
    fn from(ratio: PairedRatio) -> RatioRecord {
        let Interval { low, high } = ratio.interval;
        RatioRecord { median: ratio.median, low, high, pairs: ratio.pairs as u64 }
    }
}

/// A round that stands apart: its modified Z-score (Iglewicz and Hoaglin 1993) is beyond 3.5.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutlierRecord {
    pub round: u64,
    /// The ratio to the baseline in that round; of the baseline itself its requests per second.
    pub value: f64,
    /// The modified Z-score; negative where the value is a low one.
    pub score: f64,
}

/// What the ratio says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    #[serde(rename = "faster")]
    Faster,
    #[serde(rename = "slower")]
    Slower,
    #[serde(rename = "no difference shown")]
    NoDifferenceShown,
    #[serde(rename = "baseline")]
    Baseline,
    #[serde(rename = "too few rounds")]
    TooFewRounds,
}

/// One trial: one server process and one generator process. Exactly one of `load` and `failed` is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialRecord {
    /// From 1.
    pub round: u64,
    /// Place in the order of its round, from 1.
    pub position: u64,
    pub load: Option<LoadReport>,
    /// What was tried, why it failed, and the last lines the failed process wrote to stderr.
    pub failed: Option<String>,
    /// How the server placed the connections on its threads, where it tells.
    pub connections_per_shard: Option<Vec<u64>>,
}

impl TrialRecord {
    /// The generator's report, if its figures may be used.
    pub fn valid(&self) -> Option<&LoadReport> {
        self.load.as_ref().filter(|load| load.invalid.is_empty())
    }
}

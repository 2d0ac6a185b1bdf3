//! What a comparison stores: the raw trials, and the figures derived from them.

use super::{
    DatagramRecord, FloorRecord, GeneratorSettings, LatencyRecord, LoadReport, QuantileRecord, RatiosRecord, Reason,
    Shape, SlicesRecord, UseRecord, reason,
};
use crate::stats::{Interval, PairedRatio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of [`CompareReport`].
pub const COMPARE_SCHEMA: &str = "ringmark.compare/1";

/// What ran a comparison, where, and how: what comparisons of all kinds begin with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunContext {
    /// [`COMPARE_SCHEMA`] or [`super::AA_SCHEMA`].
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
    /// What the workloads of all cells share that have no [`CellRecord::load`].
    pub load: GeneratorSettings,
}

/// What `ringmark compare --format json` prints and what it saves: the raw trials, and the figures derived from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompareReport {
    #[serde(flatten)]
    pub context: RunContext,
    /// Rounds asked for; how many of them count is in [`ContestantRecord::rounds`].
    ///
    /// With `limits` it is the least number of them.
    pub rounds: u64,
    /// When the rounds end, where their number was not fixed.
    #[serde(default)]
    pub limits: Option<LimitsRecord>,
    /// How the load was to pass from one contestant to the next within a round; `None` where each had trials of its own.
    #[serde(default)]
    pub slices: Option<SlicesRecord>,
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
    /// The interval of every ratio of throughput and of CPU time per request reaches at most this far to each side, as a
    /// share of the ratio; where nothing can be compared, that of every median.
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
    pub shape: Shape,
    /// How the generator sends it, where that is not as in [`RunContext::load`]: another protocol, another rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<GeneratorSettings>,
    /// Why no further round of it was run; `None` of a cell that was not run to its end.
    #[serde(default)]
    pub stopped: Option<Stopped>,
    /// How the load was passed around in it: [`CompareReport::slices`], or longer slices where answers take long. `None`
    /// where each contestant had trials of its own.
    #[serde(default)]
    pub slices: Option<SlicesRecord>,
    /// What the kernel alone takes under this workload; `None` where it was not measured.
    #[serde(default)]
    pub floor: Option<FloorRecord>,
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
    #[serde(flatten, with = "reason::unavailable")]
    #[schemars(with = "reason::unavailable::Stored")]
    pub unavailable: Option<Reason>,
    /// It does not do what is asked of it: it does not start, ends under load, or answers wrong.
    #[serde(flatten, with = "reason::broken")]
    #[schemars(with = "reason::broken::Stored")]
    pub broken: Option<Reason>,
    /// Requests per second: of the baseline the middle over its valid rounds, of the others that times
    /// [`RatiosRecord::throughput`], so that the figures agree with the ratios; medians of different rounds need not. The
    /// middle over its own rounds where it has no ratio. The middle is the median, in slices a trimmed geometric mean.
    pub throughput_per_s: Option<f64>,
    /// Of the added histograms of the valid rounds. Its percentiles are those of all requests together, while the ratios
    /// are a middle of the rounds': a single round with a stall is seen here and hardly moves the ratio.
    pub latency_ns: Option<LatencyRecord>,
    /// How far the quantiles of the latency can be trusted, the valid rounds being the batches.
    #[serde(default)]
    pub quantiles: Vec<QuantileRecord>,
    /// CPU time per request, user and system, all threads. As of the throughput: of the baseline that of all valid rounds by
    /// all their requests, in slices the middle; of the others that times the ratio. Both together are to the baseline's
    /// as [`RatiosRecord::total_cpu`] says.
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
    /// [`LoadReport::score`] relative to the baseline's in the same round: of a closed loop the throughput.
    pub ratio: Option<RatioRecord>,
    pub verdict: Option<Verdict>,
    /// All that is judged.
    #[serde(default)]
    pub ratios: RatiosRecord,
    /// CPU time of both ends per request, as a multiple of the floor's.
    #[serde(default)]
    pub floor_multiple: Option<f64>,
    /// Valid rounds.
    pub rounds: u64,
    /// Valid rounds that stand apart from the others. They count all the same.
    #[serde(default)]
    pub outliers: Vec<OutlierRecord>,
    pub trials: Vec<TrialRecord>,
}

/// The middle over the rounds in which both are valid, with its 95 % interval. In slices it is a trimmed geometric mean of
/// the rounds, each of which is one of its blocks, else the median.
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

/// What a ratio says. Throughput and latency are faster or slower, CPU time per request is less or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    #[serde(rename = "faster")]
    Faster,
    #[serde(rename = "slower")]
    Slower,
    #[serde(rename = "less")]
    Less,
    #[serde(rename = "more")]
    More,
    #[serde(rename = "no difference shown")]
    NoDifferenceShown,
    #[serde(rename = "baseline")]
    Baseline,
    #[serde(rename = "too few rounds")]
    TooFewRounds,
    /// [`ContestantRecord::broken`] says why.
    #[serde(rename = "broken")]
    Broken,
}

/// One trial: one server process and one generator process; of a comparison in slices, all slices of a round. Exactly one of `load` and `failed` is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialRecord {
    /// From 1.
    pub round: u64,
    /// Place in the order of its round, from 1.
    pub position: u64,
    pub load: Option<LoadReport>,
    /// What was tried, why it failed, and the last lines the failed process wrote to stderr.
    #[serde(flatten, with = "reason::failed")]
    #[schemars(with = "reason::failed::Stored")]
    pub failed: Option<Reason>,
    /// How the server placed the connections on its threads, where it reports that.
    pub connections_per_shard: Option<Vec<u64>>,
}

impl TrialRecord {
    /// The generator's report, if its figures may be used. They may where the generator was the limit: what the server can
    /// do is at least that ([`JudgedRatioRecord::bound`](super::JudgedRatioRecord::bound)), and its CPU time per request
    /// is known all the same.
    pub fn valid(&self) -> Option<&LoadReport> {
        self.load.as_ref().filter(|load| load.invalid.iter().all(Reason::is_limit_of_generator))
    }

    /// Why it does not count; nothing where it does.
    pub fn problems(&self) -> impl Iterator<Item = &Reason> {
        let invalid = self.load.iter().flat_map(|load| &load.invalid);
        self.failed.iter().chain(invalid.filter(|reason| !reason.is_limit_of_generator()))
    }
}

impl CellRecord {
    /// How the generator sends it; `shared` is [`RunContext::load`].
    pub fn load<'a>(&'a self, shared: &'a GeneratorSettings) -> &'a GeneratorSettings {
        self.load.as_ref().unwrap_or(shared)
    }

    /// What distinguishes it from the other cells, in a few words.
    pub fn name(&self) -> String {
        let shape = self.shape.name();
        match &self.load {
            None => shape,
            Some(GeneratorSettings { protocol, rate_per_s: Some(rate), .. }) => {
                format!("{protocol}, {shape}, {rate} requests/s")
            }
            Some(GeneratorSettings { protocol, .. }) => format!("{protocol}, {shape}"),
        }
    }
}

impl ContestantRecord {
    /// Whether its trials are open loops, so that their speed is that of their response times.
    pub fn is_paced(&self) -> bool {
        self.trials.iter().filter_map(TrialRecord::valid).any(|load| load.response_ns.is_some())
    }
}

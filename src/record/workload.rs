//! The part of the stored form that says what was run: the workload, and the generator's settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The workload as it was run, every default spelled out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadRecord {
    #[serde(flatten)]
    pub shape: ShapeRecord,
    #[serde(flatten)]
    pub generator: GeneratorRecord,
    /// What the header of a datagram is like: `echo` or `sockperf`; empty where there are none.
    #[serde(default)]
    pub dialect: String,
    pub seed: u64,
    /// Cores the generator's threads are pinned to, as `0-3,6`; `None` when not pinned.
    pub cores: Option<String>,
}

/// What all cells of a comparison share of the generator's settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadSettings {
    #[serde(flatten)]
    pub generator: GeneratorRecord,
    /// Counted time of a trial.
    pub duration_ns: u64,
}

/// What is asked of a server: how much at a time, and on how many connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShapeRecord {
    /// Of datagrams: sockets.
    pub connections: u64,
    /// Bytes of a request, of a mix the mean; the answer has as many.
    pub size: u64,
    /// Sizes and their shares, as `64:90,1400:10`; `None` where all are the same.
    #[serde(default)]
    pub size_mix: Option<String>,
    /// Requests in flight per connection; in an open loop the most that may be.
    pub depth: u64,
    pub connect_per_request: bool,
}

/// How the generator sends it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorRecord {
    /// `tcp`, `udp`, `unix` or `unixgram`.
    #[serde(default = "tcp")]
    pub protocol: String,
    /// Datagrams that leave with one send at most (UDP_SEGMENT); 0 where each leaves by itself.
    #[serde(default)]
    pub gso: u64,
    /// The generator's engine: `uring` or `epoll`.
    pub engine: String,
    pub threads: u64,
    /// Connections beside the others that are open and silent.
    #[serde(default)]
    pub idle: u64,
    /// Requests per second asked for, over all connections (the mean of a ramp); `None` in a closed loop.
    #[serde(default)]
    pub rate_per_s: Option<u64>,
    /// How they are spaced: `constant`, `poisson`, `burst:N`, `ramp:FROM..TO`. Open loop only.
    #[serde(default)]
    pub arrival: Option<String>,
    /// How the generator waits for a request's instant: `hybrid`, `sleep`, `spin`. Open loop only.
    #[serde(default)]
    pub timer: Option<String>,
    /// Shortest and longest warm-up.
    pub warmup_ns: u64,
    #[serde(default)]
    pub warmup_max_ns: u64,
    pub timeout_ns: u64,
    /// Errors that do not make the run invalid, as a share of all requests; `None` where none were allowed.
    #[serde(default)]
    pub allow_errors: Option<f64>,
    /// Lost and late datagrams that do not, as a share of all requests; `None` for the usual 0.01, and for streams.
    #[serde(default)]
    pub max_loss: Option<f64>,
    pub spin_ns: u64,
}

/// What older files, which do not name it, were about.
fn tcp() -> String {
    "tcp".to_owned()
}

impl ShapeRecord {
    /// Bytes of a request, or the mix of sizes, without a unit.
    pub fn sizes(&self) -> String {
        self.size_mix.clone().unwrap_or_else(|| self.size.to_string())
    }

    /// What tells it from others, in a few words.
    pub fn name(&self) -> String {
        let way = match (self.connect_per_request, self.depth) {
            (true, _) => ", a connection per request".to_owned(),
            (false, 0 | 1) => String::new(),
            (false, depth) => format!(", {depth} in flight"),
        };
        format!("{} connections x {} B{way}", self.connections, self.sizes())
    }
}

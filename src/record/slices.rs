//! The stored form of a comparison in slices: all servers of a round are alive at once, and the load passes from one to
//! the next in blocks of short slices. What is raw in it are counts per slice; a round's slices of one contestant add up to
//! the round's report, its trial.

use super::{RatioRecord, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the load was passed around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlicesRecord {
    /// From the first request of a slice until no new one begins.
    pub length_ns: u64,
    /// The beginning of it, in which nothing is counted.
    pub settle_ns: u64,
    /// Slices of every contestant before the first block; they are not counted.
    pub warm_up: u64,
    /// Blocks in a round, each with one slice of every contestant in an order of its own.
    pub blocks: u64,
}

/// So much of a slice is for it to settle: requests that all begin at once are no steady load.
const SETTLE_ONE_IN: u64 = 10;

/// A slice holds so many turns at least, where its length was not given …
const TURNS: u64 = 20;
/// … and a round so many blocks.
const MIN_BLOCKS: u64 = 3;
const ROUND_TO_NS: u64 = 10_000_000;

impl SlicesRecord {
    /// Blocks of slices of this length, in nanoseconds.
    pub fn new(length_ns: u64, warm_up: u64, blocks: u64) -> SlicesRecord {
        SlicesRecord { length_ns, settle_ns: length_ns / SETTLE_ONE_IN, warm_up, blocks }
    }

    /// The same load in slices that are long enough for answers that take `turn_ns` to come back: the longest that a closed
    /// loop's connections all wait once.
    pub fn holding(self, turn_ns: u64) -> SlicesRecord {
        let least = turn_ns.saturating_mul(TURNS).next_multiple_of(ROUND_TO_NS);
        if least <= self.length_ns {
            return self;
        }
        let blocks = (self.blocks.saturating_mul(self.length_ns) / least).max(MIN_BLOCKS).min(self.blocks);
        SlicesRecord::new(least, self.warm_up, blocks)
    }

    /// Load that a contestant gets in a round, what is not counted included, in nanoseconds.
    pub fn load_ns(&self) -> u64 {
        self.length_ns.saturating_mul(self.warm_up.saturating_add(self.blocks))
    }
}

/// What one slice measured, the n-th of a contestant in its round being that of the n-th block. It begins and ends
/// without a request under way, so its CPU time and its answers belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SliceRecord {
    /// Requests that count for the throughput, and the time in which they were answered: of a closed loop from the last
    /// answer before it had settled to its very last, of an open loop those that were due after it had settled and before no
    /// new one began.
    pub requests: u64,
    pub counted_ns: u64,
    /// All requests answered in it, and its length until the last of them was.
    pub answers: u64,
    pub length_ns: u64,
    /// CPU time of all of it. `None` when the server's processes are not known.
    pub server_cpu_ns: Option<u64>,
    pub generator_cpu_ns: u64,
}

impl SliceRecord {
    /// Requests per second of the counted part.
    pub fn throughput(&self) -> f64 {
        self.requests as f64 * 1e9 / self.counted_ns as f64
    }

    /// The server's CPU time per request, in nanoseconds.
    pub fn server_cpu(&self) -> Option<f64> {
        Some(self.server_cpu_ns? as f64 / self.answers as f64)
    }

    /// That of both ends.
    pub fn total_cpu(&self) -> Option<f64> {
        Some((self.server_cpu_ns? + self.generator_cpu_ns) as f64 / self.answers as f64)
    }
}

/// What the kernel alone takes: one thread that sends and receives a request's bytes both ways on a loopback pair with
/// plain system calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FloorRecord {
    /// CPU time per request; derived: the median of the slices. `None` where it could not be measured.
    pub cpu_ns_per_request: Option<f64>,
    /// One in each block.
    pub slices: Vec<FloorSliceRecord>,
}

/// One slice of the floor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FloorSliceRecord {
    pub round: u64,
    /// Requests sent, received, sent back and received again.
    pub requests: u64,
    /// The thread's CPU time meanwhile.
    pub cpu_ns: u64,
}

/// What is judged of a contestant, each relative to the baseline: above 1 there is more of it. `None` where it is not
/// known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RatiosRecord {
    /// Requests per second.
    pub throughput: Option<JudgedRatioRecord>,
    /// The server's CPU time per request.
    pub server_cpu: Option<JudgedRatioRecord>,
    /// CPU time of server and generator per request.
    pub total_cpu: Option<JudgedRatioRecord>,
    /// What a client waits: response time where it is known, else service time.
    pub p50: Option<JudgedRatioRecord>,
    pub p99: Option<JudgedRatioRecord>,
}

/// A ratio and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JudgedRatioRecord {
    /// The interval is of this ratio by itself.
    #[serde(flatten)]
    pub ratio: RatioRecord,
    /// How likely a ratio so far from 1 is where there is no difference; `None` with too few rounds.
    #[serde(default)]
    pub p_value: Option<f64>,
    /// Set where the generator was at its limit, and the servers may differ by more.
    #[serde(default)]
    pub bound: Option<Bound>,
    /// With the chance of any false claim about this figure held at 5 % over all contestants and cells (Holm 1979), so it
    /// may claim less than the interval.
    pub verdict: Verdict,
}

/// Which way a ratio may be further from 1 than it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Bound {
    /// The contestant could have been faster.
    #[serde(rename = "at least")]
    AtLeast,
    /// The baseline could have been.
    #[serde(rename = "at most")]
    AtMost,
    /// Both could.
    #[serde(rename = "either")]
    Either,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_hold_many_turns_and_a_round_some_blocks() {
        let usual = SlicesRecord::new(50_000_000, 1, 14);
        assert_eq!(usual.settle_ns, 5_000_000);
        for (turn_us, length_ms, blocks) in [(0, 50, 14), (350, 50, 14), (6_400, 130, 5), (65_000, 1_300, 3)] {
            let holding = usual.holding(turn_us * 1_000);
            assert_eq!((holding.length_ns / 1_000_000, holding.blocks), (length_ms, blocks), "{turn_us} us");
        }
        assert_eq!(SlicesRecord::new(50_000_000, 1, 2).holding(65_000_000).blocks, 2);
    }
}

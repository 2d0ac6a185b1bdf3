//! Times of one kind as a diagnosis stores them, whole.

use super::LatencyRecord;
use super::histogram::{self, HistogramError};
use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Times of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyFigures {
    #[serde(default)]
    pub samples: u64,
    #[serde(flatten)]
    pub latency_ns: LatencyRecord,
    /// HdrHistogram V2 deflate, base64; nanoseconds, 3 significant digits.
    pub histogram: String,
}

impl LatencyFigures {
    /// Times that were recorded in nanoseconds.
    pub fn of(times: &Histogram<u64>) -> LatencyFigures {
        LatencyFigures { histogram: histogram::encode(times), ..LatencyFigures::brief(times) }
    }

    /// The figures without the histogram: not to be stored.
    pub fn brief(times: &Histogram<u64>) -> LatencyFigures {
        LatencyFigures { samples: times.len(), latency_ns: histogram::figures(times), histogram: String::new() }
    }

    /// Reads the figures off the histogram.
    pub fn fill(&mut self) -> Result<(), HistogramError> {
        let read = histogram::read(&self.histogram)?;
        (self.samples, self.latency_ns) = (read.len(), histogram::figures(&read));
        Ok(())
    }

    /// `None` where nothing was recorded.
    pub fn known(&self) -> Option<&LatencyRecord> {
        Some(&self.latency_ns).filter(|_| self.samples > 0)
    }
}

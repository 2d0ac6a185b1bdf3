//! Times of one kind as a diagnosis stores them, whole; and all kinds that a result has, by name.

use super::export::plain;
use super::file::Stored;
use super::histogram::{self, HistogramError};
use super::schema::LatencyRecord;
use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Times of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FiguresRecord {
    #[serde(default)]
    pub samples: u64,
    #[serde(flatten)]
    pub latency_ns: LatencyRecord,
    /// HdrHistogram V2 deflate, base64; nanoseconds, 3 significant digits.
    pub histogram: String,
}

impl FiguresRecord {
    /// Times that were recorded in nanoseconds.
    pub fn of(times: &Histogram<u64>) -> FiguresRecord {
        FiguresRecord { histogram: histogram::encode(times), ..FiguresRecord::brief(times) }
    }

    /// The figures without the histogram: not to be stored.
    pub fn brief(times: &Histogram<u64>) -> FiguresRecord {
        FiguresRecord { samples: times.len(), latency_ns: histogram::figures(times), histogram: String::new() }
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

/// What a diagnosis recorded of one kind, from its begin to its end.
#[derive(Clone, Debug)]
pub struct Times<'a> {
    /// In one word: a tag, a part of a file's name; `None` where the result is about nothing else.
    pub name: Option<String>,
    pub length_ns: u64,
    pub figures: &'a FiguresRecord,
}

/// All kinds of which there are samples; `None` of results of the load generator.
pub fn times(result: &Stored) -> Option<Vec<Times<'_>>> {
    let (length_ns, kinds): (u64, Vec<(Option<String>, &FiguresRecord)>) = match result {
        Stored::Compare(_) | Stored::Load(_) | Stored::Aa(_) => return None,
        Stored::Wire(report) => {
            let kinds = report.kinds().into_iter().map(|(name, figures)| (Some(plain(name)), figures));
            (report.duration_ns, kinds.collect())
        }
        Stored::Ping(report) => {
            let several = report.targets.len() > 1;
            let targets = report.targets.iter();
            let name = |address: &str| several.then(|| of_address(address));
            (report.duration_ns, targets.map(|target| (name(&target.address), &target.round_trips_ns)).collect())
        }
        Stored::Trace(report) => {
            let hops = report.hops.iter();
            (report.duration_ns, hops.map(|hop| (Some(format!("hop-{}", hop.hop)), &hop.round_trips_ns)).collect())
        }
    };
    let there = kinds.into_iter().filter(|(_, figures)| figures.samples > 0);
    Some(there.map(|(name, figures)| Times { name, length_ns, figures }).collect())
}

/// An address in one word that no other address has.
fn of_address(address: &str) -> String {
    address.replace(':', "-")
}

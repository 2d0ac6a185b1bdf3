//! Histograms of times: one of fixed size for all that is watched, and small ones for its parts.

use crate::units::Nanos;
use hdrhistogram::Histogram;

/// Significant digits of what is reported as a whole.
const DIGITS: u8 = 3;
/// And of a single connection, of which there may be thousands: 1 % is close enough there.
const CONNECTION_DIGITS: u8 = 2;
const LONGEST: Nanos = Nanos::from_secs(3600);

/// The times of one connection; it takes memory with its first sample.
#[derive(Debug, Default)]
pub struct Times(Option<Histogram<u32>>);

impl Times {
    pub(super) fn record(&mut self, time: Nanos) {
        let histogram = self
            .0
            .get_or_insert_with(|| Histogram::new(CONNECTION_DIGITS).expect("a number of digits that is allowed"));
        // It grows as far as its longest value; what that takes is bounded by the longest of all.
        histogram.record(time.0.clamp(1, LONGEST.0)).expect("a histogram that grows takes every value");
    }

    /// Number of samples.
    pub fn samples(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The time that this share of the samples does not exceed; zero without samples.
    pub fn quantile(&self, share: f64) -> Nanos {
        Nanos(self.0.as_ref().map_or(0, |histogram| histogram.value_at_quantile(share)))
    }
}

/// The times of everything, in nanoseconds.
#[derive(Debug)]
pub struct TimeHistogram(Histogram<u64>);

impl Default for TimeHistogram {
    fn default() -> TimeHistogram {
        TimeHistogram(Histogram::new_with_bounds(1, LONGEST.0, DIGITS).expect("bounds that are allowed"))
    }
}

impl TimeHistogram {
    pub(super) fn record(&mut self, time: Nanos) {
        self.0.saturating_record(time.0.clamp(1, LONGEST.0));
    }

    /// The samples, in nanoseconds.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// All that was measured.
#[derive(Debug, Default)]
pub struct Total {
    /// From a request's first packet to its answer's last.
    pub service: TimeHistogram,
    /// From a request's last packet to its answer's first.
    pub first_answer: TimeHistogram,
    /// From SYN to SYN/ACK: the way to the server and back from where the packets were captured.
    pub handshake_server: TimeHistogram,
    /// From SYN/ACK to ACK: the way to the client and back.
    pub handshake_client: TimeHistogram,
}

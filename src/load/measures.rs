//! The histograms of a stretch of time. Those of threads and of stretches are added, never averaged.

use super::recorder::Sample;
use crate::units::Nanos;
use hdrhistogram::Histogram;

/// Longest latency told apart; longer ones are recorded as this. 3 significant digits (HdrHistogram).
const MAX_LATENCY: Nanos = Nanos::from_secs(3600);
const SIGNIFICANT_DIGITS: u8 = 3;

/// What was measured, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Measures {
    /// Sent to done.
    pub service: Histogram<u64>,
    /// Only an open loop intends anything.
    pub paced: Option<Box<Paced>>,
}

/// What only an open loop has.
#[derive(Clone, Debug)]
pub struct Paced {
    /// Intended to done.
    pub response: Histogram<u64>,
    /// Intended to sent.
    pub send_lag: Histogram<u64>,
    /// By how much later than intended the generator looked at a request, whether or not it could be sent then.
    pub timer_error: Histogram<u64>,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY.0, SIGNIFICANT_DIGITS)
        .expect("bounds and digits are within what HdrHistogram allows")
}

fn add(sum: &mut Histogram<u64>, other: &Histogram<u64>) {
    sum.add(other).expect("all have the same bounds");
}

impl Paced {
    fn new() -> Box<Paced> {
        Box::new(Paced { response: histogram(), send_lag: histogram(), timer_error: histogram() })
    }

    fn add(&mut self, other: &Paced) {
        add(&mut self.response, &other.response);
        add(&mut self.send_lag, &other.send_lag);
        add(&mut self.timer_error, &other.timer_error);
    }
}

impl Measures {
    pub fn new(paced: bool) -> Measures {
        Measures { service: histogram(), paced: paced.then(Paced::new) }
    }

    #[inline]
    pub fn record(&mut self, sample: Sample) {
        self.service.saturating_record(sample.done.since(sample.sent).0);
        if let Some(paced) = &mut self.paced {
            paced.response.saturating_record(sample.done.since(sample.intended).0);
            paced.send_lag.saturating_record(sample.sent.since(sample.intended).0);
        }
    }

    pub fn add(&mut self, other: &Measures) {
        add(&mut self.service, &other.service);
        if let Some(paced) = &other.paced {
            self.paced.get_or_insert_with(Paced::new).add(paced);
        }
    }

    /// To be used again.
    pub fn clear(&mut self) {
        self.service.reset();
        if let Some(paced) = &mut self.paced {
            [&mut paced.response, &mut paced.send_lag, &mut paced.timer_error].into_iter().for_each(Histogram::reset);
        }
    }
}

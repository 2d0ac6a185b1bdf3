//! The histograms of a stretch of time, by name. Those of threads and of stretches are added, never averaged.

use crate::units::Nanos;
use hdrhistogram::Histogram;

/// Longest latency distinguished; longer ones are recorded as this. 3 significant digits (HdrHistogram).
const MAX_LATENCY: Nanos = Nanos::from_secs(3600);
const SIGNIFICANT_DIGITS: u8 = 3;

/// Sent to done.
pub const SERVICE: &str = "service";
/// Intended to done.
pub const RESPONSE: &str = "response";
/// Intended to sent.
pub const SEND_LAG: &str = "send_lag";
/// By how much later than intended the generator looked at a request, whether or not it could be sent then.
pub const TIMER_ERROR: &str = "timer_error";

/// What every load has, and what only an open loop has besides: a closed loop intends nothing.
const ALWAYS: [&str; 1] = [SERVICE];
const PACED: [&str; 3] = [RESPONSE, SEND_LAG, TIMER_ERROR];

/// One answered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the pacer wanted it sent. A closed loop wants it whenever it is sent.
    pub intended: Nanos,
    pub sent: Nanos,
    pub done: Nanos,
}

/// Which histograms there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// Whether requests have an intended instant.
    pub paced: bool,
    /// Those that the protocol has beyond the generator's own.
    pub own: &'static [&'static str],
}

/// What was measured, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Histograms {
    paced: bool,
    /// In the order of [`Series::names`].
    by_name: Vec<(&'static str, Histogram<u64>)>,
}

impl Series {
    fn names(self) -> impl Iterator<Item = &'static str> {
        let paced = if self.paced { &PACED[..] } else { &[] };
        ALWAYS.iter().chain(paced).chain(self.own).copied()
    }
}

/// Those of a closed loop.
impl Default for Histograms {
    fn default() -> Histograms {
        Histograms::new(Series::default())
    }
}

impl Histograms {
    pub fn new(series: Series) -> Histograms {
        Histograms { paced: series.paced, by_name: series.names().map(|name| (name, empty())).collect() }
    }

    #[inline]
    pub fn record(&mut self, sample: Sample) {
        self.record_at(0, sample.done.since(sample.sent));
        if self.paced {
            self.record_at(1, sample.done.since(sample.intended));
            self.record_at(2, sample.sent.since(sample.intended));
        }
    }

    /// Only of an open loop.
    #[inline]
    pub fn record_timer_error(&mut self, late: Nanos) {
        if self.paced {
            self.record_at(3, late);
        }
    }

    /// Records in a series of the protocol's own, by its place in [`Series::own`]; one that is not there stays
    /// unrecorded.
    #[inline]
    pub fn record_own(&mut self, own: usize, value: Nanos) {
        let before = ALWAYS.len() + if self.paced { PACED.len() } else { 0 };
        self.record_at(before + own, value);
    }

    #[inline]
    fn record_at(&mut self, place: usize, value: Nanos) {
        if let Some((_, histogram)) = self.by_name.get_mut(place) {
            histogram.saturating_record(value.0);
        }
    }

    /// `None` where nothing of that name was to be measured.
    pub fn get(&self, name: &str) -> Option<&Histogram<u64>> {
        self.by_name.iter().find(|(is, _)| *is == name).map(|(_, histogram)| histogram)
    }

    pub fn service(&self) -> &Histogram<u64> {
        &self.by_name[0].1
    }

    /// What clients wait: response time where it is known, else service time.
    pub fn waiting(&self) -> &Histogram<u64> {
        self.get(RESPONSE).unwrap_or_else(|| self.service())
    }

    /// Those that the protocol has beyond the generator's own.
    pub fn own(&self) -> impl Iterator<Item = &(&'static str, Histogram<u64>)> {
        self.by_name.iter().filter(|(name, _)| !ALWAYS.contains(name) && !PACED.contains(name))
    }

    /// Adds all that the other has. What is missing here begins with it.
    pub fn add(&mut self, other: &Histograms) {
        self.paced |= other.paced;
        for (name, histogram) in &other.by_name {
            match self.by_name.iter_mut().find(|(is, _)| is == name) {
                Some((_, sum)) => sum.add(histogram).expect("all have the same bounds"),
                None => self.by_name.push((name, histogram.clone())),
            }
        }
    }

    /// As many of the same names, in which nothing is recorded.
    pub fn empty_copy(&self) -> Histograms {
        Histograms { paced: self.paced, by_name: self.by_name.iter().map(|(name, _)| (*name, empty())).collect() }
    }

    /// To be used again.
    pub fn clear(&mut self) {
        self.by_name.iter_mut().for_each(|(_, histogram)| histogram.reset());
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY.0, SIGNIFICANT_DIGITS)
        .expect("bounds and digits are within what HdrHistogram allows")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &[&str] = &["delivery", "first_byte"];

    #[test]
    fn a_series_of_the_protocols_own_is_beside_the_generators_whatever_the_loop() {
        for paced in [false, true] {
            let mut histograms = Histograms::new(Series { paced, own: OWN });
            histograms.record(Sample { intended: Nanos(1), sent: Nanos(2), done: Nanos(5) });
            histograms.record_timer_error(Nanos(9));
            [(0, 7), (1, 8), (2, 99)].into_iter().for_each(|(own, value)| histograms.record_own(own, Nanos(value)));
            let own: Vec<_> = histograms.own().map(|(name, histogram)| (*name, histogram.max())).collect();
            assert_eq!(own, [("delivery", 7), ("first_byte", 8)]);
            let max = |name| histograms.get(name).map(Histogram::max);
            assert_eq!(
                (max(SERVICE), max(RESPONSE), max(TIMER_ERROR)),
                match paced {
                    true => (Some(3), Some(4), Some(9)),
                    false => (Some(3), None, None),
                }
            );
        }
    }

    #[test]
    fn histograms_are_added_by_name() {
        let mut sum = Histograms::new(Series::default());
        let mut part = Histograms::new(Series { paced: true, own: OWN });
        part.record(Sample { intended: Nanos(1), sent: Nanos(2), done: Nanos(5) });
        part.record_own(1, Nanos(8));
        [&part, &part.empty_copy(), &part].into_iter().for_each(|part| sum.add(part));
        let len = |name| sum.get(name).map(Histogram::len);
        assert_eq!([SERVICE, RESPONSE, "delivery", "first_byte"].map(len), [2, 2, 0, 2].map(Some));
        assert_eq!(sum.waiting().max(), 4);
    }
}

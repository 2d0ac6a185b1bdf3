//! The main thread's side of [`IntervalExchange`]: adds up what the threads measured, and keeps its parts by interval.

use super::LatencySnapshot;
use super::histograms::{Histograms, RESPONSE, Series};
use super::interval_exchange::{INTERVAL, IntervalExchange};
use super::recorder::Recorder;
use crate::record::{IntervalRecord, histogram};
use crate::units::Nanos;
use std::collections::BTreeMap;

/// A thread that hands in so much later than another gets a part of its own.
const MAX_INTERVALS_LATE: u64 = 2;

/// All that was handed in, added up.
#[derive(Debug)]
pub struct Timeline {
    total: Histograms,
    /// Intervals that may still get more.
    open: BTreeMap<u64, Histograms>,
    closed: Vec<IntervalRecord>,
}

impl Timeline {
    pub fn new() -> Timeline {
        Timeline { total: Histograms::new(Series::default()), open: BTreeMap::new(), closed: Vec::new() }
    }

    /// Takes what was handed in since the last look.
    pub fn collect(&mut self, exchange: &IntervalExchange) {
        for (interval, histograms) in exchange.take() {
            self.add(interval, &histograms);
            exchange.recycle(histograms);
        }
        while let (Some((first, _)), Some((last, _))) = (self.open.first_key_value(), self.open.last_key_value())
            && first + MAX_INTERVALS_LATE < *last
        {
            self.close_first();
        }
    }

    /// What clients waited, of all that was handed in.
    pub fn so_far(&self) -> Option<LatencySnapshot> {
        let waited = self.total.waiting();
        (!waited.is_empty()).then(|| LatencySnapshot {
            p50: waited.value_at_quantile(0.5),
            p99: waited.value_at_quantile(0.99),
            max: waited.max(),
        })
    }

    fn add(&mut self, interval: u64, histograms: &Histograms) {
        self.total.add(histograms);
        self.open.entry(interval).or_insert_with(|| histograms.empty_copy()).add(histograms);
    }

    fn close_first(&mut self) {
        let Some((interval, histograms)) = self.open.pop_first() else { return };
        self.closed.push(IntervalRecord {
            start_ns: interval * INTERVAL.0,
            length_ns: INTERVAL.0,
            requests: histograms.service().len(),
            histogram: histogram::encode(histograms.service()),
            response_histogram: histograms.get(RESPONSE).map(histogram::encode),
        });
    }

    /// Everything of a run whose counted time was so long: the sum, and its intervals where there are several.
    pub fn finish<'a>(
        mut self,
        rest: impl Iterator<Item = &'a Recorder>,
        duration: Nanos,
    ) -> (Histograms, Vec<IntervalRecord>) {
        rest.for_each(|recorder| self.add(recorder.interval(), recorder.histograms()));
        if duration <= INTERVAL {
            return (self.total, Vec::new());
        }
        while !self.open.is_empty() {
            self.close_first();
        }
        // What is left of the counted time is the last one's length; an answer on the very edge adds no interval.
        self.closed.retain(|interval| interval.requests > 0);
        for interval in &mut self.closed {
            interval.length_ns = interval.length_ns.min(duration.0.saturating_sub(interval.start_ns));
        }
        (self.total, self.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::histograms::Sample;
    use crate::load::shared::Shared;

    const PACED: Series = Series { paced: true, own: &[] };

    fn sample(intended: u64, done: u64) -> Sample {
        Sample { intended: Nanos(intended), sent: Nanos(intended + 10), done: Nanos(done) }
    }

    #[test]
    fn intervals_add_up_to_the_whole() {
        let shared = Shared::new(None, std::thread::current());
        let (first, duration) = (Nanos(500), Nanos(INTERVAL.0 * 20 + INTERVAL.0 / 2));
        shared.open_window(first, first + duration);
        let mut recorders = [Recorder::new(&shared, PACED), Recorder::new(&shared, PACED)];
        let mut timeline = Timeline::new();
        // Ten a second from one thread, one in three seconds from the other.
        for tenth in 0..205u64 {
            let done = first.0 + tenth * INTERVAL.0 / 10;
            recorders[0].record(sample(done - 100, done), &shared);
            if tenth % 30 == 0 {
                recorders[1].record(sample(done - 200, done), &shared);
            }
            timeline.collect(shared.interval_exchange());
            assert_eq!(timeline.so_far().is_some(), tenth >= 10, "from the first whole second on");
        }
        assert_eq!(timeline.so_far(), Some(LatencySnapshot { p50: 100, p99: 200, max: 200 }));
        let (total, intervals) = timeline.finish(recorders.iter(), duration);
        assert_eq!((total.service().len(), total.waiting().max()), (212, 200));
        let starts: Vec<u64> = intervals.iter().map(|interval| interval.start_ns / INTERVAL.0).collect();
        assert_eq!(starts, (0..=20).collect::<Vec<_>>());
        assert_eq!(intervals.iter().map(|interval| interval.requests).collect::<Vec<_>>()[..4], [11, 10, 10, 11]);
        assert_eq!(intervals.iter().map(|interval| interval.length_ns).sum::<u64>(), duration.0);
        let parts = histogram::read_all(intervals.iter().map(|interval| interval.histogram.as_str())).unwrap();
        assert_eq!(&histogram::sum(&parts).unwrap(), total.service());
        assert!(intervals.iter().all(|interval| interval.response_histogram.is_some()));
    }

    #[test]
    fn a_short_run_has_no_intervals() {
        let shared = Shared::new(None, std::thread::current());
        shared.open_window(Nanos::ZERO, INTERVAL);
        let mut recorder = Recorder::new(&shared, Series::default());
        recorder.record(sample(5, 20), &shared);
        let (total, intervals) = Timeline::new().finish(std::iter::once(&recorder), INTERVAL);
        assert!(total.service().len() == 1 && total.get(RESPONSE).is_none() && intervals.is_empty());
    }
}

//! Where threads hand in what they measured, interval after interval, and where the main thread adds it up.
//!
//! A thread records into histograms of its own; once per interval it swaps them for empty ones under a lock. So the
//! intervals cost nothing per message, and their memory does not grow with the length of the run.

use super::Waited;
use super::measures::Measures;
use super::recorder::Recorder;
use crate::record::{IntervalRecord, histogram};
use crate::units::Nanos;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Length of an interval, as HdrHistogram's logs usually have it.
pub const INTERVAL: Nanos = Nanos::from_secs(1);
/// A thread that hands in so much later than another gets a part of its own.
const PATIENCE: u64 = 2;

/// Measures of intervals that are over, and empty ones.
#[derive(Debug, Default)]
pub struct Handover {
    full: Mutex<Vec<(u64, Measures)>>,
    empty: Mutex<Vec<Measures>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handover {
    /// Takes what was measured in an interval and leaves an empty one in its place.
    #[cold]
    pub fn swap(&self, interval: u64, measures: &mut Measures) {
        let spare = lock(&self.empty).pop();
        let empty = spare.unwrap_or_else(|| Measures::new(measures.paced.is_some()));
        lock(&self.full).push((interval, std::mem::replace(measures, empty)));
    }
}

/// The main thread's side: all that was handed in, added up.
#[derive(Debug)]
pub struct Timeline {
    total: Measures,
    /// Intervals that may still get more.
    open: BTreeMap<u64, Measures>,
    closed: Vec<IntervalRecord>,
}

impl Timeline {
    pub fn new() -> Timeline {
        Timeline { total: Measures::new(false), open: BTreeMap::new(), closed: Vec::new() }
    }

    /// Takes what was handed in since the last look.
    pub fn collect(&mut self, handover: &Handover) {
        let full = std::mem::take(&mut *lock(&handover.full));
        for (interval, mut measures) in full {
            self.add(interval, &measures);
            measures.clear();
            lock(&handover.empty).push(measures);
        }
        while let (Some((first, _)), Some((last, _))) = (self.open.first_key_value(), self.open.last_key_value())
            && first + PATIENCE < *last
        {
            self.close_first();
        }
    }

    /// What clients waited, of all that was handed in.
    pub fn so_far(&self) -> Option<Waited> {
        let waited = self.total.paced.as_ref().map_or(&self.total.service, |paced| &paced.response);
        (!waited.is_empty()).then(|| Waited {
            p50: waited.value_at_quantile(0.5),
            p99: waited.value_at_quantile(0.99),
            max: waited.max(),
        })
    }

    fn add(&mut self, interval: u64, measures: &Measures) {
        self.total.add(measures);
        self.open.entry(interval).or_insert_with(|| Measures::new(measures.paced.is_some())).add(measures);
    }

    fn close_first(&mut self) {
        let Some((interval, measures)) = self.open.pop_first() else { return };
        self.closed.push(IntervalRecord {
            start_ns: interval * INTERVAL.0,
            length_ns: INTERVAL.0,
            requests: measures.service.len(),
            histogram: histogram::encode(&measures.service),
            response_histogram: measures.paced.as_ref().map(|paced| histogram::encode(&paced.response)),
        });
    }

    /// Everything of a run whose counted time was so long: the sum, and its intervals where there are several.
    pub fn finish<'a>(
        mut self,
        rest: impl Iterator<Item = &'a Recorder>,
        duration: Nanos,
    ) -> (Measures, Vec<IntervalRecord>) {
        rest.for_each(|recorder| self.add(recorder.interval(), recorder.measures()));
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
    use crate::load::recorder::Sample;
    use crate::load::shared::Shared;

    fn sample(intended: u64, done: u64) -> Sample {
        Sample { intended: Nanos(intended), sent: Nanos(intended + 10), done: Nanos(done) }
    }

    #[test]
    fn intervals_add_up_to_the_whole() {
        let shared = Shared::new(None, std::thread::current());
        let (first, duration) = (Nanos(500), Nanos(INTERVAL.0 * 20 + INTERVAL.0 / 2));
        shared.open_window(first, first + duration);
        let mut recorders = [Recorder::new(&shared, true), Recorder::new(&shared, true)];
        let mut timeline = Timeline::new();
        // Ten a second from one thread, one in three seconds from the other.
        for tenth in 0..205u64 {
            let done = first.0 + tenth * INTERVAL.0 / 10;
            recorders[0].record(sample(done - 100, done), &shared);
            if tenth % 30 == 0 {
                recorders[1].record(sample(done - 200, done), &shared);
            }
            timeline.collect(shared.handover());
            assert_eq!(timeline.so_far().is_some(), tenth >= 10, "from the first whole second on");
        }
        assert_eq!(timeline.so_far(), Some(Waited { p50: 100, p99: 200, max: 200 }));
        let (total, intervals) = timeline.finish(recorders.iter(), duration);
        assert_eq!((total.service.len(), total.paced.unwrap().response.max()), (212, 200));
        let starts: Vec<u64> = intervals.iter().map(|interval| interval.start_ns / INTERVAL.0).collect();
        assert_eq!(starts, (0..=20).collect::<Vec<_>>());
        assert_eq!(intervals.iter().map(|interval| interval.requests).collect::<Vec<_>>()[..4], [11, 10, 10, 11]);
        assert_eq!(intervals.iter().map(|interval| interval.length_ns).sum::<u64>(), duration.0);
        let parts = histogram::read_all(intervals.iter().map(|interval| interval.histogram.as_str())).unwrap();
        assert_eq!(histogram::sum(&parts).unwrap(), total.service);
        assert!(intervals.iter().all(|interval| interval.response_histogram.is_some()));
    }

    #[test]
    fn a_short_run_has_no_intervals() {
        let shared = Shared::new(None, std::thread::current());
        shared.open_window(Nanos::ZERO, INTERVAL);
        let mut recorder = Recorder::new(&shared, false);
        recorder.record(sample(5, 20), &shared);
        let (total, intervals) = Timeline::new().finish(std::iter::once(&recorder), INTERVAL);
        assert!(total.service.len() == 1 && total.paced.is_none() && intervals.is_empty());
    }
}

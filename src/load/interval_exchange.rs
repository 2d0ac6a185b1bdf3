//! Where threads hand in what they measured, interval after interval.
//!
//! A thread records into histograms of its own; once per interval it swaps them for empty ones under a lock. So the
//! intervals cost nothing per message, and their memory does not grow with the length of the run.

use super::histograms::Histograms;
use crate::units::Nanos;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Length of an interval, as HdrHistogram's logs usually have it.
pub const INTERVAL: Nanos = Nanos::from_secs(1);

/// Histograms of intervals that are over, and empty ones.
#[derive(Debug, Default)]
pub struct IntervalExchange {
    full: Mutex<Vec<(u64, Histograms)>>,
    empty: Mutex<Vec<Histograms>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IntervalExchange {
    /// Takes what was measured in an interval and leaves empty histograms in its place.
    #[cold]
    pub fn swap(&self, interval: u64, histograms: &mut Histograms) {
        let spare = lock(&self.empty).pop();
        let empty = spare.unwrap_or_else(|| histograms.empty_copy());
        lock(&self.full).push((interval, std::mem::replace(histograms, empty)));
    }

    /// What was handed in since the last look, with the number of its interval.
    pub fn take(&self) -> Vec<(u64, Histograms)> {
        std::mem::take(&mut *lock(&self.full))
    }

    /// Gives histograms back to be used again.
    pub fn recycle(&self, mut histograms: Histograms) {
        histograms.clear();
        lock(&self.empty).push(histograms);
    }
}

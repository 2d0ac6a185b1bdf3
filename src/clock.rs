//! The one place that reads time.
//!
//! Monotonic nanoseconds (CLOCK_MONOTONIC through the vDSO) since an epoch that every copy of a [`Clock`] shares.

use crate::units::Nanos;
use std::time::Instant;

/// Reads the time. Copies share the epoch, so instants of different threads compare.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock whose epoch is now.
    pub fn start() -> Clock {
        Clock { epoch: Instant::now() }
    }

    /// Nanoseconds since the epoch. Costs about 20 ns with a TSC clock source.
    #[inline]
    pub fn now(&self) -> Nanos {
        Nanos(self.epoch.elapsed().as_nanos() as u64)
    }
}

//! What the figures mean: medians, paired ratios, intervals, and the random numbers they need.
//!
//! Pure functions of their arguments: the same numbers and the same seed give the same answer on every machine.
//! Nothing here reads a clock, a file or the kernel's randomness.

mod bootstrap;
mod center;
mod paired;
mod random;

pub use bootstrap::{Interval, RESAMPLES, median_interval};
pub use center::median;
pub use paired::{MIN_PAIRS, PairedRatio, paired_ratio};
pub use random::{Random, mix, splitmix64};

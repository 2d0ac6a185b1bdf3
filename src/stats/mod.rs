//! What the figures mean: medians, paired ratios, intervals, several claims at once, quantiles, outliers, and the random
//! numbers they need.
//!
//! Pure functions of their arguments: the same numbers and the same seed give the same answer on every machine.
//! Nothing here reads a clock, a file or the kernel's randomness.

mod bootstrap;
mod critical_values;
mod holm;
mod median;
mod outliers;
mod paired;
mod proportion;
mod quantile;
mod random;
mod rounds;
mod trend;
mod trimmed;

pub use bootstrap::{Interval, RESAMPLES, median_interval, median_ratio};
pub use holm::holm;
pub use median::median;
pub use outliers::{OUTLIER_SCORE, modified_z_scores};
pub use paired::{MIN_PAIRS, PairedRatio, paired_ratio, relative_half_width};
pub use proportion::proportion_interval;
pub use quantile::{Batch, EffectiveSampleSize, MIN_BATCHES, Ranks, effective_sample_size, ranks};
pub use random::{Random, derive_seed, splitmix64};
pub use rounds::rounds_ratio;
pub use trend::{Trend, trend};
pub use trimmed::trimmed_geometric_mean;

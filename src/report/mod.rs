//! Reading results: figures, verdicts, one file per kind of result, one exporter per format; [`result`] is the seam between
//! the last two.

mod aa;
pub mod accounting;
pub mod baseline_diff;
mod columns;
pub mod compared;
mod comparison;
pub mod conclusion;
mod csv;
pub mod datagrams;
pub mod derive;
pub mod export;
mod figures;
pub mod formats;
mod hgrm;
mod hlog;
mod interrupts;
pub mod intervals;
pub mod json;
mod load;
mod markdown;
mod outliers;
pub mod passive_latency;
mod percent;
mod ping;
pub mod probe_table;
pub mod quantiles;
pub mod result;
pub mod stopping;
pub mod terminal;
pub mod text_style;
pub mod threshold;
pub mod tolerance;
pub mod trace;
mod trial_rows;
pub mod verdict;

//! Reading results: figures, verdicts, one exporter per format.

pub mod aa;
pub mod accounting;
pub mod against;
mod csv;
pub mod datagrams;
pub mod derive;
pub mod export;
pub mod file;
mod hgrm;
mod hlog;
mod interrupts;
pub mod intervals;
pub mod json;
mod markdown;
mod outliers;
pub mod probes;
pub mod quantiles;
pub mod stopping;
pub mod terminal;
pub mod threshold;
pub mod times;
pub mod tolerance;
mod trials;
pub mod verdict;
pub mod wire;

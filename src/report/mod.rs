//! Results: the schema they are stored in, reading them, verdicts, one exporter per format.

pub mod aa;
pub mod accounting;
pub mod datagrams;
pub mod derive;
pub mod file;
pub mod histogram;
pub mod intervals;
pub mod json;
mod outliers;
pub mod quantiles;
pub mod schema;
pub mod stopping;
pub mod terminal;
pub mod verdict;

//! Results: the schema they are stored in, reading them, verdicts, one exporter per format.

pub mod schema;

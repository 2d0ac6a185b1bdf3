//! Reading stored results.

use super::derive;
use crate::record::histogram::HistogramError;
use crate::record::{
    AA_SCHEMA, AaReport, COMPARE_SCHEMA, CompareReport, LOAD_SCHEMA, LoadReport, PING_SCHEMA, PingReport, TRACE_SCHEMA,
    TraceReport, WIRE_SCHEMA, WireReport,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A stored result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Stored {
    Compare(Box<CompareReport>),
    Load(Box<LoadReport>),
    Aa(Box<AaReport>),
    Wire(Box<WireReport>),
    Ping(Box<PingReport>),
    Trace(Box<TraceReport>),
}

impl Stored {
    /// What ping, trace and sniff found, without the load generator.
    pub fn is_diagnosis(&self) -> bool {
        matches!(self, Stored::Wire(_) | Stored::Ping(_) | Stored::Trace(_))
    }
}

/// The text is no result that this version reads.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it is not JSON ({0}); give a file that `ringmark compare` saved or a command printed with --format json")]
    NotJson(serde_json::Error),
    #[error(
        "it has no \"schema\", so it is no result of ringmark; give a file that `ringmark compare` saved or a command printed with --format json"
    )]
    NoSchema,
    #[error(
        "it is written as '{found}' (by version {writer}), while this version {} reads '{COMPARE_SCHEMA}', '{LOAD_SCHEMA}', '{AA_SCHEMA}', '{WIRE_SCHEMA}', '{PING_SCHEMA}' and '{TRACE_SCHEMA}'; read it with the version that wrote it",
        env!("CARGO_PKG_VERSION")
    )]
    OtherVersion { found: String, writer: String },
    #[error("it says it is '{schema}' but does not have that form ({source}); the file is damaged")]
    Malformed { schema: String, source: serde_json::Error },
    #[error(transparent)]
    Histogram(#[from] HistogramError),
}

/// Reads a result and computes its figures again from what is raw in it: the trials, the histograms.
pub fn parse(text: &str) -> Result<Stored, ReadError> {
    let value: Value = serde_json::from_str(text).map_err(ReadError::NotJson)?;
    let word = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let schema = word("schema").ok_or(ReadError::NoSchema)?;
    let writer = word("ringmark").unwrap_or_else(|| "unknown".to_owned());
    match schema.as_str() {
        COMPARE_SCHEMA => read(value, schema, derive::fill, Stored::Compare),
        LOAD_SCHEMA => read(value, schema, derive::fill_load, Stored::Load),
        AA_SCHEMA => read(value, schema, AaReport::fill, Stored::Aa),
        WIRE_SCHEMA => read(value, schema, WireReport::fill, Stored::Wire),
        PING_SCHEMA => read(value, schema, PingReport::fill, Stored::Ping),
        TRACE_SCHEMA => read(value, schema, TraceReport::fill, Stored::Trace),
        _ => Err(ReadError::OtherVersion { found: schema, writer }),
    }
}

fn read<R: DeserializeOwned>(
    value: Value,
    schema: String,
    fill: impl Fn(&mut R) -> Result<(), HistogramError>,
    stored: impl Fn(Box<R>) -> Stored,
) -> Result<Stored, ReadError> {
    let mut report: R = serde_json::from_value(value).map_err(|source| ReadError::Malformed { schema, source })?;
    fill(&mut report)?;
    Ok(stored(Box::new(report)))
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, report, steady, trial};
    use super::super::json;
    use super::*;

    #[test]
    fn a_stored_comparison_reads_back_and_its_figures_are_computed_again() {
        let report = report(vec![contestant("epoll", steady(1e5)), contestant("uring", steady(1.3e5))]);
        assert_eq!(parse(&json::render(&report).unwrap()).unwrap(), Stored::Compare(Box::new(report.clone())));
        let mut edited = report.clone();
        edited.cells[0].contestants[1].throughput_per_s = Some(1e9);
        assert_eq!(parse(&json::render(&edited).unwrap()).unwrap(), Stored::Compare(Box::new(report)));
    }

    #[test]
    fn the_percentiles_of_a_single_run_come_from_its_histogram() {
        let mut load = trial(1, 1e5, &[]).load.unwrap();
        load.latency_ns.p99 = 7;
        let Stored::Load(read) = parse(&json::render(&load).unwrap()).unwrap() else { panic!() };
        assert_eq!((read.latency_ns.p50, read.latency_ns.p99, read.latency_ns.max), (1_000, 1_000, 1_000));
        load.histogram = "x".into();
        assert!(parse(&json::render(&load).unwrap()).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn a_file_from_before_a_field_was_added_reads() {
        let mut old = serde_json::to_value(report(vec![contestant("epoll", steady(1e5))])).unwrap();
        assert_eq!(old.as_object_mut().unwrap().remove("siblings_shared"), Some(false.into()));
        assert!(parse(&old.to_string()).is_ok());
    }

    #[test]
    fn every_kind_of_result_reads_back() {
        for result in super::super::export::tests::all() {
            let read = parse(&json::render(&result).unwrap()).unwrap();
            assert_eq!(std::mem::discriminant(&read), std::mem::discriminant(&result));
            assert_eq!(parse(&json::render(&read).unwrap()).unwrap(), read);
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, part) in [
            ("", "not JSON"),
            ("{}", "no \"schema\""),
            (r#"{"schema":"ringmark.compare/2","ringmark":"9.9"}"#, "by version 9.9"),
            (r#"{"schema":"ringmark.compare/1"}"#, "damaged"),
            (r#"{"schema":"ringload/1"}"#, "damaged"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}

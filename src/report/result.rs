//! The seam between results and formats: what a kind of result offers, and which kinds there are. A kind is one file
//! beside this one and one line in [`KINDS`]; formats know none of them.

use super::compared::{Compared, DiffError};
use super::text_style::TextStyle;
use super::threshold::Subject;
use crate::record::histogram::HistogramError;
use crate::record::{
    AA_SCHEMA, AaReport, COMPARE_SCHEMA, CompareReport, LOAD_SCHEMA, LatencyFigures, LatencyRecord, LoadReport,
    PASSIVE_LATENCY_SCHEMA, PING_SCHEMA, PassiveLatencyReport, PingReport, TRACE_SCHEMA, TraceReport,
};
use crate::units::Nanos;
use schemars::{JsonSchema, Schema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

/// What was measured once and stored.
pub trait StoredResult: Debug {
    /// Computes the figures again from what is raw in it: the trials, the histograms.
    fn derive(&mut self) -> Result<(), HistogramError>;

    /// Its version, as stored.
    fn schema(&self) -> &str;

    /// The stored form, which [`parse`] reads: indented, with a final line break.
    fn json(&self) -> Result<String, serde_json::Error>;

    /// The report as text, with a final line break. Kinds that have one look alone take no notice of the style.
    fn text(&self, style: &TextStyle) -> String;

    /// One line per trial, target, hop or kind of time. `None` where only [`StoredResult::json`] and
    /// [`StoredResult::text`] hold it; so are the two that follow.
    fn rows(&self) -> Option<Rows>;

    /// What is worth pasting somewhere.
    fn tables(&self) -> Option<Vec<Table>>;

    /// The times that were measured, those that belong together in one series. Only series with samples.
    fn series(&self) -> Option<Vec<Series<'_>>>;

    /// What bounds are applied to.
    fn subjects(&self) -> Vec<Subject> {
        Vec::new()
    }

    /// What another result of its kind may be compared with.
    fn compared(&self) -> Result<Compared, DiffError> {
        Err(DiffError::Diagnosis)
    }
}

/// A result of any kind.
pub type Stored = Box<dyn StoredResult>;

/// Fields by line, raw: times in integer nanoseconds, 1 is yes and 0 is no, a field is empty where nothing is known.
pub struct Rows {
    /// Names of the columns, separated by commas.
    pub header: String,
    pub lines: Vec<Vec<String>>,
}

/// A table as text and what stands around it.
pub struct Table {
    /// Lines before it, with their line breaks.
    pub before: String,
    /// Names of the columns, and whether they hold figures, which are aligned on the right.
    pub columns: Vec<(&'static str, bool)>,
    pub rows: Vec<Vec<String>>,
    /// A sentence after it; may be empty.
    pub after: String,
}

/// Times of one kind.
pub struct Series<'a> {
    /// In one word: a tag, a part of a file's name; `None` where the result is about nothing else.
    pub name: Option<String>,
    /// Stored histograms that add up to it.
    pub whole: Vec<&'a str>,
    /// The same samples by when they were taken.
    pub intervals: Vec<Interval<'a>>,
}

/// A part of a series.
pub struct Interval<'a> {
    /// Since the series began.
    pub start_ns: u64,
    pub length_ns: u64,
    /// As stored.
    pub histogram: &'a str,
}

/// Columns of [`latency_fields`].
pub const LATENCY_COLUMNS: &str = "min_ns,mean_ns,p50_ns,p90_ns,p99_ns,p999_ns,max_ns";

/// min, mean, p50, p90, p99, p99.9, max; means have a decimal.
pub fn latency_fields(latency: &LatencyRecord) -> [String; 7] {
    let LatencyRecord { min, mean, p50, p90, p99, p999, max } = *latency;
    let [min, p50, p90, p99, p999, max] = [min, p50, p90, p99, p999, max].map(|nanos| nanos.to_string());
    [min, format!("{mean:.1}"), p50, p90, p99, p999, max]
}

/// Columns of [`shown`].
pub const LATENCIES: [(&str, bool); 4] = [("p50", true), ("p99", true), ("p99.9", true), ("max", true)];

/// p50, p99, p99.9 and max as text; dashes where there is nothing.
pub fn shown(latency: Option<&LatencyRecord>) -> [String; 4] {
    let Some(latency) = latency else { return ["-"; 4].map(str::to_owned) };
    [latency.p50, latency.p99, latency.p999, latency.max].map(|nanos| Nanos(nanos).to_string())
}

/// Samples, and their figures; these are empty where there are none.
pub fn figure_fields(times: &LatencyFigures) -> impl Iterator<Item = String> + use<> {
    [times.samples.to_string()].into_iter().chain(times.known().map(latency_fields).unwrap_or_default())
}

/// What a diagnosis recorded of one kind, from its begin to its end; `None` without a sample.
pub fn series_of(name: Option<String>, length_ns: u64, times: &LatencyFigures) -> Option<Series<'_>> {
    let histogram = times.histogram.as_str();
    (times.samples > 0).then(|| Series {
        name,
        whole: vec![histogram],
        intervals: vec![Interval { start_ns: 0, length_ns, histogram }],
    })
}

/// A kind of result.
pub struct Kind {
    /// What `ringmark schema` calls it.
    pub name: &'static str,
    pub about: &'static str,
    pub schema: &'static str,
    read: fn(Value) -> Result<Stored, ReadError>,
    pub form: fn() -> Schema,
}

/// All there are.
pub const KINDS: [Kind; 6] = [
    kind::<CompareReport>("compare", COMPARE_SCHEMA, "What `ringmark compare` saves"),
    kind::<LoadReport>("load", LOAD_SCHEMA, "What `ringload --format json` prints"),
    kind::<AaReport>("aa", AA_SCHEMA, "What `ringmark compare --aa` saves"),
    kind::<PassiveLatencyReport>(
        "wire",
        PASSIVE_LATENCY_SCHEMA,
        "What `ringmark sniff --latency --format json` prints",
    ),
    kind::<PingReport>("ping", PING_SCHEMA, "What `ringmark ping --format json` prints"),
    kind::<TraceReport>("trace", TRACE_SCHEMA, "What `ringmark trace --format json` prints"),
];

const fn kind<R>(name: &'static str, schema: &'static str, about: &'static str) -> Kind
where
    R: StoredResult + DeserializeOwned + JsonSchema + 'static,
{
    Kind { name, about, schema, read: read::<R>, form: || schema_for!(R) }
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
        "it is written as '{found}' (by version {writer}), while this version {} reads {}; read it with the version that wrote it",
        env!("CARGO_PKG_VERSION"),
        schemas()
    )]
    OtherVersion { found: String, writer: String },
    #[error("it says it is '{schema}' but does not have that form ({source}); the file is damaged")]
    Malformed { schema: String, source: serde_json::Error },
    #[error(transparent)]
    Histogram(#[from] HistogramError),
}

fn schemas() -> String {
    KINDS.map(|kind| format!("'{}'", kind.schema)).join(", ")
}

/// Reads a result, its figures computed again.
pub fn parse(text: &str) -> Result<Stored, ReadError> {
    let value: Value = serde_json::from_str(text).map_err(ReadError::NotJson)?;
    let schema = word(&value, "schema").ok_or(ReadError::NoSchema)?;
    match KINDS.iter().find(|kind| kind.schema == schema) {
        Some(kind) => (kind.read)(value),
        None => {
            let writer = word(&value, "ringmark").unwrap_or("unknown").to_owned();
            Err(ReadError::OtherVersion { found: schema.to_owned(), writer })
        }
    }
}

fn word<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn read<R: StoredResult + DeserializeOwned + 'static>(value: Value) -> Result<Stored, ReadError> {
    let schema = word(&value, "schema").unwrap_or_default().to_owned();
    let mut result: R = serde_json::from_value(value).map_err(|source| ReadError::Malformed { schema, source })?;
    result.derive()?;
    Ok(Box::new(result))
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, report, steady, trial};
    use super::super::export::tests::all;
    use super::*;

    fn read_again(result: &dyn StoredResult) -> String {
        parse(&result.json().unwrap()).unwrap().json().unwrap()
    }

    #[test]
    fn a_stored_comparison_reads_back_and_its_figures_are_computed_again() {
        let report = report(vec![contestant("epoll", steady(1e5)), contestant("uring", steady(1.3e5))]);
        assert_eq!(read_again(&report), report.json().unwrap());
        let mut edited = report.clone();
        edited.cells[0].contestants[1].throughput_per_s = Some(1e9);
        assert_eq!(read_again(&edited), report.json().unwrap());
    }

    #[test]
    fn the_percentiles_of_a_single_run_come_from_its_histogram() {
        let mut load = trial(1, 1e5, &[]).load.unwrap();
        load.latency_ns.p99 = 7;
        let read: LoadReport = serde_json::from_str(&read_again(&load)).unwrap();
        assert_eq!((read.latency_ns.p50, read.latency_ns.p99, read.latency_ns.max), (1_000, 1_000, 1_000));
        load.histogram = "x".into();
        assert!(matches!(parse(&load.json().unwrap()), Err(ReadError::Histogram(_))));
    }

    #[test]
    fn a_file_from_before_a_field_was_added_reads() {
        let mut old = serde_json::to_value(report(vec![contestant("epoll", steady(1e5))])).unwrap();
        assert_eq!(old.as_object_mut().unwrap().remove("siblings_shared"), Some(false.into()));
        assert!(parse(&old.to_string()).is_ok());
    }

    #[test]
    fn every_kind_of_result_reads_back() {
        for result in all() {
            let read = parse(&result.json().unwrap()).unwrap();
            assert_eq!(read.schema(), result.schema());
            assert_eq!(read_again(&*read), read.json().unwrap());
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, part) in [
            ("", "not JSON"),
            ("{}", "no \"schema\""),
            (r#"{"schema":"ringmark.compare/2","ringmark":"9.9"}"#, "by version 9.9"),
            (r#"{"schema":"ringmark.compare/2"}"#, "'ringmark.ping/1'"),
            (r#"{"schema":"ringmark.compare/1"}"#, "damaged"),
            (r#"{"schema":"ringload/1"}"#, "damaged"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}

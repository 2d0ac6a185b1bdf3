//! The seam of the exporters: a result in, text out. A format is one file beside this one and one line in [`super::formats`].

use super::result::StoredResult;
use crate::record::histogram::HistogramError;

/// Turns a result into text of some format.
pub trait Exporter {
    /// One text, or several where the format holds only one thing: each then has a name of its own.
    fn export(&self, result: &dyn StoredResult) -> Result<Vec<Part>, ExportError>;
}

/// What goes into one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which part of the result it is; `None` where it is all of it.
    pub name: Option<String>,
    pub text: String,
}

impl Part {
    pub fn whole(text: String) -> Vec<Part> {
        vec![Part { name: None, text }]
    }
}

/// A result could not be turned into a format.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Histogram(#[from] HistogramError),
    #[error("it has no trials to export; json and text hold it, and two results side by side md and csv too")]
    NoTrials,
}

/// Letters, digits and a few signs of a name; anything else becomes `_`, runs of it one.
pub fn plain(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || ".-=".contains(c) { c } else { '_' };
    let mut plain: String = name.chars().map(kept).collect();
    while plain.contains("__") {
        plain = plain.replace("__", "_");
    }
    plain.trim_matches('_').to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::derive::tests::{contestant, failed, report, steady, trial};
    use super::super::result::Stored;
    use super::*;
    use crate::record::histogram::tests::stored;
    use crate::record::{CompareReport, LoadReport, passive_latency, ping, trace};

    /// A comparison with trials that count, one that does not, and one that failed.
    pub fn comparison() -> CompareReport {
        let mut trials = steady(120_000.0);
        trials[1] = trial(2, 9e9, &["an answer, \"wrong\""]);
        trials[2] = failed(3, "the server ended;\nno memory");
        report(vec![contestant("epoll", steady(100_000.0)), contestant("uring --recv oneshot", trials)])
    }

    pub fn single() -> LoadReport {
        let load = trial(1, 1e5, &[]).load.unwrap();
        LoadReport { histogram: stored(&[1_000, 2_000, 2_000, 3_000_000]), ..load }
    }

    /// A result of each kind that every format takes.
    pub fn all() -> [Stored; 5] {
        let (wire, ping, trace) = (passive_latency::tests::report(), ping::tests::report(), trace::tests::report());
        [Box::new(single()), Box::new(comparison()), Box::new(wire), Box::new(ping), Box::new(trace)]
    }

    pub fn only(parts: Vec<Part>) -> String {
        assert!(parts.len() == 1 && parts[0].name.is_none(), "{parts:?}");
        parts.into_iter().map(|part| part.text).collect()
    }

    #[test]
    fn a_plain_name_fits_into_a_file_name_and_a_tag() {
        assert_eq!(plain("exec ./a b, --port {port}"), "exec_._a_b_--port_port");
        assert_eq!(plain("uring --recv oneshot"), "uring_--recv_oneshot");
    }
}

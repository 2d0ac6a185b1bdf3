//! Bounds that a result must not cross: `p99>300us`, `ratio<0.95`. A bound names what is *not* wanted.

use crate::record::{DatagramRecord, LatencyRecord};
use crate::units::{Nanos, three_digits};
use std::fmt;
use std::str::FromStr;

/// A figure that a bound may be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Min,
    Mean,
    P50,
    P90,
    P99,
    P999,
    Max,
    /// Requests per second.
    Throughput,
    /// Throughput relative to the baseline's.
    Ratio,
    Errors,
    /// Datagrams without an answer.
    Lost,
}

const METRICS: [(&str, Metric); 12] = [
    ("min", Metric::Min),
    ("mean", Metric::Mean),
    ("p50", Metric::P50),
    ("p90", Metric::P90),
    ("p99", Metric::P99),
    ("p999", Metric::P999),
    ("p99.9", Metric::P999),
    ("max", Metric::Max),
    ("throughput", Metric::Throughput),
    ("ratio", Metric::Ratio),
    ("errors", Metric::Errors),
    ("lost", Metric::Lost),
];

/// Whether a figure and a value are in it.
type Relation = fn(f64, f64) -> bool;

/// Longer ones first, so that `<` does not match the beginning of `<=`.
const RELATIONS: [(&str, Relation); 4] =
    [("<=", |a, b| a <= b), (">=", |a, b| a >= b), ("<", |a, b| a < b), (">", |a, b| a > b)];

/// A bound; it is crossed where figure, relation and value hold.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    pub metric: Metric,
    /// Index into [`RELATIONS`].
    relation: usize,
    value: f64,
}

/// What bounds are applied to: a run, or a contestant under a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub name: String,
    pub figures: Vec<(Metric, f64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no bound ({problem}); write FIGURE<VALUE or FIGURE>VALUE, such as p99>300us, throughput<50k, ratio<0.95, errors>0"
)]
pub struct ParseThresholdError {
    text: String,
    problem: String,
}

impl FromStr for Threshold {
    type Err = ParseThresholdError;

    fn from_str(text: &str) -> Result<Threshold, ParseThresholdError> {
        parse(text).map_err(|problem| ParseThresholdError { text: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Threshold, String> {
    let at = text.find(['<', '>']).ok_or("it has neither < nor >")?;
    let (name, rest) = (text[..at].trim(), &text[at..]);
    let names = || METRICS.map(|(name, _)| name).join(", ");
    let metric = METRICS.iter().find(|(known, _)| *known == name);
    let (_, metric) = metric.ok_or_else(|| format!("'{name}' is no figure; there are {}", names()))?;
    let relation = RELATIONS.iter().position(|(sign, _)| rest.starts_with(sign)).ok_or("it has no relation")?;
    let value = value(*metric, rest[RELATIONS[relation].0.len()..].trim())?;
    Ok(Threshold { metric: *metric, relation, value })
}

fn value(metric: Metric, text: &str) -> Result<f64, String> {
    let number = |text: &str| match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(format!("'{text}' is no number")),
    };
    let scaled = |text: &str| match (text.strip_suffix(['k', 'K']), text.strip_suffix(['m', 'M'])) {
        (Some(text), _) => number(text).map(|number| number * 1e3),
        (_, Some(text)) => number(text).map(|number| number * 1e6),
        (None, None) => number(text),
    };
    match metric {
        Metric::Throughput => scaled(text.strip_suffix("/s").unwrap_or(text)),
        Metric::Errors | Metric::Lost => scaled(text),
        Metric::Ratio => match text.strip_suffix('%') {
            Some(percent) => number(percent.trim_end()).map(|percent| percent / 100.0),
            None => number(text),
        },
        _ => text.parse::<Nanos>().map(|nanos| nanos.0 as f64).map_err(|error| error.to_string()),
    }
}

impl Metric {
    fn show(self, value: f64) -> String {
        match self {
            Metric::Throughput => format!("{value:.0}/s"),
            Metric::Ratio => three_digits((value * 1e4).round() / 1e4),
            Metric::Errors | Metric::Lost => format!("{value:.0}"),
            _ => Nanos(value.round() as u64).to_string(),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = METRICS.iter().find(|(_, metric)| *metric == self.metric).map_or("", |(name, _)| name);
        write!(f, "{name}{}{}", RELATIONS[self.relation].0, self.metric.show(self.value))
    }
}

impl Threshold {
    /// A sentence for each subject that crosses it, or whose figure is not known: what cannot be judged does not pass.
    pub fn crossed(&self, subjects: &[Subject]) -> Vec<String> {
        if subjects.is_empty() {
            return vec![format!("{self} cannot be judged: nothing was measured")];
        }
        subjects.iter().filter_map(|subject| self.crossed_by(subject)).collect()
    }

    fn crossed_by(&self, subject: &Subject) -> Option<String> {
        let figure = subject.figures.iter().find(|(metric, _)| *metric == self.metric);
        match figure {
            None => Some(format!("{self} cannot be judged: {} has no such figure", subject.name)),
            Some((_, figure)) if RELATIONS[self.relation].1(*figure, self.value) => {
                Some(format!("{self} is crossed: {} has {}", subject.name, self.metric.show(*figure)))
            }
            Some(_) => None,
        }
    }
}

/// What clients waited.
pub fn latency_figures(latency: &LatencyRecord) -> [(Metric, f64); 7] {
    [
        (Metric::Min, latency.min as f64),
        (Metric::Mean, latency.mean),
        (Metric::P50, latency.p50 as f64),
        (Metric::P90, latency.p90 as f64),
        (Metric::P99, latency.p99 as f64),
        (Metric::P999, latency.p999 as f64),
        (Metric::Max, latency.max as f64),
    ]
}

/// Datagrams that were not answered.
pub fn lost(datagrams: &DatagramRecord) -> (Metric, f64) {
    (Metric::Lost, datagrams.lost as f64)
}

#[cfg(test)]
mod tests {
    use super::super::export::tests::{comparison, single};
    use super::super::result::StoredResult;
    use super::*;
    use proptest::prelude::*;

    fn crossed(bound: &str, result: &dyn StoredResult) -> Vec<String> {
        bound.parse::<Threshold>().unwrap().crossed(&result.subjects())
    }

    #[test]
    fn a_bound_is_crossed_where_it_holds() {
        let mut run = single();
        run.latency_ns = LatencyRecord { p99: 300_000, max: 3_000_000, ..LatencyRecord::default() };
        run.errors.insert("reset".into(), 2);
        for (bound, holds) in [
            ("p99>299us", true),
            ("p99 > 300us", false),
            ("p99>=300us", true),
            ("p999>0", false),
            ("max<3.1ms", true),
            ("throughput<100.1k", true),
            ("throughput <= 99k/s", false),
            ("errors>0", true),
            ("errors>2", false),
        ] {
            assert_eq!(crossed(bound, &run).len(), usize::from(holds), "{bound}: {:?}", crossed(bound, &run));
        }
        assert_eq!(crossed("p99>0.2ms", &run), ["p99>200us is crossed: 127.0.0.1:1 has 300us"]);
        assert!(crossed("ratio<1", &run)[0].contains("cannot be judged: 127.0.0.1:1 has no such figure"));
        assert!(crossed("lost>0", &run)[0].contains("cannot be judged"));
    }

    #[test]
    fn of_a_comparison_the_candidates_are_judged() {
        let ours = crossed("ratio<130%", &comparison());
        assert_eq!(ours, ["ratio<1.30 is crossed: uring --recv oneshot (64 connections x 64 B) has 1.20"]);
        assert!(crossed("throughput<110k", &comparison()).is_empty(), "the baseline is not judged");
    }

    #[test]
    fn what_is_no_bound_says_why() {
        for (text, part) in [
            ("p99", "neither < nor >"),
            ("p98>1ms", "'p98' is no figure"),
            ("p99>300", "unit"),
            ("ratio<x", "'x' is no number"),
            ("errors>-1", "'-1' is no number"),
            ("p99=>1ms", "'p99=' is no figure"),
            ("ratio<NaN", "no number"),
        ] {
            let message = text.parse::<Threshold>().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,20}") {
            let _ = text.parse::<Threshold>();
        }

        #[test]
        fn what_is_well_formed_is_read_and_judged_by_its_value(
            metric in 0..METRICS.len(), relation in 0..RELATIONS.len(), value in 0u32..1_000_000, figure in 0u32..1_000_000,
            space in "[ ]{0,2}",
        ) {
            let (name, metric) = METRICS[metric];
            let (sign, holds) = RELATIONS[relation];
            let unit = match metric {
                Metric::Throughput | Metric::Ratio | Metric::Errors | Metric::Lost => "",
                _ => "ns",
            };
            let bound: Threshold = format!("{name}{space}{sign}{space}{value}{unit}").parse().unwrap();
            let subject = Subject { name: "x".into(), figures: vec![(metric, f64::from(figure))] };
            let crossed = !bound.crossed(&[subject]).is_empty();
            prop_assert_eq!(crossed, holds(f64::from(figure), f64::from(value)));
        }
    }
}

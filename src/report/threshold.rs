//! Bounds that a result must not cross: `p99>300us`, `ratio.high<1`, `slower`. A bound names what is *not* wanted.

use super::pairing::Figure;
use crate::record::{ContestantRecord, DatagramRecord, LatencyRecord, RatioRecord, Verdict};
use crate::stats::MIN_PAIRS;
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
    /// CPU time per request: the server's, and that of both ends.
    ServerCpu,
    TotalCpu,
    /// One of the three numbers of a ratio to the baseline: of this figure, or of what is compared (the throughput; in an
    /// open loop 1/p99).
    Ratio(Option<Figure>, Point),
    Errors,
    /// Datagrams without an answer.
    Lost,
    /// 1 where this is the verdict, else 0.
    Is(Judged),
}

/// The ratio, or a bound of its interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Middle,
    Low,
    High,
}

/// Verdicts that a bound may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    Slower,
    Broken,
}

const METRICS: [(&str, Metric); 13] = [
    ("min", Metric::Min),
    ("mean", Metric::Mean),
    ("p50", Metric::P50),
    ("p90", Metric::P90),
    ("p99", Metric::P99),
    ("p999", Metric::P999),
    ("p99.9", Metric::P999),
    ("max", Metric::Max),
    ("throughput", Metric::Throughput),
    ("server_cpu", Metric::ServerCpu),
    ("total_cpu", Metric::TotalCpu),
    ("errors", Metric::Errors),
    ("lost", Metric::Lost),
];

/// What stands before the point of a ratio: `throughput.ratio.low`.
const RATIOS: [(&str, Option<Figure>); 6] = [
    ("ratio", None),
    ("throughput.ratio", Some(Figure::Throughput)),
    ("server_cpu.ratio", Some(Figure::ServerCpu)),
    ("total_cpu.ratio", Some(Figure::TotalCpu)),
    ("p50.ratio", Some(Figure::P50)),
    ("p99.ratio", Some(Figure::P99)),
];

const POINTS: [(&str, Point); 3] = [("", Point::Middle), (".low", Point::Low), (".high", Point::High)];

const VERDICTS: [(&str, Judged); 2] = [("slower", Judged::Slower), ("broken", Judged::Broken)];

/// Every name and what it is of; of two names of one figure the first is shown.
fn names() -> impl Iterator<Item = (String, Metric)> {
    let ratios = RATIOS.into_iter().flat_map(|(name, figure)| {
        POINTS.map(|(point, which)| (format!("{name}{point}"), Metric::Ratio(figure, which)))
    });
    METRICS.into_iter().map(|(name, metric)| (name.to_owned(), metric)).chain(ratios)
}

/// Whether a figure and a value are in it.
type Relation = fn(f64, f64) -> bool;

/// Longer ones first, so that `<` does not match the beginning of `<=`.
const RELATIONS: [(&str, Relation); 4] =
    [("<=", |a, b| a <= b), (">=", |a, b| a >= b), ("<", |a, b| a < b), (">", |a, b| a > b)];
/// Index of `>`.
const MORE: usize = 3;

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
    "'{text}' is no bound ({problem}); write FIGURE<VALUE or FIGURE>VALUE, such as p99>300us, throughput<50k, \
     ratio.high<0.98, server_cpu.ratio.low>1, errors>0, or a verdict: slower, broken"
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
    if let Some((_, verdict)) = VERDICTS.iter().find(|(name, _)| *name == text.trim()) {
        return Ok(Threshold { metric: Metric::Is(*verdict), relation: MORE, value: 0.0 });
    }
    let at = text.find(['<', '>']).ok_or("it has neither < nor >, and is no verdict")?;
    let (name, rest) = (text[..at].trim(), &text[at..]);
    let metric = names().find(|(known, _)| known == name).map(|(_, metric)| metric).ok_or_else(|| unknown(name))?;
    let relation = RELATIONS.iter().position(|(sign, _)| rest.starts_with(sign)).ok_or("it has no relation")?;
    let value = value(metric, rest[RELATIONS[relation].0.len()..].trim())?;
    Ok(Threshold { metric, relation, value })
}

fn unknown(name: &str) -> String {
    let list = |names: &[&str]| names.join(", ");
    format!(
        "'{name}' is no figure; there are {}, and of a comparison {}, each also with .low and .high",
        list(&METRICS.map(|(name, _)| name)),
        list(&RATIOS.map(|(name, _)| name))
    )
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
        Metric::Ratio(..) => match text.strip_suffix('%') {
            Some(percent) => number(percent.trim_end()).map(|percent| percent / 100.0),
            None => number(text),
        },
        _ => text.parse::<Nanos>().map(|nanos| nanos.0 as f64).map_err(|error| error.to_string()),
    }
}

impl Metric {
    /// Whether only a comparison has it.
    pub fn is_of_comparison(self) -> bool {
        matches!(self, Metric::Ratio(..) | Metric::Is(_))
    }

    fn kind(self) -> &'static str {
        if matches!(self, Metric::Is(_)) { "verdict" } else { "figure" }
    }

    fn show(self, value: f64) -> String {
        match self {
            Metric::Throughput => format!("{value:.0}/s"),
            Metric::Ratio(..) => three_digits((value * 1e4).round() / 1e4),
            Metric::Errors | Metric::Lost | Metric::Is(_) => format!("{value:.0}"),
            _ => Nanos(value.round() as u64).to_string(),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Metric::Is(verdict) = self.metric {
            let name = VERDICTS.iter().find(|(_, known)| *known == verdict).map_or("", |(name, _)| name);
            return f.write_str(name);
        }
        let name = names().find(|(_, metric)| *metric == self.metric).map(|(name, _)| name).unwrap_or_default();
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
            None => Some(format!("{self} cannot be judged: {} has no such {}", subject.name, self.metric.kind())),
            Some((Metric::Is(_), figure)) => (*figure > 0.0).then(|| format!("{self} holds: {} is", subject.name)),
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

/// A ratio to the baseline, and the bounds of its interval where that is one.
pub fn ratio_figures(figure: Option<Figure>, ratio: &RatioRecord) -> impl Iterator<Item = (Metric, f64)> + use<> {
    let RatioRecord { median, low, high, pairs } = *ratio;
    let points = [(Point::Middle, median), (Point::Low, low), (Point::High, high)];
    let known = points.into_iter().filter(move |(point, _)| *point == Point::Middle || pairs >= MIN_PAIRS as u64);
    known.map(move |(point, value)| (Metric::Ratio(figure, point), value))
}

/// All that relates a contestant to the baseline.
pub fn relative_figures(contestant: &ContestantRecord) -> Vec<(Metric, f64)> {
    let main = contestant.ratio.iter().flat_map(|ratio| ratio_figures(None, ratio));
    let of = |figure: Figure| Some((figure, figure.of_record(&contestant.ratios)?.ratio));
    let all = Figure::ALL.into_iter().filter_map(of);
    let all = all.flat_map(|(figure, ratio)| ratio_figures(Some(figure), &ratio));
    main.chain(all).chain(verdict_figures(contestant)).collect()
}

/// Whether it is slower is not known of who was not compared, or not in enough rounds.
fn verdict_figures(contestant: &ContestantRecord) -> impl Iterator<Item = (Metric, f64)> {
    let is = |judged, holds: bool| (Metric::Is(judged), f64::from(u8::from(holds)));
    let judged = contestant.verdict.filter(|verdict| !matches!(verdict, Verdict::TooFewRounds | Verdict::Broken));
    let slower = judged.map(|verdict| is(Judged::Slower, verdict == Verdict::Slower));
    slower.into_iter().chain([is(Judged::Broken, contestant.broken.is_some())])
}

/// Datagrams that were not answered.
pub fn lost(datagrams: &DatagramRecord) -> (Metric, f64) {
    (Metric::Lost, datagrams.lost as f64)
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, report, steady};
    use super::super::export::tests::{comparison, single};
    use super::super::result::StoredResult;
    use super::*;
    use crate::record::{JudgedRatioRecord, Reason};
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
        let few = "ratio.low<1 cannot be judged: uring --recv oneshot (64 connections x 64 B) has no such figure";
        assert_eq!(crossed("ratio.low<1", &comparison()), [few], "five pairs have no interval");
        assert!(crossed("throughput<110k", &comparison()).is_empty(), "the baseline is not judged");
    }

    /// An interval from 0.91 to 1.05 shows nothing; one that ends below 1 does.
    #[test]
    fn intervals_and_verdicts_are_judged() {
        let of = |low, high, verdict| {
            let mut report = report(vec![contestant("epoll", steady(1e5)), contestant("uring", steady(1e5))]);
            let uring = &mut report.cells[0].contestants[1];
            let ratio = RatioRecord { median: 0.95, low, high, pairs: 7 };
            let judged = JudgedRatioRecord { ratio, p_value: Some(0.1), bound: None, verdict };
            (uring.ratio, uring.verdict) = (Some(ratio), Some(verdict));
            (uring.ratios.throughput, uring.ratios.server_cpu) = (Some(judged), Some(judged));
            uring.ratios.p99 = Some(judged);
            report
        };
        let (open, shown) = (of(0.91, 1.05, Verdict::NoDifferenceShown), of(0.92, 0.98, Verdict::Slower));
        for (bound, of_open, of_shown) in [
            ("ratio<1", true, true),
            ("ratio.high < 1", false, true),
            ("throughput.ratio.high<99%", false, true),
            ("server_cpu.ratio.low>0.915", false, true),
            ("p99.ratio>2", false, false),
            (" slower ", false, true),
            ("broken", false, false),
        ] {
            assert_eq!(crossed(bound, &open).len(), usize::from(of_open), "{bound}: {:?}", crossed(bound, &open));
            assert_eq!(crossed(bound, &shown).len(), usize::from(of_shown), "{bound}: {:?}", crossed(bound, &shown));
        }
        assert_eq!(crossed("slower", &shown), ["slower holds: uring (64 connections x 64 B) is"]);
        assert_eq!(crossed("server_cpu>19ns", &shown).len(), 1);
        let mut run = single();
        (run.cpu.server_ns_per_request, run.cpu.generator_ns_per_request) = (Some(20.0), Some(10.0));
        assert_eq!((crossed("server_cpu>19ns", &run).len(), crossed("total_cpu>30ns", &run).len()), (1, 0));
        assert!(crossed("total_cpu>31ns", &shown).is_empty());
        assert!(crossed("broken", &single())[0].contains("has no such verdict"));
    }

    #[test]
    fn a_broken_baseline_is_not_overlooked() {
        let mut trials = steady(1e5);
        trials[0].load.as_mut().unwrap().invalid.push(Reason::Errors { kinds: [("corrupt".to_owned(), 1)].into() });
        let report = report(vec![contestant("epoll", trials), contestant("uring", steady(1e5))]);
        assert_eq!(crossed("broken", &report), ["broken holds: epoll (64 connections x 64 B) is"]);
        assert!(crossed("slower", &report).iter().all(|line| line.contains("cannot be judged")));
    }

    #[test]
    fn what_is_no_bound_says_why() {
        for (text, part) in [
            ("slow", "no verdict"),
            ("p99.low>1ms", "ratio, throughput.ratio"),
            ("broken>0", "'broken' is no figure"),
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
            metric in 0..names().count(), relation in 0..RELATIONS.len(), value in 0u32..1_000_000, figure in 0u32..1_000_000,
            space in "[ ]{0,2}",
        ) {
            let (name, metric) = names().nth(metric).unwrap();
            let (sign, holds) = RELATIONS[relation];
            let unit = match metric {
                Metric::Throughput | Metric::Ratio(..) | Metric::Errors | Metric::Lost => "",
                _ => "ns",
            };
            let bound: Threshold = format!("{name}{space}{sign}{space}{value}{unit}").parse().unwrap();
            let subject = Subject { name: "x".into(), figures: vec![(metric, f64::from(figure))] };
            let crossed = !bound.crossed(&[subject]).is_empty();
            prop_assert_eq!(crossed, holds(f64::from(figure), f64::from(value)));
        }
    }
}

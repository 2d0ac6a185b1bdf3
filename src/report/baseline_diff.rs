//! Two stored results side by side. They were not measured in the same rounds, so nothing is paired: whatever changed
//! between them, the machine included, is in the ratio, and the report states that.

use super::compared::{Compared, DiffError, Side, SideRecord};
use super::intervals;
use super::result::StoredResult;
use super::threshold::{Judged, Metric, Subject, ratio_figures};
use super::verdict::{short_name, verdict};
use crate::record::{QuantileRecord, RatioRecord, Verdict};
use crate::stats::{MIN_PAIRS, derive_seed, median_ratio};
use crate::units::Nanos;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of [`BaselineDiff`].
pub const DIFF_SCHEMA: &str = "ringmark.against/1";

/// What `ringmark report FILE --baseline FILE` prints as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineDiff {
    /// [`DIFF_SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    pub ringmark: String,
    /// The two files, as named.
    pub file: String,
    pub baseline: String,
    /// What the two were not measured alike in, and what could not be compared.
    pub warnings: Vec<String>,
    pub rows: Vec<DiffRow>,
}

/// A run or a contestant that is in both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiffRow {
    pub name: String,
    pub ours: SideRecord,
    pub base: SideRecord,
    /// Ratio of the medians of the rounds' throughputs, resampled apart (two-sample bootstrap); `pairs` is the smaller
    /// number of rounds. Without 6 of them on both sides the interval is no interval.
    ///
    /// Of open loops, whose throughput is what was asked for, it is that of 1 / p99 response time. None where only one is.
    pub ratio: Option<RatioRecord>,
    pub verdict: Verdict,
    /// Both are open loops.
    pub paced: bool,
}

/// Compares what both have.
pub fn diff(file: (&str, &dyn StoredResult), baseline: (&str, &dyn StoredResult)) -> Result<BaselineDiff, DiffError> {
    let (ours, base) = (file.1.compared()?, baseline.1.compared()?);
    if file.1.schema() != baseline.1.schema() {
        return Err(DiffError::Different);
    }
    let (rows, warnings) = rows(&ours, &base);
    if rows.is_empty() {
        return Err(DiffError::NothingInCommon);
    }
    Ok(BaselineDiff {
        schema: DIFF_SCHEMA.into(),
        ringmark: env!("CARGO_PKG_VERSION").into(),
        file: file.0.into(),
        baseline: baseline.0.into(),
        warnings,
        rows,
    })
}

fn rows(ours: &Compared, base: &Compared) -> (Vec<DiffRow>, Vec<String>) {
    let mut warnings = differences(ours, base);
    let mut rows = Vec::new();
    for side in &ours.sides {
        let Some(partner) = base.sides.iter().find(|other| other.key == side.key) else {
            warnings.push(format!("{} is not in the baseline", side.subject.name));
            continue;
        };
        let problem = |which: &str, side: &Side| {
            side.problem.as_ref().map(|reason| format!("the {which} must not be used: {reason}"))
        };
        warnings.extend(problem("run", side).into_iter().chain(problem("baseline", partner)));
        rows.push(row(side, partner, derive_seed(ours.seed, rows.len() as u64)));
    }
    (rows, warnings)
}

fn row(ours: &Side, base: &Side, seed: u64) -> DiffRow {
    let alike = ours.paced == base.paced;
    let ratio =
        median_ratio(&ours.scores, &base.scores, seed).filter(|_| alike).map(|(median, interval)| RatioRecord {
            median,
            low: interval.low,
            high: interval.high,
            pairs: ours.scores.len().min(base.scores.len()) as u64,
        });
    DiffRow {
        name: ours.subject.name.clone(),
        ours: ours.record.clone(),
        base: base.record.clone(),
        ratio,
        verdict: verdict(ratio.as_ref(), false),
        paced: ours.paced && base.paced,
    }
}

/// What the two were not measured alike in.
fn differences(ours: &Compared, base: &Compared) -> Vec<String> {
    let settings = ours.settings.iter().zip(&base.settings).filter(|((_, ours), (_, base))| ours != base);
    let settings = settings.map(|((what, ours), (_, base))| format!("the {what} differs: {ours}; baseline: {base}"));
    let (what, fields) = &ours.fields;
    let of_base = |name: &String| base.fields.1.get(name).cloned().unwrap_or_default();
    let differ = fields
        .iter()
        .filter(|(name, ours)| base.fields.1.get(*name) != Some(ours) && !is_unknown(name, ours, &of_base(name)));
    let fields = differ.map(|(name, ours)| format!("the {what}'s {name} differs: {ours}; baseline: {}", of_base(name)));
    settings.chain(fields).collect()
}

/// Older files do not know every field; another seed makes no difference.
fn is_unknown(name: &str, ours: &Value, base: &Value) -> bool {
    let unknown: Value = match name {
        "seed" => return true,
        "duration_ns" => 0.into(),
        "dialect" => "".into(),
        _ => return false,
    };
    *ours == unknown || *base == unknown
}

/// The figures of the file for bounds, with the ratio to the other file: of each contestant that is in both, the baseline
/// of its own file included.
pub fn judged(file: &dyn StoredResult, report: &BaselineDiff) -> Vec<Subject> {
    let sides = file.compared().map(|compared| compared.sides).unwrap_or_default();
    let with_ratio = |mut subject: Subject| {
        let row = report.rows.iter().find(|row| row.name == subject.name)?;
        // What it is to the baseline of its own file is another matter; broken it is by itself.
        subject.figures.retain(|(metric, _)| !metric.is_of_comparison() || *metric == Metric::Is(Judged::Broken));
        subject.figures.extend(row.ratio.iter().flat_map(|ratio| ratio_figures(None, ratio)));
        let slower = (row.verdict != Verdict::TooFewRounds).then_some(row.verdict == Verdict::Slower);
        subject.figures.extend(slower.map(|slower| (Metric::Is(Judged::Slower), f64::from(u8::from(slower)))));
        Some(subject)
    };
    sides.into_iter().map(|side| side.subject).filter_map(with_ratio).collect()
}

/// What is compared, and that it is not paired.
pub fn intro(report: &BaselineDiff) -> String {
    format!(
        "{} against {}, not paired: they were measured at different times, and whatever changed in between is in the \
         ratio.",
        short_name(&report.file),
        short_name(&report.baseline)
    )
}

/// The report as text.
pub fn render(report: &BaselineDiff) -> String {
    let warnings = report.warnings.iter().map(|warning| format!("  ! {warning}"));
    let rows = report.rows.iter().flat_map(lines);
    warnings.chain([intro(report)]).chain(rows).map(|line| line + "\n").collect()
}

/// `0.900 [0.890, 0.910]` and what it says.
pub fn ratio_and_verdict(row: &DiffRow) -> (String, &'static str) {
    match row.ratio {
        None => ("-".to_owned(), "nothing to compare"),
        Some(ratio) if ratio.pairs >= MIN_PAIRS as u64 => {
            (format!("{:.3} [{:.3}, {:.3}]", ratio.median, ratio.low, ratio.high), row.verdict.text())
        }
        Some(ratio) if ratio.pairs == 1 => (format!("{:.3}", ratio.median), "single runs show nothing"),
        Some(ratio) => (format!("{:.3}", ratio.median), row.verdict.text()),
    }
}

fn lines(row: &DiffRow) -> Vec<String> {
    let rate = |side: &SideRecord| side.throughput_per_s.map_or("nothing".to_owned(), |rate| format!("{rate:.0}"));
    let (ratio, said) = ratio_and_verdict(row);
    let rates = format!("{} against {} requests/s", rate(&row.ours), rate(&row.base));
    let compared = match row.paced {
        true => format!("  1/p99      {ratio} {said} (response times; above 1 is shorter): at {rates}"),
        false => format!("  throughput {ratio} {said}: {rates}"),
    };
    let mut lines = vec![row.name.clone(), compared];
    lines.extend(row.ours.quantiles.iter().filter_map(|ours| {
        let base = row.base.quantiles.iter().find(|base| base.quantile == ours.quantile)?;
        Some(format!("  {}", latency(ours, base)))
    }));
    lines
}

/// Two quantiles differ where their intervals have nothing in common.
fn latency(ours: &QuantileRecord, base: &QuantileRecord) -> String {
    let above =
        |one: &QuantileRecord, other: &QuantileRecord| one.low_ns.zip(other.high_ns).is_some_and(|(a, b)| a > b);
    let said = match (above(ours, base), above(base, ours)) {
        (true, _) => "higher",
        (_, true) => "lower",
        _ => "no difference shown",
    };
    let side = |one: &QuantileRecord| format!("{} {}", Nanos(one.value_ns), intervals::interval(one));
    let name = format!("p{}", (ours.quantile * 1e5).round() / 1e3);
    format!("{name:<10} {said}: {} against {}", side(ours), side(base))
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, report, steady};
    use super::super::export::tests::{comparison, single};
    use super::*;
    use crate::record::{CompareReport, LatencyRecord, ping};

    fn compare(contestants: &[(&str, f64)]) -> CompareReport {
        let contestants = contestants.iter().map(|(name, rate)| contestant(name, steady(*rate)));
        report(contestants.collect())
    }

    #[test]
    fn contestants_of_the_same_name_and_workload_are_compared() {
        let (ours, base) = (compare(&[("epoll", 9e4), ("uring", 1.2e5)]), compare(&[("epoll", 1e5), ("tokio", 1e5)]));
        let report = diff(("new.json", &ours), ("old.json", &base)).unwrap();
        assert_eq!((report.rows.len(), report.rows[0].verdict), (1, Verdict::Slower));
        assert!((report.rows[0].ratio.unwrap().median - 0.9).abs() < 1e-3);
        assert_eq!(report.warnings, ["uring (64 connections x 64 B) is not in the baseline"]);
        let text = render(&report);
        assert!(text.contains("not paired") && text.contains("slower: 90004 against 100004"), "{text}");
        let judged = judged(&ours, &report);
        assert_eq!(judged.len(), 1, "the baseline of its own file is judged too");
        assert_eq!("ratio<0.95".parse::<super::super::threshold::Threshold>().unwrap().crossed(&judged).len(), 1);
    }

    #[test]
    fn single_runs_show_no_difference_in_throughput() {
        let report = diff(("a", &single()), ("b", &single())).unwrap();
        assert_eq!((report.rows[0].verdict, report.rows[0].ratio.unwrap().median), (Verdict::TooFewRounds, 1.0));
        assert!(report.warnings.is_empty() && render(&report).contains("single runs show nothing"));
    }

    #[test]
    fn open_loops_are_compared_by_response_time_and_only_with_each_other() {
        let of = |p99: Option<u64>| {
            let mut load = single();
            load.response_ns = p99.map(|p99| LatencyRecord { p99, ..load.latency_ns });
            load
        };
        let report = diff(("a", &of(Some(200_000))), ("b", &of(Some(100_000)))).unwrap();
        assert!(render(&report).contains("1/p99      0.500 single runs show nothing (response"), "{}", render(&report));
        let mixed = diff(("a", &of(Some(200_000))), ("b", &of(None))).unwrap();
        assert!(mixed.rows[0].ratio.is_none() && render(&mixed).contains("nothing to compare"), "{}", render(&mixed));
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let error = |ours: &dyn StoredResult, base: &dyn StoredResult| diff(("a", ours), ("b", base)).unwrap_err();
        assert_eq!(error(&single(), &comparison()), DiffError::Different);
        assert_eq!(error(&compare(&[("a", 1.0)]), &compare(&[("b", 1.0)])), DiffError::NothingInCommon);
        assert_eq!(error(&ping::tests::report(), &single()), DiffError::Diagnosis);
    }

    #[test]
    fn quantiles_differ_where_their_intervals_do() {
        let of = |low_ns, high_ns| QuantileRecord {
            quantile: 0.99,
            value_ns: 10_000,
            low_ns,
            high_ns,
            effective_samples: Some(9),
            batches: 7,
        };
        for (ours, base, said) in [
            (of(Some(20_000), None), of(Some(9_000), Some(19_000)), "p99        higher"),
            (of(Some(9_000), Some(19_000)), of(Some(20_000), None), "p99        lower"),
            (of(Some(9_000), Some(20_000)), of(Some(20_000), None), "p99        no difference shown"),
            (of(None, None), of(Some(20_000), None), "p99        no difference shown"),
        ] {
            assert!(latency(&ours, &base).starts_with(said), "{}", latency(&ours, &base));
        }
    }
}

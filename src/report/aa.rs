//! A contestant compared with itself, again and again: how often a difference is claimed where there is none.

use super::compared::{Compared, DiffError};
use super::json;
use super::result::{Rows, Series, StoredResult, Table};
use super::text_style::TextStyle;
use super::verdict::{short_name, verdict};
use crate::record::histogram::HistogramError;
use crate::record::{AaComparison, AaReport, RateRecord, RatioRecord, Reason, Stopped, Verdict};
use crate::stats::{RESAMPLES, paired_ratio, proportion_interval};
use crate::units::{Nanos, counted};

/// Comparisons at 95 % may raise one false alarm in so many.
const ALLOWED_ONE_IN: u64 = 20;

impl AaComparison {
    pub fn is_alarm(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Faster | Verdict::Slower))
    }

    fn is_decided(&self) -> bool {
        self.is_alarm() || self.verdict == Some(Verdict::NoDifferenceShown)
    }

    /// Computes the verdict again, as for any comparison.
    pub fn fill(&mut self) {
        let ratios: Vec<f64> = self.pairs.iter().map(|(ours, base)| ours / base).collect();
        self.ratio = paired_ratio(&ratios, RESAMPLES, self.seed).map(RatioRecord::from);
        self.verdict = Some(verdict(self.ratio.as_ref(), false));
    }
}

impl StoredResult for AaReport {
    fn derive(&mut self) -> Result<(), HistogramError> {
        self.comparisons.iter_mut().for_each(AaComparison::fill);
        self.count();
        Ok(())
    }

    fn schema(&self) -> &str {
        &self.context.schema
    }

    fn json(&self) -> Result<String, serde_json::Error> {
        json::render(self)
    }

    fn text(&self, _: &TextStyle) -> String {
        render(self)
    }

    /// It keeps no trials.
    fn rows(&self) -> Option<Rows> {
        None
    }

    fn tables(&self) -> Option<Vec<Table>> {
        None
    }

    fn series(&self) -> Option<Vec<Series<'_>>> {
        None
    }

    fn compared(&self) -> Result<Compared, DiffError> {
        Err(DiffError::Itself)
    }
}

impl AaReport {
    /// Counts the verdicts.
    pub fn count(&mut self) {
        self.decided = self.comparisons.iter().filter(|one| one.is_decided()).count() as u64;
        self.false_alarms = self.comparisons.iter().filter(|one| one.is_alarm()).count() as u64;
        let interval = proportion_interval(self.false_alarms, self.decided);
        self.rate = (self.decided > 0).then(|| RateRecord {
            share: self.false_alarms as f64 / self.decided as f64,
            low: interval.low,
            high: interval.high,
        });
    }

    /// False alarms that may be: 1 in 20, of few comparisons at least one.
    pub fn allowed(&self) -> u64 {
        self.decided.div_ceil(ALLOWED_ONE_IN)
    }
}

/// The report as text.
fn render(report: &AaReport) -> String {
    let mut lines = Vec::new();
    if report.stopped == Stopped::Interrupted {
        lines.push(format!(
            "INTERRUPTED after {} of {}.",
            report.comparisons.len(),
            counted(report.asked, "comparison")
        ));
    }
    lines.push(format!(
        "{} against itself: {} of {}, {} each after {} of warm-up, {}, {} B.",
        short_name(&report.words),
        counted(report.comparisons.len() as u64, "comparison"),
        counted(report.rounds, "round"),
        Nanos(report.context.load.duration_ns),
        Nanos(report.context.load.warmup_ns),
        counted(report.cell.shape.connections, "connection"),
        report.cell.shape.sizes()
    ));
    lines.push(format!(
        "Server on cores {}, generator on cores {}; Linux {} on {}, {}, ringmark {}.",
        report.context.server_cores,
        report.context.load_cores,
        report.context.host.kernel,
        report.context.host.cpu,
        report.context.started,
        report.context.ringmark
    ));
    lines.extend(report.comparisons.iter().enumerate().filter(|(_, one)| one.is_alarm()).map(alarm));
    lines.extend(undecided(report));
    lines.push(conclusion(report));
    lines.join("\n") + "\n"
}

fn alarm((index, comparison): (usize, &AaComparison)) -> String {
    let ratio = comparison
        .ratio
        .map_or_else(String::new, |ratio| format!(" {:.3} [{:.3}, {:.3}]", ratio.median, ratio.low, ratio.high));
    let verdict = comparison.verdict.map_or("", Verdict::text);
    format!("  ! comparison {}: {verdict}{ratio}", index + 1)
}

fn undecided(report: &AaReport) -> Option<String> {
    let without = report.comparisons.len() as u64 - report.decided;
    let reason = report.comparisons.iter().flat_map(|one| &one.problems).next();
    let reason = reason.map_or_else(|| "trials without figures".to_owned(), Reason::first_line);
    (without > 0).then(|| {
        format!("  ! {} had too few valid rounds for a verdict, such as: {reason}", counted(without, "comparison"))
    })
}

fn conclusion(report: &AaReport) -> String {
    let Some(rate) = report.rate else { return "Nothing can be said: no comparison came to a verdict.".to_owned() };
    let within = if report.false_alarms <= report.allowed() { "within" } else { "MORE THAN" };
    format!(
        "{} of {} claimed a difference that is not there: {:.1} % [{:.1}, {:.1}], {within} the {} allowed.",
        report.false_alarms,
        counted(report.decided, "comparison"),
        rate.share * 100.0,
        rate.low * 100.0,
        rate.high * 100.0,
        report.allowed()
    )
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::report as compare_report;
    use super::*;
    use crate::record::{AA_SCHEMA, CellRecord, RunContext, Shape};

    /// Comparisons in which one contestant is this much faster in every round.
    fn report(ratios: &[f64]) -> AaReport {
        let context = compare_report(vec![]).context;
        let pairs = |ratio: f64| (0..6).map(move |round| (1e5 * ratio + f64::from(round), 1e5 + f64::from(5 - round)));
        let comparison = |ratio: &f64| AaComparison { pairs: pairs(*ratio).collect(), ..AaComparison::default() };
        let mut report = AaReport {
            context: RunContext { schema: AA_SCHEMA.into(), ..context },
            cell: CellRecord {
                shape: Shape { connections: 64, size: 64, ..Shape::default() },
                ..CellRecord::default()
            },
            words: "epoll".into(),
            rounds: 6,
            asked: ratios.len() as u64,
            stopped: Stopped::Rounds,
            comparisons: ratios.iter().map(comparison).collect(),
            decided: 0,
            false_alarms: 0,
            rate: None,
        };
        report.derive().unwrap();
        report
    }

    #[test]
    fn verdicts_other_than_no_difference_are_false_alarms() {
        let mut mixed = report(&[1.0, 1.0, 1.2, 0.8, 1.0]);
        assert_eq!((mixed.decided, mixed.false_alarms, mixed.allowed()), (5, 2, 1));
        let text = render(&mixed);
        assert!(
            text.contains("! comparison 3: faster 1.200 [") && text.contains("! comparison 4: slower 0.800"),
            "{text}"
        );
        assert!(text.contains("2 of 5 comparisons") && text.contains("MORE THAN the 1 allowed"), "{text}");
        mixed.comparisons[0].pairs.truncate(5);
        mixed.derive().unwrap();
        assert_eq!((mixed.decided, mixed.false_alarms), (4, 2));
        assert!(render(&mixed).contains("1 comparison had too few valid rounds"));
    }

    #[test]
    fn without_comparisons_nothing_is_said() {
        let none = report(&[]);
        assert_eq!((none.rate, none.allowed()), (None, 0));
        assert!(render(&none).contains("Nothing can be said"));
    }

    #[test]
    fn five_of_a_hundred_are_allowed() {
        let ratios = |alarms: usize| [vec![1.2; alarms], vec![1.0; 100 - alarms]].concat();
        let at_limit = report(&ratios(5));
        assert_eq!((at_limit.false_alarms, at_limit.allowed()), (5, 5));
        assert!(render(&at_limit).contains("5.0 % [2.2, 11.2], within the 5 allowed"), "{}", render(&at_limit));
    }
}

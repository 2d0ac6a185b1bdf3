//! A contestant compared with itself, again and again: how often a difference is claimed where there is none.

use super::compared::{Compared, DiffError};
use super::json;
use super::judgement;
use super::pairing::{Figure, Pairing};
use super::result::{Rows, Series, StoredResult, Table};
use super::text_style::TextStyle;
use super::verdict::short_name;
use crate::record::histogram::HistogramError;
use crate::record::{AaComparison, AaReport, AlarmsRecord, RateRecord, RatioRecord, Reason, Stopped, Verdict};
use crate::stats::{derive_seed, proportion_interval};
use crate::units::{Nanos, counted};

/// Comparisons at 95 % may raise one false alarm in so many.
const ALLOWED_ONE_IN: u64 = 20;

/// Whether a verdict claims a difference.
fn is_alarm(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Faster | Verdict::Slower | Verdict::Less | Verdict::More)
}

impl AaComparison {
    pub fn is_alarm(&self) -> bool {
        self.verdict.into_iter().chain(self.server_cpu_verdict()).any(is_alarm)
    }

    fn server_cpu_verdict(&self) -> Option<Verdict> {
        self.server_cpu.map(|judged| judged.verdict)
    }

    /// Computes the verdicts again, as for any comparison of one contestant with the baseline.
    pub fn fill(&mut self, in_slices: bool) {
        let pairs = self.pairs.iter().map(|(ours, base)| ours / base);
        let main = Pairing::of(in_slices, self.ratios.iter().copied().chain(pairs)).main_ratio(self.seed);
        let main = main.map(|ratio| judgement::alone(Figure::Throughput, ratio));
        self.ratio = main.map(|judged| judged.ratio);
        self.verdict = Some(main.map_or(Verdict::TooFewRounds, |judged| judged.verdict));
        let cpu = Pairing::of(in_slices, self.server_cpu_ratios.iter().copied()).ratio(derive_seed(self.seed, 1));
        self.server_cpu = cpu.map(|ratio| judgement::alone(Figure::ServerCpu, ratio));
    }
}

impl AlarmsRecord {
    fn of(verdicts: impl Iterator<Item = Verdict>) -> AlarmsRecord {
        let decided = verdicts.filter(|verdict| is_alarm(*verdict) || *verdict == Verdict::NoDifferenceShown);
        let decided: Vec<Verdict> = decided.collect();
        let (count, false_alarms) =
            (decided.len() as u64, decided.into_iter().filter(|one| is_alarm(*one)).count() as u64);
        let interval = proportion_interval(false_alarms, count);
        let rate = || RateRecord { share: false_alarms as f64 / count as f64, low: interval.low, high: interval.high };
        AlarmsRecord { decided: count, false_alarms, rate: (count > 0).then(rate) }
    }

    /// False alarms that may be: 1 in 20, of few comparisons at least one.
    pub fn allowed(&self) -> u64 {
        self.decided.div_ceil(ALLOWED_ONE_IN)
    }

    pub fn is_within(&self) -> bool {
        self.false_alarms <= self.allowed()
    }
}

impl StoredResult for AaReport {
    fn derive(&mut self) -> Result<(), HistogramError> {
        let in_slices = self.slices.is_some();
        self.comparisons.iter_mut().for_each(|comparison| comparison.fill(in_slices));
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
        self.alarms = AlarmsRecord::of(self.comparisons.iter().filter_map(|one| one.verdict));
        let cpu = AlarmsRecord::of(self.comparisons.iter().filter_map(AaComparison::server_cpu_verdict));
        self.server_cpu = (cpu.decided > 0).then_some(cpu);
    }

    /// Whether no figure has more false alarms than are allowed.
    pub fn is_within(&self) -> bool {
        self.alarms.is_within() && self.server_cpu.is_none_or(|cpu| cpu.is_within())
    }

    /// What it compares, as the score of a run is it.
    fn compared_by(&self) -> &'static str {
        if self.context.load.is_open_loop() { "1/p99" } else { "throughput" }
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
        "{} against itself: {} of {}, {}, {}, {} B.",
        short_name(&report.words),
        counted(report.comparisons.len() as u64, "comparison"),
        counted(report.rounds, "round"),
        round_length(report),
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
    let alarming = report.comparisons.iter().enumerate().filter(|(_, one)| one.is_alarm());
    lines.extend(alarming.flat_map(|(index, one)| alarms(index, one)));
    lines.extend(undecided(report));
    lines.extend(conclusion(report));
    lines.join("\n") + "\n"
}

/// How each of the two was measured in a round.
fn round_length(report: &AaReport) -> String {
    let load = &report.context.load;
    match report.slices {
        Some(slices) => {
            format!("each of {} of two slices of {}", counted(slices.blocks, "block"), Nanos(slices.length_ns))
        }
        None => format!("{} each after {} of warm-up", Nanos(load.duration_ns), Nanos(load.warmup_ns)),
    }
}

/// A line for each figure of a comparison that claims a difference.
fn alarms(index: usize, comparison: &AaComparison) -> Vec<String> {
    let cpu = comparison.server_cpu.map(|cpu| (cpu.verdict, Some(cpu.ratio), " server CPU per request"));
    let both = comparison.verdict.map(|verdict| (verdict, comparison.ratio, "")).into_iter().chain(cpu);
    let interval = |ratio: RatioRecord| format!(" {:.3} [{:.3}, {:.3}]", ratio.median, ratio.low, ratio.high);
    both.filter(|(verdict, ..)| is_alarm(*verdict))
        .map(|(verdict, ratio, what)| {
            let ratio = ratio.map_or_else(String::new, interval);
            format!("  ! comparison {}: {}{what}{ratio}", index + 1, verdict.text())
        })
        .collect()
}

fn undecided(report: &AaReport) -> Option<String> {
    let without = report.comparisons.len() as u64 - report.alarms.decided;
    let reason = report.comparisons.iter().flat_map(|one| &one.problems).next();
    let reason = reason.map_or_else(|| "trials without figures".to_owned(), Reason::first_line);
    (without > 0).then(|| {
        format!("  ! {} had too few valid rounds for a verdict, such as: {reason}", counted(without, "comparison"))
    })
}

fn conclusion(report: &AaReport) -> Vec<String> {
    let cpu = report.server_cpu.iter().filter_map(|cpu| claimed(cpu, "server CPU per request"));
    match claimed(&report.alarms, report.compared_by()) {
        Some(line) => [line].into_iter().chain(cpu).collect(),
        None => vec!["Nothing can be said: no comparison came to a verdict.".to_owned()],
    }
}

fn claimed(alarms: &AlarmsRecord, what: &str) -> Option<String> {
    let rate = alarms.rate?;
    Some(format!(
        "{} of {} claimed a difference in {what} that is not there: {:.1} % [{:.1}, {:.1}], {} the {} allowed.",
        alarms.false_alarms,
        counted(alarms.decided, "comparison"),
        rate.share * 100.0,
        rate.low * 100.0,
        rate.high * 100.0,
        if alarms.is_within() { "within" } else { "MORE THAN" },
        alarms.allowed()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::report as compare_report;
    use super::*;
    use crate::record::{AA_SCHEMA, CellRecord, RunContext, Shape, SlicesRecord};

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
            slices: None,
            comparisons: ratios.iter().map(comparison).collect(),
            alarms: AlarmsRecord::default(),
            server_cpu: None,
        };
        report.derive().unwrap();
        report
    }

    #[test]
    fn verdicts_other_than_no_difference_are_false_alarms() {
        let mut mixed = report(&[1.0, 1.0, 1.2, 0.8, 1.0]);
        assert_eq!((mixed.alarms.decided, mixed.alarms.false_alarms, mixed.alarms.allowed()), (5, 2, 1));
        let text = render(&mixed);
        assert!(
            text.contains("! comparison 3: faster 1.200 [") && text.contains("! comparison 4: slower 0.800"),
            "{text}"
        );
        assert!(text.contains("2 of 5 comparisons") && text.contains("MORE THAN the 1 allowed"), "{text}");
        mixed.comparisons[0].pairs.truncate(5);
        mixed.derive().unwrap();
        assert_eq!((mixed.alarms.decided, mixed.alarms.false_alarms), (4, 2));
        assert!(render(&mixed).contains("1 comparison had too few valid rounds"));
    }

    #[test]
    fn without_comparisons_nothing_is_said() {
        let none = report(&[]);
        assert_eq!((none.alarms.rate, none.alarms.allowed()), (None, 0));
        assert!(render(&none).contains("Nothing can be said"));
    }

    #[test]
    fn five_of_a_hundred_are_allowed() {
        let ratios = |alarms: usize| [vec![1.2; alarms], vec![1.0; 100 - alarms]].concat();
        let at_limit = report(&ratios(5));
        assert_eq!((at_limit.alarms.false_alarms, at_limit.alarms.allowed()), (5, 5));
        assert!(render(&at_limit).contains("5.0 % [2.2, 11.2], within the 5 allowed"), "{}", render(&at_limit));
    }

    #[test]
    fn cpu_time_is_judged_by_itself_and_slices_as_slices() {
        let mut report = report(&[1.0; 3]);
        let around = |middle: f64| (0..8).map(|round| middle * (1.0 + 0.001 * (f64::from(round) - 3.5))).collect();
        for (comparison, cpu) in report.comparisons.iter_mut().zip([1.0, 0.9, 1.1]) {
            comparison.pairs.clear();
            (comparison.ratios, comparison.server_cpu_ratios) = (around(1.0), around(cpu));
        }
        report.slices = Some(SlicesRecord::new(50_000_000, 1, 14));
        report.derive().unwrap();
        let cpu = report.server_cpu.unwrap();
        assert_eq!((report.alarms.false_alarms, cpu.false_alarms, cpu.decided), (0, 2, 3));
        assert!(report.alarms.is_within() && !cpu.is_within() && !report.is_within());
        let text = render(&report);
        for part in [
            "6 rounds, each of 14 blocks of two slices of 50ms",
            "! comparison 2: less server CPU per request 0.900 [",
            "! comparison 3: more server",
            "0 of 3 comparisons claimed a difference in throughput that is not there: 0.0 %",
            "2 of 3 comparisons claimed a difference in server CPU per request that is not there",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    /// As a file of 2026-11-24 has them.
    #[test]
    fn an_older_file_gives_the_verdicts_that_it_has() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/results/2026-11-24-epyc-2core/aa.json");
        let mut report: AaReport = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let stored = report.clone();
        report.derive().unwrap();
        assert_eq!(report, stored);
        assert_eq!((report.alarms.decided, report.alarms.false_alarms, report.server_cpu), (100, 3, None));
    }
}

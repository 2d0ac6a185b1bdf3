//! What is said of the ratios of a comparison, all contestants and cells together: the more is compared, the more has to
//! show before it is called a difference ([`holm`]). Each figure is a family of its own: who asks which server is the
//! faster one does not pay for the percentiles that stand beside.

use super::pairing::Figure;
use crate::record::{Bound, CompareReport, ContestantRecord, JudgedRatioRecord, RatioRecord, Verdict};
use crate::stats::{MIN_PAIRS, PairedRatio, holm};

/// The chance of any false claim about a figure.
const LEVEL: f64 = 0.05;

/// Gives every ratio its verdict, and every contestant its own: that of the figure it is compared by.
pub fn judge(report: &mut CompareReport) {
    let baseline = report.baseline.clone();
    for figure in Figure::ALL {
        judge_figure(report, figure, &baseline);
    }
    for contestant in report.cells.iter_mut().flat_map(|cell| &mut cell.contestants) {
        contestant.verdict = verdict(contestant, contestant.name == baseline);
    }
}

fn judge_figure(report: &mut CompareReport, figure: Figure, baseline: &str) {
    let contestants = report.cells.iter_mut().flat_map(|cell| &mut cell.contestants);
    let named = contestants.map(|one| (one.name == baseline, &mut one.ratios));
    let all = named.filter_map(|(is_baseline, ratios)| Some((is_baseline, figure.in_record(ratios).as_mut()?)));
    let (of_baseline, mut others): (Vec<_>, Vec<_>) = all.partition(|(is_baseline, _)| *is_baseline);
    of_baseline.into_iter().for_each(|(_, one)| one.verdict = Verdict::Baseline);
    others.retain_mut(|(_, one)| {
        one.verdict = Verdict::TooFewRounds;
        one.ratio.pairs >= MIN_PAIRS as u64
    });
    let p_values: Vec<f64> = others.iter().map(|(_, one)| one.p_value.unwrap_or(1.0)).collect();
    for ((_, one), adjusted) in others.into_iter().zip(holm(&p_values)) {
        one.verdict = claim(figure, one, adjusted);
    }
}

/// A ratio that nothing is compared beside.
pub fn alone(figure: Figure, ratio: PairedRatio) -> JudgedRatioRecord {
    let p_value = ratio.p_value();
    let mut judged = JudgedRatioRecord { ratio: ratio.into(), p_value, bound: None, verdict: Verdict::TooFewRounds };
    if ratio.pairs >= MIN_PAIRS {
        judged.verdict = claim(figure, &judged, p_value.unwrap_or(1.0));
    }
    judged
}

/// A difference is claimed where both the interval and the family allow it. A server that the generator held back is not
/// called slower than one that it did not, nor that one faster. Where it held back both, the difference is what this
/// generator gets out of them: it is claimed, and the bound stands beside it.
fn claim(figure: Figure, judged: &JudgedRatioRecord, adjusted: f64) -> Verdict {
    let RatioRecord { low, high, .. } = judged.ratio;
    let (above, below) = words(figure);
    match judged.bound {
        _ if adjusted > LEVEL => Verdict::NoDifferenceShown,
        bound if low > 1.0 && bound != Some(Bound::AtMost) => above,
        bound if high < 1.0 && bound != Some(Bound::AtLeast) => below,
        _ => Verdict::NoDifferenceShown,
    }
}

/// What a ratio above 1 is, and one below.
fn words(figure: Figure) -> (Verdict, Verdict) {
    match figure {
        Figure::Throughput => (Verdict::Faster, Verdict::Slower),
        Figure::ServerCpu | Figure::TotalCpu => (Verdict::More, Verdict::Less),
        Figure::P50 | Figure::P99 => (Verdict::Slower, Verdict::Faster),
    }
}

/// `None` of one that cannot run here.
fn verdict(contestant: &ContestantRecord, is_baseline: bool) -> Option<Verdict> {
    let ratios = &contestant.ratios;
    let main = if contestant.is_paced() { ratios.p99 } else { ratios.throughput };
    match (&contestant.unavailable, &contestant.broken) {
        (Some(_), _) => None,
        (None, Some(_)) => Some(Verdict::Broken),
        (None, None) if is_baseline => Some(Verdict::Baseline),
        (None, None) => Some(main.map_or(Verdict::TooFewRounds, |judged| judged.verdict)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, report, steady};
    use super::*;
    use crate::record::{CellRecord, Reason};

    fn judged(median: f64, p_value: f64, bound: Option<Bound>) -> Option<JudgedRatioRecord> {
        let reach = if p_value < 0.05 { (median - 1.0).abs() * 0.9 } else { (median - 1.0).abs() * 1.1 };
        let ratio = RatioRecord { median, low: median - reach, high: median + reach, pairs: 12 };
        Some(JudgedRatioRecord { ratio, p_value: Some(p_value), bound, verdict: Verdict::TooFewRounds })
    }

    /// A cell in which epoll is the baseline of contestants with these p-values of the throughput.
    fn cell(p_values: &[f64]) -> CellRecord {
        let one = |(at, p_value): (usize, &f64)| {
            let mut one = contestant(&format!("c{at}"), steady(1e5));
            one.ratios.throughput = judged(1.05, *p_value, None);
            one
        };
        let mut contestants: Vec<ContestantRecord> = p_values.iter().enumerate().map(one).collect();
        contestants.push(contestant("epoll", steady(1e5)));
        CellRecord { contestants, ..CellRecord::default() }
    }

    fn claims(cells: Vec<CellRecord>) -> Vec<bool> {
        let mut report = report(Vec::new());
        report.cells = cells;
        judge(&mut report);
        let others = report.cells.iter().flat_map(|cell| &cell.contestants).filter(|one| one.name != "epoll");
        others.map(|one| one.verdict == Some(Verdict::Faster)).collect()
    }

    #[test]
    fn the_more_is_compared_the_more_has_to_show() {
        assert_eq!(claims(vec![cell(&[0.03])]), [true]);
        assert_eq!(claims(vec![cell(&[0.03, 0.5])]), [false, false]);
        assert_eq!(
            claims(vec![cell(&[0.03]), cell(&[0.5])]),
            [false, false],
            "cells are compared beside each other too"
        );
        assert_eq!(claims(vec![cell(&[0.01, 0.012]), cell(&[0.02, 0.5])]), [true, true, true, false]);
    }

    #[test]
    fn who_is_broken_or_not_there_costs_the_others_nothing() {
        let mut with = cell(&[0.03, 0.5]);
        (with.contestants[1].broken, with.contestants[1].ratios) = (Some(Reason::NothingAnswered), Default::default());
        assert_eq!(claims(vec![with.clone()]), [true, false]);
        with.contestants[1].broken = None;
        with.contestants[1].unavailable = Some(Reason::NoFreePort);
        assert_eq!(claims(vec![with]), [true, false]);
    }

    #[test]
    fn each_figure_has_its_words() {
        for (figure, above, below) in [
            (Figure::Throughput, Verdict::Faster, Verdict::Slower),
            (Figure::ServerCpu, Verdict::More, Verdict::Less),
            (Figure::TotalCpu, Verdict::More, Verdict::Less),
            (Figure::P50, Verdict::Slower, Verdict::Faster),
            (Figure::P99, Verdict::Slower, Verdict::Faster),
        ] {
            assert_eq!(claim(figure, &judged(1.05, 0.01, None).unwrap(), 0.01), above);
            assert_eq!(claim(figure, &judged(0.95, 0.01, None).unwrap(), 0.01), below);
            assert_eq!(claim(figure, &judged(0.95, 0.01, None).unwrap(), 0.06), Verdict::NoDifferenceShown);
        }
    }

    #[test]
    fn who_was_held_back_by_the_generator_is_not_called_slower() {
        for (median, bound, verdict) in [
            (0.95, Bound::AtLeast, Verdict::NoDifferenceShown),
            (1.05, Bound::AtLeast, Verdict::Faster),
            (1.05, Bound::AtMost, Verdict::NoDifferenceShown),
            (0.95, Bound::AtMost, Verdict::Slower),
            (1.05, Bound::Either, Verdict::Faster),
            (0.95, Bound::Either, Verdict::Slower),
        ] {
            let judged = judged(median, 0.01, Some(bound)).unwrap();
            assert_eq!(claim(Figure::Throughput, &judged, 0.01), verdict, "{median} {bound:?}");
        }
    }
}

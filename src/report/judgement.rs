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
/// called slower for it, nor the other one faster.
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

//! Ratios as people say them: by how many per cent more or less.

use crate::record::{Bound, JudgedRatioRecord, RatioRecord, Verdict};
use crate::stats::MIN_PAIRS;

/// So many comparisons in five find a difference that is so much larger than half the interval: (1.96 + 0.84) / 1.96, as
/// the normal distribution has it.
const DETECTED_FOUR_IN_FIVE: f64 = 1.43;

/// A ratio in per cent with its interval, all with the same decimals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Percent {
    /// `+3.8`
    pub median: String,
    /// `+2.4` and `+5.1`; `None` with too few pairs for an interval.
    pub interval: Option<(String, String)>,
}

impl Percent {
    pub fn of(judged: &JudgedRatioRecord) -> Percent {
        let decimals = decimals(judged);
        let text = |ratio: f64| signed((ratio - 1.0) * 100.0, decimals);
        let RatioRecord { median, low, high, .. } = judged.ratio;
        let interval = has_interval(judged).then(|| (text(low), text(high)));
        Percent { median: text(median), interval }
    }

    /// `[+2.4,+5.1]`
    pub fn brackets(&self) -> Option<String> {
        self.interval.as_ref().map(|(low, high)| format!("[{low},{high}]"))
    }

    /// `+3.8 % requests/s (+2.4..+5.1)`
    pub fn sentence(&self, of: &str) -> String {
        let interval = self.interval.as_ref().map(|(low, high)| format!(" ({low}..{high})"));
        format!("{} % {of}{}", self.median, interval.unwrap_or_default())
    }
}

/// Whether there are pairs enough for the interval to be one.
pub fn has_interval(judged: &JudgedRatioRecord) -> bool {
    judged.ratio.pairs >= MIN_PAIRS as u64
}

/// Whether a difference was shown.
pub fn is_shown(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Faster | Verdict::Slower | Verdict::Less | Verdict::More)
}

/// `8 % less server CPU (6..10)`
pub fn less_or_more(judged: &JudgedRatioRecord, of: &str) -> String {
    let decimals = decimals(judged);
    let RatioRecord { median, low, high, .. } = judged.ratio;
    let (word, sign) = if median < 1.0 { ("less", -1.0) } else { ("more", 1.0) };
    let text = |ratio: f64| format!("{:.decimals$}", (ratio - 1.0) * 100.0 * sign);
    let (near, far) = if median < 1.0 { (high, low) } else { (low, high) };
    let interval = has_interval(judged).then(|| format!(" ({}..{})", text(near), text(far)));
    format!("{} % {word} {of}{}", text(median), interval.unwrap_or_default())
}

/// How small a difference would have been found in four of five comparisons like this one: `1.5 %`.
pub fn detectable(judged: &JudgedRatioRecord) -> f64 {
    let RatioRecord { median, low, high, .. } = judged.ratio;
    let half = (high - low) / 2.0 * 100.0;
    (half * DETECTED_FOUR_IN_FIVE).max((median - 1.0).abs() * 100.0)
}

/// Rounded up, so that it promises no more than was measured: `0.8 %`, `15 %`.
pub fn at_least_percent(percent: f64) -> String {
    let scale = if percent < 9.95 { 10.0 } else { 1.0 };
    // What a sum leaves in the last digits is no more.
    format!("{} %", (percent * scale - 1e-6).ceil() / scale)
}

/// What stands before a ratio that may be further from 1.
pub fn bound_sign(bound: Option<Bound>) -> &'static str {
    match bound {
        None => "",
        Some(Bound::AtLeast) => ">",
        Some(Bound::AtMost) => "<",
        Some(Bound::Either) => "~",
    }
}

/// The same in words, with a blank after it.
pub fn bound_words(bound: Option<Bound>) -> &'static str {
    match bound {
        None => "",
        Some(Bound::AtLeast) => "at least ",
        Some(Bound::AtMost) => "at most ",
        Some(Bound::Either) => "about ",
    }
}

/// As few as the interval makes sense of, and as many as it takes to see on which side of 0 it lies where that is shown.
fn decimals(judged: &JudgedRatioRecord) -> usize {
    let RatioRecord { median, low, high, .. } = judged.ratio;
    let percent = |ratio: f64| (ratio - 1.0).abs() * 100.0;
    let ends = if has_interval(judged) { percent(low).max(percent(high)) } else { 0.0 };
    let coarse = percent(median).max(ends) >= 9.95 || (has_interval(judged) && (high - low) / 2.0 >= 0.05);
    let least = usize::from(!coarse);
    let nearest = if has_interval(judged) { percent(low).min(percent(high)) } else { percent(median) };
    let is_seen = |decimals: &usize| nearest >= 0.5 * 0.1_f64.powi(*decimals as i32);
    match is_shown(judged.verdict) {
        true => (least..3).find(is_seen).unwrap_or(3),
        false => least,
    }
}

/// With its sign, but nothing is neither more nor less.
fn signed(value: f64, decimals: usize) -> String {
    let text = format!("{value:+.decimals$}");
    match text.chars().any(|c| c.is_ascii_digit() && c != '0') {
        true => text,
        false => text[1..].to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A judged ratio of 7 rounds.
    pub fn judged(median: f64, low: f64, high: f64, verdict: Verdict) -> JudgedRatioRecord {
        JudgedRatioRecord { ratio: RatioRecord { median, low, high, pairs: 7 }, p_value: None, bound: None, verdict }
    }

    #[test]
    fn ratios_are_told_in_per_cent_with_the_decimals_they_carry() {
        use Verdict::*;
        for (judged, text) in [
            (judged(1.0382, 1.0241, 1.0512, Faster), "+3.8 % x (+2.4..+5.1)"),
            (judged(0.63, 0.51, 0.71, Slower), "-37 % x (-49..-29)"),
            (judged(0.936, 0.872, 0.967, Slower), "-6 % x (-13..-3)"),
            (judged(1.004, 1.0002, 1.008, Faster), "+0.40 % x (+0.02..+0.80)"),
            (judged(0.999, 0.93, 1.07, NoDifferenceShown), "0 % x (-7..+7)"),
            (judged(0.9999, 0.993, 1.007, NoDifferenceShown), "0.0 % x (-0.7..+0.7)"),
            (judged(2.5, 2.4, 2.6, Faster), "+150 % x (+140..+160)"),
        ] {
            assert_eq!(Percent::of(&judged).sentence("x"), text);
        }
        let mut few = judged(1.04, 1.0, 1.1, TooFewRounds);
        few.ratio.pairs = 3;
        assert_eq!(Percent::of(&few).sentence("x"), "+4.0 % x");
    }

    #[test]
    fn less_is_told_without_a_sign() {
        assert_eq!(less_or_more(&judged(0.92, 0.901, 0.942, Verdict::Less), "CPU"), "8.0 % less CPU (5.8..9.9)");
        assert_eq!(less_or_more(&judged(1.57, 1.5, 1.6, Verdict::More), "CPU"), "57 % more CPU (50..60)");
    }

    #[test]
    fn what_would_have_been_found_is_more_than_half_the_interval_and_never_less_than_what_was() {
        assert_eq!(at_least_percent(detectable(&judged(1.0, 0.99, 1.01, Verdict::NoDifferenceShown))), "1.5 %");
        assert_eq!(at_least_percent(detectable(&judged(1.03, 1.02, 1.04, Verdict::NoDifferenceShown))), "3 %");
        assert_eq!(at_least_percent(detectable(&judged(1.0, 0.8, 1.2, Verdict::NoDifferenceShown))), "29 %");
    }
}

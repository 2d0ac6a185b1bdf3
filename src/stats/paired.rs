//! Two contestants measured side by side: each round gives one pair, and only pairs are compared.
//!
//! A machine drifts by a fifth within minutes; two trials of the same round see nearly the same machine.

use super::bootstrap::{Interval, resampled_interval};
use super::critical_values::{student_beyond, student_t};
use super::median::{median, median_in_place};

/// Fewer pairs cannot reject "both are the same" at 95 %: even when all n point one way, chance alone does that in
/// 2 of 2^n comparisons (the sign test), which is below 5 % from 6 pairs up.
pub const MIN_PAIRS: usize = 6;

/// How one contestant relates to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedRatio {
    /// The middle over the pairs of contestant / baseline: of [`paired_ratio`] the median, of
    /// [`rounds_ratio`](super::rounds_ratio) a trimmed mean.
    pub median: f64,
    /// 95 % interval of that middle.
    pub interval: Interval,
    /// Pairs that it is computed from.
    pub pairs: usize,
    /// What [`p_value`](PairedRatio::p_value) is at least: from 0, where nothing is known against smaller ones, to 1.
    pub least_p_value: f64,
}

impl PairedRatio {
    /// How far the interval reaches to each side, as a share of the ratio.
    pub fn half_width(&self) -> f64 {
        relative_half_width(self.median, self.interval)
    }

    /// How likely a ratio so far from 1 is, on either side, where there is no difference. At most 5 % where the interval
    /// leaves 1 out, else more: the interval is that of Student's t of n − 1 degrees of freedom stretched by what was drawn,
    /// and the t at which it would end at 1 gives this, but no less than [`least_p_value`](PairedRatio::least_p_value). `None`
    /// for fewer than [`MIN_PAIRS`].
    pub fn p_value(&self) -> Option<f64> {
        let degrees = self.pairs.checked_sub(1).filter(|_| self.pairs >= MIN_PAIRS)?;
        let bound = if self.median > 1.0 { self.interval.low } else { self.interval.high };
        let (distance, reach) = (self.median.ln().abs(), (self.median / bound).ln().abs());
        let t = if distance == 0.0 { 0.0 } else { student_t(degrees as f64) * distance / reach };
        let beyond = student_beyond(t, degrees);
        // The points of t are known to 0.1 %; on the bound itself the interval decides.
        let is_left_out = self.interval.low > 1.0 || self.interval.high < 1.0;
        let p_value = if is_left_out { beyond.min(0.05) } else { beyond };
        beyond.is_finite().then_some(p_value.max(self.least_p_value))
    }
}

/// Half of the interval's length, as a share of `middle`.
pub fn relative_half_width(middle: f64, interval: Interval) -> f64 {
    (interval.high - interval.low) / 2.0 / middle
}

/// The median of the ratios of pairs, contestant / baseline, and its interval from so many resamples. Ratios that are no
/// finite number are left out; `None` without any other.
pub fn paired_ratio(ratios: &[f64], resamples: usize, seed: u64) -> Option<PairedRatio> {
    let ratios: Vec<f64> = ratios.iter().copied().filter(|ratio| ratio.is_finite()).collect();
    let interval = resampled_interval(&ratios, resamples, median_in_place, seed)?;
    Some(PairedRatio { median: median(&ratios)?, interval, pairs: ratios.len(), least_p_value: 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{RESAMPLES, Random};

    fn paired_ratio(pairs: &[(f64, f64)], seed: u64) -> Option<PairedRatio> {
        let ratios: Vec<f64> = pairs.iter().map(|(ours, base)| ours / base).collect();
        super::paired_ratio(&ratios, RESAMPLES, seed)
    }

    /// Standard normal numbers, as good as the test needs them: the sum of 12 uniform ones.
    fn normal(random: &mut Random) -> f64 {
        (0..12).map(|_| random.bits() as f64 / 2f64.powi(64)).sum::<f64>() - 6.0
    }

    /// Rounds that drift together by up to 20 %, each trial with noise of its own, every tenth disturbed badly.
    fn rounds(random: &mut Random, count: usize, shift: f64, noise: f64, disturbed: bool) -> Vec<(f64, f64)> {
        let mut trial = |speed: f64| {
            let hit = disturbed && random.below(10) == 0;
            speed * (1.0 + noise * normal(random)) * if hit { 0.7 } else { 1.0 }
        };
        (0..count)
            .map(|round| 100_000.0 * (1.0 + 0.2 * round as f64 / count as f64))
            .map(|speed| (trial(speed * shift), trial(speed)))
            .collect()
    }

    /// How many of `runs` comparisons of a contestant with itself claim a difference.
    fn false_alarms(count: usize, disturbed: bool, runs: usize) -> usize {
        let mut random = Random::new(count as u64);
        (0..runs)
            .filter(|run| {
                let ratio = paired_ratio(&rounds(&mut random, count, 1.0, 0.02, disturbed), *run as u64).unwrap();
                ratio.interval.low > 1.0 || ratio.interval.high < 1.0
            })
            .count()
    }

    /// At most 5 % may alarm. Of 2000 runs, 1.4 to 1.9 % did with 7 rounds and 2.1 to 4.2 % with 6 to 15; of the few
    /// runs here, 5 % and two standard deviations of the count are allowed.
    #[test]
    fn a_contestant_is_not_found_different_from_itself() {
        const RUNS: usize = 250;
        let allowed = RUNS as f64 * 0.05 + 2.0 * (RUNS as f64 * 0.05 * 0.95).sqrt();
        for (count, disturbed) in [(MIN_PAIRS, false), (7, false), (7, true), (10, false)] {
            let alarms = false_alarms(count, disturbed, RUNS);
            assert!((alarms as f64) < allowed, "{alarms} of {RUNS} with {count} rounds, disturbed: {disturbed}");
        }
    }

    /// Rounds are added, three at a time for the sake of the test's length, until the interval is narrow, from 7 to 25.
    fn until_precise(random: &mut Random, precision: f64, seed: u64) -> PairedRatio {
        let rounds = rounds(random, 25, 1.0, 0.02, false);
        let looks = (7..=rounds.len()).step_by(3).map(|count| paired_ratio(&rounds[..count], seed).unwrap());
        looks.clone().find(|ratio| ratio.half_width() <= precision).or_else(|| looks.last()).unwrap()
    }

    /// Stopping on the width of the interval hardly adds false alarms: of 1000 runs with noise of 1 or 2 % and an
    /// interval of 1 or 2 % to each side asked for, 1.4 to 5.9 % raised one.
    #[test]
    fn stopping_when_the_interval_is_narrow_keeps_false_alarms_rare() {
        const RUNS: usize = 60;
        let allowed = RUNS as f64 * 0.05 + 2.0 * (RUNS as f64 * 0.05 * 0.95).sqrt();
        let mut random = Random::new(5);
        let alarms = (0..RUNS).filter(|run| {
            let Interval { low, high } = until_precise(&mut random, 0.02, *run as u64).interval;
            low > 1.0 || high < 1.0
        });
        let alarms = alarms.count();
        assert!((alarms as f64) < allowed, "{alarms} of {RUNS}");
    }

    #[test]
    fn a_shift_of_a_tenth_is_found_in_noise_of_two_percent() {
        let mut random = Random::new(3);
        for (run, shift) in [1.1, 0.9].into_iter().cycle().take(40).enumerate() {
            let ratio = paired_ratio(&rounds(&mut random, 7, shift, 0.02, false), run as u64).unwrap();
            let Interval { low, high } = ratio.interval;
            assert!(if shift > 1.0 { low > 1.0 } else { high < 1.0 }, "{ratio:?}");
            assert!((ratio.median - shift).abs() < 0.05, "{ratio:?}");
        }
    }

    #[test]
    fn what_is_unlikely_by_chance_has_a_small_p_value() {
        let least = |pairs, median, low, high, least_p_value| {
            PairedRatio { median, interval: Interval { low, high }, pairs, least_p_value }.p_value()
        };
        let of = |pairs, median, low, high| least(pairs, median, low, high, 0.0);
        assert_eq!(of(MIN_PAIRS - 1, 1.5, 1.4, 1.6), None);
        assert!((of(12, 1.02, 1.0, 1.05).unwrap() - 0.05).abs() < 1e-4, "the bound is at 1");
        // Twice the t of the interval, 4.40 of 11 degrees of freedom: 0.0011.
        let twice = of(12, 1.02, 1.02f64.sqrt(), 1.05).unwrap();
        assert!((twice - 0.0011).abs() < 1e-4, "{twice}");
        assert_eq!((of(12, 1.0, 0.9, 1.1), of(12, 1.1, 1.1, 1.1)), (Some(1.0), Some(0.0)));
        assert!(of(12, 0.9, 0.7, 1.2).unwrap() > 0.3);
        assert_eq!(least(MIN_PAIRS, 1.1, 1.1, 1.1, 0.03), Some(0.03));
    }

    #[test]
    fn a_ratio_that_is_no_number_is_left_out() {
        assert_eq!(paired_ratio(&[(1.0, 0.0), (0.0, 0.0)], 1), None);
        let ratio = paired_ratio(&[(2.0, 1.0), (1.0, 0.0), (4.0, 2.0)], 1).unwrap();
        assert_eq!((ratio.median, ratio.pairs), (2.0, 2));
    }
}

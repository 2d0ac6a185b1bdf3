//! How one contestant relates to another where each round measured both in many blocks of short slices.
//!
//! A round's ratio is a middle of its blocks' ratios; the estimate is a middle of the rounds' ([`trimmed_geometric_mean`](super::trimmed_geometric_mean)
//! both). Within a round the blocks see the same processes, the same memory and the same minute of the machine, so it is
//! the round that is independent: the bootstrap draws whole rounds, each with its blocks. What the blocks scatter is in
//! the rounds' ratios already, and so in how these differ. Drawing blocks within the drawn rounds as well would count it
//! twice (Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8).
//!
//! What was tried: 1000 simulated comparisons of a contestant with itself for each case, 14 blocks that scatter by 3 %, 1
//! of 20 of them disturbed by 10 to 50 % (beside wild rounds 1 of 10). The half width of the interval is that of 12 rounds; false alarms are of 6, 8, 12
//! and 30 rounds.
//!
//! | blocks, rounds, drawn | rounds scatter by 1.5 %: half width | false alarms | one of 8 rounds wild: half width | false alarms |
//! |---|---|---|---|---|
//! | median, median, rounds | 1.76 % | 2.7–3.6 % | 1.79 % | 2.1–4.2 % |
//! | trimmed by a fifth, the same, rounds | 1.37 % | 3.6–5.0 % | 1.88 % | 2.9–4.0 % |
//! | trimmed by a quarter, the same, rounds | 1.45 % | 3.5–5.0 % | 1.76 % | 2.8–3.4 % |
//! | Hodges and Lehmann, the same, rounds | 1.30 % | 3.7–6.8 % | 2.04 % | 3.8–5.5 % |
//! | trimmed, mean, rounds | 1.13 % | 5.5–7.0 % | 1.67 % | 6.2–6.7 % |
//! | trimmed, trimmed, rounds and blocks | 1.59 % | 0.8–1.2 % | 2.28 % | 0.2–0.9 % |
//!
//! Trimming by a fifth is what is narrow without too many false alarms; with 6 and 8 rounds, where it had up to 6 %, two
//! values are left out at each end. What is here then has, in 1500 simulated comparisons each (shifted: by 2 %; any of
//! four: that one of four contestants is claimed to differ after [`holm`](super::holm())):
//!
//! | rounds scatter by | rounds | false alarms | any of four | half width | 2 % found |
//! |---|---|---|---|---|---|
//! | 0.6 % | 6, 8, 12, 30 | 3.5, 3.4, 3.2, 4.4 % | 4.1, 3.1, 3.1, 3.9 % | 1.9, 1.3, 0.9, 0.5 % | 78, 95, 100, 100 % |
//! | 1.5 % | 6, 8, 12, 30 | 3.3, 2.4, 2.7, 4.1 % | 3.5, 2.7, 2.4, 3.5 % | 2.9, 2.1, 1.4, 0.8 % | 43, 64, 89, 100 % |
//! | 1 %, Student's t of 3 | 6, 8, 12, 30 | 3.0, 2.9, 2.3, 4.7 % | 3.3, 3.0, 2.9, 5.7 % | 3.1, 2.2, 1.4, 0.7 % | 50, 65, 88, 100 % |
//! | 1 %, 1 of 8 by up to 10 % | 6, 8, 12, 30 | 2.5, 2.0, 3.6, 4.1 % | 3.4, 2.3, 2.7, 3.6 % | 4.2, 2.7, 1.8, 0.7 % | 46, 62, 77, 100 % |
//!
//! The p-value is never less than that of the sign test, 2 in 2^n. With 6 rounds the interval is from the smallest to the
//! largest, so it tells that all were on one side of 1 and no more: what Student's t makes of its width far out in the
//! tails claimed a difference in 8 to 10 % of families of 32 and 64. So 6 rounds bear one claim, 8 bear six and 12 a
//! hundred (the column of any of four was made before, and is 0 with 6 rounds now).

use super::bootstrap::{Interval, resampled_interval};
use super::paired::PairedRatio;
use super::trimmed::trimmed_mean_in_place;

/// Values drawn for an interval, all resamples together: a millisecond's work. With few rounds the bounds are far out in
/// the tails, so these take more resamples …
const DRAWN: usize = 48_000;
/// … up to this many, of which the tenth from the end is the bound with 6 rounds; and at least so many, of which the
/// twentieth is with a hundred. Other seeds then move a bound by 3 to 4 % of its distance from the ratio.
const RESAMPLES: (usize, usize) = (1_000, 4_000);

/// The ratio of a contestant to another out of that of each round, and its 95 % interval. Ratios without a logarithm are
/// left out; `None` without any other.
pub fn rounds_ratio(rounds: &[f64], seed: u64) -> Option<PairedRatio> {
    let logs: Vec<f64> = rounds.iter().map(|ratio| ratio.ln()).filter(|log| log.is_finite()).collect();
    let middle = trimmed_mean_in_place(&mut logs.clone())?;
    let resamples = (DRAWN / logs.len()).clamp(RESAMPLES.0, RESAMPLES.1);
    let Interval { low, high } = resampled_interval(&logs, resamples, trimmed_mean_in_place, seed)?;
    let interval = Interval { low: low.min(middle).exp(), high: high.max(middle).exp() };
    let least_p_value = of_all_on_one_side(logs.len());
    Some(PairedRatio { median: middle.exp(), interval, pairs: logs.len(), least_p_value })
}

/// How likely it is that all of so many rounds point the same way where there is no difference: 2 in 2^n.
fn of_all_on_one_side(rounds: usize) -> f64 {
    0.5f64.powi(rounds as i32 - 1).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::{MIN_PAIRS, Random, holm, trimmed_geometric_mean};
    use super::*;
    use proptest::prelude::*;

    const BLOCKS: usize = 14;

    /// Standard normal numbers (Box and Muller).
    fn normal(random: &mut Random) -> f64 {
        (-2.0 * random.unit().ln()).sqrt() * (std::f64::consts::TAU * random.unit()).cos()
    }

    /// How the rounds of a machine differ.
    #[derive(Clone, Copy, Debug)]
    enum Rounds {
        /// By 1.5 %, normally.
        Normal,
        /// By 1 %, Student's t of 3 degrees of freedom.
        HeavyTails,
        /// By 1 %, but one in 8 by up to 10 % to either side.
        Wild,
    }

    impl Rounds {
        fn drift(self, random: &mut Random) -> f64 {
            match self {
                Rounds::Normal => 0.015 * normal(random),
                Rounds::HeavyTails => {
                    let squares: f64 = (0..3).map(|_| normal(random).powi(2)).sum();
                    0.01 * normal(random) / (squares / 3.0).sqrt()
                }
                Rounds::Wild if random.below(8) == 0 => 0.2 * (random.unit() - 0.5),
                Rounds::Wild => 0.01 * normal(random),
            }
        }

        /// The round's ratio: of blocks that scatter by 3 %, one in 20 disturbed by 10 to 50 % on either side.
        fn round(self, random: &mut Random, truth: f64) -> f64 {
            let drift = self.drift(random);
            let blocks = (0..BLOCKS).map(|_| {
                let disturbed = match random.below(40) {
                    0 => 0.1 + 0.4 * random.unit(),
                    1 => -0.1 - 0.4 * random.unit(),
                    _ => 0.0,
                };
                truth * (drift + 0.03 * normal(random) + disturbed).exp()
            });
            trimmed_geometric_mean(blocks.collect::<Vec<_>>().into_iter()).unwrap()
        }

        fn comparison(self, random: &mut Random, count: usize, truth: f64) -> PairedRatio {
            let rounds: Vec<f64> = (0..count).map(|_| self.round(random, truth)).collect();
            rounds_ratio(&rounds, random.bits()).unwrap()
        }
    }

    fn claims(ratio: &PairedRatio) -> bool {
        ratio.interval.low > 1.0 || ratio.interval.high < 1.0
    }

    /// 5 % and two standard deviations of the count.
    fn allowed(runs: usize) -> f64 {
        runs as f64 * 0.05 + 2.0 * (runs as f64 * 0.05 * 0.95).sqrt()
    }

    #[test]
    fn a_contestant_is_not_found_different_from_itself() {
        const RUNS: usize = 100;
        for count in [MIN_PAIRS, 8, 12, 30] {
            for kind in [Rounds::Normal, Rounds::HeavyTails, Rounds::Wild] {
                let mut random = Random::new(count as u64);
                let alarms = (0..RUNS).filter(|_| claims(&kind.comparison(&mut random, count, 1.0))).count();
                assert!((alarms as f64) < allowed(RUNS), "{alarms} of {RUNS} with {count} rounds, {kind:?}");
            }
        }
    }

    /// Four contestants, all the same as the baseline: the chance that any is claimed to differ.
    #[test]
    fn of_several_contestants_none_is_found_different() {
        const RUNS: usize = 80;
        let mut random = Random::new(2);
        let any = |random: &mut Random| {
            let p_values: Vec<f64> =
                (0..4).map(|_| Rounds::Normal.comparison(random, 12, 1.0).p_value().unwrap()).collect();
            holm(&p_values).iter().any(|p| *p <= 0.05)
        };
        let alarms = (0..RUNS).filter(|_| any(&mut random)).count();
        assert!((alarms as f64) < allowed(RUNS), "{alarms} of {RUNS}");
    }

    /// As many claims as a matrix makes: 32 cells of three contestants.
    #[test]
    fn of_a_whole_matrix_none_is_found_different() {
        const FAMILIES: usize = 10;
        let mut random = Random::new(5);
        let any = |random: &mut Random| {
            let p_values: Vec<f64> =
                (0..64).map(|_| Rounds::Normal.comparison(random, 12, 1.0).p_value().unwrap()).collect();
            holm(&p_values).iter().any(|p| *p <= 0.05)
        };
        let alarms = (0..FAMILIES).filter(|_| any(&mut random)).count();
        assert!((alarms as f64) < allowed(FAMILIES), "{alarms} of {FAMILIES}");
    }

    #[test]
    fn rounds_that_all_agree_are_as_likely_by_chance_as_the_sign_test_says() {
        let p_value = |count: usize| {
            let rounds: Vec<f64> = (0..count).map(|round| 1.2 + round as f64 * 1e-6).collect();
            rounds_ratio(&rounds, 1).unwrap().p_value()
        };
        assert_eq!(p_value(MIN_PAIRS - 1), None);
        assert_eq!(p_value(6), Some(2.0 / 64.0));
        assert_eq!(p_value(12), Some(2.0 / 4096.0));
        let of_a_matrix = |count: usize| holm(&vec![p_value(count).unwrap(); 64])[0];
        assert!(of_a_matrix(6) > 0.05 && of_a_matrix(12) < 0.05);
    }

    #[test]
    fn a_difference_of_two_percent_is_found_in_twelve_rounds() {
        let mut random = Random::new(4);
        let found = |truth: f64, random: &mut Random| {
            let ratio = Rounds::Normal.comparison(random, 12, truth);
            assert!((ratio.median - truth).abs() < 0.02, "{ratio:?}");
            claims(&ratio) && (ratio.median > 1.0) == (truth > 1.0)
        };
        let count = (0..40).filter(|run| found([1.02, 0.98][run % 2], &mut random)).count();
        assert!(count >= 30, "{count} of 40");
    }

    #[test]
    fn two_rounds_that_went_wrong_do_not_move_it_and_a_ratio_that_is_no_number_is_left_out() {
        let rounds = [1.03, 1.04, 1.035, 1.04, 1.045, 1.03, 1.04, 1.035, 9.0, 7.0, f64::NAN, 0.0];
        let ratio = rounds_ratio(&rounds, 1).unwrap();
        assert!((ratio.median - 1.04).abs() < 0.01 && ratio.pairs == 10, "{ratio:?}");
        assert_eq!(rounds_ratio(&[0.0, f64::INFINITY], 1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_p_value_is_small_where_the_interval_leaves_one_out_and_the_seed_decides(
            rounds in prop::collection::vec(0.9f64..1.15, MIN_PAIRS..20), seed: u64,
        ) {
            let ratio = rounds_ratio(&rounds, seed).unwrap();
            let p_value = ratio.p_value().unwrap();
            prop_assert!(ratio.interval.low <= ratio.median && ratio.median <= ratio.interval.high);
            prop_assert!((0.0..=1.0).contains(&p_value));
            prop_assert!(!claims(&ratio) || p_value <= 0.05, "{:?} {}", ratio, p_value);
            prop_assert!(claims(&ratio) || p_value > 0.0499, "{:?} {}", ratio, p_value);
            prop_assert_eq!(rounds_ratio(&rounds, seed), Some(ratio));
        }

        #[test]
        fn the_other_way_round_it_is_the_inverse(rounds in prop::collection::vec(0.9f64..1.15, MIN_PAIRS..20)) {
            let inverse: Vec<f64> = rounds.iter().map(|ratio| 1.0 / ratio).collect();
            let (one, other) = (rounds_ratio(&rounds, 1).unwrap(), rounds_ratio(&inverse, 1).unwrap());
            prop_assert!((one.median * other.median - 1.0).abs() < 1e-9);
            prop_assert!((one.interval.low * other.interval.high - 1.0).abs() < 1e-9, "{:?} {:?}", one, other);
        }
    }
}

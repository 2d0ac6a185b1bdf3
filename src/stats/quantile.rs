//! How far a quantile can be trusted: an interval of ranks, and how many independent samples correlated ones are worth.
//!
//! Requests that follow each other are alike: a stall slows all that wait in it. Treated as independent, they give
//! intervals that are far too narrow. So the samples come in batches (the rounds of a comparison, the intervals of a
//! run), and how much the batches differ shows how many independent samples they are worth (batch means; Law and Kelton, "Simulation
//! Modeling and Analysis", section 9.5; the ratio of the two variances is the design effect of Kish 1965).
//!
//! Batches are as large as they turn out: a server that stalls leaves some without a sample, and answers what waited in
//! the next. So the share below the quantile is a ratio of two sums over the batches, and its variance is that of such a
//! ratio (Cochran, "Sampling Techniques", section 3.12, proportions in cluster sampling): a large batch that differs
//! weighs by the square of its size. Batches without a sample are left out.

use super::critical_values::student_t;

/// With fewer batches the spread between them is too uncertain.
pub const MIN_BATCHES: usize = 6;

/// A stretch of samples, and how many of them lie at or below the quantile of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Samples of the batch.
    pub samples: u64,
    /// Of those: at or below the quantile of all.
    pub below: u64,
}

/// Where the true quantile lies, 95 times in 100: shares of the samples, from 0 to 1, whose values are the bounds.
/// `None` where the data cannot carry that bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranks {
    /// Lower bound.
    pub low: Option<f64>,
    /// Upper bound.
    pub high: Option<f64>,
}

/// How many independent samples the samples of some batches are worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EffectiveSampleSize {
    /// As many independent ones. Never more than there are.
    pub samples: f64,
    /// Degrees of freedom of the spread between the batches that this was judged by.
    pub degrees: f64,
}

/// The interval of quantile `q` of samples of this effective size.
///
/// Ranks ⌊nq − t·√(nq(1−q))⌋ and ⌈nq + t·√(nq(1−q))⌉ + 1 (Conover, "Practical Nonparametric Statistics", 3.2). An upper
/// bound exists only if that rank does, which takes n(1−q) ≳ 5.6; a lower one the same of nq.
pub fn ranks(q: f64, size: EffectiveSampleSize) -> Ranks {
    let n = size.samples;
    let spread = student_t(size.degrees) * (n * q * (1.0 - q)).sqrt();
    let (low, high) = ((n * q - spread).floor(), (n * q + spread).ceil() + 1.0);
    Ranks { low: (low >= 1.0).then(|| low / n), high: (high <= n).then(|| high / n) }
}

/// What the samples of these batches are worth: their number divided by the design effect, which is how much more the
/// share below the quantile varies, judged by the batches, than that of independent samples would.
///
/// `None` with too few batches that have samples, or where so few of them have nearly all (by Kish's effective number,
/// (Σn)² / Σn², less than half as many) that their spread is too uncertain.
pub fn effective_sample_size(batches: &[Batch]) -> Option<EffectiveSampleSize> {
    let filled: Vec<&Batch> = batches.iter().filter(|batch| batch.samples > 0).collect();
    let sum = |of: fn(&Batch) -> f64| filled.iter().map(|batch| of(batch)).sum::<f64>();
    let samples = sum(|batch| batch.samples as f64);
    let alike = samples.powi(2) / sum(|batch| (batch.samples as f64).powi(2));
    if filled.len() < MIN_BATCHES || alike < MIN_BATCHES as f64 / 2.0 {
        return None;
    }
    let degrees = alike - 1.0;
    let share = sum(|batch| batch.below as f64) / samples;
    let independent = share * (1.0 - share) / samples;
    if independent <= 0.0 {
        return Some(EffectiveSampleSize { samples, degrees });
    }
    let count = filled.len() as f64;
    let apart = |batch: &&Batch| (batch.below as f64 - share * batch.samples as f64).powi(2);
    let between = count / (count - 1.0) * filled.iter().map(apart).sum::<f64>() / samples.powi(2);
    Some(EffectiveSampleSize { samples: samples / (between / independent).max(1.0), degrees })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;
    use proptest::prelude::*;

    fn independent(samples: f64) -> EffectiveSampleSize {
        EffectiveSampleSize { samples, degrees: 1_000.0 }
    }

    #[test]
    fn an_upper_bound_needs_enough_samples_beyond() {
        // With many batches t is near 1.96, and the bound exists from n(1 - q) of about 5.7 on.
        for (n, exists) in [(500.0, false), (560.0, false), (580.0, true), (5_000.0, true)] {
            assert_eq!(ranks(0.99, independent(n)).high.is_some(), exists, "{n}");
        }
        let median = ranks(0.5, independent(100.0));
        assert_eq!((median.low, median.high), (Some(0.40), Some(0.61)), "the ranks of the tables, 40 and 61");
    }

    #[test]
    fn samples_that_stay_together_count_once_per_batch() {
        let alike: Vec<Batch> = (0..20).map(|batch| Batch { samples: 1000, below: 1000 * (batch % 2) }).collect();
        let samples_of = |batches: &[Batch]| effective_sample_size(batches).map(|size| size.samples);
        assert!((15.0..=20.0).contains(&samples_of(&alike).unwrap()), "{:?}", effective_sample_size(&alike));
        let even = [Batch { samples: 1000, below: 990 }; 8];
        assert_eq!(effective_sample_size(&even), Some(EffectiveSampleSize { samples: 8000.0, degrees: 7.0 }));
        assert_eq!(effective_sample_size(&even[..MIN_BATCHES - 1]), None);
        assert_eq!(samples_of(&[Batch { samples: 9, below: 9 }; 6]), Some(54.0));
    }

    #[test]
    fn batches_that_have_next_to_nothing_do_not_help() {
        let mut batches = vec![Batch { samples: 1, below: 1 }; 20];
        batches.push(Batch { samples: 100_000, below: 50_000 });
        assert_eq!(effective_sample_size(&batches), None, "all depends on one");
    }

    /// A share of runs in which the interval of the quantile `q` misses it. The samples are uniform on 0..1 but for a
    /// shift that all samples of a batch have in common: the true quantile is that of the sum of both.
    fn misses(q: f64, truth: f64, shift: f64, sizes: &[usize], runs: usize) -> f64 {
        let mut random = Random::new(11);
        let mut uniform = || random.bits() as f64 / 2f64.powi(64);
        let missed = (0..runs).filter(|_| {
            let mut batch = |size: &usize| -> Vec<f64> {
                let common = shift * uniform();
                (0..*size).map(|_| common + (1.0 - shift) * uniform()).collect()
            };
            let batches: Vec<Vec<f64>> = sizes.iter().map(&mut batch).collect();
            let mut all = batches.concat();
            all.sort_unstable_by(f64::total_cmp);
            let at = |share: f64| all[((share * all.len() as f64).ceil() as usize).clamp(1, all.len()) - 1];
            let value = at(q);
            let below = |batch: &Vec<f64>| batch.iter().filter(|sample| **sample <= value).count() as u64;
            let counts: Vec<Batch> =
                batches.iter().map(|batch| Batch { samples: batch.len() as u64, below: below(batch) }).collect();
            let ranks = ranks(q, effective_sample_size(&counts).unwrap());
            ranks.low.is_some_and(|low| at(low) > truth) || ranks.high.is_some_and(|high| at(high) < truth)
        });
        missed.count() as f64 / runs as f64
    }

    /// The median of the sum of a uniform shift and uniform samples is the middle, whatever their shares.
    #[test]
    fn the_interval_holds_the_quantile_with_and_without_correlation_whatever_the_batches_sizes() {
        let even = vec![400; 10];
        // As a server leaves them that stalls: some empty, what had waited in the next.
        let stalled = [[400, 400, 0, 0, 1200].repeat(4), vec![0; 30]].concat();
        let trickle = [vec![600; 7], vec![5; 20], vec![0; 5]].concat();
        for sizes in [&even, &stalled, &trickle] {
            for (q, truth, shift) in [(0.5, 0.5, 0.0), (0.9, 0.9, 0.0), (0.5, 0.5, 0.2), (0.5, 0.5, 0.5)] {
                let missed = misses(q, truth, shift, sizes, 300);
                let allowed = 0.05 + 2.0 * (0.05f64 * 0.95 / 300.0).sqrt();
                assert!(missed < allowed, "{missed} at {q} with a shift of {shift}, {sizes:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn bounds_enclose_the_quantile(q in 0.01f64..0.999, samples in 1.0f64..1e9, degrees in 2.0f64..50.0) {
            let Ranks { low, high } = ranks(q, EffectiveSampleSize { samples, degrees });
            prop_assert!(low.is_none_or(|low| 0.0 < low && low <= q));
            prop_assert!(high.is_none_or(|high| q <= high && high <= 1.0));
        }

        #[test]
        fn samples_are_never_worth_more_than_they_are_and_empty_batches_say_nothing(
            batches in prop::collection::vec((0u64..1000, 0u64..1000), 0..20), places in prop::collection::vec(0usize..20, 0..20),
        ) {
            let mut batches: Vec<Batch> =
                batches.into_iter().map(|(samples, below)| Batch { samples, below: below.min(samples) }).collect();
            let before = effective_sample_size(&batches);
            let all = batches.iter().map(|batch| batch.samples).sum::<u64>() as f64;
            prop_assert!(before.is_none_or(|size| size.samples > 0.0 && size.samples <= all && size.degrees >= 2.0));
            places.into_iter().for_each(|at| batches.insert(at.min(batches.len()), Batch { samples: 0, below: 0 }));
            prop_assert_eq!(effective_sample_size(&batches), before);
        }
    }
}

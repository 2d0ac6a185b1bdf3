//! How far a quantile can be trusted: an interval of ranks, and how many independent samples correlated ones are worth.
//!
//! Requests that follow each other are alike: a stall slows all that wait in it. Treated as independent, they give
//! intervals that are far too narrow. So the samples come in batches (the rounds of a comparison, the intervals of a
//! run), and how much the batches differ tells what their samples are worth (batch means; Law and Kelton, "Simulation
//! Modeling and Analysis", section 9.5; the ratio of the two variances is the design effect of Kish 1965).

use super::distributions::student_t;

/// With fewer batches the spread between them says too little.
pub const MIN_BATCHES: usize = 6;

/// A stretch of samples, and how many of them lie at or below the quantile of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub samples: u64,
    pub below: u64,
}

/// Where the true quantile lies, 95 times in 100: shares of the samples, from 0 to 1, whose values are the bounds.
/// `None` where the data cannot carry that bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranks {
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// The interval of quantile `q` of samples worth `effective` independent ones, judged from so many batches.
///
/// Ranks ⌊nq − t·√(nq(1−q))⌋ and ⌈nq + t·√(nq(1−q))⌉ + 1 (Conover, "Practical Nonparametric Statistics", 3.2). An upper
/// bound exists only if that rank does, which takes n(1−q) ≳ 5.6; a lower one the same of nq.
pub fn ranks(q: f64, effective: f64, batches: usize) -> Ranks {
    if batches < MIN_BATCHES {
        return Ranks { low: None, high: None };
    }
    let n = effective;
    let spread = student_t(batches as f64 - 1.0) * (n * q * (1.0 - q)).sqrt();
    let (low, high) = ((n * q - spread).floor(), (n * q + spread).ceil() + 1.0);
    Ranks { low: (low >= 1.0).then(|| low / n), high: (high <= n).then(|| high / n) }
}

/// How many independent samples these are worth: their number divided by the design effect, which is how much more
/// the batches' shares below the quantile vary than those of independent samples would. Never more than there are.
/// `None` with too few batches.
pub fn effective_samples(batches: &[Batch]) -> Option<f64> {
    let filled: Vec<&Batch> = batches.iter().filter(|batch| batch.samples > 0).collect();
    if filled.len() < MIN_BATCHES {
        return None;
    }
    let samples = filled.iter().map(|batch| batch.samples).sum::<u64>() as f64;
    let share = filled.iter().map(|batch| batch.below).sum::<u64>() as f64 / samples;
    let independent = share * (1.0 - share);
    if independent <= 0.0 {
        return Some(samples);
    }
    let spread = |batch: &Batch| batch.samples as f64 * (batch.below as f64 / batch.samples as f64 - share).powi(2);
    let between = filled.iter().map(|batch| spread(batch)).sum::<f64>() / (filled.len() - 1) as f64;
    Some(samples / (between / independent).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;
    use proptest::prelude::*;

    #[test]
    fn an_upper_bound_needs_enough_samples_beyond() {
        // With many batches t is near 1.96, and the bound exists from n(1 - q) of about 5.7 on.
        for (n, exists) in [(500.0, false), (560.0, false), (580.0, true), (5_000.0, true)] {
            assert_eq!(ranks(0.99, n, 1_000).high.is_some(), exists, "{n}");
        }
        assert_eq!(ranks(0.99, 1e9, MIN_BATCHES - 1), Ranks { low: None, high: None });
        let median = ranks(0.5, 100.0, 1_000);
        assert_eq!((median.low, median.high), (Some(0.40), Some(0.61)), "the ranks of the tables, 40 and 61");
    }

    #[test]
    fn samples_that_stay_together_count_once_per_batch() {
        let alike: Vec<Batch> = (0..20).map(|batch| Batch { samples: 1000, below: 1000 * (batch % 2) }).collect();
        let worth = effective_samples(&alike).unwrap();
        assert!((15.0..=20.0).contains(&worth), "{worth}");
        let even = [Batch { samples: 1000, below: 990 }; 8];
        assert_eq!(effective_samples(&even), Some(8000.0));
        assert_eq!(effective_samples(&even[..MIN_BATCHES - 1]), None);
        assert_eq!(effective_samples(&[Batch { samples: 9, below: 9 }; 6]), Some(54.0));
    }

    /// A share of runs in which the interval of the quantile `q` misses it. The samples are uniform on 0..1 but for a
    /// shift that all samples of a batch have in common: the true quantile is that of the sum of both.
    fn misses(q: f64, truth: f64, shift: f64, runs: usize) -> f64 {
        const BATCHES: usize = 10;
        const SAMPLES: usize = 400;
        let mut random = Random::new(11);
        let mut uniform = || random.bits() as f64 / 2f64.powi(64);
        let missed = (0..runs).filter(|_| {
            let batches: Vec<Vec<f64>> = (0..BATCHES)
                .map(|_| {
                    let common = shift * uniform();
                    (0..SAMPLES).map(|_| common + (1.0 - shift) * uniform()).collect()
                })
                .collect();
            let mut all = batches.concat();
            all.sort_unstable_by(f64::total_cmp);
            let at = |share: f64| all[((share * all.len() as f64).ceil() as usize).clamp(1, all.len()) - 1];
            let value = at(q);
            let below = |batch: &Vec<f64>| batch.iter().filter(|sample| **sample <= value).count() as u64;
            let counts: Vec<Batch> =
                batches.iter().map(|batch| Batch { samples: SAMPLES as u64, below: below(batch) }).collect();
            let ranks = ranks(q, effective_samples(&counts).unwrap(), BATCHES);
            ranks.low.is_some_and(|low| at(low) > truth) || ranks.high.is_some_and(|high| at(high) < truth)
        });
        missed.count() as f64 / runs as f64
    }

    /// The median of the sum of a uniform shift and uniform samples is the middle, whatever their shares.
    #[test]
    fn the_interval_holds_the_quantile_with_and_without_correlation() {
        for (q, truth, shift) in [(0.5, 0.5, 0.0), (0.9, 0.9, 0.0), (0.5, 0.5, 0.2), (0.5, 0.5, 0.5)] {
            let missed = misses(q, truth, shift, 300);
            assert!(missed < 0.05 + 2.0 * (0.05f64 * 0.95 / 300.0).sqrt(), "{missed} at {q} with a shift of {shift}");
        }
    }

    proptest! {
        #[test]
        fn bounds_enclose_the_quantile(q in 0.01f64..0.999, n in 1.0f64..1e9, batches in 0usize..50) {
            let Ranks { low, high } = ranks(q, n, batches);
            prop_assert!(low.is_none_or(|low| 0.0 < low && low <= q));
            prop_assert!(high.is_none_or(|high| q <= high && high <= 1.0));
        }

        #[test]
        fn samples_are_never_worth_more_than_they_are(
            batches in prop::collection::vec((0u64..1000, 0u64..1000), 0..20),
        ) {
            let batches: Vec<Batch> =
                batches.into_iter().map(|(samples, below)| Batch { samples, below: below.min(samples) }).collect();
            let worth = effective_samples(&batches);
            let all = batches.iter().map(|batch| batch.samples).sum::<u64>() as f64;
            prop_assert!(worth.is_none_or(|worth| worth > 0.0 && worth <= all));
        }
    }
}

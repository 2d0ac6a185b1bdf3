//! Quantiles of a histogram and how far they can be trusted, judged by the histograms that it was added up from.

use crate::record::QuantileRecord;
use crate::stats::{self, Ranks, effective_sample_size, ranks};
use hdrhistogram::Histogram;
use hdrhistogram::iterators::IterationValue;

/// Those that are reported: p50, p90, p99, p99.9.
pub const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// A histogram as far as it is needed beside the sum that it is in: its buckets that are not empty, some kilobytes.
pub struct Batch {
    /// The largest value of each bucket, and how many samples are in it and below.
    cumulative: Vec<(u64, u64)>,
}

impl Batch {
    pub fn of(histogram: &Histogram<u64>) -> Batch {
        let mut below = 0;
        let bucket = |step: IterationValue<u64>| {
            below += step.count_at_value();
            (histogram.highest_equivalent(step.value_iterated_to()), below)
        };
        Batch { cumulative: histogram.iter_recorded().map(bucket).collect() }
    }

    fn samples(&self) -> u64 {
        self.cumulative.last().map_or(0, |(_, below)| *below)
    }

    /// Samples up to a value; all of a bucket count as its largest value.
    fn up_to(&self, value: u64) -> u64 {
        let buckets = self.cumulative.partition_point(|(largest, _)| *largest <= value);
        buckets.checked_sub(1).map_or(0, |last| self.cumulative[last].1)
    }
}

/// A record of each of [`QUANTILES`]; none where nothing was recorded. `all` is the sum of the batches.
pub fn records(all: &Histogram<u64>, batches: &[Batch]) -> Vec<QuantileRecord> {
    if all.is_empty() {
        return Vec::new();
    }
    QUANTILES.iter().map(|quantile| record(*quantile, all, batches)).collect()
}

fn record(quantile: f64, all: &Histogram<u64>, batches: &[Batch]) -> QuantileRecord {
    let value = all.value_at_quantile(quantile);
    let largest = all.highest_equivalent(value);
    let count = |batch: &Batch| stats::Batch { samples: batch.samples(), below: batch.up_to(largest) };
    let counts: Vec<stats::Batch> = batches.iter().map(count).collect();
    let size = effective_sample_size(&counts);
    let bounds = size.map(|size| ranks(quantile, size));
    let at = |bound: fn(Ranks) -> Option<f64>| bounds.and_then(bound).map(|share| all.value_at_quantile(share));
    QuantileRecord {
        quantile,
        value_ns: value,
        low_ns: at(|bounds| bounds.low),
        high_ns: at(|bounds| bounds.high),
        effective_samples: size.map(|size| size.samples.round() as u64),
        batches: counts.iter().filter(|batch| batch.samples > 0).count() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::histogram::sum;

    fn histogram(values: impl Iterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        values.for_each(|value| histogram.record(value).unwrap());
        histogram
    }

    fn parts(histograms: &[Histogram<u64>]) -> Vec<Batch> {
        histograms.iter().map(Batch::of).collect()
    }

    #[test]
    fn a_batch_counts_as_its_histogram_does() {
        let whole = histogram((1..=5000).map(|value| value * value));
        let batch = Batch::of(&whole);
        assert_eq!(batch.samples(), whole.len());
        for value in [0, 1, 3, 999, 1_000, 1_234_567, 25_000_000, 1 << 40] {
            assert_eq!(batch.up_to(whole.highest_equivalent(value)), whole.count_between(0, value), "{value}");
        }
    }

    #[test]
    fn even_batches_give_narrow_intervals_and_a_tail_of_few_gives_none() {
        let batches: Vec<_> = (0..8).map(|_| histogram(1..=250)).collect();
        let all = sum(&batches).unwrap();
        let [p50, p90, p99, p999] = records(&all, &parts(&batches))[..] else { panic!() };
        assert_eq!((p50.value_ns, p50.effective_samples, p50.batches), (125, Some(2000), 8));
        assert!((115..=124).contains(&p50.low_ns.unwrap()) && (126..=135).contains(&p50.high_ns.unwrap()), "{p50:?}");
        assert!(p90.low_ns < Some(p90.value_ns) && p90.high_ns > Some(p90.value_ns), "{p90:?}");
        assert!(p99.high_ns.is_some(), "20 samples beyond: {p99:?}");
        assert_eq!((p999.low_ns.is_some(), p999.high_ns), (true, None), "2 samples beyond: {p999:?}");
    }

    /// A server that answers for 6 s and then not for 24: the seconds without an answer add no information.
    #[test]
    fn seconds_without_an_answer_make_nothing_more_certain() {
        let filled: Vec<_> = (0..6).map(|batch| histogram((1..=250).map(move |value| value + batch))).collect();
        let stalled: Vec<_> = filled.iter().cloned().chain((0..24).map(|_| histogram(1..1))).collect();
        let all = sum(&filled).unwrap();
        assert_eq!(records(&all, &parts(&stalled)), records(&all, &parts(&filled)));
    }

    #[test]
    fn batches_that_differ_give_wide_intervals_and_few_none() {
        let batches: Vec<_> = (0..8).map(|batch| histogram((1..=250).map(move |value| value + 20 * batch))).collect();
        let all = sum(&batches).unwrap();
        let drifting = records(&all, &parts(&batches))[0];
        assert!(drifting.effective_samples.unwrap() < 200, "{drifting:?}");
        let few = records(&all, &parts(std::slice::from_ref(&all)))[0];
        assert_eq!((few.low_ns, few.high_ns, few.effective_samples, few.batches), (None, None, None, 1));
        assert!(records(&histogram(1..1), &[]).is_empty());
    }
}

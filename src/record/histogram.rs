//! Histograms in their stored form (HdrHistogram V2 deflate, base64, as `.hlog` files carry it): writing and adding
//! them, and the figures read off them.

use super::LatencyRecord;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// Significant digits of every histogram.
const DIGITS: u8 = 3;

/// A stored histogram is damaged.
#[derive(Debug, thiserror::Error)]
#[error("a histogram in it cannot be read ({0}); the file is damaged")]
pub struct HistogramError(String);

/// Histograms out of their stored form.
pub fn read_all<'a>(stored: impl Iterator<Item = &'a str>) -> Result<Vec<Histogram<u64>>, HistogramError> {
    stored.map(read).collect()
}

/// All samples together.
pub fn sum(parts: &[Histogram<u64>]) -> Result<Histogram<u64>, HistogramError> {
    let mut sum: Histogram<u64> = Histogram::new(DIGITS).map_err(|error| HistogramError(error.to_string()))?;
    parts.iter().try_for_each(|part| add(&mut sum, part))?;
    Ok(sum)
}

/// Adds the samples of a part.
pub fn add(sum: &mut Histogram<u64>, part: &Histogram<u64>) -> Result<(), HistogramError> {
    sum.add(part).map_err(|error| HistogramError(error.to_string()))
}

/// The latency of one run.
pub fn latency(stored: &str) -> Result<LatencyRecord, HistogramError> {
    Ok(figures(&read(stored)?))
}

/// The stored form.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("writing to memory does not fail");
    STANDARD.encode(bytes)
}

/// A histogram out of its stored form.
pub fn read(text: &str) -> Result<Histogram<u64>, HistogramError> {
    let bytes = STANDARD.decode(text.trim()).map_err(|error| HistogramError(error.to_string()))?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| HistogramError(format!("{error:?}")))
}

/// All zero where nothing was recorded.
pub fn figures(histogram: &Histogram<u64>) -> LatencyRecord {
    if histogram.is_empty() {
        return LatencyRecord::default();
    }
    LatencyRecord {
        min: histogram.min(),
        mean: histogram.mean(),
        p50: histogram.value_at_quantile(0.5),
        p90: histogram.value_at_quantile(0.9),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A stored histogram of these values.
    pub fn stored(values: &[u64]) -> String {
        let mut histogram: Histogram<u64> = Histogram::new(DIGITS).unwrap();
        values.iter().for_each(|value| histogram.record(*value).unwrap());
        encode(&histogram)
    }

    #[test]
    fn percentiles_come_from_the_sum_and_are_not_averaged() {
        let fast: Vec<u64> = vec![100; 990];
        let slow: Vec<u64> = vec![1000; 10];
        let both = figures(&added(&[&stored(&fast), &stored(&slow)]));
        assert_eq!((both.p50, both.p99, both.p999, both.max), (100, 100, 1000, 1000));
        assert!(added(&[]).is_empty() && added(&[&stored(&[])]).is_empty());
    }

    fn added(stored: &[&str]) -> Histogram<u64> {
        sum(&read_all(stored.iter().copied()).unwrap()).unwrap()
    }

    #[test]
    fn what_was_stored_reads_back() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, DIGITS).unwrap();
        (1..=1000u64).for_each(|value| histogram.saturating_record(value * 1000));
        assert_eq!(read(&encode(&histogram)).unwrap(), histogram);
        assert_eq!(latency(&encode(&histogram)).unwrap(), figures(&histogram));
        assert_eq!(latency(&stored(&[])).unwrap(), LatencyRecord::default());
    }

    #[test]
    fn what_is_no_histogram_is_an_error() {
        for text in ["", "x", "AAAA", "HISTFAAAAA=="] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

//! Histograms in their stored form (HdrHistogram V2 deflate, base64): adding them, and the figures read off the sum.

use super::schema::LatencyRecord;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

/// Significant digits of every histogram.
const DIGITS: u8 = 3;

/// A stored histogram is damaged.
#[derive(Debug, thiserror::Error)]
#[error("a histogram in it cannot be read ({0}); the file is damaged")]
pub struct HistogramError(String);

/// The latency of all these runs together. `None` when they recorded nothing.
pub fn added<'a>(stored: impl Iterator<Item = &'a str>) -> Result<Option<LatencyRecord>, HistogramError> {
    let mut sum: Histogram<u64> = Histogram::new(DIGITS).map_err(|error| HistogramError(error.to_string()))?;
    for text in stored {
        sum.add(decode(text)?).map_err(|error| HistogramError(error.to_string()))?;
    }
    Ok((!sum.is_empty()).then(|| figures(&sum)))
}

fn decode(text: &str) -> Result<Histogram<u64>, HistogramError> {
    let bytes = STANDARD.decode(text.trim()).map_err(|error| HistogramError(error.to_string()))?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| HistogramError(format!("{error:?}")))
}

fn figures(histogram: &Histogram<u64>) -> LatencyRecord {
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
pub(super) mod tests {
    use super::*;
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

    /// A stored histogram of these values.
    pub fn stored(values: &[u64]) -> String {
        let mut histogram: Histogram<u64> = Histogram::new(DIGITS).unwrap();
        values.iter().for_each(|value| histogram.record(*value).unwrap());
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&histogram, &mut bytes).unwrap();
        STANDARD.encode(bytes)
    }

    #[test]
    fn percentiles_come_from_the_sum_and_are_not_averaged() {
        let fast: Vec<u64> = vec![100; 990];
        let slow: Vec<u64> = vec![1000; 10];
        let both = added([stored(&fast), stored(&slow)].iter().map(String::as_str)).unwrap().unwrap();
        assert_eq!((both.p50, both.p99, both.p999, both.max), (100, 100, 1000, 1000));
        assert_eq!(added(std::iter::empty()).unwrap(), None);
        assert_eq!(added([stored(&[])].iter().map(String::as_str)).unwrap(), None);
    }

    #[test]
    fn what_is_no_histogram_is_an_error() {
        for text in ["", "x", "AAAA", "HISTFAAAAA=="] {
            assert!(added(std::iter::once(text)).is_err(), "{text}");
        }
    }
}

//! Records in, an HdrHistogram percentile distribution out: the columns Value, Percentile, TotalCount,
//! 1/(1-Percentile), which the HdrHistogram plotter and wrk2's tools read.

use super::export::{ExportError, Exporter, Part};
use super::result::{Series, StoredResult};
use crate::record::histogram::{read_all, sum};
use hdrhistogram::Histogram;
use std::fmt::Write;

/// What clients waited, in microseconds (three decimals, so nothing of a nanosecond is lost). Of a comparison a part per
/// contestant and workload, the trials that count together; of a diagnosis one per kind of time.
pub struct Hgrm;

const NANOS_PER_UNIT: f64 = 1e3;
/// Lines per halving of the distance to 100 %, as HdrHistogram's own tools have it.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

impl Exporter for Hgrm {
    fn export(&self, result: &dyn StoredResult) -> Result<Vec<Part>, ExportError> {
        result.series().ok_or(ExportError::NoTrials)?.into_iter().map(part).collect()
    }
}

fn part(series: Series) -> Result<Part, ExportError> {
    let histograms = read_all(series.whole.into_iter())?;
    Ok(Part { text: distribution(&sum(&histograms)?), name: series.name })
}

fn distribution(histogram: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let unit = |nanos: f64| nanos / NANOS_PER_UNIT;
    let mut below = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        below += step.count_since_last_iteration();
        let (value, quantile) = (unit(step.value_iterated_to() as f64), step.quantile_iterated_to());
        let _ = write!(text, "{value:12.3} {quantile:.12} {below:10}");
        let _ = if quantile < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let (mean, deviation) = (unit(histogram.mean()), unit(histogram.stdev()));
    let (max, count) = (unit(histogram.max() as f64), histogram.len());
    text + &format!(
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n\
         #[Max     = {max:12.3}, Total count    = {count:12}]\n\
         #[Values are in microseconds]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::export::tests::{comparison, only, single};
    use super::*;

    #[test]
    fn the_distribution_climbs_to_the_maximum() {
        let text = only(Hgrm.export(&single()).unwrap());
        let rows: Vec<Vec<f64>> = text
            .lines()
            .filter(|line| line.starts_with(' ') && !line.contains("Value"))
            .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
            .collect();
        assert!(rows.windows(2).all(|pair| pair[0][..3].iter().zip(&pair[1][..3]).all(|(a, b)| a <= b)), "{text}");
        assert_eq!((rows[0][0], rows[0][2]), (1.0, 1.0), "{text}");
        let last = rows.last().unwrap();
        assert!((2_999.0..3_003.0).contains(&last[0]) && last[1..] == [1.0, 4.0], "{text}");
    }

    #[test]
    fn a_comparison_gives_a_part_per_contestant() {
        let parts = Hgrm.export(&comparison()).unwrap();
        let names: Vec<_> = parts.iter().map(|part| part.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["epoll-64c-64Bx1", "uring_--recv_oneshot-64c-64Bx1"]);
        assert!(parts[0].text.contains("Total count    =            7"), "{}", parts[0].text);
    }
}

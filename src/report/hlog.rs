//! Records in, an HdrHistogram interval log out (format 1.3): what HistogramLogAnalyzer, HistogramLogProcessor and the
//! readers of every HdrHistogram library take.

use super::export::{ExportError, Exporter, Part};
use super::result::{Series, StoredResult};
use crate::record::histogram::{HistogramError, read};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::time::Duration;

/// A line per interval of what clients waited, in nanoseconds; the largest value of each, for people to read, in milliseconds.
///
/// Of a comparison the trials that count, tagged with contestant and workload. Their starts are not stored: within a tag
/// they follow each other without a gap, from 0. Of a diagnosis one interval per kind of time, tagged with it.
pub struct Hlog;

const VERSION: &str = "[Histogram log format version 1.3]";
const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
const NANOS_PER_MILLI: f64 = 1e6;

impl Exporter for Hlog {
    fn export(&self, result: &dyn StoredResult) -> Result<Vec<Part>, ExportError> {
        let log = write(&result.series().ok_or(ExportError::NoTrials)?)?;
        // The legend stands before the first interval; the writer knows only comments.
        let at = log.lines().take_while(|line| line.starts_with('#')).map(|line| line.len() + 1).sum::<usize>();
        Ok(Part::whole(format!("{}{LEGEND}{}", &log[..at], &log[at..])))
    }
}

fn write(series: &[Series]) -> Result<String, HistogramError> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment(VERSION).add_comment("[Values: nanoseconds]").with_max_value_divisor(NANOS_PER_MILLI);
    let in_memory = "writing to memory does not fail";
    let mut log = builder.begin_log_with(&mut bytes, &mut serializer).expect(in_memory);
    for (name, interval) in series.iter().flat_map(|one| one.intervals.iter().map(|interval| (&one.name, interval))) {
        let histogram = read(interval.histogram)?;
        let (start, length) = (Duration::from_nanos(interval.start_ns), Duration::from_nanos(interval.length_ns));
        log.write_histogram(&histogram, start, length, name.as_deref().and_then(Tag::new)).expect(in_memory);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::export::tests::{comparison, only, single};
    use super::*;
    use crate::record::IntervalRecord;
    use crate::record::histogram::tests::stored;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn lines(result: &dyn StoredResult) -> Vec<String> {
        only(Hlog.export(result).unwrap()).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_run_without_intervals_is_one_interval() {
        let lines = lines(&single());
        assert_eq!(lines[0], "#[Histogram log format version 1.3]");
        assert!(lines[3].starts_with("\"StartTimestamp\",") && lines.len() == 5, "{lines:?}");
        assert!(lines[4].starts_with("0.000,0.001,3.0"), "{lines:?}");
    }

    #[test]
    fn intervals_keep_their_times_and_trials_follow_each_other_under_their_tags() {
        let mut load = single();
        let part = |start_ns| IntervalRecord {
            start_ns,
            length_ns: 1_000_000_000,
            requests: 1,
            histogram: stored(&[5_000]),
            response_histogram: None,
        };
        load.intervals = vec![part(0), part(1_000_000_000)];
        let lines_of_run = lines(&load);
        assert!(lines_of_run[4].starts_with("0.000,1.000,0.00") && lines_of_run[5].starts_with("1.000,1.000,"));
        let lines_of_comparison = lines(&comparison());
        let tagged = |tag: &str| lines_of_comparison.iter().filter(|line| line.starts_with(tag)).count();
        assert_eq!((tagged("Tag=epoll-64c-64Bx1,"), tagged("Tag=uring_--recv_oneshot-64c-64Bx1,")), (7, 5));
        let text = lines_of_comparison.join("\n") + "\n";
        // The legend is not in the grammar of this reader; others skip what is no interval.
        let text = text.replace(LEGEND, "");
        let intervals =
            IntervalLogIterator::new(text.as_bytes()).filter(|one| matches!(one, Ok(LogEntry::Interval(_))));
        assert_eq!(intervals.count(), 12);
    }
}

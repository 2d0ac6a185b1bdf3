//! What `ringmark sniff --latency` found, as a result.

use super::export::plain;
use super::json;
use super::result::{LATENCIES, LATENCY_COLUMNS, Rows, Series, StoredResult, Table, figure_fields, series_of, shown};
use super::text_style::TextStyle;
use super::threshold::{Metric, Subject, latency_figures};
use crate::record::histogram::HistogramError;
use crate::record::{LatencyFigures, LatencyRecord, PassiveLatencyReport, SeenRecord};
use crate::units::{Nanos, counted};
use std::fmt::Write;

/// Connections that the text names.
const CONNECTIONS_SHOWN: usize = 10;

const COLUMNS: &str = "device,port,duration_ns,kind";

impl StoredResult for PassiveLatencyReport {
    fn derive(&mut self) -> Result<(), HistogramError> {
        self.fill()
    }

    fn schema(&self) -> &str {
        &self.schema
    }

    fn json(&self) -> Result<String, serde_json::Error> {
        json::render(self)
    }

    fn text(&self, _: &TextStyle) -> String {
        render(self)
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows { header: format!("{COLUMNS},samples,{LATENCY_COLUMNS}"), lines: lines(self) })
    }

    fn tables(&self) -> Option<Vec<Table>> {
        Some(vec![paste(self)])
    }

    fn series(&self) -> Option<Vec<Series<'_>>> {
        let kinds = self.kinds().into_iter();
        Some(kinds.filter_map(|(kind, times)| series_of(Some(plain(kind)), self.duration_ns, times)).collect())
    }

    fn subjects(&self) -> Vec<Subject> {
        vec![subject(self)]
    }
}

/// Its errors are the requests that no answer came to.
fn subject(report: &PassiveLatencyReport) -> Subject {
    let mut figures = vec![(Metric::Errors, report.seen.unanswered as f64)];
    if report.service.samples > 0 {
        figures.push((Metric::Throughput, report.throughput_per_s()));
        figures.extend(latency_figures(&report.service.latency_ns));
    }
    Subject { name: format!("port {} on {}", report.port, report.device), figures }
}

/// A line per kind of time.
fn lines(report: &PassiveLatencyReport) -> Vec<Vec<String>> {
    let head = || [report.device.clone(), report.port.to_string(), report.duration_ns.to_string()];
    let line = |(kind, times): (&str, &LatencyFigures)| {
        head().into_iter().chain([kind.to_owned()]).chain(figure_fields(times)).collect()
    };
    report.kinds().into_iter().map(line).collect()
}

/// A row per kind of time.
fn paste(report: &PassiveLatencyReport) -> Table {
    let row = |(kind, figures): (&str, &LatencyFigures)| {
        [kind.to_owned(), figures.samples.to_string()].into_iter().chain(shown(figures.known())).collect()
    };
    Table {
        before: format!(
            "Port {} on {}, {}, {} packets dropped by the kernel:\n\n",
            report.port,
            report.device,
            Nanos(report.duration_ns),
            report.packets.dropped
        ),
        columns: [("time", false), ("samples", true)].into_iter().chain(LATENCIES).collect(),
        rows: report.kinds().into_iter().map(row).collect(),
        after: String::new(),
    }
}

/// As text, with a final line break.
fn render(report: &PassiveLatencyReport) -> String {
    let mut text = format!(
        "port {} on {}, {}: {}, {} dropped by the kernel, {}\n\n{}",
        report.port,
        report.device,
        Nanos(report.duration_ns),
        counted(report.packets.captured, "packet"),
        report.packets.dropped,
        counted(report.seen.connections, "connection"),
        header()
    );
    report.kinds().iter().for_each(|(name, figures)| row(&mut text, name, figures.samples, &figures.latency_ns));
    oddities(&report.seen, &mut text);
    by_connection(report, &mut text);
    text
}

/// Names of the columns that [`row`] writes.
pub fn header() -> String {
    let names = ["samples", "min", "mean", "p50", "p90", "p99", "p99.9", "max"];
    let columns: String = names.iter().map(|name| format!("{name:>9}")).collect();
    format!("{:18}{columns}\n", "")
}

/// A line of the table.
pub fn row(text: &mut String, name: &str, samples: u64, latency: &LatencyRecord) {
    let LatencyRecord { min, mean, p50, p90, p99, p999, max } = *latency;
    let _ = write!(text, "{name:18}{samples:>9}");
    if samples > 0 {
        for value in [min, mean as u64, p50, p90, p99, p999, max] {
            let _ = write!(text, "{:>9}", Nanos(value));
        }
    }
    text.push('\n');
}

/// What gave no sample, and what a reader must know about the samples; what did not happen is left out.
fn oddities(seen: &SeenRecord, text: &mut String) {
    let mut begin = "\n";
    for (count, what) in [
        (seen.torn, "exchanges without a sample: packets of theirs were not captured"),
        (seen.overlapping, "exchanges without a sample: the client sent more before it had the whole answer"),
        (seen.unanswered, "requests without an answer"),
        (seen.in_pieces, "requests of several writes: in pieces, or pipelined and measured as one"),
        (seen.queued, "datagrams sent while an earlier one had no answer: matched in order"),
        (seen.retransmissions, "retransmissions: the first copy counts"),
        (seen.unsolicited, "packets with payload that no request had asked for"),
        (seen.forgotten, "connections forgotten beyond the limit of --connections"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{begin}{count:>9} {what}");
            begin = "";
        }
    }
}

fn by_connection(report: &PassiveLatencyReport, text: &mut String) {
    let with_samples = || report.connections.iter().filter(|connection| connection.samples > 0);
    let (all, shown) = (with_samples().count(), with_samples().take(CONNECTIONS_SHOWN));
    if all < 2 {
        return;
    }
    let _ = writeln!(text, "\nthe {} of {all} connections with the most samples:", all.min(CONNECTIONS_SHOWN));
    for one in shown {
        let (p50, p99, max) = (Nanos(one.p50), Nanos(one.p99), Nanos(one.max));
        let ends = format!("{} {} > {}", one.transport, one.client, one.server);
        let _ = writeln!(text, "  {ends:<46}{:>9} samples, p50 {p50}, p99 {p99}, max {max}", one.samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::passive_latency::tests::report;

    #[test]
    fn text_tells_what_gave_no_sample_and_is_silent_about_what_did_not_happen() {
        let text = render(&report());
        for part in ["1 dropped by the kernel", "5 exchanges without a sample: packets", "the 2 of 2 connections"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("retransmissions") && !text.contains("10.0.0.1:3"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    }
}

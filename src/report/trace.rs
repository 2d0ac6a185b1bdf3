//! What `ringmark trace` found, as a result.

use super::json;
use super::probe_table::{aligned, five_figures, percent};
use super::result::{LATENCIES, LATENCY_COLUMNS, Rows, Series, StoredResult, Table, figure_fields, series_of, shown};
use super::text_style::TextStyle;
use super::threshold::{Metric, Subject, latency_figures};
use crate::record::histogram::HistogramError;
use crate::record::{HopRecord, TraceReport};
use crate::units::{Nanos, counted, three_digits};

const HEADER: [&str; 10] = ["hop", "address", "sent", "answered", "loss", "min", "p50", "p90", "p99", "max"];
/// Columns that hold words; figures are aligned on the right.
const WORDS: [usize; 1] = [1];

const COLUMNS: &str = "target,address,probes,interval_ns,timeout_ns,duration_ns,hop,hop_addresses,sent,answered,late,\
    unsent,lost,duplicates";

impl StoredResult for TraceReport {
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
        let hops = self.hops.iter();
        Some(
            hops.filter_map(|hop| series_of(Some(format!("hop-{}", hop.hop)), self.duration_ns, &hop.round_trips_ns))
                .collect(),
        )
    }

    fn subjects(&self) -> Vec<Subject> {
        vec![subject(self)]
    }
}

/// The target, if it was reached: routers on the way limit their answers.
fn subject(report: &TraceReport) -> Subject {
    let figures = report.target().map(|hop| {
        let lost = [(Metric::Errors, hop.unsent as f64), (Metric::Lost, hop.lost as f64)];
        lost.into_iter().chain(hop.round_trips_ns.known().into_iter().flat_map(latency_figures)).collect()
    });
    Subject { name: report.label(), figures: figures.unwrap_or_default() }
}

/// A line per hop; the addresses that answered as one are separated by spaces.
fn lines(report: &TraceReport) -> Vec<Vec<String>> {
    let times = [report.interval_ns, report.timeout_ns, report.duration_ns].map(|nanos| nanos.to_string());
    let line = |hop: &HopRecord| {
        let head = [report.name.clone(), report.address.clone(), report.probes.clone()];
        let who = [hop.hop.to_string(), addresses(hop).join(" ")];
        let counts = [hop.sent, hop.answered, hop.late, hop.unsent, hop.lost, hop.duplicates];
        let head = head.into_iter().chain(times.clone()).chain(who);
        head.chain(counts.map(|count| count.to_string())).chain(figure_fields(&hop.round_trips_ns)).collect()
    };
    report.hops.iter().map(line).collect()
}

fn addresses(hop: &HopRecord) -> Vec<&str> {
    hop.addresses.iter().map(|record| record.address.as_str()).collect()
}

/// A row per hop.
fn paste(report: &TraceReport) -> Table {
    let row = |hop: &HopRecord| {
        let addresses = addresses(hop);
        let who = if addresses.is_empty() { "no answer".to_owned() } else { addresses.join(", ") };
        let loss = format!("{} %", three_digits(hop.loss() * 100.0));
        let head = [hop.hop.to_string(), who, hop.sent.to_string(), hop.answered.to_string(), loss];
        head.into_iter().chain(shown(hop.round_trips_ns.known())).collect()
    };
    let columns = [("hop", true), ("address", false), ("sent", true), ("answered", true), ("loss", true)];
    let reached = if report.reached { "reached" } else { "NOT reached" };
    Table {
        before: format!("{}, {} probes, {reached}:\n\n", report.label(), report.probes),
        columns: columns.into_iter().chain(LATENCIES).collect(),
        rows: report.hops.iter().map(row).collect(),
        after: String::new(),
    }
}

/// As text, with a final line break.
fn render(report: &TraceReport) -> String {
    let head = format!("trace to {}, {}", report.label(), probes(report));
    let notes = report.hops.iter().flat_map(notes);
    let lines = [head].into_iter().chain(table(&report.hops)).chain(notes).chain(conclusions(report));
    lines.map(|line| line + "\n").collect()
}

fn probes(report: &TraceReport) -> String {
    let what = if report.probes == "TCP" { "SYNs" } else { &report.probes };
    match report.destination_port {
        Some(port) => format!("{what} from port {} to port {port}", report.source_port),
        None => format!("echo requests with identifier {}", report.source_port),
    }
}

/// The lines of the table.
pub fn table(hops: &[HopRecord]) -> Vec<String> {
    aligned(&HEADER, hops.iter().flat_map(rows), &WORDS)
}

/// The hop, and further addresses that answered in its place.
fn rows(hop: &HopRecord) -> Vec<Vec<String>> {
    let mut addresses = hop.addresses.iter().map(|record| record.address.clone());
    let first = addresses.next().unwrap_or_else(|| "no answer".into());
    let head = [hop.hop.to_string(), first, hop.sent.to_string(), hop.answered.to_string(), percent(hop.loss())];
    let row = head.into_iter().chain(five_figures(&hop.round_trips_ns)).collect();
    [row].into_iter().chain(addresses.map(|address| vec![String::new(), address])).collect()
}

/// What the table has no column for.
fn notes(hop: &HopRecord) -> Vec<String> {
    let name = format!("hop {}", hop.hop);
    let refusals = hop.errors.iter().map(|error| error.note(&name));
    let late = (hop.late > 0).then(|| format!("{name}: {} late, up to {}", hop.late, Nanos(hop.latest_ns)));
    let twice = (hop.duplicates > 0).then(|| format!("{name}: {} came twice", counted(hop.duplicates, "answer")));
    let unsent = hop.unsent_because.as_ref().map(|why| format!("{name}: {} not sent: {why}", hop.unsent));
    refusals.chain(late).chain(twice).chain(unsent).collect()
}

/// How to read it.
fn conclusions(report: &TraceReport) -> Vec<String> {
    let only_answers: Vec<String> = report.losing_only_answers.iter().map(u8::to_string).collect();
    let limiting = (!only_answers.is_empty()).then(|| {
        format!(
            "Loss at hop {} alone is usually rate limiting: what goes on to the target passes through it and is not lost \
             there.",
            only_answers.join(", ")
        )
    });
    let loss = report.target().map(HopRecord::loss).filter(|loss| *loss > 0.0);
    let real = loss.map(|loss| format!("{} are lost on the whole way and back.", percent(loss)));
    let missing = (!report.reached).then(|| format!("{} did not answer.", report.label()));
    limiting.into_iter().chain(real).chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::trace::tests::report;

    #[test]
    fn text_says_how_to_read_the_losses() {
        let text = render(&report());
        for part in [
            "trace to there.example (192.0.2.1), SYNs from port 40000 to port 443",
            "no answer",
            "Loss at hop 1 alone is usually rate limiting",
            "25 % are lost on the whole way",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let echo = TraceReport { probes: "ICMP".into(), destination_port: None, reached: false, ..report() };
        let text = render(&echo);
        assert!(text.contains("echo requests with identifier 40000") && text.contains("did not answer."), "{text}");
    }
}

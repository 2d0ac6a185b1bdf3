//! What `ringmark ping` found, as a result.

use super::json;
use super::probe_table::{aligned, five_figures, percent};
use super::result::{LATENCIES, LATENCY_COLUMNS, Rows, Series, StoredResult, Table, figure_fields, series_of, shown};
use super::text_style::TextStyle;
use super::threshold::{Metric, Subject, latency_figures};
use crate::record::histogram::HistogramError;
use crate::record::{PingReport, SocketRecord, TargetRecord};
use crate::units::{Nanos, counted, three_digits};

const HEADER: [&str; 12] =
    ["target", "sent", "answered", "loss", "late", "twice", "reordered", "min", "p50", "p90", "p99", "max"];

const COLUMNS: &str = "target,address,reachable,size,interval_ns,timeout_ns,duration_ns,sent,answered,late,refused,\
    unsent,lost,duplicates,reordered,corrupt";

impl StoredResult for PingReport {
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
        let name = |address: &str| (self.targets.len() > 1).then(|| one_word(address));
        let series = |one: &'_ TargetRecord| (name(&one.address), self.duration_ns);
        let all = self.targets.iter().map(|one| (series(one), &one.round_trips_ns));
        Some(all.filter_map(|((name, length), times)| series_of(name, length, times)).collect())
    }

    fn subjects(&self) -> Vec<Subject> {
        self.targets.iter().map(subject).collect()
    }
}

/// An address in one word that no other address has.
fn one_word(address: &str) -> String {
    address.replace(':', "-")
}

/// Its errors are the requests that met one, those that the kernel did not take, and the answers with wrong bytes.
fn subject(target: &TargetRecord) -> Subject {
    let errors = target.refused + target.unsent + target.corrupt;
    let mut figures = vec![(Metric::Errors, errors as f64), (Metric::Lost, target.lost as f64)];
    figures.extend(target.round_trips_ns.known().iter().copied().flat_map(latency_figures));
    Subject { name: target.label(), figures }
}

/// A line per target.
fn lines(report: &PingReport) -> Vec<Vec<String>> {
    let settings = [report.size_bytes, report.interval_ns, report.timeout_ns, report.duration_ns];
    let line = |one: &TargetRecord| {
        let head = [one.name.clone(), one.address.clone(), u8::from(one.reachable).to_string()];
        let fates = [one.sent, one.answered, one.late, one.refused, one.unsent, one.lost];
        let oddities = [one.duplicates, one.reordered, one.corrupt];
        let counts = settings.into_iter().chain(fates).chain(oddities).map(|count| count.to_string());
        head.into_iter().chain(counts).chain(figure_fields(&one.round_trips_ns)).collect()
    };
    report.targets.iter().map(line).collect()
}

/// A row per target.
fn paste(report: &PingReport) -> Table {
    let row = |target: &TargetRecord| {
        let loss = format!("{} %", three_digits(target.loss() * 100.0));
        let head = [target.label(), target.sent.to_string(), target.answered.to_string(), loss];
        head.into_iter().chain(shown(target.round_trips_ns.known())).collect()
    };
    let columns = [("target", false), ("sent", true), ("answered", true), ("loss", true)];
    Table {
        before: format!(
            "{} bytes every {}, answers within {}:\n\n",
            report.size_bytes,
            Nanos(report.interval_ns),
            Nanos(report.timeout_ns)
        ),
        columns: columns.into_iter().chain(LATENCIES).collect(),
        rows: report.targets.iter().map(row).collect(),
        after: String::new(),
    }
}

/// The table, and what must be known of it.
fn render(report: &PingReport) -> String {
    let lines = aligned(&HEADER, report.targets.iter().map(row), &[0]);
    let notes = report.targets.iter().flat_map(notes);
    let rest = lines.into_iter().chain(notes).chain([setting(report)]).chain(warnings(report));
    rest.map(|line| line + "\n").collect()
}

fn row(target: &TargetRecord) -> Vec<String> {
    let counts = [target.late, target.duplicates, target.reordered].map(|count| count.to_string());
    let head = [target.label(), target.sent.to_string(), target.answered.to_string(), percent(target.loss())];
    head.into_iter().chain(counts).chain(five_figures(&target.round_trips_ns)).collect()
}

/// What the table has no column for.
fn notes(target: &TargetRecord) -> Vec<String> {
    let name = target.label();
    let refusals = target.errors.iter().map(|error| error.note(&name));
    let unsent = target.unsent_because.as_ref().filter(|_| target.unsent > 0);
    let unsent = unsent.map(|why| format!("{name}: {} not sent: {why}", target.unsent));
    let late = (target.late > 0).then(|| format!("{name}: the latest answer took {}", Nanos(target.latest_ns)));
    let corrupt =
        (target.corrupt > 0).then(|| format!("{name}: {} with WRONG bytes", counted(target.corrupt, "answer")));
    refusals.chain(unsent).chain(late).chain(corrupt).collect()
}

/// How it was measured.
fn setting(report: &PingReport) -> String {
    let socket = |socket: &SocketRecord| format!("{} {} socket", socket.family, socket.kind);
    let sockets: Vec<String> = report.sockets.iter().map(socket).collect();
    format!(
        "{} every {}, answers within {}; {}; {}.",
        counted(report.size_bytes, "byte"),
        Nanos(report.interval_ns),
        Nanos(report.timeout_ns),
        sockets.join(", "),
        stamps(report.kernel_stamps, report.clock_stamps)
    )
}

fn stamps(kernel: u64, clock: u64) -> String {
    match (kernel, clock) {
        (0, 0) => "nothing came back".into(),
        (_, 0) => "from before the send until the kernel's receive stamp".into(),
        (0, _) => "from before the send until after the receive (no kernel stamps)".into(),
        (_, clock) => format!("until the kernel's receive stamp, or after the receive for {clock} without one"),
    }
}

fn warnings(report: &PingReport) -> Vec<String> {
    let (overflowed, strangers) = (report.overflowed, report.strangers);
    let lost = (overflowed > 0).then(|| {
        format!(
            "warning: {} overflowed our receive buffer: as much of the loss may be ours",
            counted(overflowed, "arrival")
        )
    });
    let strange = (strangers > 0)
        .then(|| format!("warning: {} came from addresses that are no target", counted(strangers, "answer")));
    lost.into_iter().chain(strange).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ping::tests::report;

    #[test]
    fn loss_counts_what_was_not_answered_in_time() {
        let text = render(&report());
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[1],
            ["::1", "4", "3", "25", "%", "1", "0", "0", "1us", "2us", "3.00us", "3.00us", "3.00us"],
            "{text}"
        );
        assert_eq!(lines[2][..5], ["192.0.2.1", "4", "0", "100", "%"], "{text}");
        for part in ["::1: the latest answer took 2s\n", "answers within 1s; IPv6 raw socket; from before the send"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

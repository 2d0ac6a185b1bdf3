//! What `ringmark ping` found, as text.

use super::{aligned, five_figures, percent};
use crate::record::{PingReport, SocketRecord, TargetRecord};
use crate::units::{Nanos, counted};

const HEADER: [&str; 12] =
    ["target", "sent", "answered", "loss", "late", "twice", "reordered", "min", "p50", "p90", "p99", "max"];

/// The table, and what must be known of it.
pub fn render(report: &PingReport) -> String {
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

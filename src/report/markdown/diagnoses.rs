//! What ping, trace and sniff found, as Markdown.

use super::{LATENCIES, latencies};
use crate::record::{FiguresRecord, HopRecord, PingReport, TargetRecord, TraceReport, WireReport};
use crate::units::{Nanos, three_digits};

/// A row per kind of time.
pub fn of_wire(report: &WireReport) -> String {
    let row = |(kind, figures): (&str, &FiguresRecord)| {
        format!("| {kind} | {} | {} |\n", figures.samples, latencies(figures.known()))
    };
    format!(
        "Port {} on {}, {}, {} packets dropped by the kernel:\n\n| time | samples | {LATENCIES} |\n\
         |:---|---:|---:|---:|---:|---:|\n{}",
        report.port,
        report.device,
        Nanos(report.duration_ns),
        report.packets.dropped,
        report.kinds().map(row).concat()
    )
}

/// A row per target.
pub fn of_ping(report: &PingReport) -> String {
    let row = |target: &TargetRecord| {
        let (figures, loss) = (latencies(target.round_trips_ns.known()), three_digits(target.loss() * 100.0));
        format!("| {} | {} | {} | {loss} % | {figures} |\n", target.label(), target.sent, target.answered)
    };
    format!(
        "{} bytes every {}, answers within {}:\n\n| target | sent | answered | loss | {LATENCIES} |\n\
         |:---|---:|---:|---:|---:|---:|---:|---:|\n{}",
        report.size_bytes,
        Nanos(report.interval_ns),
        Nanos(report.timeout_ns),
        report.targets.iter().map(row).collect::<String>()
    )
}

/// A row per hop.
pub fn of_trace(report: &TraceReport) -> String {
    let row = |hop: &HopRecord| {
        let addresses: Vec<&str> = hop.addresses.iter().map(|record| record.address.as_str()).collect();
        let who = if addresses.is_empty() { "no answer".to_owned() } else { addresses.join(", ") };
        let (figures, loss) = (latencies(hop.round_trips_ns.known()), three_digits(hop.loss() * 100.0));
        format!("| {} | {who} | {} | {} | {loss} % | {figures} |\n", hop.hop, hop.sent, hop.answered)
    };
    let reached = if report.reached { "reached" } else { "NOT reached" };
    format!(
        "{}, {} probes, {reached}:\n\n| hop | address | sent | answered | loss | {LATENCIES} |\n\
         |---:|:---|---:|---:|---:|---:|---:|---:|---:|\n{}",
        report.label(),
        report.probes,
        report.hops.iter().map(row).collect::<String>()
    )
}

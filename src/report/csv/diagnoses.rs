//! What ping, trace and sniff found, as comma-separated values.

use super::{latencies, quoted, table};
use crate::record::{FiguresRecord, PingReport, TraceReport, WireReport};

const WIRE_HEADER: &str = "device,port,duration_ns,kind,samples,min_ns,mean_ns,p50_ns,p90_ns,p99_ns,p999_ns,max_ns";
const PING_HEADER: &str = "target,address,reachable,size,interval_ns,timeout_ns,duration_ns,sent,answered,late,refused,\
    unsent,lost,duplicates,reordered,corrupt,samples,min_ns,mean_ns,p50_ns,p90_ns,p99_ns,p999_ns,max_ns";
const TRACE_HEADER: &str = "target,address,probes,interval_ns,timeout_ns,duration_ns,hop,hop_addresses,sent,answered,late,\
    unsent,lost,duplicates,samples,min_ns,mean_ns,p50_ns,p90_ns,p99_ns,p999_ns,max_ns";

/// A line per kind of time.
pub fn of_wire(report: &WireReport) -> String {
    let head = || [quoted(&report.device), report.port.to_string(), report.duration_ns.to_string()];
    let rows = report.kinds().into_iter();
    table(
        WIRE_HEADER,
        rows.map(|(kind, times)| head().into_iter().chain([quoted(kind)]).chain(figures(times)).collect()),
    )
}

/// A line per target.
pub fn of_ping(report: &PingReport) -> String {
    let settings = [report.size_bytes, report.interval_ns, report.timeout_ns, report.duration_ns];
    let rows = report.targets.iter().map(|one| {
        let head = [quoted(&one.name), one.address.clone(), u8::from(one.reachable).to_string()];
        let fates = [one.sent, one.answered, one.late, one.refused, one.unsent, one.lost];
        let oddities = [one.duplicates, one.reordered, one.corrupt];
        let counts = settings.into_iter().chain(fates).chain(oddities).map(|count| count.to_string());
        head.into_iter().chain(counts).chain(figures(&one.round_trips_ns)).collect()
    });
    table(PING_HEADER, rows)
}

/// A line per hop; the addresses that answered as one are separated by spaces.
pub fn of_trace(report: &TraceReport) -> String {
    let times = [report.interval_ns, report.timeout_ns, report.duration_ns].map(|nanos| nanos.to_string());
    let rows = report.hops.iter().map(|hop| {
        let head = [quoted(&report.name), report.address.clone(), report.probes.clone()];
        let addresses: Vec<&str> = hop.addresses.iter().map(|record| record.address.as_str()).collect();
        let who = [hop.hop.to_string(), addresses.join(" ")];
        let counts = [hop.sent, hop.answered, hop.late, hop.unsent, hop.lost, hop.duplicates];
        let head = head.into_iter().chain(times.clone()).chain(who);
        head.chain(counts.map(|count| count.to_string())).chain(figures(&hop.round_trips_ns)).collect()
    });
    table(TRACE_HEADER, rows)
}

/// Samples, and their figures; these are empty where there are none.
fn figures(times: &FiguresRecord) -> impl Iterator<Item = String> + use<> {
    [times.samples.to_string()].into_iter().chain(times.known().map(latencies).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{ping, trace, wire};

    #[test]
    fn a_line_has_as_many_fields_as_the_header() {
        for text in
            [of_wire(&wire::tests::report()), of_ping(&ping::tests::report()), of_trace(&trace::tests::report())]
        {
            let columns: Vec<usize> =
                text.lines().map(|line| line.replace("handshake, ", "handshake ").split(',').count()).collect();
            assert!(columns.len() > 2 && columns.iter().all(|count| *count == columns[0]), "{text}");
        }
    }

    #[test]
    fn what_has_no_samples_has_no_figures() {
        let text = of_ping(&ping::tests::report());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("::1,::1,1,56,1000000,1000000000,2000000000,4,3,1,0,0,0,0,0,0,3,1000,"), "{text}");
        assert!(lines[2].ends_with(",4,0,0,0,0,4,0,0,0,0,,,,,,,"), "{text}");
        assert!(of_trace(&trace::tests::report()).contains(",2,192.0.2.1,4,3,0,0,1,0,3,1000,"));
    }
}

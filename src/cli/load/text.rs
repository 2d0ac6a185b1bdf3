//! The report for eyes. Everything in it is in the JSON too.

use crate::report::intervals::quantiles;
use crate::report::schema::{LoadReport, WorkloadRecord};
use crate::units::{Bytes, Nanos, three_digits};

/// Several lines, the reasons against using them first.
pub fn render(report: &LoadReport) -> String {
    let reasons = report.invalid.iter().map(|reason| format!("INVALID: {reason}"));
    let figures = [
        format!("target    {}", report.target),
        format!("load      {}", load(&report.workload)),
        format!("counted   {} requests in {}", report.requests, Nanos(report.duration_ns)),
        format!("rate      {}", rate(report)),
        format!("latency   {}", latency(report)),
        format!("CPU       {}", cpu(report)),
        format!("errors    {}", errors(report)),
    ];
    let bounds =
        (!report.intervals.is_empty()).then(|| format!("95 % in   {}", quantiles(&report.quantiles).join(", ")));
    let warnings = report.warnings.iter().map(|warning| format!("warning: {warning}"));
    reasons.chain(figures).chain(bounds).chain(warnings).map(|line| line + "\n").collect()
}

fn load(workload: &WorkloadRecord) -> String {
    let way = match (workload.connect_per_request, workload.depth) {
        (true, _) => ", a connection per request".into(),
        (false, 1) => String::new(),
        (false, depth) => format!(", {depth} in flight each"),
    };
    let cores = match &workload.cores {
        Some(cores) => format!("on cores {cores}"),
        None => "not pinned".into(),
    };
    format!(
        "{} connections, {} bytes per request{way}; {} {} thread(s), {cores}; warm-up {}",
        workload.connections,
        Bytes(workload.size),
        workload.threads,
        workload.engine,
        Nanos(workload.warmup_ns)
    )
}

fn rate(report: &LoadReport) -> String {
    let mebibytes = report.throughput_per_s * report.workload.size as f64 / (1 << 20) as f64;
    format!("{:.0} requests/s, {} MiB/s each way", report.throughput_per_s, three_digits(mebibytes))
}

fn latency(report: &LoadReport) -> String {
    let latency = &report.latency_ns;
    let [p50, p90, p99, p999, max] =
        [latency.p50, latency.p90, latency.p99, latency.p999, latency.max].map(|nanos| Nanos(nanos).to_string());
    format!("p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max} (service time, closed loop)")
}

fn cpu(report: &LoadReport) -> String {
    let cpu = &report.cpu;
    let each = |name: &str, per_request: Option<f64>| {
        per_request.map(|nanos| format!("{name} {} per request", Nanos(nanos.round() as u64)))
    };
    let parts: Vec<_> = [each("generator", cpu.generator_ns_per_request), each("server", cpu.server_ns_per_request)]
        .into_iter()
        .flatten()
        .collect();
    if parts.is_empty() { "unknown".into() } else { parts.join(", ") }
}

fn errors(report: &LoadReport) -> String {
    let kinds: Vec<_> =
        report.errors.iter().filter(|(_, count)| **count > 0).map(|(kind, count)| format!("{kind} {count}")).collect();
    if kinds.is_empty() { "none".into() } else { kinds.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::schema::{CpuRecord, LatencyRecord};

    #[test]
    fn reasons_come_first_and_warnings_last() {
        let workload = WorkloadRecord {
            connections: 4,
            threads: 1,
            size: 16 << 10,
            depth: 2,
            warmup_ns: 1_000_000_000,
            engine: "epoll".into(),
            ..WorkloadRecord::default()
        };
        let report = LoadReport {
            target: "127.0.0.1:1".into(),
            workload,
            requests: 6400,
            duration_ns: 100_000_000,
            throughput_per_s: 64_000.0,
            latency_ns: LatencyRecord { p50: 54_210, ..LatencyRecord::default() },
            errors: [("corrupt".to_owned(), 3), ("reset".to_owned(), 0)].into(),
            invalid: vec!["errors: corrupt 3".into()],
            warnings: vec!["mind the gap".into()],
            cpu: CpuRecord { generator_ns_per_request: Some(2500.0), ..CpuRecord::default() },
            ..LoadReport::default()
        };
        let text = render(&report);
        assert!(text.starts_with("INVALID: errors: corrupt 3\ntarget    127.0.0.1:1\n"), "{text}");
        assert!(text.ends_with("warning: mind the gap\n"), "{text}");
        for part in
            ["16k bytes", "2 in flight", "64000 requests/s, 1000 MiB/s", "p50 54.2us", "generator 2.50us", "corrupt 3"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

//! A single run of the generator as a result. Everything in its text is in the JSON too.

use super::accounting::missing;
use super::compared::{Compared, DiffError, Side, SideRecord, fields};
use super::datagrams::describe;
use super::derive::{self, use_of};
use super::result::{LATENCIES, Rows, Series, StoredResult, Table, shown};
use super::text_style::TextStyle;
use super::threshold::{Metric, Subject, latency_figures, lost};
use super::{intervals, json, tolerance, trial_rows};
use crate::record::histogram::HistogramError;
use crate::record::{LatencyRecord, LoadReport, Reason, TrafficRecord, UseRecord, Workload};
use crate::units::{Bytes, Nanos, counted, few, three_digits};

impl StoredResult for LoadReport {
    fn derive(&mut self) -> Result<(), HistogramError> {
        derive::fill_load(self)
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
        Some(trial_rows::lines(&[trial_rows::of_run(self)]))
    }

    fn tables(&self) -> Option<Vec<Table>> {
        Some(vec![table(self)])
    }

    /// Whatever it is worth: who reads it has named it.
    fn series(&self) -> Option<Vec<Series<'_>>> {
        Some(vec![trial_rows::series(self)])
    }

    fn subjects(&self) -> Vec<Subject> {
        vec![subject(self)]
    }

    fn compared(&self) -> Result<Compared, DiffError> {
        Ok(compared(self))
    }
}

fn subject(load: &LoadReport) -> Subject {
    let mut figures = vec![(Metric::Errors, load.errors.values().sum::<u64>() as f64)];
    if load.requests > 0 {
        figures.push((Metric::Throughput, load.throughput_per_s));
        figures.extend(latency_figures(load.waiting_ns()));
    }
    let (server, generator) = (load.cpu.server_ns_per_request, load.cpu.generator_ns_per_request);
    figures.extend(server.map(|cpu| (Metric::ServerCpu, cpu)));
    figures.extend(server.zip(generator).map(|(server, generator)| (Metric::TotalCpu, server + generator)));
    figures.extend(load.datagrams.as_ref().map(lost));
    Subject { name: load.target.clone(), figures }
}

/// A single run has one throughput: a ratio, but no interval and no verdict. It is compared whatever its target is.
fn compared(load: &LoadReport) -> Compared {
    let answered = load.requests > 0;
    Compared {
        settings: vec![("target", load.target.clone())],
        fields: fields("workload", &load.workload),
        seed: load.workload.seed,
        sides: vec![Side {
            key: String::new(),
            subject: subject(load),
            scores: answered.then(|| load.score()).into_iter().collect(),
            paced: load.response_ns.is_some(),
            problem: load.invalid.first().map(Reason::to_string),
            record: SideRecord {
                throughput_per_s: answered.then_some(load.throughput_per_s),
                rounds: 1,
                quantiles: load.quantiles.clone(),
            },
        }],
    }
}

fn table(report: &LoadReport) -> Table {
    let errors: u64 = report.errors.values().sum();
    let row = [report.target.clone(), format!("{:.0}", report.throughput_per_s)];
    let row = row.into_iter().chain(shown(Some(report.waiting_ns()))).chain([errors.to_string()]);
    Table {
        before: report.invalid.iter().map(|reason| format!("**INVALID**: {reason}\n\n")).collect(),
        columns: [("target", false), ("req/s", true)].into_iter().chain(LATENCIES).chain([("errors", true)]).collect(),
        rows: vec![row.collect()],
        after: String::new(),
    }
}

/// Several lines, the reasons against using them first.
fn render(report: &LoadReport) -> String {
    let reasons = report.invalid.iter().map(|reason| format!("INVALID: {reason}"));
    let figures = [
        format!("target    {}", report.target),
        format!("load      {}; {}", load(&report.workload), warm_up(report)),
        format!("counted   {} in {}", counted(report.requests, "request"), Nanos(report.duration_ns)),
        format!("rate      {}", rate(report)),
    ];
    let bounds = intervals::of_run(report).map(|bounds| format!("95 % in   {bounds}"));
    let outcome = format!("errors    {}", errors(report));
    let warnings = report.warnings.iter().map(|warning| format!("warning: {warning}"));
    let figures = figures
        .into_iter()
        .chain(latencies(report))
        .chain(bounds)
        .chain(ends(report))
        .chain(interrupts(report))
        .chain(datagrams(report))
        .chain([outcome]);
    let notes = missing(report.accounting.iter().flat_map(|accounting| &accounting.unavailable));
    reasons.chain(figures).chain(warnings).chain(notes).map(|line| line + "\n").collect()
}

fn load(workload: &Workload) -> String {
    let way = match (workload.shape.connect_per_request, workload.shape.depth) {
        (true, _) => ", a connection per request".into(),
        (false, 1) if workload.generator.rate_per_s.is_none() => String::new(),
        (false, depth) => {
            format!(", {}{depth} in flight each", if workload.generator.rate_per_s.is_some() { "at most " } else { "" })
        }
    };
    let gso = match workload.generator.gso {
        0 => String::new(),
        gso => format!(", up to {gso} per send"),
    };
    let pace = match (workload.generator.rate_per_s, &workload.generator.arrival) {
        (Some(rate), Some(arrival)) => format!("{rate} requests/s {arrival} over "),
        _ => String::new(),
    };
    let size = workload.shape.size_mix.clone().unwrap_or_else(|| Bytes(workload.shape.size).to_string());
    let crowd = if workload.generator.idle > 0 {
        format!(" beside {}", counted(workload.generator.idle, "silent one"))
    } else {
        String::new()
    };
    let cores = match &workload.cores {
        Some(cores) => format!("on cores {cores}"),
        None => "not pinned".into(),
    };
    let allowed = tolerance::describe(workload.generator.allow_errors, workload.generator.max_loss);
    let allowed = allowed.map_or(String::new(), |allowed| format!("; {allowed}"));
    format!(
        "{pace}{}{crowd}, {size} bytes per request{way}{gso}; {}, {cores}{allowed}",
        counted(
            workload.shape.connections,
            if workload.generator.dialect.is_empty() { "connection" } else { "socket" }
        ),
        counted(workload.generator.threads, &format!("{} thread", workload.generator.engine)),
    )
}

/// What was cut off, and why there.
fn warm_up(report: &LoadReport) -> String {
    match &report.steady {
        None => format!("warm-up {}", Nanos(report.workload.generator.warmup_ns)),
        Some(steady) if steady.reached => format!("warm-up {} until steady", Nanos(steady.warmup_ns)),
        Some(steady) => format!("warm-up {}, not steady by then", Nanos(steady.warmup_ns)),
    }
}

fn rate(report: &LoadReport) -> String {
    let mebibytes = report.throughput_per_s * report.workload.shape.size as f64 / (1 << 20) as f64;
    format!("{:.0} requests/s, {} MiB/s each way", report.throughput_per_s, three_digits(mebibytes))
}

/// Of an open loop, response time is what counts.
fn latencies(report: &LoadReport) -> Vec<String> {
    match (&report.response_ns, &report.send_lag_ns, &report.timer_error_ns) {
        (Some(response), Some(lag), Some(timer)) => vec![
            format!("response  {}", latency(response)),
            format!("service   {}", latency(&report.latency_ns)),
            format!(
                "send lag  {} ({} timer: {})",
                brief(lag),
                report.workload.generator.timer.as_deref().unwrap_or("?"),
                brief(timer)
            ),
        ],
        _ => vec![format!("latency   {} (service time, closed loop)", latency(&report.latency_ns))],
    }
}

fn brief(latency: &LatencyRecord) -> String {
    let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(|nanos| Nanos(nanos).to_string());
    format!("p50 {p50}, p99 {p99}, max {max}")
}

fn latency(latency: &LatencyRecord) -> String {
    let [p50, p90, p99, p999, max] =
        [latency.p50, latency.p90, latency.p99, latency.p999, latency.max].map(|nanos| Nanos(nanos).to_string());
    format!("p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max}")
}

/// A line for each end that is known of.
fn ends(report: &LoadReport) -> Vec<String> {
    let cpu = &report.cpu;
    let generator = use_of(&[report], |accounting| Some(&accounting.generator));
    let server = use_of(&[report], |accounting| accounting.server.as_ref());
    [("generator", cpu.generator_ns_per_request, generator), ("server   ", cpu.server_ns_per_request, server)]
        .into_iter()
        .filter_map(|(name, cpu, used)| Some(format!("{name} {}", end(cpu?, &used))))
        .collect()
}

/// What the kernel did for the network, where it is in neither end's time.
fn interrupts(report: &LoadReport) -> Option<String> {
    let apart = report.accounting.as_ref()?.interrupts.filter(|interrupts| interrupts.apart)?;
    let each = (report.requests > 0).then(|| Nanos(apart.cpu_ns / report.requests))?;
    Some(format!("interrupts {each} CPU per request on the cores of both, in neither's time"))
}

fn end(cpu: f64, used: &UseRecord) -> String {
    let time = |nanos: f64| Nanos(nanos.round() as u64);
    let split = used.user_ns_per_request.zip(used.system_ns_per_request);
    let split =
        split.map_or(String::new(), |(user, system)| format!(" ({} user + {} system)", time(user), time(system)));
    let switches = used.voluntary_switches_per_request.zip(used.involuntary_switches_per_request);
    let counts = [
        ("syscalls", used.syscalls_per_request),
        ("switches", switches.map(|(voluntary, involuntary)| voluntary + involuntary)),
        ("instructions", used.instructions_per_request),
        ("cycles", used.cycles_per_request),
    ];
    let counts: String =
        counts.into_iter().filter_map(|(name, count)| Some(format!(", {} {name}", few(count?)))).collect();
    format!("{} CPU{split}{counts} per request{}", time(cpu), resident(used))
}

fn resident(used: &UseRecord) -> String {
    let Some(bytes) = used.resident_bytes else { return String::new() };
    let more = match used.resident_growth_bytes_per_connection {
        Some(more) if more > 0.0 => format!(" (+{} KiB per connection)", few(more / 1024.0)),
        _ => String::new(),
    };
    format!("; RSS {} MiB{more}", three_digits(bytes / f64::from(1 << 20)))
}

/// What became of those sent within the counted time.
fn datagrams(report: &LoadReport) -> Option<String> {
    let record = report.datagrams.as_ref()?;
    let TrafficRecord { requests, sends, answers, receives } = record.traffic;
    let each = |count: u64, of: u64| three_digits(count as f64 / of.max(1) as f64);
    let batches = match report.workload.generator.gso {
        0 => String::new(),
        _ => format!("; {} per send, {} per receive", each(requests, sends), each(answers, receives)),
    };
    Some(format!("datagrams {}{batches}", describe(record)))
}

fn errors(report: &LoadReport) -> String {
    let kinds: Vec<_> =
        report.errors.iter().filter(|(_, count)| **count > 0).map(|(kind, count)| format!("{kind} {count}")).collect();
    if kinds.is_empty() { "none".into() } else { kinds.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{AccountingRecord, CountRecord, CpuRecord, EndRecord, UnavailableRecord};
    use crate::record::{GeneratorSettings, InterruptsRecord, Shape};

    fn accounting() -> AccountingRecord {
        let count = |count| Some(CountRecord { count, requests: 1000, duration_ns: 1 });
        let server = EndRecord {
            user_ns: Some(640_000),
            system_ns: Some(6_400_000),
            voluntary_switches: count(500),
            involuntary_switches: count(10),
            syscalls: count(4),
            resident_bytes: Some(3 << 20),
            resident_growth_bytes: Some(6 << 10),
            ..EndRecord::default()
        };
        let unavailable =
            UnavailableRecord { what: "cycles".into(), why: "no PMU".into(), remedy: "another machine".into() };
        AccountingRecord { server: Some(server), unavailable: vec![unavailable], ..AccountingRecord::default() }
    }

    #[test]
    fn reasons_come_first_and_warnings_last() {
        let workload = Workload {
            shape: Shape { connections: 4, size: 16 << 10, depth: 2, ..Shape::default() },
            generator: GeneratorSettings {
                threads: 1,
                warmup_ns: 1_000_000_000,
                allow_errors: Some(0.05),
                engine: "epoll".into(),
                ..GeneratorSettings::default()
            },
            ..Workload::default()
        };
        let report = LoadReport {
            target: "127.0.0.1:1".into(),
            workload,
            requests: 6400,
            duration_ns: 100_000_000,
            throughput_per_s: 64_000.0,
            latency_ns: LatencyRecord { p50: 54_210, ..LatencyRecord::default() },
            errors: [("corrupt".to_owned(), 3), ("reset".to_owned(), 0)].into(),
            invalid: vec![Reason::Errors { kinds: [("corrupt".to_owned(), 3)].into() }],
            warnings: vec![Reason::unclassified("mind the gap")],
            cpu: CpuRecord {
                generator_ns_per_request: Some(2500.0),
                server_ns_per_request: Some(1100.0),
                ..CpuRecord::default()
            },
            accounting: Some(accounting()),
            ..LoadReport::default()
        };
        let text = render(&report);
        assert!(
            text.starts_with(
                "INVALID: errors: corrupt 3: this is no echo server, or it mixes up bytes\ntarget    127.0.0.1:1\n"
            ),
            "{text}"
        );
        assert!(
            text.ends_with("warning: mind the gap\nnot counted: cycles (no PMU; remedy: another machine)\n"),
            "{text}"
        );
        for part in [
            "16k bytes",
            "4 connections,",
            "2 in flight",
            "; 1 epoll thread, not pinned; errors up to 5 % allowed; warm-up",
            "64000 requests/s, 1000 MiB/s",
            "p50 54.2us",
            "generator 2.50us CPU per request\n",
            "server    1.10us CPU (100ns user + 1us system), <0.01 syscalls, 0.51 switches per request; \
             RSS 3 MiB (+1.50 KiB per connection)\n",
            "corrupt 3",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn interrupts_are_shown_where_they_are_in_nobodys_time() {
        let of = |interrupts| {
            let accounting = Some(AccountingRecord { interrupts, ..AccountingRecord::default() });
            render(&LoadReport { requests: 1000, accounting, ..LoadReport::default() })
        };
        let text = of(Some(InterruptsRecord { cpu_ns: 2_500_000, apart: true }));
        assert!(text.contains("\ninterrupts 2.50us CPU per request on the cores of both"), "{text}");
        for none in [None, Some(InterruptsRecord { cpu_ns: 2_500_000, apart: false })] {
            assert!(!of(none).contains("interrupts"));
        }
    }
}

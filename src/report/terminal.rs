//! A comparison as a table to read: what went wrong first, then the setting, the figures, and a sentence per cell.
//!
//! Plain ASCII, at most 120 columns, and the same bytes wherever it is written, so that two renderings can be compared.

use super::accounting::missing;
use super::conclusion::conclusion;
use super::datagrams;
use super::interrupts;
use super::intervals;
use super::stopping;
use super::tolerance;
use super::verdict::short_name;
use crate::record::{
    CellRecord, CompareReport, ContestantRecord, GeneratorSettings, LoadReport, RatioRecord, Reason, SYSTEM_CALLS,
    Stopped, TrialRecord, Verdict,
};
use crate::stats::MIN_PAIRS;
use crate::units::{Bytes, Nanos, counted, few, three_digits};
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table};

/// Widest table.
const WIDTH: u16 = 120;
/// Different reasons listed per contestant; more are counted.
const MAX_REASONS: usize = 3;
const ABSENT: &str = "-";
const HEADER: [&str; 13] = [
    "contestant",
    "req/s",
    "p50",
    "p99",
    "p99.9",
    "max",
    "server\nCPU/req",
    "sys-\ncalls\n/req",
    "load\nCPU/req",
    "lost\nor late",
    "valid\nrounds",
    "ratio to the\nbaseline [95 %]",
    "verdict",
];
/// The server's system calls; the column is left out where nobody could count them.
const SYSCALLS: usize = 7;
/// Datagrams that were not answered in time, where there are any. There is room for them or for the 99.9th percentile,
/// which then means less, as what was lost is not in it.
const LOST: usize = 9;
const P999: usize = 4;

/// The whole report as text, with a final line break.
pub fn render(report: &CompareReport) -> String {
    let mut blocks = vec![problems(report), setting(report)];
    blocks.extend(report.cells.iter().map(|cell| cell_block(report, cell)));
    blocks.extend(not_counted(report));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n") + "\n"
}

/// Everything that keeps a trial out of the figures, or that a reader must know about those within.
fn problems(report: &CompareReport) -> String {
    let mut lines = Vec::new();
    let trials = || report.cells.iter().flat_map(|cell| &cell.contestants).flat_map(|contestant| &contestant.trials);
    if report.stopped == Stopped::Interrupted {
        let done = counted(trials().count() as u64, "trial");
        lines.push(format!("INTERRUPTED after {done}: what was measured until then follows."));
    }
    let bad = trials().filter(|trial| trial.valid().is_none()).count();
    if bad > 0 {
        let verb = if bad == 1 { "does" } else { "do" };
        lines.push(format!("{bad} of {} {verb} not count:", counted(trials().count() as u64, "trial")));
    }
    for cell in &report.cells {
        let place = if report.cells.len() > 1 { format!(" ({})", short(cell)) } else { String::new() };
        lines.extend(cell.contestants.iter().flat_map(|contestant| contestant_problems(contestant, &place)));
    }
    lines.extend(warnings(report));
    lines.join("\n")
}

/// What the trials that count warn of: the same of all contestants in one line.
fn warnings(report: &CompareReport) -> Vec<String> {
    let contestants = report.cells.iter().flat_map(|cell| &cell.contestants);
    let valid: Vec<&LoadReport> = contestants.flat_map(|one| &one.trials).filter_map(TrialRecord::valid).collect();
    let all = valid.iter().flat_map(|load| load.warnings.iter().map(|warning| (warning, ())));
    let line = |(warning, trials): (&Reason, Vec<()>)| {
        item(&format!("warning in {} of {}, such as: {warning}", trials.len(), counted(valid.len() as u64, "trial")))
    };
    grouped(all).into_iter().map(line).collect()
}

/// Why a figure of the table could not be counted, and the remedy.
fn not_counted(report: &CompareReport) -> Option<String> {
    let contestants = report.cells.iter().flat_map(|cell| &cell.contestants);
    let loads = contestants.flat_map(|one| &one.trials).filter_map(TrialRecord::valid);
    let accounts = loads.filter_map(|load| load.accounting.as_ref());
    missing(accounts.flat_map(|accounting| &accounting.unavailable).filter(|missing| missing.what == SYSTEM_CALLS))
}

fn contestant_problems(contestant: &ContestantRecord, place: &str) -> Vec<String> {
    let name = short_name(&contestant.name);
    if let Some(reason) = &contestant.unavailable {
        return vec![item(&format!("{name}{place} cannot run here: {reason}"))];
    }
    let failed = by_round(contestant, |trial| trial.failed.iter().collect());
    let invalid = by_round(contestant, |trial| trial.load.iter().flat_map(|load| &load.invalid).collect());
    [("failed", failed), ("invalid", invalid)]
        .into_iter()
        .flat_map(|(kind, reasons)| reason_lines(&format!("{name}{place}"), kind, reasons))
        .collect()
}

fn reason_lines(whom: &str, kind: &str, reasons: Vec<(&Reason, Vec<u64>)>) -> Vec<String> {
    let more = reasons.len().saturating_sub(MAX_REASONS);
    let mut lines: Vec<String> = reasons
        .iter()
        .take(MAX_REASONS)
        .map(|(reason, rounds)| item(&format!("{whom}, {}: {kind}: {reason}", round_list(rounds))))
        .collect();
    lines.extend((more > 0).then(|| item(&format!("{whom}: {kind} for {more} more reasons; the JSON lists them"))));
    lines
}

/// The reasons that a contestant's trials give, each once, with the rounds that gave it.
fn by_round(contestant: &ContestantRecord, reasons: fn(&TrialRecord) -> Vec<&Reason>) -> Vec<(&Reason, Vec<u64>)> {
    grouped(contestant.trials.iter().flat_map(|trial| {
        let round = trial.round;
        reasons(trial).into_iter().map(move |reason| (reason, round))
    }))
}

/// Each reason once, with what came with it. Of those that are alike the first speaks for all.
fn grouped<'a, T>(reasons: impl Iterator<Item = (&'a Reason, T)>) -> Vec<(&'a Reason, Vec<T>)> {
    let mut groups: Vec<(&Reason, Vec<T>)> = Vec::new();
    for (reason, with) in reasons {
        match groups.iter_mut().find(|(known, _)| known.is_like(reason)) {
            Some((_, all)) => all.push(with),
            None => groups.push((reason, vec![with])),
        }
    }
    groups
}

fn round_list(rounds: &[u64]) -> String {
    let list: Vec<String> = rounds.iter().map(u64::to_string).collect();
    format!("{} {}", if rounds.len() == 1 { "round" } else { "rounds" }, list.join(", "))
}

/// A list item; what a process wrote stands below, indented.
fn item(text: &str) -> String {
    format!("  ! {}", text.replace('\n', "\n      | "))
}

fn setting(report: &CompareReport) -> String {
    let load = &report.context.load;
    let time = |nanos: u64| Nanos(nanos).to_string();
    let shared = match (report.context.cores_shared, report.context.siblings_shared) {
        (true, _) => " - SHARED: each takes time from the other",
        (false, true) => " - hardware threads of the SAME CORE: each slows the other",
        (false, false) => "",
    };
    let lines = [
        format!(
            "Server on cores {}, generator on cores {} ({}, {}){shared}.",
            report.context.server_cores,
            report.context.load_cores,
            load.engine,
            counted(load.threads, "thread")
        ),
        format!(
            "{} of {} counted after {} of warm-up{}, contestants in an order shuffled by seed {}, servers restarted.",
            planned(report),
            time(load.duration_ns),
            time(load.warmup_ns),
            if load.warmup_max_ns > load.warmup_ns { " or more" } else { "" },
            report.context.seed
        ),
        format!(
            "Linux {} on {} ({}), {}, ringmark {}.",
            report.context.host.kernel,
            report.context.host.cpu,
            counted(report.context.host.cores, "core"),
            report.context.started,
            report.context.ringmark
        ),
    ];
    let allowed =
        tolerance::describe(load.allow_errors, load.max_loss).map(|allowed| format!("A valid trial: {allowed}."));
    [workload(load)].into_iter().chain(allowed).chain(lines).chain(programs(report)).collect::<Vec<_>>().join("\n")
}

/// What was run under the names that are shown shortened.
fn programs(report: &CompareReport) -> impl Iterator<Item = String> {
    let contestants = report.cells.first().map_or(&[][..], |cell| &cell.contestants);
    let shortened = contestants.iter().map(|one| (short_name(&one.name), &one.name));
    shortened.filter(|(short, name)| short != *name).map(|(short, name)| format!("{short}: {name}"))
}

/// What is sent when, and from when on latency counts.
fn workload(load: &GeneratorSettings) -> String {
    let traffic = traffic(load);
    match (load.rate_per_s, &load.arrival) {
        (Some(rate), Some(arrival)) => format!(
            "{traffic} over loopback, open loop: {rate} requests/s ({arrival}), {} timer.\n\
             Latency is response time: from the instant a request was meant to be sent until its whole answer is here.\n\
             Ratios are of p99 response times, above 1 where shorter than the baseline's: the throughput is the one asked \
             for.",
            load.timer.as_deref().unwrap_or("unknown")
        ),
        _ => {
            let latency = "latency is service time (request sent until its whole answer is here)";
            let break_line = if load.gso > 0 { "\n" } else { " " };
            format!("{traffic} over loopback, closed loop:{break_line}{latency}.")
        }
    }
}

fn traffic(load: &GeneratorSettings) -> String {
    match (load.protocol.as_str(), load.gso) {
        ("udp", 1..) => {
            format!("UDP echo, up to {} with one send (UDP_SEGMENT)", counted(load.gso, "datagram"))
        }
        (protocol, _) => format!("{} echo", protocol.to_ascii_uppercase()),
    }
}

/// `7 rounds`, or `7 to 50 rounds`.
fn planned(report: &CompareReport) -> String {
    match &report.limits {
        Some(limits) if limits.max_rounds > report.rounds => {
            format!("{} to {}", report.rounds, counted(limits.max_rounds, "round"))
        }
        _ => counted(report.rounds, "round"),
    }
}

fn cell_block(report: &CompareReport, cell: &CellRecord) -> String {
    let connecting = if cell.shape.connect_per_request { ", a new connection for each request" } else { "" };
    let load = cell.load(&report.context.load);
    let crowd = match load.idle {
        0 => String::new(),
        idle => format!(" beside {}", counted(idle, "silent one")),
    };
    let most = if load.rate_per_s.is_some() { "at most " } else { "" };
    let peers = if load.protocol == "udp" { "socket" } else { "connection" };
    format!(
        "{}{crowd}, requests of {} B, {most}{} in flight on each{connecting}:\n{}\n{}{}",
        counted(cell.shape.connections, peers),
        cell.shape.sizes(),
        cell.shape.depth,
        table(report, cell),
        conclusion(cell, &report.baseline),
        stopping::line(report, cell)
            .into_iter()
            .chain(interrupts::lines(cell))
            .chain(datagrams::lines(cell))
            .chain(intervals::lines(cell))
            .map(|line| format!("\n{line}"))
            .collect::<String>()
    )
}

fn table(report: &CompareReport, cell: &CellRecord) -> String {
    let mut table = Table::new();
    table.load_preset("     -             ").set_width(WIDTH).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(HEADER.iter().enumerate().map(|(column, title)| aligned(column, title.to_string())));
    for contestant in &cell.contestants {
        table
            .add_row(row(report, cell, contestant).into_iter().enumerate().map(|(column, text)| aligned(column, text)));
    }
    // Only names are broken into lines: a figure is read at a glance or not at all.
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_constraint(ColumnConstraint::ContentWidth);
    });
    let all = |unknown: fn(&ContestantRecord) -> bool| cell.contestants.iter().all(unknown);
    let without_syscalls = all(|one| one.server_use.syscalls_per_request.is_none()).then_some(SYSCALLS);
    let lossless = all(|one| one.datagrams.is_none_or(|datagrams| datagrams.loss() == 0.0));
    for column in without_syscalls.into_iter().chain([if lossless { LOST } else { P999 }]) {
        table.column_mut(column).into_iter().for_each(|column| {
            column.set_constraint(ColumnConstraint::Hidden);
        });
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>().trim_end().to_owned()
}

/// Words to the left, figures to the right.
fn aligned(column: usize, text: String) -> Cell {
    let words = column == 0 || column == HEADER.len() - 1;
    Cell::new(text).set_alignment(if words { CellAlignment::Left } else { CellAlignment::Right })
}

fn row(report: &CompareReport, cell: &CellRecord, contestant: &ContestantRecord) -> [String; HEADER.len()] {
    let latency = |pick: fn(&crate::record::LatencyRecord) -> u64| {
        contestant.latency_ns.as_ref().map_or(ABSENT.to_owned(), |latency| Nanos(pick(latency)).to_string())
    };
    let cpu = |nanos: Option<f64>| nanos.map_or(ABSENT.to_owned(), |nanos| Nanos(nanos.round() as u64).to_string());
    [
        short_name(&contestant.name),
        contestant.throughput_per_s.map_or(ABSENT.to_owned(), rate),
        latency(|latency| latency.p50),
        latency(|latency| latency.p99),
        latency(|latency| latency.p999),
        latency(|latency| latency.max),
        cpu(contestant.server_cpu_ns_per_request),
        contestant.server_use.syscalls_per_request.map_or(ABSENT.to_owned(), few),
        cpu(contestant.generator_cpu_ns_per_request),
        contestant.datagrams.as_ref().map_or(ABSENT.to_owned(), datagrams::missing_share),
        rounds(stopping::rounds(report, cell), contestant),
        contestant
            .ratio
            .as_ref()
            .filter(|_| contestant.verdict != Some(Verdict::Baseline))
            .map_or(ABSENT.into(), ratio),
        contestant.verdict.map_or("unavailable", Verdict::text).replace("difference ", "difference\n"),
    ]
}

/// `7`, or `5 of 7` where some do not count.
fn rounds(planned: u64, contestant: &ContestantRecord) -> String {
    match contestant.rounds {
        valid if valid == planned => valid.to_string(),
        valid => format!("{valid} of {planned}"),
    }
}

/// With as many digits as it takes to see on which side of 1 the interval lies. No interval where it means nothing.
fn ratio(ratio: &RatioRecord) -> String {
    let one_sided = (ratio.low > 1.0 && ratio.low < 1.005) || (ratio.high < 1.0 && ratio.high >= 0.995);
    let digits = if one_sided { 3 } else { 2 };
    match ratio.pairs {
        pairs if pairs >= MIN_PAIRS as u64 => {
            format!("{:.digits$} [{:.digits$}, {:.digits$}]", ratio.median, ratio.low, ratio.high)
        }
        _ => format!("{:.digits$}", ratio.median),
    }
}

fn rate(per_second: f64) -> String {
    let (scale, unit) = match per_second {
        rate if rate >= 999_500.0 => (1e6, "M"),
        rate if rate >= 999.5 => (1e3, "k"),
        _ => (1.0, ""),
    };
    format!("{}{unit}", three_digits(per_second / scale))
}

fn short(cell: &CellRecord) -> String {
    let size = cell.shape.size_mix.clone().unwrap_or_else(|| Bytes(cell.shape.size).to_string());
    format!("{} x {size} B, depth {}", counted(cell.shape.connections, "connection"), cell.shape.depth)
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, failed, report, steady, trial};
    use super::*;
    use crate::record::{AccountingRecord, CountRecord, EndRecord, UnavailableRecord};

    fn table_lines(text: &str) -> impl Iterator<Item = &str> {
        text.lines().skip_while(|line| !line.contains("contestant  ")).take_while(|line| !line.ends_with('.'))
    }

    #[test]
    fn the_table_fits_and_leads_with_what_went_wrong() {
        let mut trials = steady(120_000.0);
        trials[1] = trial(2, 9e9, &["7 answers were wrong"]);
        trials[3] = trial(4, 9e9, &["12 answers were wrong"]);
        trials[4] = failed(5, "the server ended; its stderr:\nno memory");
        let mut absent = contestant("tokio-uring --entries 4096", vec![]);
        absent.unavailable = Some(Reason::unclassified("io_uring is forbidden"));
        let long = contestant("exec ./a-server-of-mine --port {port} --and-more-of-it", steady(99_000.0));
        let mut report = report(vec![contestant("uring", trials), contestant("epoll", steady(1e5)), absent, long]);
        report.stopped = Stopped::Interrupted;
        let text = render(&report);
        assert!(text.is_ascii() && table_lines(&text).all(|line| line.len() <= WIDTH.into()), "{text}");
        assert!(text.starts_with("INTERRUPTED after 21 trials"));
        for part in [
            "3 of 21 trials do not count:",
            "  ! uring, rounds 2, 4: invalid: 7 answers were wrong",
            "  ! uring, round 5: failed: the server ended; its stderr:\n      | no memory",
            "tokio-uring --entries 4096 cannot run here: io_uring is forbidden",
            "4 of 7",
            "Server on cores 0-1, generator on cores 2-3",
            "\nexec a-server-of-mine --and-more-of-it: exec ./a-server-of-mine --port {port} --and-more-of-it",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn system_calls_are_shown_where_they_were_counted() {
        let plain = render(&report(vec![contestant("epoll", steady(1e5))]));
        assert!(!plain.contains("calls") && !plain.contains("not counted"), "{plain}");
        let mut trials = steady(120_000.0);
        for (trial, count) in trials.iter_mut().zip([400, 600]) {
            let syscalls = Some(CountRecord { count, requests: 10_000, duration_ns: 1 });
            let missing = [SYSTEM_CALLS, "no tracefs", "mount it"].map(str::to_owned);
            let [what, why, remedy] = missing;
            trial.load.as_mut().unwrap().accounting = Some(AccountingRecord {
                server: Some(EndRecord { syscalls, ..EndRecord::default() }),
                unavailable: vec![UnavailableRecord { what, why, remedy }],
                ..AccountingRecord::default()
            });
        }
        let long = contestant("tokio-uring", steady(99_000.0));
        let report = report(vec![contestant("uring", trials), contestant("epoll", steady(1e5)), long]);
        let text = render(&report);
        assert!(table_lines(&text).all(|line| line.len() <= WIDTH.into()) && text.contains("tokio-uring "), "{text}");
        let uring = table_lines(&text).find(|line| line.contains(" uring ")).unwrap();
        let words: Vec<&str> = uring.split_whitespace().collect();
        assert!(words.windows(3).any(|three| three == ["20ns", "0.05", "10ns"]), "{text}");
        assert!(text.ends_with("\n\nnot counted: system calls (no tracefs; remedy: mount it)\n"), "{text}");
    }

    #[test]
    fn an_open_loop_says_what_its_latency_and_its_ratios_are() {
        let mut report = report(vec![contestant("epoll", steady(1e5))]);
        assert!(render(&report).contains("closed loop: latency is service time"));
        report.context.load.rate_per_s = Some(15_000);
        report.context.load.arrival = Some("ramp:10000..20000".into());
        report.context.load.timer = Some("hybrid".into());
        let text = render(&report);
        for part in
            ["open loop: 15000 requests/s (ramp:10000..20000), hybrid timer.", "Ratios are of p99", "at most 1 in"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(setting(&report).lines().all(|line| line.len() <= WIDTH.into()), "{text}");
    }

    #[test]
    fn what_is_allowed_is_part_of_the_workload() {
        let mut report = report(vec![contestant("epoll", steady(1e5))]);
        assert!(!render(&report).contains("allowed"));
        (report.context.load.allow_errors, report.context.load.max_loss) = (Some(0.02), Some(0.5));
        assert!(render(&report).contains("A valid trial: errors up to 2 % and loss up to 50 % allowed."));
    }

    #[test]
    fn what_the_sides_share_is_told() {
        let mut report = report(vec![contestant("epoll", steady(1e5))]);
        assert!(!render(&report).contains("SAME CORE"));
        report.context.siblings_shared = true;
        assert!(render(&report).contains("on cores 2-3 (epoll, 2 threads) - hardware threads of the SAME CORE"));
        report.context.cores_shared = true;
        assert!(render(&report).contains("SHARED: each takes time"));
    }

    #[test]
    fn figures_are_short() {
        for (value, text) in [(0.0, "0"), (12.34, "12.3"), (999.6, "1.00k"), (1e6, "1M"), (312_345.0, "312k")] {
            assert_eq!(rate(value), text);
        }
        let of = |median, low, high, pairs| ratio(&RatioRecord { median, low, high, pairs });
        assert_eq!(of(1.123, 1.1, 1.15, 7), "1.12 [1.10, 1.15]");
        assert_eq!(of(1.004, 1.002, 1.006, 7), "1.004 [1.002, 1.006]");
        assert_eq!(of(1.123, 1.1, 1.15, 3), "1.12");
    }
}

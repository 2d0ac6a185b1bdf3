//! `ringmark doctor`: what this machine offers, found by trying, and what is in the way.

use super::host;
use super::report::{Format, print};
use crate::diag::socket_caps::{PACKET_SOCKETS, SocketCap, socket_caps};
use crate::sys::accounting::{Counters, PerfEvent, Unavailable};
use crate::sys::uring::{self, Feature};
use crate::sys::{affinity, rlimit};
use anyhow::Context;
use clap::Args;
use serde::Serialize;
use std::fs;
use std::process::ExitCode;

/// Show what this machine offers: kernel, cores, io_uring features, accounting, raw sockets, limits, and what is in the way
///
/// Features are tried, not looked up. Exits 1 when io_uring cannot be used at all.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct DoctorArgs {
    /// What to print: text, or one JSON object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const AFTER_HELP: &str = "\
Exit codes: 0 io_uring can be used; 1 it cannot; 2 bad options.

Examples:
  ringmark doctor
  ringmark doctor --format json > doctor.json";

/// All that was found.
#[derive(Debug, Serialize)]
struct Findings {
    schema: &'static str,
    kernel: String,
    cpu: String,
    /// Cores this process may use, as `0-3,6`.
    cores: String,
    clock_source: String,
    /// `kernel.io_uring_disabled`; `None` before Linux 6.6.
    io_uring_disabled: Option<u32>,
    seccomp: bool,
    open_files: u64,
    /// `None` when unlimited.
    locked_memory_bytes: Option<u64>,
    somaxconn: Option<u64>,
    io_uring: Vec<Tried>,
    accounting: Vec<Account>,
    raw_sockets: Vec<RawSocket>,
    advice: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Tried {
    feature: &'static str,
    since: &'static str,
    gives: &'static str,
    works: bool,
    problem: Option<String>,
}

/// A kind of socket below TCP and UDP.
#[derive(Debug, Serialize)]
struct RawSocket {
    kind: &'static str,
    gives: &'static str,
    works: bool,
    problem: Option<String>,
    /// How to allow it.
    allow: String,
}

impl From<SocketCap> for RawSocket {
    fn from(cap: SocketCap) -> RawSocket {
        let SocketCap { name: kind, gives, outcome, allow } = cap;
        RawSocket { kind, gives, works: outcome.is_ok(), problem: outcome.err().map(|error| error.to_string()), allow }
    }
}

impl From<Feature> for Tried {
    fn from(feature: Feature) -> Tried {
        let Feature { name, since, gives, outcome } = feature;
        Tried { feature: name, since, gives, works: outcome.is_ok(), problem: outcome.err() }
    }
}

/// A figure of what servers use, and whether it can be had.
#[derive(Debug, Serialize)]
struct Account {
    figure: &'static str,
    works: bool,
    problem: Option<String>,
    remedy: Option<String>,
}

impl Account {
    /// CPU time, switches and memory need no permission to be read of one's own processes.
    const ALWAYS: &str = "CPU time, context switches, resident memory";

    fn all() -> Vec<Account> {
        let always = Account { figure: Account::ALWAYS, works: true, problem: None, remedy: None };
        let counted = PerfEvent::ALL.into_iter().map(|counted| match Counters::attempt(counted) {
            Ok(()) => Account { figure: counted.name(), works: true, problem: None, remedy: None },
            Err(Unavailable { what, why, remedy }) => {
                Account { figure: what, works: false, problem: Some(why), remedy: Some(remedy) }
            }
        });
        [always].into_iter().chain(counted).collect()
    }
}

/// The command `ringmark doctor`.
pub fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let findings = examine()?;
    match args.format {
        Format::Text => print(&text(&findings))?,
        Format::Json => print(&(serde_json::to_string_pretty(&findings)? + "\n"))?,
    }
    let usable = findings.io_uring.first().is_some_and(|rings| rings.works);
    Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn examine() -> anyhow::Result<Findings> {
    let cores = affinity::available()?;
    let host = host::facts(cores.len());
    let mut findings = Findings {
        schema: "ringmark.doctor/1",
        kernel: host.kernel,
        cpu: host.cpu,
        cores: cores.to_string(),
        clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .unwrap_or_else(|| "unknown".into()),
        io_uring_disabled: uring::io_uring_disabled(),
        seccomp: uring::seccomp_active(),
        open_files: rlimit::raise_open_files().context("reading the limit of open files")?,
        locked_memory_bytes: rlimit::locked_memory().context("reading the limit of locked memory")?,
        somaxconn: read("/proc/sys/net/core/somaxconn").and_then(|text| text.parse().ok()),
        io_uring: uring::features().into_iter().map(Tried::from).collect(),
        accounting: Account::all(),
        raw_sockets: socket_caps().into_iter().map(RawSocket::from).collect(),
        advice: Vec::new(),
    };
    findings.advice = advice(&findings, cores.len());
    Ok(findings)
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Clock sources that user space reads without a system call.
const FAST_CLOCKS: [&str; 3] = ["tsc", "kvm-clock", "arch_sys_counter"];
/// Connections plus files that a comparison with 1000 connections needs, rounded up.
const OPEN_FILES_WANTED: u64 = 4096;
const BACKLOG_WANTED: u64 = 1024;

fn advice(findings: &Findings, cores: usize) -> Vec<String> {
    let mut advice: Vec<String> = findings.io_uring.iter().take(1).filter_map(|rings| rings.problem.clone()).collect();
    let mut say = |when: bool, what: String| advice.extend(when.then_some(what));
    say(
        cores < 2,
        "With one core, server and generator share it: ratios still hold, latencies include the waiting for it.".into(),
    );
    say(
        !FAST_CLOCKS.contains(&findings.clock_source.as_str()),
        format!(
            "The clock source {} costs a system call per reading; tsc or kvm-clock does not.",
            findings.clock_source
        ),
    );
    say(
        findings.open_files < OPEN_FILES_WANTED,
        format!(
            "Only {} files may be open: raise the hard limit with ulimit -Hn for 1000 connections and more.",
            findings.open_files
        ),
    );
    let echo = findings.raw_sockets.iter().filter(|socket| socket.kind != PACKET_SOCKETS).collect::<Vec<_>>();
    say(
        echo.iter().all(|socket| !socket.works),
        format!("Ping and trace can send nothing. Either of these allows it: {}", {
            echo.iter().map(|socket| socket.allow.as_str()).collect::<Vec<_>>().join("; ")
        }),
    );
    say(
        findings.somaxconn.is_some_and(|value| value < BACKLOG_WANTED),
        "net.core.somaxconn is small: connection storms will be refused. sysctl -w net.core.somaxconn=4096".into(),
    );
    advice
}

fn text(findings: &Findings) -> String {
    let memory = findings.locked_memory_bytes.map_or("unlimited".into(), |bytes| format!("{} KiB", bytes / 1024));
    let disabled = findings.io_uring_disabled.map_or("not on this kernel".into(), |level| level.to_string());
    let mut lines = vec![
        format!("kernel         Linux {}", findings.kernel),
        format!("cpu            {}", findings.cpu),
        format!("cores          {}", findings.cores),
        format!("clock source   {}", findings.clock_source),
        format!(
            "io_uring       sysctl kernel.io_uring_disabled = {disabled}, seccomp filter: {}",
            yes(findings.seccomp)
        ),
        format!("open files     {}", findings.open_files),
        format!("locked memory  {memory}"),
        format!("somaxconn      {}", findings.somaxconn.map_or("unknown".into(), |value| value.to_string())),
        String::new(),
        "io_uring features, tried:".into(),
    ];
    lines.extend(findings.io_uring.iter().map(tried_text));
    lines.extend([String::new(), "accounting of both ends, tried:".into()]);
    lines.extend(findings.accounting.iter().map(account_text));
    lines.extend([String::new(), "sockets for ping, trace and sniff, tried:".into()]);
    lines.extend(findings.raw_sockets.iter().map(raw_socket_text));
    lines.push(String::new());
    match findings.advice.as_slice() {
        [] => lines.push("Nothing is in the way.".into()),
        advice => lines.extend(advice.iter().map(|advice| format!("! {advice}"))),
    }
    lines.join("\n") + "\n"
}

fn tried_text(tried: &Tried) -> String {
    let mark = if tried.works { "yes" } else { "NO " };
    let rest = tried.problem.as_deref().unwrap_or(tried.gives);
    format!("  {mark}  {:<30} (Linux {}) {rest}", tried.feature, tried.since)
}

fn account_text(account: &Account) -> String {
    let Account { figure, problem, remedy, .. } = account;
    match problem.as_ref().zip(remedy.as_ref()) {
        Some((problem, remedy)) => format!("  NO   {figure:<30} {problem}; remedy: {remedy}"),
        None => format!("  yes  {figure}"),
    }
}

fn raw_socket_text(socket: &RawSocket) -> String {
    match &socket.problem {
        None => format!("  yes  {:<30} {}", socket.kind, socket.gives),
        Some(problem) => format!("  NO   {:<30} {problem}; {}: {}", socket.kind, socket.gives, socket.allow),
    }
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_said_with_its_remedy() {
        let mut findings = examine().unwrap();
        findings.somaxconn = Some(128);
        findings.open_files = 256;
        findings.clock_source = "hpet".into();
        findings.raw_sockets.iter_mut().for_each(|socket| socket.works = false);
        let advice = advice(&findings, 1).join("\n");
        for part in ["one core", "hpet", "ulimit -Hn", "somaxconn=4096", "setcap", "ping_group_range"] {
            assert!(advice.contains(part), "{advice}");
        }
    }

    #[test]
    fn every_feature_has_a_line() {
        let findings = examine().unwrap();
        let text = text(&findings);
        assert!(findings.io_uring.iter().all(|tried| text.contains(tried.feature)), "{text}");
        assert!(findings.raw_sockets.iter().all(|socket| text.contains(socket.kind)), "{text}");
        assert!(PerfEvent::ALL.iter().all(|counted| text.contains(counted.name())), "{text}");
        let missing = findings.accounting.iter().filter(|account| !account.works);
        assert!(missing.flat_map(|account| &account.remedy).all(|remedy| text.contains(remedy)), "{text}");
    }
}

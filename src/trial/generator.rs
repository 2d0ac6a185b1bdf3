//! The generator of a trial: our own `load` command, whose report is read from its stdout.

use super::error::TrialError;
use super::process::Process;
use super::{Cancel, Load};
use crate::record::{LOAD_SCHEMA, LoadReport, ShapeRecord};
use crate::units::{Address, Nanos, Transport};
use std::path::Path;

/// What connecting, starting and ending may take besides warm-up, counted time and timeouts.
const MARGIN: Nanos = Nanos::from_secs(10);
/// A report is a few kilobytes.
const REPORT_BYTES: usize = 1 << 24;
/// The exit code with which the generator says that its report must not be used.
const INVALID: i32 = 3;

/// Whom to load.
pub struct Target {
    pub address: Address,
    /// The server's process, whose CPU time the generator reads.
    pub pid: u32,
}

/// Runs the generator to its end.
pub fn run(
    program: &Path,
    target: &Target,
    cell: &ShapeRecord,
    load: &Load,
    seed: u64,
    cancel: Cancel,
) -> Result<LoadReport, TrialError> {
    let words = command_line(program, target, cell, load, seed);
    let mut process = Process::start(&words, &load.cores, REPORT_BYTES)?;
    let waited = deadline(load);
    let status = process.wait(waited, || cancel.is_set())?;
    cancel.check()?;
    let (command, said) = (process.command(), process.said());
    match status {
        None => Err(TrialError::GeneratorHung { command, waited, said }),
        Some(status) if matches!(status.code(), Some(0 | INVALID)) => {
            process.stdout.wait_end(MARGIN);
            read_report(&process.stdout.head(), status.code() == Some(INVALID))
                .map_err(|problem| TrialError::NoReport { command, problem })
        }
        Some(status) => Err(TrialError::Generator { command, status, said }),
    }
}

fn command_line(program: &Path, target: &Target, cell: &ShapeRecord, load: &Load, seed: u64) -> Vec<String> {
    let nanos = |time: Nanos| format!("{}ns", time.0);
    let options = [
        ("--format", "json".to_owned()),
        ("--server-pid", target.pid.to_string()),
        ("--connections", cell.connections.to_string()),
        ("--size", cell.size_mix.clone().unwrap_or_else(|| cell.size.to_string())),
        ("--threads", load.threads.min(cell.connections).to_string()),
        ("--duration", nanos(load.duration)),
        ("--warmup", nanos(load.warmup)),
        ("--warmup-max", nanos(load.warmup_max)),
        ("--timeout", nanos(load.timeout)),
        ("--spin", nanos(load.spin)),
        ("--engine", load.engine.clone()),
        ("--cores", load.cores.to_string()),
        ("--seed", seed.to_string()),
    ];
    let mut words = vec![program.to_string_lossy().into_owned(), "load".to_owned(), target.address.to_string()];
    words.push("--quiet".to_owned());
    if !load.counts {
        words.push("--no-counts".to_owned());
    }
    words.extend(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    if load.gso > 0 && target.address.transport == Transport::Datagram {
        words.extend(["--gso".to_owned(), load.gso.to_string()]);
    }
    if let Some(speak) = &load.speak {
        words.extend(["--speak".to_owned(), speak.clone()]);
    }
    words.extend(pacing(load));
    words.extend(tolerance(load));
    if load.idle > 0 {
        words.extend(["--idle".to_owned(), load.idle.to_string()]);
    }
    match cell.connect_per_request {
        true => words.push("--connect-per-request".to_owned()),
        false => words.extend(["--depth".to_owned(), cell.depth.to_string()]),
    }
    words
}

fn pacing(load: &Load) -> Vec<String> {
    let Some(pacing) = &load.pacing else { return Vec::new() };
    let rate = pacing.rate.map(|rate| ["--rate".to_owned(), rate.to_string()]);
    let how = [("--arrival", &pacing.arrival), ("--timer", &pacing.timer)];
    let how = how.into_iter().flat_map(|(name, value)| [name.to_owned(), value.clone()]);
    rate.into_iter().flatten().chain(how).collect()
}

fn tolerance(load: &Load) -> impl Iterator<Item = String> {
    let shares = [("--allow-errors", load.allow_errors), ("--max-loss", load.max_loss)];
    shares.into_iter().filter_map(|(name, share)| Some([name.to_owned(), share?.typed()])).flatten()
}

/// Connecting and the last answers may each take a timeout.
fn deadline(load: &Load) -> Nanos {
    [load.warmup_max, load.duration, load.timeout, load.timeout].into_iter().fold(MARGIN, |sum, part| sum + part)
}

fn read_report(text: &str, invalid: bool) -> Result<LoadReport, String> {
    let mut report: LoadReport = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if report.schema != LOAD_SCHEMA {
        return Err(format!("its form is '{}'", report.schema));
    }
    if invalid && report.invalid.is_empty() {
        report.invalid.push(format!("the generator ended with {INVALID} (invalid) without a reason"));
    }
    Ok(report)
}

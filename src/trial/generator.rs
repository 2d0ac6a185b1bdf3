//! The generator of a trial: our own `load` command, whose report is read from its stdout.

use super::error::TrialError;
use super::process::Process;
use super::{Cancel, Plan};
use crate::record::{GeneratorSettings, LOAD_SCHEMA, LoadReport, Reason, Workload};
use crate::units::{Address, Nanos};

/// What connecting, starting and ending may take besides warm-up, counted time and timeouts.
const MARGIN: Nanos = Nanos::from_secs(10);
/// A report is a few kilobytes.
const REPORT_BYTES: usize = 1 << 24;
/// The exit code with which the generator reports that its figures must not be used.
const INVALID: i32 = 3;

/// Whom to load.
pub struct Target {
    pub address: Address,
    /// The server's process, whose CPU time the generator reads.
    pub pid: u32,
}

/// Runs the generator to its end.
pub fn run(plan: &Plan, workload: &Workload, target: &Target, cancel: Cancel) -> Result<LoadReport, TrialError> {
    let words = command_line(plan, workload, target);
    let mut process = Process::start(&words, &plan.load_cores, REPORT_BYTES)?;
    let waited = deadline(&workload.generator);
    let status = process.wait(waited, || cancel.is_set())?;
    cancel.check()?;
    let (command, stderr) = (process.command(), process.stderr_tail());
    match status {
        None => Err(Reason::GeneratorHung { command, waited_ns: waited.0, stderr }.into()),
        Some(status) if matches!(status.code(), Some(0 | INVALID)) => {
            process.stdout.wait_end(MARGIN);
            read_report(&process.stdout.head(), status.code() == Some(INVALID))
                .map_err(|problem| Reason::NoReport { command, problem }.into())
        }
        Some(status) => Err(Reason::GeneratorFailed { command, status: status.to_string(), stderr }.into()),
    }
}

fn command_line(plan: &Plan, workload: &Workload, target: &Target) -> Vec<String> {
    let program = plan.program.to_string_lossy().into_owned();
    let (address, pid, cores) = (target.address.to_string(), target.pid.to_string(), plan.load_cores.to_string());
    let run = ["load", &address, "--quiet", "--format", "json", "--server-pid", &pid, "--cores", &cores];
    let uncounted = (!plan.counts).then_some("--no-counts");
    let words = run.into_iter().chain(uncounted).map(str::to_owned);
    [program].into_iter().chain(words).chain(workload.arguments()).collect()
}

/// Connecting and the last answers may each take a timeout.
fn deadline(load: &GeneratorSettings) -> Nanos {
    [load.warmup_max_ns, load.duration_ns, load.timeout_ns, load.timeout_ns]
        .into_iter()
        .fold(MARGIN, |sum, part| sum + Nanos(part))
}

fn read_report(text: &str, invalid: bool) -> Result<LoadReport, String> {
    let mut report: LoadReport = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if report.schema != LOAD_SCHEMA {
        return Err(format!("its form is '{}'", report.schema));
    }
    if invalid && report.invalid.is_empty() {
        report.invalid.push(Reason::InvalidWithoutReason { status: INVALID });
    }
    Ok(report)
}

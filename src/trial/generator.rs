//! The generator of a trial: our own `load` command, whose report is read from its stdout.

use super::error::TrialError;
use super::process::Process;
use super::{Cancel, Plan};
use crate::record::slice_command::{SliceCommand, SliceDone};
use crate::record::{GeneratorSettings, LOAD_SCHEMA, LoadReport, Reason, Workload};
use crate::units::{Address, Nanos};
use std::process::ExitStatus;

/// What connecting, starting and ending may take besides warm-up, counted time and timeouts.
const MARGIN: Nanos = Nanos::from_secs(10);
/// A report is a few kilobytes.
const REPORT_BYTES: usize = 1 << 24;
/// The exit code with which the generator reports that its figures must not be used.
const INVALID: i32 = 3;
/// Longest wait without a look at whether all is to end.
const POLL_INTERVAL: Nanos = Nanos::from_millis(50);

/// Whom to load.
pub struct Target {
    pub address: Address,
    /// The server's process, whose CPU time the generator reads.
    pub pid: u32,
}

/// Runs the generator to its end.
pub fn run(plan: &Plan, workload: &Workload, target: &Target, cancel: Cancel) -> Result<LoadReport, TrialError> {
    let mut process = Process::start(&command_line(plan, workload, target, &[]), &plan.load_cores, REPORT_BYTES)?;
    finish(&mut process, deadline(&workload.generator), cancel)
}

/// A generator whose load comes and goes.
pub struct Generator {
    process: Process,
    /// Lines that it has written, or will have when it has done what it was told.
    lines: u64,
    deadline: Nanos,
}

impl Generator {
    /// Starts it; it connects meanwhile.
    pub fn start(plan: &Plan, workload: &Workload, target: &Target) -> Result<Generator, TrialError> {
        let words = command_line(plan, workload, target, &["--slices"]);
        let process = Process::start_commanded(&words, &plan.load_cores, REPORT_BYTES)?;
        let timeout = Nanos(workload.generator.timeout_ns);
        Ok(Generator { process, lines: 0, deadline: MARGIN + timeout + timeout })
    }

    /// Waits until it has made all connections and each was answered.
    pub fn wait_ready(&mut self, cancel: Cancel) -> Result<(), TrialError> {
        self.wait_done(self.deadline, cancel).map(drop)
    }

    /// Has a command carried out.
    pub fn command(&mut self, command: SliceCommand, cancel: Cancel) -> Result<SliceDone, TrialError> {
        self.process.write(&command.line());
        let length = match command {
            SliceCommand::Slice { length_ns } | SliceCommand::WarmUp { length_ns } => Nanos(length_ns),
            _ => Nanos::ZERO,
        };
        self.wait_done(self.deadline + length, cancel)
    }

    /// Ends it, and reads what it measured.
    pub fn end(mut self, cancel: Cancel) -> Result<LoadReport, TrialError> {
        self.process.write(&SliceCommand::End.line());
        finish(&mut self.process, self.deadline, cancel)
    }

    fn wait_done(&mut self, at_most: Nanos, cancel: Cancel) -> Result<SliceDone, TrialError> {
        self.lines += 1;
        let mut waited = Nanos::ZERO;
        while !self.process.stdout.wait_lines(self.lines, POLL_INTERVAL) {
            cancel.check()?;
            waited = waited + POLL_INTERVAL;
            if self.process.stdout.is_ended() {
                // Its exit status, and its report where it has one, say why.
                return Err(self.ended_early(cancel));
            }
            if waited >= at_most {
                let (command, stderr) = (self.process.command(), self.process.stderr_tail());
                return Err(Reason::GeneratorHung { command, waited_ns: waited.0, stderr }.into());
            }
        }
        // The last line is the one waited for: it writes none by itself.
        let line = self.process.stdout.tail().pop().unwrap_or_default();
        Ok(SliceDone::parse(&line).unwrap_or_default())
    }

    fn ended_early(&mut self, cancel: Cancel) -> TrialError {
        match finish(&mut self.process, MARGIN, cancel) {
            Ok(report) => TrialError::Invalid(Box::new(report)),
            Err(error) => error,
        }
    }
}

/// Waits for its end, and reads its report.
fn finish(process: &mut Process, waited: Nanos, cancel: Cancel) -> Result<LoadReport, TrialError> {
    let status = process.wait(waited, || cancel.is_set())?;
    cancel.check()?;
    let (command, stderr) = (process.command(), process.stderr_tail());
    let reported = |status: &ExitStatus| matches!(status.code(), Some(0 | INVALID));
    match status {
        None => Err(Reason::GeneratorHung { command, waited_ns: waited.0, stderr }.into()),
        Some(status) if reported(&status) => {
            process.stdout.wait_end(MARGIN);
            read_report(&process.stdout.head(), status.code() == Some(INVALID))
                .map_err(|problem| Reason::NoReport { command, problem }.into())
        }
        Some(status) => Err(Reason::GeneratorFailed { command, status: status.to_string(), stderr }.into()),
    }
}

fn command_line(plan: &Plan, workload: &Workload, target: &Target, further: &[&str]) -> Vec<String> {
    let program = plan.program.to_string_lossy().into_owned();
    let (address, pid, cores) = (target.address.to_string(), target.pid.to_string(), plan.load_cores.to_string());
    let run = ["load", &address, "--quiet", "--format", "json", "--server-pid", &pid, "--cores", &cores];
    let uncounted = (!plan.counts).then_some("--no-counts");
    let words = run.into_iter().chain(uncounted).chain(further.iter().copied()).map(str::to_owned);
    [program].into_iter().chain(words).chain(workload.arguments()).collect()
}

/// Connecting and the last answers may each take a timeout.
fn deadline(load: &GeneratorSettings) -> Nanos {
    [load.warmup_max_ns, load.duration_ns, load.timeout_ns, load.timeout_ns]
        .into_iter()
        .fold(MARGIN, |sum, part| sum + Nanos(part))
}

/// The report follows the lines that answer commands.
fn read_report(text: &str, invalid: bool) -> Result<LoadReport, String> {
    let report = text.lines().find(|line| SliceDone::parse(line).is_none()).unwrap_or_default();
    let mut report: LoadReport = serde_json::from_str(report).map_err(|error| error.to_string())?;
    if report.schema != LOAD_SCHEMA {
        return Err(format!("its form is '{}'", report.schema));
    }
    if invalid && report.invalid.is_empty() {
        report.invalid.push(Reason::InvalidWithoutReason { status: INVALID });
    }
    Ok(report)
}

//! A process of a trial: its own group, its own cores, its output captured, and never left behind.

use super::capture::Capture;
use super::error::TrialError;
use crate::clock::Clock;
use crate::record::Reason;
use crate::sys::process::{ProcessGroupGuard, contain, signal_group};
use crate::units::{CoreList, Nanos};
use std::io::Write;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::{io, thread};

/// Longest wait between two looks at whether a process has ended.
const LOOK_EVERY: Nanos = Nanos::from_millis(20);
/// How long the kernel may take to end a process that was killed, and how often that is looked for.
const KILLED_WITHIN: Nanos = Nanos::from_secs(2);
const REAP_EVERY: Nanos = Nanos::from_millis(1);
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;
/// Bytes of stderr kept besides its last lines.
const STDERR_HEAD_BYTES: usize = 0;

/// A running process. Dropping it kills its whole group and reaps it.
pub struct Process {
    child: Child,
    command: String,
    ended: Option<ExitStatus>,
    /// Where it reads commands.
    stdin: Option<ChildStdin>,
    pub stdout: Capture,
    stderr: Capture,
    /// Until all of it is dropped, after the kill.
    _group: ProcessGroupGuard,
}

impl Process {
    /// Starts `words` (a program and its arguments) on these cores, keeping `stdout_bytes` of what it prints.
    ///
    /// To be called on a thread that lives as long as the process: the kernel kills the process when that thread ends.
    pub fn start(words: &[String], cores: &CoreList, stdout_bytes: usize) -> Result<Process, TrialError> {
        Process::start_with(words, cores, stdout_bytes, Stdio::null())
    }

    /// The same of a process that takes commands, see [`Process::write`].
    pub fn start_commanded(words: &[String], cores: &CoreList, stdout_bytes: usize) -> Result<Process, TrialError> {
        Process::start_with(words, cores, stdout_bytes, Stdio::piped())
    }

    fn start_with(
        words: &[String],
        cores: &CoreList,
        stdout_bytes: usize,
        stdin: Stdio,
    ) -> Result<Process, TrialError> {
        let line = shell_words::join(words);
        let failed = |error: io::Error| Reason::CannotStart { command: line.clone(), error: with_advice(&error) };
        let (program, arguments) = words.split_first().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        contain(&mut command, Some(cores.as_slice()));
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut process = Process {
            _group: ProcessGroupGuard::new(child.id()),
            child,
            command: line.clone(),
            ended: None,
            stdin,
            stdout: Capture::default(),
            stderr: Capture::default(),
        };
        if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
            process.stdout = Capture::start(stdout, stdout_bytes).map_err(failed)?;
            process.stderr = Capture::start(stderr, STDERR_HEAD_BYTES).map_err(failed)?;
        }
        Ok(process)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input. One that does not read it any more shows in what follows.
    pub fn write(&mut self, line: &str) {
        let written = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}"));
        if written.is_none_or(|written| written.is_err()) {
            self.stdin = None;
        }
    }

    /// The command line, for messages.
    pub fn command(&self) -> String {
        self.command.clone()
    }

    fn wait_failed(&self, error: &io::Error) -> Reason {
        Reason::WaitFailed { command: self.command(), error: error.to_string() }
    }

    /// Its exit status, once it has ended.
    pub fn status(&mut self) -> Result<Option<ExitStatus>, TrialError> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(|error| self.wait_failed(&error))?;
        }
        Ok(self.ended)
    }

    /// Waits until it prints something, ends its output, or a moment has passed.
    pub fn wait_output(&self) {
        self.stdout.wait(LOOK_EVERY);
    }

    /// Waits for its end; `None` when the time is over or `give_up` returns true.
    pub fn wait(&mut self, at_most: Nanos, give_up: impl Fn() -> bool) -> Result<Option<ExitStatus>, TrialError> {
        let clock = Clock::start();
        while self.status()?.is_none() {
            if clock.now() >= at_most || give_up() {
                return Ok(None);
            }
            // The end of its output usually comes with its own; the moments in between are slept through.
            if self.stdout.wait_end(LOOK_EVERY) {
                thread::sleep(Nanos::from_millis(1).duration());
            }
        }
        Ok(self.ended)
    }

    /// Asks its group to end and kills what is left after the grace. `None`: it had to be killed.
    pub fn stop(&mut self, grace: Nanos) -> Result<Option<ExitStatus>, TrialError> {
        self.signal(SIGTERM);
        // One that is stopped ends only when it goes on.
        self.signal(SIGCONT);
        let status = self.wait(grace, || false)?;
        self.kill()?;
        Ok(status)
    }

    /// The last lines of its stderr. Waits a moment for the pipe when the process has ended.
    pub fn stderr_tail(&self) -> Vec<String> {
        if self.ended.is_some() {
            self.stderr.wait_end(Nanos::from_millis(200));
        }
        self.stderr.tail()
    }

    /// Kills what is left of the group, which its children belong to even after it has ended itself, and reaps it. An
    /// error where it does not end: it may run as another user by now, as under sudo.
    fn kill(&mut self) -> Result<(), TrialError> {
        self.signal(SIGKILL);
        if self.ended.is_some() {
            return Ok(());
        }
        // It may have left its group. That this fails shows below.
        let _ = self.child.kill();
        self.ended = reap(&mut self.child, KILLED_WITHIN).map_err(|error| self.wait_failed(&error))?;
        match self.ended {
            Some(_) => Ok(()),
            None => {
                let (pid, command) = (self.pid(), self.command());
                Err(Reason::NotKilled { pid, command, waited_ns: KILLED_WITHIN.0 }.into())
            }
        }
    }

    /// A signal that cannot be sent finds the process gone or its user changed; neither can be helped here.
    fn signal(&self, signal: i32) {
        let _ = signal_group(self.pid(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where it matters `stop` was called before, which tells.
        let _ = self.kill();
    }
}

/// Why a program was not started, and what to do about it.
fn with_advice(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => {
            "; build it first, or correct its path: a plain name is looked for in PATH, any other from the current folder"
        }
        io::ErrorKind::PermissionDenied => "; name a file that you may execute (chmod +x)",
        _ => "",
    };
    format!("{error}{advice}")
}

/// Waits for the end of a process that was killed; `None` when the time is over.
fn reap(child: &mut Child, at_most: Nanos) -> io::Result<Option<ExitStatus>> {
    let clock = Clock::start();
    loop {
        match child.try_wait()? {
            None if clock.now() < at_most => thread::sleep(REAP_EVERY.duration()),
            status => return Ok(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::affinity;

    #[test]
    fn what_cannot_be_started_is_told_with_what_to_do() {
        for (program, advice) in [("./nope", "build it first"), ("/", "chmod +x")] {
            let started = Process::start(&[program.to_owned()], &affinity::available().unwrap(), 0);
            let reason = started.err().unwrap().to_string();
            assert!(reason.starts_with(&format!("cannot start '{program}': ")) && reason.contains(advice), "{reason}");
        }
    }

    #[test]
    fn what_does_not_end_is_not_waited_for_long() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        assert_eq!(reap(&mut child, Nanos::from_millis(10)).unwrap(), None);
        child.kill().unwrap();
        assert!(reap(&mut child, KILLED_WITHIN).unwrap().is_some());
    }

    #[test]
    fn a_process_that_left_its_group_is_killed_too() {
        let leave =
            "import os, time; os.setpgid(0, os.getpgid(os.getppid())); print('left', flush=True); time.sleep(600)";
        let words = ["python3", "-c", leave].map(String::from);
        let mut process = Process::start(&words, &affinity::available().unwrap(), 100).unwrap();
        let clock = Clock::start();
        while process.stdout.line_after("left").is_none() && clock.now() < Nanos::from_secs(30) {
            process.wait_output();
        }
        process.kill().unwrap();
        assert!(process.ended.is_some());
    }
}

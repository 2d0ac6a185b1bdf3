//! A contestant's server: started, waited for until it listens, and stopped.

use super::capture::Capture;
use super::error::TrialError;
use super::listen::Listen;
use super::process::Process;
use super::{Cancel, Contestant, Plan, Program};
use crate::clock::Clock;
use crate::record::Reason;
use crate::units::{Address, Nanos, SocketLocation};
use std::process::ExitStatus;
use std::thread;

/// How long a server may take until it listens.
const READY_WITHIN: Nanos = Nanos::from_secs(10);
/// How long it may take to end after SIGTERM.
const STOP_WITHIN: Nanos = Nanos::from_secs(3);
/// The drain timeout handed to our server; shorter, so that it can still print its counters.
const DRAIN_WITHIN: &str = "2s";
const LOOK_EVERY: Nanos = Nanos::from_millis(5);
/// Of a server's stdout only the ready line is needed, and that comes early.
const STDOUT_BYTES: usize = 1 << 16;
/// What our server's last line starts with.
const DRAINED: &str = "drained";
/// A server that can be loaded.
pub struct Server {
    /// Before its address, whose folder is removed once the process is gone.
    process: Process,
    listen: Listen,
    ours: bool,
}

impl Server {
    /// Starts it and waits until it listens. `protocol`: that of the workload it is for.
    pub fn start(plan: &Plan, contestant: &Contestant, protocol: &str, cancel: Cancel) -> Result<Server, TrialError> {
        match &contestant.server {
            Program::Serve(words) => start_ours(plan, words, protocol, cancel),
            Program::Exec(words) => start_other(plan, words, protocol, cancel),
        }
    }

    pub fn address(&self) -> &Address {
        &self.listen.address
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// An error if it has ended by itself.
    pub fn still_runs(&mut self) -> Result<(), TrialError> {
        match self.process.status()? {
            None => Ok(()),
            Some(status) => {
                let (command, status, stderr) =
                    (self.process.command(), status.to_string(), self.process.stderr_tail());
                Err(Reason::ServerEndedUnderLoad { command, status, stderr }.into())
            }
        }
    }

    /// Stops it; gives the connections per shard, where it reports them. Only of our own server a clean end is expected.
    pub fn stop(mut self) -> Result<Option<Vec<u64>>, TrialError> {
        let status = self.process.stop(STOP_WITHIN)?;
        let (command, stderr) = (self.process.command(), self.process.stderr_tail());
        match status {
            None if self.ours => Err(Reason::ServerHung { command, waited_ns: STOP_WITHIN.0, stderr }.into()),
            Some(status) if self.ours && !status.success() => {
                Err(Reason::ServerStoppedBadly { command, status: status.to_string(), stderr }.into())
            }
            _ => {
                self.process.stdout.wait_end(LOOK_EVERY);
                Ok(self.process.stdout.tail().iter().rev().find_map(|line| connections_per_shard(line)))
            }
        }
    }
}

fn start_ours(plan: &Plan, words: &[String], protocol: &str, cancel: Cancel) -> Result<Server, TrialError> {
    let mut listen = Listen::any(protocol)?;
    let echo = listen.typed();
    let mut line = vec![plan.program.to_string_lossy().into_owned(), "serve".to_owned()];
    line.extend_from_slice(words);
    line.extend(["--echo", &echo, "--drain", DRAIN_WITHIN, "--cores"].map(String::from));
    line.push(plan.server_cores.to_string());
    let mut process = Process::start(&line, &plan.server_cores, STDOUT_BYTES)?;
    listen.address = until_ready(&mut process, &echo, cancel, |process| {
        process.wait_output();
        ready_address(&listen.address, &process.stdout)
    })?;
    Ok(Server { process, listen, ours: true })
}

/// Where our server says it listens, once it does; `asked` is what it was told.
fn ready_address(asked: &Address, stdout: &Capture) -> Option<Address> {
    let protocol = asked.protocol();
    match asked.location {
        SocketLocation::Ip { .. } => {
            let told = stdout.line_after(&format!("listening echo {protocol} "))?;
            Some(Address { location: SocketLocation::ip(told.parse().ok()?), ..asked.clone() })
        }
        SocketLocation::Unix(_) => stdout.line_after(&format!("listening echo {asked}")).map(|_| asked.clone()),
    }
}

fn start_other(plan: &Plan, words: &[String], protocol: &str, cancel: Cancel) -> Result<Server, TrialError> {
    let listen = Listen::free(protocol)?;
    let words: Vec<String> = words.iter().map(|word| listen.fill_in(word)).collect();
    let mut process = Process::start(&words, &plan.server_cores, STDOUT_BYTES)?;
    until_ready(&mut process, &listen.address.to_string(), cancel, |_| {
        let ready = listen.is_taken();
        if !ready {
            thread::sleep(LOOK_EVERY.duration());
        }
        ready.then_some(())
    })?;
    // Another program may have taken the port in between; then ours has ended, or ends at once.
    match process.status()? {
        None => Ok(Server { process, listen, ours: false }),
        Some(status) => Err(ended_early(&process, status)),
    }
}

fn ended_early(process: &Process, status: ExitStatus) -> TrialError {
    let (command, status, stderr) = (process.command(), status.to_string(), process.stderr_tail());
    Reason::ServerEndedEarly { command, status, stderr }.into()
}

/// Asks `ready` again and again, as long as the process lives and the time is not over.
fn until_ready<T>(
    process: &mut Process,
    address: &str,
    cancel: Cancel,
    ready: impl Fn(&Process) -> Option<T>,
) -> Result<T, TrialError> {
    let clock = Clock::start();
    loop {
        if let Some(ready) = ready(process) {
            return Ok(ready);
        }
        cancel.check()?;
        if let Some(status) = process.status()? {
            return Err(ended_early(process, status));
        }
        if clock.now() > READY_WITHIN {
            let (command, address, stderr) = (process.command(), address.to_owned(), process.stderr_tail());
            return Err(Reason::ServerNotReady { command, address, waited_ns: READY_WITHIN.0, stderr }.into());
        }
    }
}

/// The numbers after `per_shard=` in our server's last line; anything else is `None`.
fn connections_per_shard(line: &str) -> Option<Vec<u64>> {
    let words = line.strip_prefix(DRAINED)?;
    let list = words.split_whitespace().find_map(|word| word.strip_prefix("per_shard="))?;
    list.split(',').map(|count| count.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_tells_the_placement_or_nothing() {
        assert_eq!(connections_per_shard("drained accepted=65 per_shard=33,32 bytes=1"), Some(vec![33, 32]));
        for line in ["", "drained", "drained per_shard=", "drained per_shard=1,x", "per_shard=1,2"] {
            assert_eq!(connections_per_shard(line), None, "{line}");
        }
    }
}

//! A contestant's server: started, waited for until it listens, and stopped.

use super::error::TrialError;
use super::process::Process;
use super::{Cancel, Contestant, Plan, Program};
use crate::clock::Clock;
use crate::record::Reason;
use crate::sys::datagram;
use crate::units::{Address, Nanos, SocketLocation, Transport};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

/// How long a server may take until it listens.
const READY_WITHIN: Nanos = Nanos::from_secs(10);
/// How long it may take to end after SIGTERM.
const STOP_WITHIN: Nanos = Nanos::from_secs(3);
/// The drain timeout handed to our server; shorter, so that it can still print its counters.
const DRAIN_WITHIN: &str = "2s";
const LOOK_EVERY: Nanos = Nanos::from_millis(5);
const CONNECT_WITHIN: Nanos = Nanos::from_millis(500);
/// Of a server's stdout only the ready line is needed, and that comes early.
const STDOUT_BYTES: usize = 1 << 16;
/// What our server's last line starts with.
const DRAINED: &str = "drained";
/// Ports for servers that must be given one: below the range the kernel hands out to outgoing connections (32768 up
/// unless changed), so that no connection takes the port first.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 20_000;

/// A server that can be loaded.
pub struct Server {
    process: Process,
    pub address: Address,
    ours: bool,
}

impl Server {
    /// Starts it and waits until it listens.
    pub fn start(plan: &Plan, contestant: &Contestant, cancel: Cancel) -> Result<Server, TrialError> {
        match &contestant.server {
            Program::Serve(words) => start_ours(plan, words, cancel),
            Program::Exec(words) => start_other(plan, words, cancel),
        }
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

fn start_ours(plan: &Plan, words: &[String], cancel: Cancel) -> Result<Server, TrialError> {
    let any_port = at(plan.transport(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let protocol = any_port.protocol();
    // With its scheme, so that only what is loaded is served.
    let echo = format!("{protocol}://{}", any_port.location);
    let ready_line = format!("listening echo {protocol} ");
    let mut line = vec![plan.program.to_string_lossy().into_owned(), "serve".to_owned()];
    line.extend_from_slice(words);
    line.extend(["--echo", &echo, "--drain", DRAIN_WITHIN, "--cores"].map(String::from));
    line.push(plan.server_cores.to_string());
    let mut process = Process::start(&line, &plan.server_cores, STDOUT_BYTES)?;
    let address = until_ready(&mut process, &echo, cancel, |process| {
        process.wait_output();
        process.stdout.line_after(&ready_line).and_then(|address| address.parse().ok())
    })?;
    Ok(Server { process, address: at(plan.transport(), address), ours: true })
}

fn at(transport: Transport, address: SocketAddr) -> Address {
    Address { transport, location: SocketLocation::ip(address) }
}

fn start_other(plan: &Plan, words: &[String], cancel: Cancel) -> Result<Server, TrialError> {
    let address = free_address(plan.transport()).ok_or(Reason::NoFreePort)?;
    let words: Vec<String> = words.iter().map(|word| fill_in(word, address)).collect();
    let mut process = Process::start(&words, &plan.server_cores, STDOUT_BYTES)?;
    let target = at(plan.transport(), address);
    until_ready(&mut process, &target.to_string(), cancel, |_| {
        let ready = match plan.transport() {
            Transport::Stream => accepts(address),
            // Nothing can be sent that every server would answer.
            Transport::Datagram => datagram::is_bound(address.port()),
        };
        if !ready {
            thread::sleep(LOOK_EVERY.duration());
        }
        ready.then_some(address)
    })?;
    // Another program may have taken the port in between; then ours has ended, or ends at once.
    match process.status()? {
        None => Ok(Server { process, address: target, ours: false }),
        Some(status) => Err(ended_early(&process, status)),
    }
}

fn ended_early(process: &Process, status: ExitStatus) -> TrialError {
    let (command, status, stderr) = (process.command(), status.to_string(), process.stderr_tail());
    Reason::ServerEndedEarly { command, status, stderr }.into()
}

/// Asks `ready` again and again, as long as the process lives and the time is not over.
fn until_ready(
    process: &mut Process,
    address: &str,
    cancel: Cancel,
    ready: impl Fn(&Process) -> Option<SocketAddr>,
) -> Result<SocketAddr, TrialError> {
    let clock = Clock::start();
    loop {
        if let Some(address) = ready(process) {
            return Ok(address);
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

/// A connection that a client made to itself (both ends have the same address) is none to a server.
fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, CONNECT_WITHIN.duration())
        .and_then(|stream| Ok(stream.local_addr()? != stream.peer_addr()?))
        .unwrap_or(false)
}

fn fill_in(word: &str, address: SocketAddr) -> String {
    word.replace("{ip}", &address.ip().to_string()).replace("{port}", &address.port().to_string())
}

/// A loopback address nobody listens on. Each call tries other ports, so that restarts do not meet old connections.
fn free_address(transport: Transport) -> Option<SocketAddr> {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() as u16).wrapping_mul(40_503);
    (0..PORTS)
        .map(|_| start.wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed)) % PORTS + FIRST_PORT)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| match transport {
            Transport::Stream => TcpListener::bind(address).is_ok(),
            Transport::Datagram => UdpSocket::bind(address).is_ok(),
        })
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

    #[test]
    fn a_port_nobody_listens_on_does_not_accept() {
        let address = free_address(Transport::Stream).unwrap();
        assert!(!accepts(address));
        assert_ne!(free_address(Transport::Stream), Some(address));
        assert_eq!(fill_in("--at={ip}:{port}", address), format!("--at={address}"));
    }
}

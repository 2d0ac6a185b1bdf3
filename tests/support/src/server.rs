//! The program `ringmark serve` as a process: started, read, signalled, and gone when its guard is dropped.

use super::cell::Cell;
use super::client::Peer;
use super::{WATCHDOG, datagrams, programs, wait_until};
use ringmark::sys::process;
use signal_hook::consts::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

/// `ringmark` with these arguments, with nothing of the test's own on its standard streams.
pub fn ringmark<'a>(words: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(programs::ringmark());
    command.args(words);
    command
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// Lines that were not read before.
    pub stdout: Vec<String>,
    pub stderr: String,
}

impl Ended {
    /// The value of `name=` in the last line of the output.
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        let line = self.stdout.last().expect("a line with counters");
        assert!(line.starts_with("drained "), "the last line is {line:?}");
        let value = fields(line).remove(name).unwrap_or_else(|| panic!("no {name}= in {line:?}"));
        value.parse().expect("a number")
    }
}

/// `name=value` words of a line.
pub fn fields(line: &str) -> HashMap<&str, &str> {
    line.split_whitespace().filter_map(|word| word.split_once('=')).collect()
}

/// A running process; killed when dropped.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    /// Starts it in a process group of its own; the kernel kills it should the test's thread die.
    pub fn start(mut command: Command) -> Process {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process::contain(&mut command, None);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut errors = child.stderr.take().expect("piped");
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Process { child, lines, stderr: Some(stderr) }
    }

    /// The next line of its output; `None` when it ended without one.
    pub fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(WATCHDOG) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no line of output came"),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        process::signal_group(self.pid(), signal).expect("sending a signal");
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let mut status = None;
        wait_until("the process ends", || {
            status = self.child.try_wait().expect("waiting for the process");
            status.is_some()
        });
        let stdout = std::iter::from_fn(|| self.line()).collect();
        let stderr = self.stderr.take().expect("taken once").join().expect("reading standard error");
        Ended { status: status.expect("it has ended"), stdout, stderr }
    }

    /// Whether all its threads wait for something, instead of for a core that others have.
    pub fn is_asleep(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("reading /proc");
        let states = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        states.filter_map(|stat| Some(stat.rsplit_once(')')?.1.trim_start().starts_with('S'))).all(|asleep| asleep)
    }

    /// User and system time that it has used, in clock ticks (proc(5): 100 a second).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("reading /proc");
        let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
        let times = after_name.split_whitespace().skip(11).take(2);
        times.map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }
}

/// What a process keeps, for tests that it does not grow.
impl Process {
    /// Waits until all its threads have been seen waiting so often in a row that nothing is left for them to do.
    pub fn wait_until_idle(&self) {
        const LOOKS: u32 = 20;
        let mut idle = 0;
        wait_until("the server has nothing left to do", || {
            idle = if self.is_asleep() { idle + 1 } else { 0 };
            idle > LOOKS
        });
    }

    /// Memory that it has in use (proc(5): VmRSS).
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("reading /proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = process::signal_group(self.pid(), SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Runs `ringmark` to its end.
pub fn run<'a>(words: impl IntoIterator<Item = &'a str>) -> Ended {
    Process::start(ringmark(words)).end()
}

/// A server that is ready.
pub struct Server {
    pub process: Process,
    /// The ready lines without `listening`: `echo tcp 127.0.0.1:7007`.
    pub listeners: Vec<String>,
}

impl Server {
    /// `ringmark serve` with these words, echoing on a TCP port that the kernel chooses.
    pub fn start(words: &[&str]) -> Server {
        Server::spawn(
            ringmark(["serve"].into_iter().chain(words.iter().copied()).chain(["--echo", "tcp://127.0.0.1:0"])),
            1,
        )
    }

    /// The cell's engine with these options, serving each of these protocols at its address: `("chargen", "udp://127.0.0.1:0")`.
    /// Listener i is endpoint i. `None`, with the reason printed, where the cell cannot run.
    pub fn of(cell: &Cell, more: &[&str], endpoints: &[(&str, &str)]) -> Option<Server> {
        let options: Vec<String> =
            endpoints.iter().map(|(protocol, address)| format!("--{protocol}={address}")).collect();
        let words = cell.words(more)?;
        let words = ["serve"].into_iter().chain(words).chain(options.iter().map(String::as_str));
        let mut server = Server::spawn(ringmark(words), endpoints.len());
        let mut take = |begin: &str| {
            let index = server.listeners.iter().position(|line| line.starts_with(begin));
            server.listeners.remove(index.unwrap_or_else(|| panic!("no {begin} in {:?}", server.listeners)))
        };
        server.listeners = endpoints
            .iter()
            .map(|(protocol, address)| beginning(protocol, address))
            .map(|begin| take(&begin))
            .collect();
        Some(server)
    }

    /// The command, and how many listeners it will announce.
    pub fn spawn(command: Command, listeners: usize) -> Server {
        let process = Process::start(command);
        let mut ready = Vec::new();
        while ready.len() < listeners {
            match process.line() {
                Some(line) => ready.extend(line.strip_prefix("listening ").map(str::to_owned)),
                None => panic!("the server ended before it was ready: {:?}", process.end()),
            }
        }
        Server { process, listeners: ready }
    }

    /// The address of a TCP listener.
    pub fn address(&self, listener: usize) -> SocketAddr {
        let line = &self.listeners[listener];
        let address = line.split_once(" tcp ").unwrap_or_else(|| panic!("not a TCP listener: {line}")).1;
        without_device(address).parse().unwrap_or_else(|_| panic!("no address in {line:?}"))
    }

    /// The path of a unix listener.
    pub fn path(&self, listener: usize) -> PathBuf {
        let line = &self.listeners[listener];
        line.split_once(" unix:").unwrap_or_else(|| panic!("not a unix listener: {line}")).1.into()
    }

    /// Where a datagram socket is.
    pub fn datagrams(&self, listener: usize) -> datagrams::Place {
        let line = &self.listeners[listener];
        match (line.split_once(" udp "), line.split_once(" unixgram:")) {
            (Some((_, address)), _) => datagrams::Place::Udp(without_device(address).parse().expect("an address")),
            (_, Some((_, path))) => datagrams::Place::Unix(path.into()),
            _ => panic!("no datagram socket: {line}"),
        }
    }

    pub fn connect(&self, seed: u64) -> Peer {
        Peer::connect(self.address(0), seed)
    }

    pub fn connect_many(&self, seeds: std::ops::Range<u64>) -> Vec<Peer> {
        seeds.map(|seed| self.connect(seed)).collect()
    }

    /// Waits for a line of `--stats` that says so.
    pub fn wait_for_stats(&self, name: &str, value: u64) {
        wait_until(&format!("the counters say {name}={value}"), || {
            let line = self.process.line().expect("the server runs");
            fields(&line).get(name).is_some_and(|shown| *shown == value.to_string())
        });
    }

    /// Stops the process so that what is sent to it waits in the kernel.
    pub fn freeze(&self) {
        self.process.signal(SIGSTOP);
    }

    pub fn thaw(&self) {
        self.process.signal(SIGCONT);
    }

    /// SIGTERM, and the orderly end: exit code 0, the counters as the last line, every connection accounted for.
    #[track_caller]
    pub fn drain(self) -> Ended {
        self.process.signal(SIGTERM);
        self.drained()
    }

    /// The orderly end, after a signal.
    #[track_caller]
    pub fn drained(self) -> Ended {
        let ended = self.drained_with_remarks();
        assert_eq!(ended.stderr, "");
        ended
    }

    /// As `drained`, of a server that has something to say on standard error.
    #[track_caller]
    pub fn drained_with_remarks(self) -> Ended {
        let ended = self.process.end();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(ended.count("connections"), ended.count("closed"), "every connection ends: {ended:?}");
        ended
    }
}

/// How the ready line of a protocol at an address begins.
fn beginning(protocol: &str, address: &str) -> String {
    match address.split_once("://") {
        Some((kind, _)) => format!("{protocol} {kind} "),
        None => format!("{protocol} {address}"),
    }
}

fn without_device(address: &str) -> String {
    match (address.find('%'), address.rfind([':', ']'])) {
        (Some(start), Some(end)) if start < end => format!("{}{}", &address[..start], &address[end..]),
        _ => address.to_owned(),
    }
}

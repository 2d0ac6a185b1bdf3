//! `ringmark sniff`: its options and what they mean together.

mod latency;

use super::output::OutputArgs;
use super::report::Format;
use crate::cli::stderr;
use crate::diag::sniff::file::{FileConfig, PacketFile, Rotation};
use crate::diag::sniff::filter::{Filter, Hosts, Protocol};
use crate::diag::sniff::sink::Records;
use crate::diag::sniff::text::Printer;
use crate::diag::sniff::{self, Config, LONGEST, Outcome, PacketFilter, Session, SniffError, StopCondition};
use crate::sys::packet::{Capture, Device, PacketStats};
use crate::sys::privileges::{self, User};
use crate::sys::process;
use crate::units::{self, Bytes, Nanos};
use anyhow::Context;
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const EXIT_USAGE: u8 = 2;
const EXIT_INTERRUPTED: i32 = 130;
/// The user that root becomes unless asked otherwise.
const NOBODY: &str = "nobody";
const LEAST_BUFFER: Bytes = Bytes(512 << 10);
const MOST_BUFFER: Bytes = Bytes(1 << 30);
/// Enough for the headers, whatever options they have: all that latency needs.
const HEADERS: Bytes = Bytes(256);

/// Watch a network device: one line per packet, a file of them, or the latency of a server
///
/// Packets are filtered in the kernel and come through a ring of memory that it shares. Lines read as tcpdump's; files
/// are pcapng, which tcpdump and Wireshark open. How many packets the kernel dropped is always printed at the end.
///
/// It needs the capability CAP_NET_RAW (root, or `setcap cap_net_raw=ep`). Once the device and the file are open, all
/// rights are given up: root becomes `nobody`, or the user of -Z; only with rotating files and exports it keeps the name,
/// not the rights, to create them.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct SniffArgs {
    /// Device to watch; `any` is all of them
    #[arg(short, long, value_name = "DEV", default_value = "lo")]
    interface: String,
    /// Only packets from or to a port (TCP, UDP, SCTP); may be repeated
    #[arg(long, value_name = "N", action = clap::ArgAction::Append, value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// Only packets from or to an address or a prefix (10.0.0.0/8); may be repeated
    #[arg(long, value_name = "ADDR", action = clap::ArgAction::Append)]
    host: Vec<Hosts>,
    /// Only packets of a protocol: tcp, udp, icmp, icmp6, sctp, arp, ip, ip6, or a number of IP's; may be repeated
    #[arg(long, value_name = "NAME", action = clap::ArgAction::Append)]
    proto: Vec<Protocol>,
    /// Write packets to a pcapng file instead of printing them; - is the standard output
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Print packets although they are written to a file
    #[arg(long, requires = "write")]
    print: bool,
    /// End after N packets
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this long
    #[arg(short, long, value_name = "TIME", value_parser = Nanos::parse_positive)]
    duration: Option<Nanos>,
    /// Bytes of each packet to capture, at most 256k (0 is all) [default: 256k, with --latency 256]
    #[arg(short, long, value_name = "BYTES", value_parser = snap_length)]
    snap: Option<Bytes>,
    /// Memory of the ring, 512k to 1G; more of it survives longer bursts
    #[arg(short = 'B', long, value_name = "BYTES", default_value = "8M", value_parser = buffer_size)]
    buffer: Bytes,
    /// Show each packet at once
    ///
    /// One system call per packet instead of a ring whose blocks wait up to 20ms to fill; at high rates more is dropped.
    #[arg(long)]
    immediate: bool,
    /// Have the device accept frames that are not for this machine
    #[arg(long)]
    promiscuous: bool,
    /// Become this user once all is open [default for root: nobody]
    #[arg(short = 'Z', long, value_name = "USER")]
    user: Option<String>,
    /// Begin a new file before one grows beyond this size: FILE.00000.pcapng, FILE.00001.pcapng …
    #[arg(long, value_name = "BYTES", requires = "write", value_parser = file_size)]
    rotate_size: Option<Bytes>,
    /// Begin a new file after N packets
    #[arg(long, value_name = "N", requires = "write", value_parser = clap::value_parser!(u64).range(1..))]
    rotate_packets: Option<u64>,
    /// Keep the last N files of a series, remove older ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    files: Option<u64>,
    /// Measure how long the server on --port takes to answer, from the packets alone
    ///
    /// A run of payload towards the port is a request, the run back its answer. Service time is from the request's first
    /// packet to the answer's last. See the README for what is distinguished and what gives no sample.
    #[arg(long, conflicts_with_all = ["write", "proto"])]
    latency: bool,
    /// With --latency: connections remembered; beyond it the one longest unseen is forgotten
    #[arg(long, value_name = "N", default_value_t = 4096, requires = "latency", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// With --latency: text, or one JSON object (schema ringmark.sniff-latency/1, times in nanoseconds)
    #[arg(long, value_enum, default_value_t = Format::Text, requires = "latency")]
    format: Format,
    /// No live view on the terminal, no word of the beginning
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    outcome: OutputArgs,
    /// A filter in libpcap's language, in builds with `--features libpcap`
    #[arg(value_name = "EXPRESSION", trailing_var_arg = true, conflicts_with_all = ["port", "host", "proto"])]
    expression: Vec<String>,
}

const AFTER_HELP: &str = "\
Values of one kind are alternatives, kinds must all hold: --port 80 --port 443 --proto tcp is (80 or 443) and tcp.
Filters look behind two VLAN tags and IPv4 options. They do not look through IPv6 extension headers, into tunnels, or at \
what an ICMP error quotes; later fragments have no ports.

Exit codes: 0 it ended as asked; 1 it could not watch or write; 2 bad options; 99 a --fail-if holds.

Examples:
  ringmark sniff --port 7007 -c 10                           ten packets of a server on loopback
  ringmark sniff -i eth0 --host 10.0.0.0/8 -w net.pcapng     to a file
  ringmark sniff -i any -w t.pcapng --rotate-size 100M --files 10
  ringmark sniff --latency --port 80 -i eth0 -d 10s          the latency of a web server";

/// The options are fine one by one, but not together or not here.
#[derive(Debug, thiserror::Error)]
enum OptionsError {
    #[error("--latency watches one server port: name it with --port N (once)")]
    LatencyPort,
    #[error("--export and --fail-if go with --latency: packets that are only shown have no figures")]
    NothingMeasured,
    #[error("{0}")]
    NoRatio(String),
    #[error("--files goes with --rotate-size or --rotate-packets: it says how many files of the series are kept")]
    FilesAlone,
    #[error("rotating files need a name: -w - is the standard output")]
    RotateStdout,
    #[error("--print and -w - would both write to the standard output")]
    PrintStdout,
    #[error("there is no user '{0}' to become; name another with -Z")]
    NoUser(String),
    #[cfg(not(feature = "libpcap"))]
    #[error(
        "this build has no libpcap expressions: use --port, --host and --proto, or build with: cargo build --release \
         --features libpcap (needs libpcap-dev)"
    )]
    NoExpressions,
}

fn snap_length(text: &str) -> Result<Bytes, String> {
    match text.parse::<Bytes>().map_err(|error| error.to_string())? {
        Bytes(0) => Ok(LONGEST),
        size if size > LONGEST => Err(format!("a packet has at most {LONGEST} bytes")),
        size => Ok(size),
    }
}

fn file_size(text: &str) -> Result<Bytes, String> {
    match text.parse::<Bytes>().map_err(|error| error.to_string())? {
        Bytes(0) => Err("a file has at least 1 byte".into()),
        size => Ok(size),
    }
}

fn buffer_size(text: &str) -> Result<Bytes, String> {
    match text.parse::<Bytes>().map_err(|error| error.to_string())? {
        size if size < LEAST_BUFFER || size > MOST_BUFFER => {
            Err(format!("a ring has between {LEAST_BUFFER} and {MOST_BUFFER} bytes"))
        }
        size => Ok(size),
    }
}

/// The command `ringmark sniff`.
pub fn run(args: SniffArgs) -> anyhow::Result<ExitCode> {
    if let Err(error) = args.check() {
        stderr::print(format_args!("ringmark sniff: {error}"));
        return Ok(EXIT_USAGE.into());
    }
    args.outcome.check_places()?;
    let stop = Arc::new(AtomicBool::new(false));
    process::stop_on(&[SIGINT, SIGTERM], &stop, EXIT_INTERRUPTED).context("catching SIGINT and SIGTERM")?;
    let capture = sniff::open(&args.config()?)?;
    if !args.quiet {
        stderr::print(format_args!("listening on {}", capture.device().name));
    }
    if args.latency {
        args.give_up_rights()?;
        return latency::run(&args, capture, &stop);
    }
    let mut sink = args.records(&capture)?;
    args.give_up_rights()?;
    let outcome = Session::new(capture, args.until(), &stop).run(&mut sink);
    let finished = sink.finish(outcome.stats);
    print_counts(outcome.captured, outcome.stats);
    ended(outcome, finished)
}

/// As tcpdump does, on standard error.
fn print_counts(captured: u64, stats: PacketStats) {
    let packets = |count| units::counted(count, "packet");
    stderr::print(format_args!("{} captured", packets(captured)));
    stderr::print(format_args!("{} received by filter", packets(stats.received)));
    stderr::print(format_args!("{} dropped by kernel", packets(stats.dropped)));
}

/// A reader who has seen enough is no failure.
fn ended(outcome: Outcome, finished: Result<(), SniffError>) -> anyhow::Result<ExitCode> {
    match outcome.failed.map_or(finished, Err) {
        Err(SniffError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

impl SniffArgs {
    fn check(&self) -> Result<(), OptionsError> {
        let stdout = self.write.as_ref().is_some_and(|path| path.as_os_str() == "-");
        if self.latency && self.port.len() != 1 {
            return Err(OptionsError::LatencyPort);
        }
        if !self.latency && (!self.outcome.export.is_empty() || !self.outcome.fail_if.is_empty()) {
            return Err(OptionsError::NothingMeasured);
        }
        if let Some(problem) = self.outcome.needs_comparison() {
            return Err(OptionsError::NoRatio(problem));
        }
        if self.files.is_some() && self.rotation().is_off() {
            return Err(OptionsError::FilesAlone);
        }
        if stdout && !self.rotation().is_off() {
            return Err(OptionsError::RotateStdout);
        }
        if stdout && self.print {
            return Err(OptionsError::PrintStdout);
        }
        Ok(())
    }

    fn config(&self) -> Result<Config, OptionsError> {
        let whole = if self.latency { HEADERS } else { LONGEST };
        Ok(Config {
            device: self.interface.clone(),
            wanted: self.wanted()?,
            snap: self.snap.unwrap_or(whole),
            buffer: self.buffer,
            immediate: self.immediate,
            promiscuous: self.promiscuous,
        })
    }

    fn wanted(&self) -> Result<PacketFilter, OptionsError> {
        #[cfg(feature = "libpcap")]
        if !self.expression.is_empty() {
            return Ok(PacketFilter::Expression(self.expression.join(" ")));
        }
        #[cfg(not(feature = "libpcap"))]
        if !self.expression.is_empty() {
            return Err(OptionsError::NoExpressions);
        }
        let (ports, hosts, protocols) = (self.port.clone(), self.host.clone(), self.proto.clone());
        Ok(PacketFilter::Filter(Filter { ports, hosts, protocols }))
    }

    fn until(&self) -> StopCondition {
        StopCondition { packets: self.count, duration: self.duration }
    }

    fn rotation(&self) -> Rotation {
        Rotation {
            bytes: self.rotate_size.unwrap_or(Bytes(0)),
            packets: self.rotate_packets.unwrap_or(0),
            keep: self.files.unwrap_or(0) as usize,
        }
    }

    fn records(&self, capture: &Capture) -> Result<Records, SniffError> {
        let device = capture.device();
        let many = device.name == Device::ANY;
        let lines = (self.write.is_none() || self.print).then(|| Printer::new(device.link_type, many));
        let target = |path: &PathBuf| FileConfig {
            path: path.clone(),
            rotation: self.rotation(),
            device: device.clone(),
            snap: self.snap.unwrap_or(LONGEST),
        };
        let file = self.write.as_ref().map(|path| PacketFile::create(target(path))).transpose()?;
        Ok(Records::new(lines, file))
    }

    /// Whom to become: named, or nobody for root, whose later files however only root's name may create.
    fn user(&self) -> anyhow::Result<Option<User>> {
        let name = match &self.user {
            Some(name) => name,
            None if privileges::is_root() && self.rotation().is_off() && self.outcome.export.is_empty() => NOBODY,
            None => return Ok(None),
        };
        let found = User::find(name).with_context(|| format!("looking up the user {name}"))?;
        Ok(Some(found.ok_or_else(|| OptionsError::NoUser(name.into()))?))
    }

    fn give_up_rights(&self) -> anyhow::Result<()> {
        privileges::give_up(self.user()?).context("giving up rights after opening the device; only root may use -Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: SniffArgs,
    }

    fn parse(words: &str) -> Result<SniffArgs, String> {
        let parsed = Typed::try_parse_from(["sniff"].into_iter().chain(words.split_whitespace()));
        let args = parsed.map_err(|error| error.to_string())?.args;
        args.check().and_then(|()| args.config().map(|_| ())).map_err(|error| error.to_string())?;
        Ok(args)
    }

    #[test]
    fn options_that_make_no_sense_together_are_refused_with_what_would() {
        for (words, hint) in [
            ("--latency", "--port N"),
            ("--latency --port 1 --port 2", "--port N"),
            ("-w a.pcapng --files 3", "--rotate-size"),
            ("-w - --rotate-packets 9", "standard output"),
            ("-w - --print", "standard output"),
            ("--export csv=a.csv", "--latency"),
            ("--latency --port 80 --fail-if ratio<1", "compared to nothing"),
            ("--print", "--write"),
            ("--host localhost", "not looked up"),
            ("--host 10.0.0.0/33", "10.0.0.0/8"),
            ("--proto http", "tcp, udp"),
            ("-s 1M", "256k"),
            ("-B 1k", "between"),
            ("--port 70000", "65535"),
        ] {
            let error = parse(words).expect_err(words);
            assert!(error.contains(hint), "{words}: {error}");
        }
    }

    #[test]
    fn latency_captures_headers_unless_told_otherwise() {
        let snap = |words| parse(words).unwrap().config().unwrap().snap;
        assert_eq!(snap("--latency --port 80"), HEADERS);
        assert_eq!(snap("--port 80"), LONGEST);
        assert_eq!(snap("-s 0"), LONGEST);
        assert_eq!(snap("--latency --port 80 -s 96"), Bytes(96));
    }
}

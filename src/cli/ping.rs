//! `ringmark ping`: its options, what they mean together, and its exit codes.

mod status;
mod text;

use super::diag_common::{EXIT_NAME_NOT_FOUND, ProbingArgs, nonce, resolve};
use super::report::Format;
use crate::cli::stderr;
use crate::diag::ping::{self, Config, MAX_SIZE, PingEvent};
use crate::diag::probe_stats::ProbeStats;
use crate::diag::probe_tracker::MAX_PROBES;
use crate::report::result::Stored;
use crate::units::{Bytes, Nanos};
use clap::Args;
use status::PingStatus;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Time limit where none is typed …
const USUAL_TIMEOUT: Nanos = Nanos::from_secs(1);
/// … and this many intervals at most, so that half of the numbers that requests have are free for late answers.
const MOST_WAITING: u64 = MAX_PROBES as u64 / 2;
/// Answers that come faster are not shown one by one.
const READABLE_GAP: Nanos = Nanos::from_millis(10);

/// Ask hosts for an echo and measure how long it takes, over io_uring with the kernel's receive stamps
///
/// Sends to all targets in turn, evenly spread over the interval, as fping does. Uses a raw socket where that is allowed
/// (CAP_NET_RAW), else a ping socket (sysctl net.ipv4.ping_group_range). Every byte of an answer is checked. Answers after
/// the time limit are counted apart and are not in the percentiles.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct PingArgs {
    /// Host names or addresses
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    /// Requests to each target; 0 goes on until Ctrl-C
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    count: u64,
    /// From one request to a target to the next to it
    ///
    /// Down to microseconds. Below 150us the program does not sleep between requests. Packets to other machines, all
    /// targets together, must be 2ms apart unless --flood is given; loopback addresses may be flooded.
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = Nanos::parse_positive)]
    interval: Nanos,
    /// Bytes of payload, at most 65507
    #[arg(short, long, value_name = "BYTES", default_value = "56", value_parser = payload_size)]
    size: Bytes,
    /// Hops that a request may take, 1 to 255 [default: the system's]
    #[arg(long, value_name = "HOPS", value_parser = clap::value_parser!(u8).range(1..))]
    ttl: Option<u8>,
    /// An answer that takes longer is late [default: 1s, or 32768 intervals if that is shorter]
    #[arg(long, value_name = "TIME", value_parser = Nanos::parse_positive)]
    timeout: Option<Nanos>,
    #[command(flatten)]
    probing: ProbingArgs,
}

const AFTER_HELP: &str = "\
Exit codes, as fping's: 0 all targets are reachable; 1 some are not; 2 a name was not found; 3 bad options; 4 the system \
did not let us. 99: all are reachable, but a --fail-if holds.

Examples:
  ringmark ping 192.0.2.1 192.0.2.2 example.org     five requests to each
  ringmark ping -q -c 100000 -i 50us 127.0.0.1      percentiles of the loopback
  ringmark ping -c 0 --format json ::1 > run.json   until Ctrl-C
  ringmark ping -q -c 1000 -i 2ms --export hlog=run.hlog --export hgrm=run.hgrm 192.0.2.1";

fn payload_size(text: &str) -> Result<Bytes, String> {
    match text.parse::<Bytes>() {
        Ok(size) if size > MAX_SIZE => Err(format!("a request carries at most {MAX_SIZE} bytes")),
        Ok(size) => Ok(size),
        Err(error) => Err(error.to_string()),
    }
}

/// The command `ringmark ping`.
pub fn run(args: &PingArgs) -> ExitCode {
    let (targets, missing) = resolve(&args.targets, args.probing.family.family());
    missing.iter().for_each(|error| stderr::print(format_args!("ringmark ping: {error}")));
    if targets.is_empty() {
        return EXIT_NAME_NOT_FOUND.into();
    }
    let config = args.config(targets);
    let refused = config.check().err();
    args.probing.conduct("ping", refused, missing.is_empty(), |stop| measure(args, &config, stop))
}

/// What was found, and whether all targets are reachable.
fn measure(args: &PingArgs, config: &Config, stop: &AtomicBool) -> anyhow::Result<(Stored, bool)> {
    let lines = args.shows_lines(config);
    let mut live = PingStatus::new(!lines && !args.probing.quiet);
    let outcome = ping::run(config, nonce(), stop, &mut |event: PingEvent| match lines {
        // Where nobody reads any more there is nobody to ask for.
        true if print_line(&text::event(config, &event)).is_err() => stop.store(true, Ordering::Relaxed),
        true => {}
        false => live.show(&event),
    })?;
    let result = Box::new(ping::report(config, &outcome));
    Ok((result, outcome.targets.iter().all(ProbeStats::is_reachable)))
}

fn print_line(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

impl PingArgs {
    fn config(&self, targets: Vec<crate::diag::names::Host>) -> Config {
        let shortest = Nanos(self.interval.0.saturating_mul(MOST_WAITING));
        Config {
            targets,
            count: (self.count > 0).then_some(self.count),
            interval: self.interval,
            size: self.size,
            hop_limit: self.ttl,
            timeout: self.timeout.unwrap_or(USUAL_TIMEOUT.min(shortest)),
            flood: self.probing.flood,
        }
    }

    /// Whether a person could read a line per answer, and asked for it.
    fn shows_lines(&self, config: &Config) -> bool {
        let gap = Nanos(config.interval.0 / config.targets.len() as u64);
        !self.probing.quiet && self.probing.format == Format::Text && gap >= READABLE_GAP
    }
}

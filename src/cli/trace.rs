//! `ringmark trace`: its options, what they mean together, and its exit codes.

use super::diag_common::{EXIT_NAME_NOT_FOUND, ProbingArgs, fail, nonce};
use super::status_line::StatusLine;
use crate::diag::names::Host;
use crate::diag::trace::{self, Config, MOST_HOPS, Method};
use crate::record::LatencyFigures;
use crate::report::result::Stored;
use crate::report::trace::table;
use crate::units::Nanos;
use clap::Args;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// Where traceroute has sent to since its first days.
const UDP_PORT: u16 = 33_434;
/// From one drawing of the live view to the next.
const LOOK: Nanos = Nanos::from_millis(200);

/// Show the hops on the way to a host, with loss and round-trip times for each, in repeated rounds
///
/// Every round probes all hops at once. All probes look like one flow to routers that spread load over several ways.
/// Loss at a hop in the middle alone is usually rate limiting: routers forward faster than they answer. Loss that goes on
/// to the last hop is real.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct TraceArgs {
    /// Host name or address
    target: String,
    /// Probe with UDP datagrams to a port where nobody listens (the default); needs a raw socket
    #[arg(long, group = "way")]
    udp: bool,
    /// Probe with echo requests; a ping socket will do
    #[arg(long, group = "way")]
    icmp: bool,
    /// Probe with SYNs to this port, as if to connect; needs a raw socket
    #[arg(long, group = "way", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    tcp: Option<u16>,
    /// Port of UDP probes
    #[arg(long, value_name = "PORT", default_value_t = UDP_PORT, conflicts_with_all = ["icmp", "tcp"], value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Probes to each hop; 0 goes on until Ctrl-C
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    count: u64,
    /// From one round to the next; to other machines at least 100ms unless --flood is given
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = Nanos::parse_positive)]
    interval: Nanos,
    /// An answer that takes longer is late, and does not count
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = Nanos::parse_positive)]
    timeout: Nanos,
    /// Hops to try, at most 64
    #[arg(short, long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_HOPS)))]
    max_hops: u8,
    #[command(flatten)]
    probing: ProbingArgs,
}

const AFTER_HELP: &str = "\
Exit codes, as ping's: 0 the target answered; 1 it did not; 2 its name was not found; 3 bad options; 4 the system did not \
let us. 99: the target answered, but a --fail-if holds.

Examples:
  ringmark trace example.org               ten rounds of UDP probes
  ringmark trace --tcp 443 example.org     as a browser would connect
  ringmark trace --icmp -c 0 192.0.2.1     until Ctrl-C
  ringmark trace --export csv=way.csv --export hlog=way.hlog example.org";

/// The command `ringmark trace`.
pub fn run(args: &TraceArgs) -> ExitCode {
    let host = match Host::resolve(&args.target, args.probing.family.family()) {
        Ok(host) => host,
        Err(error) => return fail("trace", EXIT_NAME_NOT_FOUND, &error),
    };
    let config = args.config(host);
    let refused = config.check().err();
    args.probing.conduct("trace", refused, true, |stop| measure(args, &config, stop))
}

/// What was found, and whether the target was reached.
fn measure(args: &TraceArgs, config: &Config, stop: &AtomicBool) -> anyhow::Result<(Stored, bool)> {
    let mut live = StatusLine::new(LOOK).filter(|_| !args.probing.quiet);
    let outcome = trace::run(config, nonce(), stop, &mut |path| {
        live.iter_mut().for_each(|live| live.show(|| table(&trace::hops(path, LatencyFigures::brief)).join("\n")));
    })?;
    let result = Box::new(trace::report(config, &outcome));
    Ok((result, outcome.path.is_reached()))
}

impl TraceArgs {
    fn config(&self, host: Host) -> Config {
        let method = match (self.icmp, self.tcp) {
            (true, _) => Method::Icmp,
            (_, Some(port)) => Method::Tcp { port },
            _ => Method::Udp { port: self.port },
        };
        Config {
            host,
            method,
            rounds: (self.count > 0).then_some(self.count),
            interval: self.interval,
            timeout: self.timeout,
            max_hops: self.max_hops,
            flood: self.probing.flood,
        }
    }
}

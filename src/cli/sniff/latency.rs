//! `ringmark sniff --latency`: the live view, and the report in text and JSON.

use super::{SniffArgs, ended, say_counts};
use crate::cli::report::Format;
use crate::clock::{self, Clock};
use crate::diag::latency::{Ends, Limits, Seen, Spread, Times, Transport, Watch};
use crate::diag::sniff::sink::Latency;
use crate::diag::sniff::{Outcome, Session};
use crate::report::histogram;
use crate::report::schema::LatencyRecord;
use crate::sys::packet::{Capture, Counted};
use crate::units::Nanos;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::fmt::Write;
use std::io::{IsTerminal, stderr};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

const EVERY: Nanos = Nanos::from_secs(1);
/// Connections that the text names.
const CONNECTIONS_SHOWN: usize = 10;

/// All that was found.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    version: &'static str,
    ended: String,
    device: String,
    port: u16,
    took_ns: u64,
    packets: Packets,
    seen: Seen,
    service: Figures,
    first_answer: Figures,
    handshake_server: Figures,
    handshake_client: Figures,
    /// Those remembered, with the most samples first.
    connections: Vec<OfConnection>,
}

#[derive(Debug, Serialize)]
struct Packets {
    captured: u64,
    received: u64,
    dropped: u64,
}

/// Nanoseconds, and the whole histogram as `.hlog` files carry it.
#[derive(Debug, Serialize)]
struct Figures {
    samples: u64,
    #[serde(flatten)]
    latency: LatencyRecord,
    histogram: String,
}

#[derive(Debug, Serialize)]
struct OfConnection {
    transport: &'static str,
    client: String,
    server: String,
    samples: u64,
    p50: u64,
    p99: u64,
    max: u64,
}

/// Watches until it is time, and reports.
pub fn run(args: &SniffArgs, capture: Capture, stop: &AtomicBool) -> anyhow::Result<ExitCode> {
    let limits = Limits {
        connections: NonZeroUsize::new(args.connections as usize).unwrap_or(NonZeroUsize::MIN),
        ..Limits::default()
    };
    let port = args.port[0];
    let (framing, blocks) = (capture.device().framing, capture.blocks());
    let mut view = View::new(args.quiet);
    let mut sink = Latency::new(Watch::new(port, limits), framing, blocks, |watch: &Watch, counted| {
        view.show(watch, counted);
    });
    let outcome = Session::new(capture, args.until(), stop).run(&mut sink);
    sink.watch.finish();
    let report = Report::new(args, &sink.watch, &outcome);
    drop(sink);
    view.end();
    match args.format {
        Format::Text => print!("{}", report.text()),
        Format::Json => println!("{}", serde_json::to_string(&report)?),
    }
    if args.format == Format::Json {
        say_counts(outcome.captured, outcome.counted);
    }
    ended(outcome, Ok(()))
}

/// Figures that change while one looks: on standard error, once a second, and only where that is a terminal.
struct View {
    bar: Option<ProgressBar>,
    clock: Clock,
    next: Nanos,
}

impl View {
    fn new(quiet: bool) -> View {
        let bar = (!quiet && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.with_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        View { bar, clock: Clock::start(), next: EVERY }
    }

    fn show(&mut self, watch: &Watch, counted: Counted) {
        let Some(bar) = &self.bar else { return };
        let now = self.clock.now();
        if now >= self.next {
            self.next = now + EVERY;
            bar.set_message(live(watch, counted));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The table so far, and what disturbs it.
fn live(watch: &Watch, counted: Counted) -> String {
    let mut text = header();
    rows(watch).iter().for_each(|(name, spread)| row(&mut text, name, &Figures::new(spread)));
    let _ = write!(text, "{} connections, {} packets dropped by the kernel", watch.seen.connections, counted.dropped);
    text
}

fn rows(watch: &Watch) -> [(&'static str, &Spread); 4] {
    let total = &watch.total;
    [
        (SERVICE, &total.service),
        (FIRST_ANSWER, &total.first_answer),
        (HANDSHAKE_SERVER, &total.handshake_server),
        (HANDSHAKE_CLIENT, &total.handshake_client),
    ]
}

const SERVICE: &str = "service time";
const FIRST_ANSWER: &str = "first answer";
const HANDSHAKE_SERVER: &str = "handshake, server";
const HANDSHAKE_CLIENT: &str = "handshake, client";

fn header() -> String {
    let names = ["samples", "min", "mean", "p50", "p90", "p99", "p99.9", "max"];
    let columns: String = names.iter().map(|name| format!("{name:>9}")).collect();
    format!("{:18}{columns}\n", "")
}

fn row(text: &mut String, name: &str, figures: &Figures) {
    let LatencyRecord { min, mean, p50, p90, p99, p999, max } = figures.latency;
    let _ = write!(text, "{name:18}{:>9}", figures.samples);
    if figures.samples > 0 {
        for value in [min, mean as u64, p50, p90, p99, p999, max] {
            let _ = write!(text, "{:>9}", Nanos(value));
        }
    }
    text.push('\n');
}

impl Figures {
    fn new(spread: &Spread) -> Figures {
        let (latency, samples) = (histogram::figures(spread.histogram()), spread.histogram().len());
        Figures { samples, latency, histogram: String::new() }
    }

    fn whole(spread: &Spread) -> Figures {
        Figures { histogram: histogram::encode(spread.histogram()), ..Figures::new(spread) }
    }
}

impl OfConnection {
    fn new((ends, times): (Ends, &Times)) -> OfConnection {
        let Ends { transport, client, server } = ends;
        OfConnection {
            transport: if transport == Transport::Tcp { "tcp" } else { "udp" },
            client: client.to_string(),
            server: server.to_string(),
            samples: times.samples(),
            p50: times.quantile(0.5).0,
            p99: times.quantile(0.99).0,
            max: times.quantile(1.0).0,
        }
    }
}

impl Report {
    fn new(args: &SniffArgs, watch: &Watch, outcome: &Outcome) -> Report {
        let (received, dropped) = (outcome.counted.received, outcome.counted.dropped);
        Report {
            schema: "ringmark.sniff-latency/1",
            version: env!("CARGO_PKG_VERSION"),
            ended: clock::utc_now(),
            device: args.interface.clone(),
            port: args.port[0],
            took_ns: outcome.took.0,
            packets: Packets { captured: outcome.captured, received, dropped },
            seen: watch.seen,
            service: Figures::whole(&watch.total.service),
            first_answer: Figures::whole(&watch.total.first_answer),
            handshake_server: Figures::whole(&watch.total.handshake_server),
            handshake_client: Figures::whole(&watch.total.handshake_client),
            connections: watch.connections().into_iter().map(OfConnection::new).collect(),
        }
    }

    fn text(&self) -> String {
        let Packets { captured, dropped, .. } = self.packets;
        let mut text = format!(
            "port {} on {}, {}: {captured} packets, {dropped} dropped by the kernel, {} connections\n\n{}",
            self.port,
            self.device,
            Nanos(self.took_ns),
            self.seen.connections,
            header()
        );
        for (name, figures) in [
            (SERVICE, &self.service),
            (FIRST_ANSWER, &self.first_answer),
            (HANDSHAKE_SERVER, &self.handshake_server),
            (HANDSHAKE_CLIENT, &self.handshake_client),
        ] {
            row(&mut text, name, figures);
        }
        text.push('\n');
        self.oddities(&mut text);
        self.by_connection(&mut text);
        text
    }

    /// What gave no sample, and what a reader must know about those there are; nothing is said of what did not happen.
    fn oddities(&self, text: &mut String) {
        let seen = self.seen;
        for (count, what) in [
            (seen.torn, "exchanges without a sample: packets of theirs were not captured"),
            (seen.overlapping, "exchanges without a sample: the client sent more before it had the whole answer"),
            (seen.unanswered, "requests without an answer"),
            (seen.in_pieces, "requests of several writes: in pieces, or pipelined and measured as one"),
            (seen.queued, "datagrams sent while an earlier one had no answer: matched in order"),
            (seen.retransmissions, "retransmissions: the first copy counts"),
            (seen.unsolicited, "packets with payload that no request had asked for"),
            (seen.forgotten, "connections forgotten beyond the limit of --connections"),
        ] {
            if count > 0 {
                let _ = writeln!(text, "{count:>9} {what}");
            }
        }
    }

    fn by_connection(&self, text: &mut String) {
        let with_samples = || self.connections.iter().filter(|connection| connection.samples > 0);
        let (all, shown) = (with_samples().count(), with_samples().take(CONNECTIONS_SHOWN));
        if all < 2 {
            return;
        }
        let _ = writeln!(text, "\nthe {} of {all} connections with the most samples:", all.min(CONNECTIONS_SHOWN));
        for one in shown {
            let (p50, p99, max) = (Nanos(one.p50), Nanos(one.p99), Nanos(one.max));
            let ends = format!("{} {} > {}", one.transport, one.client, one.server);
            let _ = writeln!(text, "  {ends:<48}{:>9} samples, p50 {p50}, p99 {p99}, max {max}", one.samples);
        }
    }
}

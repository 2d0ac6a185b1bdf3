//! `ringmark sniff --latency`: the live view, and what becomes of what was found.

use super::{SniffArgs, ended, say_counts};
use crate::cli::live::Live;
use crate::cli::report::{Format, print, render};
use crate::clock;
use crate::diag::latency::{Ends, Limits, Seen, Spread, Times, Transport, Watch};
use crate::diag::sniff::sink::Latency;
use crate::diag::sniff::{Outcome, Session};
use crate::record::{ConnectionRecord, FiguresRecord, PacketsRecord, SeenRecord, WIRE_SCHEMA, WireReport, histogram};
use crate::report::wire;
use crate::sys::packet::{Capture, PacketStats};
use crate::units::{self, Nanos};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// From one drawing of the live view to the next.
const LOOK: Nanos = Nanos::from_secs(1);

/// Watches until it is time, and reports.
pub fn run(args: &SniffArgs, capture: Capture, stop: &AtomicBool) -> anyhow::Result<ExitCode> {
    let limits = Limits {
        connections: NonZeroUsize::new(args.connections as usize).unwrap_or(NonZeroUsize::MIN),
        ..Limits::default()
    };
    let port = args.port[0];
    let (link_type, blocks) = (capture.device().link_type, capture.blocks());
    let mut view = Live::new(LOOK).filter(|_| !args.quiet);
    let mut sink = Latency::new(Watch::new(port, limits), link_type, blocks, |watch: &Watch, counted| {
        view.iter_mut().for_each(|view| view.show(|| live(watch, counted)));
    });
    let outcome = Session::new(capture, args.until(), stop).run(&mut sink);
    sink.watch.finish();
    let report = report(args, &sink.watch, &outcome);
    drop(sink);
    drop(view);
    print(&render(&report, args.format)?)?;
    if args.format == Format::Json && !args.quiet {
        say_counts(outcome.captured, outcome.counted);
    }
    args.outcome.export(&report)?;
    ended(outcome, Ok(()))?;
    Ok(args.outcome.verdict(&report))
}

/// The table so far, and what disturbs it.
fn live(watch: &Watch, counted: PacketStats) -> String {
    let total = &watch.total;
    let mut text = wire::header();
    for (name, spread) in [("service time", &total.service), ("first answer", &total.first_answer)] {
        wire::row(&mut text, name, spread.histogram().len(), &histogram::figures(spread.histogram()));
    }
    let connections = units::counted(watch.seen.connections, "connection");
    text + &format!("{connections}, {} dropped by the kernel", units::counted(counted.dropped, "packet"))
}

fn report(args: &SniffArgs, watch: &Watch, outcome: &Outcome) -> WireReport {
    let (received, dropped) = (outcome.counted.received, outcome.counted.dropped);
    let total = &watch.total;
    WireReport {
        schema: WIRE_SCHEMA.into(),
        ringmark: env!("CARGO_PKG_VERSION").into(),
        ended: clock::utc_now(),
        device: args.interface.clone(),
        port: args.port[0],
        duration_ns: outcome.took.0,
        packets: PacketsRecord { captured: outcome.captured, received, dropped },
        seen: seen(&watch.seen),
        service: figures(&total.service),
        first_answer: figures(&total.first_answer),
        handshake_server: figures(&total.handshake_server),
        handshake_client: figures(&total.handshake_client),
        connections: watch.connections().into_iter().map(connection).collect(),
    }
}

fn seen(seen: &Seen) -> SeenRecord {
    SeenRecord {
        connections: seen.connections,
        forgotten: seen.forgotten,
        torn: seen.torn,
        overlapping: seen.overlapping,
        in_pieces: seen.in_pieces,
        retransmissions: seen.retransmissions,
        unanswered: seen.unanswered,
        unsolicited: seen.unsolicited,
        queued: seen.queued,
    }
}

fn figures(spread: &Spread) -> FiguresRecord {
    FiguresRecord::of(spread.histogram())
}

fn connection((ends, times): (Ends, &Times)) -> ConnectionRecord {
    ConnectionRecord {
        transport: if ends.transport == Transport::Tcp { "tcp" } else { "udp" }.into(),
        client: ends.client.to_string(),
        server: ends.server.to_string(),
        samples: times.samples(),
        p50: times.quantile(0.5).0,
        p99: times.quantile(0.99).0,
        max: times.quantile(1.0).0,
    }
}

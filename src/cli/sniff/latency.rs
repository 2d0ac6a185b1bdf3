//! `ringmark sniff --latency`: the live view, and what becomes of what was found.

use super::{SniffArgs, ended, print_counts};
use crate::cli::report::{Format, print, render};
use crate::cli::status_line::StatusLine;
use crate::diag::latency::{FlowTable, Limits, report};
use crate::diag::sniff::Session;
use crate::diag::sniff::sink::Latency;
use crate::record::histogram;
use crate::report::passive_latency;
use crate::report::text_style::TextStyle;
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
    let mut view = StatusLine::new(LOOK).filter(|_| !args.quiet);
    let mut sink = Latency::new(FlowTable::new(port, limits), link_type, blocks, |table: &FlowTable, stats| {
        view.iter_mut().for_each(|view| view.show(|| live(table, stats)));
    });
    let outcome = Session::new(capture, args.until(), stop).run(&mut sink);
    sink.table.finish();
    let report = report(&args.interface, port, &sink.table, &outcome);
    drop(sink);
    drop(view);
    print(&render(&report, args.format, &TextStyle::default())?)?;
    if args.format == Format::Json && !args.quiet {
        print_counts(outcome.captured, outcome.stats);
    }
    args.outcome.export(&report)?;
    ended(outcome, Ok(()))?;
    Ok(args.outcome.verdict(&report))
}

/// The table so far, and what disturbs it.
fn live(table: &FlowTable, stats: PacketStats) -> String {
    let total = &table.total;
    let mut text = passive_latency::header();
    for (name, spread) in [("service time", &total.service), ("first answer", &total.first_answer)] {
        passive_latency::row(&mut text, name, spread.histogram().len(), &histogram::figures(spread.histogram()));
    }
    let connections = units::counted(table.seen.connections, "connection");
    text + &format!("{connections}, {} dropped by the kernel", units::counted(stats.dropped, "packet"))
}

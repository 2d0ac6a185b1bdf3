//! A trace for eyes: a row per hop, and what its figures mean.

use crate::cli::diagnosis::{aligned, five_figures};
use crate::diag::trace::{Config, Hop, Outcome, Path, Way};
use crate::units::three_digits;

const HEADER: [&str; 10] = ["hop", "address", "sent", "answered", "loss", "min", "p50", "p90", "p99", "max"];
/// Columns that hold words; figures are aligned on the right.
const WORDS: [usize; 1] = [1];

pub fn render(config: &Config, outcome: &Outcome) -> String {
    let head = format!("trace to {}, {}", config.host.label(), probes(outcome));
    let path = &outcome.path;
    let notes = path.hops().iter().zip(1..).flat_map(|(hop, number)| notes(number, hop));
    let lines = [head].into_iter().chain(table(path)).chain(notes).chain(conclusions(config, path));
    lines.map(|line| line + "\n").collect()
}

fn probes(outcome: &Outcome) -> String {
    let flow = &outcome.flow;
    match flow.way {
        Way::Udp { port } => format!("UDP from port {} to port {port}", flow.source_port),
        Way::Tcp { port } => format!("SYNs from port {} to port {port}", flow.source_port),
        Way::Icmp => format!("echo requests with identifier {}", flow.source_port),
    }
}

/// The lines of the table.
pub fn table(path: &Path) -> Vec<String> {
    let rows = path.hops().iter().zip(1..).flat_map(|(hop, number)| rows(number, hop));
    aligned(&HEADER, rows, &WORDS)
}

/// The hop, and further addresses that answered in its place.
fn rows(number: u8, hop: &Hop) -> Vec<Vec<String>> {
    let mut addresses = hop.addresses.keys().map(ToString::to_string);
    let first = addresses.next().unwrap_or_else(|| "no answer".into());
    let tally = &hop.tally;
    let loss = format!("{} %", three_digits(tally.loss() * 100.0));
    let head = [number.to_string(), first, tally.sent.to_string(), tally.answered.to_string(), loss];
    let row = head.into_iter().chain(five_figures(&tally.round_trips)).collect();
    [row].into_iter().chain(addresses.map(|address| vec![String::new(), address])).collect()
}

/// What the table has no column for.
fn notes(number: u8, hop: &Hop) -> Vec<String> {
    let tally = &hop.tally;
    let refusals = tally
        .refusals
        .iter()
        .map(|(refusal, count)| format!("hop {number}: {count} x {} says: {}", refusal.from, refusal.meaning));
    let late = (tally.late > 0).then(|| format!("hop {number}: {} late, up to {}", tally.late, tally.latest));
    let twice = (tally.duplicates > 0).then(|| format!("hop {number}: {} answers came twice", tally.duplicates));
    let unsent = tally.unsent_because.as_ref().map(|why| format!("hop {number}: {} not sent: {why}", tally.unsent));
    refusals.chain(late).chain(twice).chain(unsent).collect()
}

/// How to read it.
fn conclusions(config: &Config, path: &Path) -> Vec<String> {
    let hops = |numbers: &[u8]| numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let only_answers = path.losing_only_answers();
    let limiting = (!only_answers.is_empty()).then(|| {
        format!(
            "Loss at hop {} alone is usually rate limiting: what goes on to the target passes through it and is not lost \
             there.",
            hops(&only_answers)
        )
    });
    let last = path.hops().last().filter(|_| path.is_reached()).map(|hop| hop.tally.loss());
    let real = last
        .filter(|loss| *loss > 0.0)
        .map(|loss| format!("{} % are lost on the whole way and back.", three_digits(loss * 100.0)));
    let missing = (!path.is_reached()).then(|| format!("{} did not answer.", config.host.label()));
    limiting.into_iter().chain(real).chain(missing).collect()
}

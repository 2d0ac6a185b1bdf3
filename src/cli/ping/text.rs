//! Ping for eyes: a line per answer, and the summary.

use crate::cli::diagnosis::{aligned, five_figures};
use crate::diag::icmp::Family;
use crate::diag::ping::{Config, Event, Outcome, Stamps};
use crate::diag::tally::Tally;
use crate::diag::window::Arrival;
use crate::sys::raw::Access;

const HEADER: [&str; 12] =
    ["target", "sent", "answered", "loss", "late", "twice", "reordered", "min", "p50", "p90", "p99", "max"];

/// One line, without its end.
pub fn event(config: &Config, event: &Event) -> String {
    let name = |target: &usize| config.targets[*target].label();
    match event {
        Event::Answer { target, sequence, bytes, hop_limit, arrival, wrong_at } => {
            let hops = hop_limit.map_or(String::new(), |hops| format!(", ttl {hops}"));
            let wrong = wrong_at.map_or(String::new(), |at| format!(", WRONG from byte {at}"));
            format!("{}: seq {}, {bytes} bytes{hops}, {}{wrong}", name(target), sequence.0, what(arrival))
        }
        Event::Refused { target, sequence, from, meaning } => {
            format!("{}: seq {}, {from} says: {meaning}", name(target), sequence.0)
        }
        Event::Lost { target, sequence } => {
            format!("{}: seq {}, no answer within {}", name(target), sequence.0, config.timeout)
        }
        Event::Unsent { target, sequence, error } => {
            format!("{}: seq {}, not sent: {error}", name(target), sequence.0)
        }
    }
}

fn what(arrival: &Arrival) -> String {
    match arrival {
        Arrival::InTime { rtt, reordered: false } => rtt.to_string(),
        Arrival::InTime { rtt, reordered: true } => format!("{rtt}, overtaken by a later one"),
        Arrival::Late { rtt, .. } => format!("{rtt}, LATE"),
        Arrival::Duplicate => "DUPLICATE".into(),
        Arrival::Stray => "too late to be placed".into(),
    }
}

/// The table, and what must be known of it.
pub fn summary(config: &Config, outcome: &Outcome) -> String {
    let rows = config.targets.iter().zip(&outcome.targets).map(|(host, tally)| row(&host.label(), tally));
    let lines = aligned(&HEADER, rows, &[0]);
    let notes = config.targets.iter().zip(&outcome.targets).flat_map(|(host, tally)| notes(&host.label(), tally));
    let rest = lines.into_iter().chain(notes).chain([setting(config, outcome)]).chain(warnings(outcome));
    rest.map(|line| line + "\n").collect()
}

fn row(name: &str, tally: &Tally) -> Vec<String> {
    let loss = format!("{} %", crate::units::three_digits(tally.loss() * 100.0));
    let counts = [tally.late, tally.duplicates, tally.reordered].map(|count| count.to_string());
    let head = [name.to_owned(), tally.sent.to_string(), tally.answered.to_string(), loss];
    head.into_iter().chain(counts).chain(five_figures(&tally.round_trips)).collect()
}

/// What the table has no column for.
fn notes(name: &str, tally: &Tally) -> Vec<String> {
    let refusals = tally
        .refusals
        .iter()
        .map(|(refusal, count)| format!("{name}: {count} x {} says: {}", refusal.from, refusal.meaning));
    let unsent = tally.unsent_because.as_ref().filter(|_| tally.unsent > 0);
    let unsent = unsent.map(|why| format!("{name}: {} not sent: {why}", tally.unsent));
    let late = (tally.late > 0).then(|| format!("{name}: the latest answer took {}", tally.latest));
    let corrupt = (tally.corrupt > 0).then(|| format!("{name}: {} answers with WRONG bytes", tally.corrupt));
    refusals.chain(unsent).chain(late).chain(corrupt).collect()
}

/// How it was measured.
fn setting(config: &Config, outcome: &Outcome) -> String {
    let sockets: Vec<String> = outcome.access.iter().map(|(family, access)| socket(*family, *access)).collect();
    format!(
        "{} bytes every {}, answers within {}; {}; {}.",
        config.size.0,
        config.interval,
        config.timeout,
        sockets.join(", "),
        stamps(outcome.stamps)
    )
}

fn socket(family: Family, access: Access) -> String {
    let version = if family == Family::V4 { "IPv4" } else { "IPv6" };
    let kind = if access == Access::Raw { "raw" } else { "ping" };
    format!("{version} {kind} socket")
}

pub fn stamps(stamps: Stamps) -> String {
    match (stamps.kernel, stamps.clock) {
        (0, 0) => "nothing came back".into(),
        (_, 0) => "from before the send until the kernel's receive stamp".into(),
        (0, _) => "from before the send until after the receive (no kernel stamps)".into(),
        (_, clock) => format!("until the kernel's receive stamp, or after the receive for {clock} without one"),
    }
}

fn warnings(outcome: &Outcome) -> Vec<String> {
    let lost = (outcome.overflowed > 0).then(|| {
        let count = outcome.overflowed;
        format!("warning: {count} arrivals overflowed our receive buffer: as much of the loss may be ours")
    });
    let strangers = outcome.strangers;
    let strange =
        (strangers > 0).then(|| format!("warning: {strangers} answers came from addresses that are no target"));
    lost.into_iter().chain(strange).collect()
}

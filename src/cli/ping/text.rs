//! Ping for eyes while it runs: a line per answer.

use crate::diag::ping::{Config, Event};
use crate::diag::window::Arrival;

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

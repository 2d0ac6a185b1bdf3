//! The text of a ping while it runs: a line per answer.

use crate::diag::ping::{Config, PingEvent};
use crate::diag::probe_tracker::AnswerKind;

/// One line, without its end.
pub fn event(config: &Config, event: &PingEvent) -> String {
    let name = |target: &usize| config.targets[*target].label();
    match event {
        PingEvent::Answer { target, sequence, bytes, hop_limit, kind, wrong_at } => {
            let hops = hop_limit.map_or(String::new(), |hops| format!(", ttl {hops}"));
            let wrong = wrong_at.map_or(String::new(), |at| format!(", WRONG from byte {at}"));
            format!("{}: seq {}, {bytes} bytes{hops}, {}{wrong}", name(target), sequence.0, what(kind))
        }
        PingEvent::Refused { target, sequence, from, reason } => {
            format!("{}: seq {}, {from} says: {reason}", name(target), sequence.0)
        }
        PingEvent::Lost { target, sequence } => {
            format!("{}: seq {}, no answer within {}", name(target), sequence.0, config.timeout)
        }
        PingEvent::Unsent { target, sequence, error } => {
            format!("{}: seq {}, not sent: {error}", name(target), sequence.0)
        }
    }
}

fn what(kind: &AnswerKind) -> String {
    match kind {
        AnswerKind::InTime { rtt, reordered: false } => rtt.to_string(),
        AnswerKind::InTime { rtt, reordered: true } => format!("{rtt}, overtaken by a later one"),
        AnswerKind::Late { rtt, .. } => format!("{rtt}, LATE"),
        AnswerKind::Duplicate => "DUPLICATE".into(),
        AnswerKind::Stray => "too late to be placed".into(),
    }
}

//! The status line of a ping that shows no answers one by one.

use crate::cli::status_line::StatusLine;
use crate::diag::ping::PingEvent;
use crate::diag::probe_tracker::AnswerKind;
use crate::units::Nanos;

/// Events between two looks at the clock; the line is drawn more seldom still.
const EVENTS: u64 = 64;
const EVERY: Nanos = Nanos::from_millis(250);

pub struct PingStatus {
    /// `None` where nobody looks.
    line: Option<StatusLine>,
    events: u64,
    answered: u64,
    other: u64,
}

impl PingStatus {
    pub fn new(wanted: bool) -> PingStatus {
        PingStatus { line: StatusLine::new(EVERY).filter(|_| wanted), events: 0, answered: 0, other: 0 }
    }

    pub fn show(&mut self, event: &PingEvent) {
        match event {
            PingEvent::Answer { kind: AnswerKind::InTime { .. }, wrong_at: None, .. } => self.answered += 1,
            _ => self.other += 1,
        }
        self.events += 1;
        let PingStatus { line, events, answered, other } = self;
        if let Some(line) = line.as_mut().filter(|_| *events % EVENTS == 1) {
            line.show(|| format!("{answered} answered in time, {other} otherwise"));
        }
    }
}

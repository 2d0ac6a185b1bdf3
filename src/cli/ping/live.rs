//! The live line of a ping that shows no answers one by one.

use crate::cli::live::Live;
use crate::diag::ping::PingEvent;
use crate::diag::probe_tracker::AnswerKind;
use crate::units::Nanos;

/// Events between two looks at the clock; the line is drawn more seldom still.
const EVENTS: u64 = 64;
const EVERY: Nanos = Nanos::from_millis(250);

pub struct LiveLine {
    /// `None` where nobody looks.
    live: Option<Live>,
    events: u64,
    answered: u64,
    other: u64,
}

impl LiveLine {
    pub fn new(wanted: bool) -> LiveLine {
        LiveLine { live: Live::new(EVERY).filter(|_| wanted), events: 0, answered: 0, other: 0 }
    }

    pub fn show(&mut self, event: &PingEvent) {
        match event {
            PingEvent::Answer { kind: AnswerKind::InTime { .. }, wrong_at: None, .. } => self.answered += 1,
            _ => self.other += 1,
        }
        self.events += 1;
        let LiveLine { live, events, answered, other } = self;
        if let Some(live) = live.as_mut().filter(|_| *events % EVENTS == 1) {
            live.show(|| format!("{answered} answered in time, {other} otherwise"));
        }
    }
}

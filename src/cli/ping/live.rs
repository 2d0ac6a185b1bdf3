//! The live line of a ping that shows no answers one by one: on standard error, and only where that is a terminal.

use crate::diag::ping::Event;
use crate::diag::window::Arrival;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};

/// Events between two looks at the line; it is drawn more seldom still.
const EVENTS: u64 = 64;

pub struct LiveLine {
    /// `None` where nobody looks.
    line: Option<ProgressBar>,
    events: u64,
    answered: u64,
    other: u64,
}

impl LiveLine {
    pub fn new(wanted: bool) -> LiveLine {
        let line = (wanted && stderr().is_terminal()).then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
            line.with_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        LiveLine { line, events: 0, answered: 0, other: 0 }
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Answer { arrival: Arrival::InTime { .. }, wrong_at: None, .. } => self.answered += 1,
            _ => self.other += 1,
        }
        self.events += 1;
        if let Some(line) = self.line.as_ref().filter(|_| self.events % EVENTS == 1) {
            line.set_message(format!("{} answered in time, {} otherwise", self.answered, self.other));
        }
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

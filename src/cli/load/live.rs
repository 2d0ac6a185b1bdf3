//! The live line of a run: on standard error, once a second, and only where that is a terminal.

use crate::load::{Config, Progress, Stage};
use crate::units::Nanos;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};

pub struct LiveLine {
    /// `None` where nobody looks.
    line: Option<ProgressBar>,
    connections: usize,
    previous: Option<Progress>,
}

impl LiveLine {
    pub fn new(config: &Config, quiet: bool) -> LiveLine {
        let line = (!quiet && stderr().is_terminal()).then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            line.with_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        LiveLine { line, connections: config.all_connections(), previous: None }
    }

    pub fn show(&mut self, progress: Progress) {
        if let Some(line) = &self.line {
            line.set_message(describe(&progress, self.previous.as_ref(), self.connections));
            self.previous = Some(progress);
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

fn describe(progress: &Progress, previous: Option<&Progress>, connections: usize) -> String {
    let errors = match progress.errors {
        0 => String::new(),
        errors => format!(", {errors} errors"),
    };
    match progress.stage {
        Stage::Connect => format!("connecting: {} of {connections} answered{errors}", progress.admitted),
        Stage::WarmUp => format!("warming up{errors}"),
        Stage::Measure => {
            let rate = rate(progress, previous);
            format!("measuring: {} requests, {rate:.0}/s{errors}", progress.counted)
        }
        Stage::Account => format!("counting switches and system calls{errors}"),
        Stage::Drain => format!("waiting for the last answers{errors}"),
    }
}

fn rate(progress: &Progress, previous: Option<&Progress>) -> f64 {
    let (counted, at) = previous.map_or((0, Nanos::ZERO), |previous| (previous.counted, previous.at));
    let elapsed = progress.at.since(at).as_secs_f64();
    if elapsed > 0.0 { (progress.counted - counted) as f64 / elapsed } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_the_rate_since_the_line_before() {
        let at = |seconds, counted| Progress {
            stage: Stage::Measure,
            at: Nanos::from_secs(seconds),
            admitted: 4,
            counted,
            errors: 0,
        };
        assert_eq!(describe(&at(3, 900), Some(&at(1, 500)), 4), "measuring: 900 requests, 200/s");
        let failing = Progress { errors: 2, stage: Stage::Connect, ..at(1, 0) };
        assert_eq!(describe(&failing, None, 9), "connecting: 4 of 9 answered, 2 errors");
    }
}

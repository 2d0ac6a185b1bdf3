//! How a run is doing, on standard error once a second: one line that is rewritten on a terminal, a line each in a pipe
//! (of runs that take long enough to be watched), nothing when quiet.

use crate::load::{Config, Progress, Stage, Waited};
use crate::units::Nanos;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};

/// In a pipe, shorter runs say nothing until their report.
const WATCHED_FROM: Nanos = Nanos::from_secs(2);

pub struct LiveLine {
    way: Way,
    connections: usize,
    previous: Option<Progress>,
}

enum Way {
    Line(ProgressBar),
    Lines,
    Nobody,
}

impl LiveLine {
    pub fn new(config: &Config, quiet: bool) -> LiveLine {
        let way = match (quiet, stderr().is_terminal()) {
            (false, true) => Way::Line(line()),
            (false, false) if config.duration > WATCHED_FROM => Way::Lines,
            _ => Way::Nobody,
        };
        LiveLine { way, connections: config.all_connections(), previous: None }
    }

    pub fn show(&mut self, progress: Progress) {
        let text = || describe(&progress, self.previous.as_ref(), self.connections);
        match &self.way {
            Way::Line(line) => line.set_message(text()),
            Way::Lines if tells_a_second(&progress, self.previous.as_ref()) => eprintln!("{}", text()),
            Way::Lines | Way::Nobody => {}
        }
        self.previous = Some(progress);
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        if let Way::Line(line) = &self.way {
            line.finish_and_clear();
        }
    }
}

fn line() -> ProgressBar {
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    line.with_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Whether this is about a second of measuring, and not only about its beginning.
fn tells_a_second(progress: &Progress, previous: Option<&Progress>) -> bool {
    progress.stage == Stage::Measure && previous.is_some_and(|previous| previous.stage == Stage::Measure)
}

fn describe(progress: &Progress, previous: Option<&Progress>, connections: usize) -> String {
    let some = |count, what| if count > 0 { format!(", {count} {what}") } else { String::new() };
    let errors = some(progress.errors, "errors") + &some(progress.overdue, "lost or late");
    match progress.stage {
        Stage::Connect => format!("connecting: {} of {connections} answered{errors}", progress.admitted),
        Stage::WarmUp => format!("warming up{errors}"),
        Stage::Measure => {
            let rate = rate(progress, previous);
            let latency = progress.latency.map(waited).unwrap_or_default();
            format!("measuring: {} requests, {rate:.0}/s{latency}{errors}", progress.counted)
        }
        Stage::Account => format!("counting switches and system calls{errors}"),
        Stage::Drain => format!("waiting for the last answers{errors}"),
    }
}

fn waited(latency: Waited) -> String {
    let Waited { p50, p99, max } = latency;
    format!(", so far p50 {} p99 {} max {}", Nanos(p50), Nanos(p99), Nanos(max))
}

fn rate(progress: &Progress, previous: Option<&Progress>) -> f64 {
    let (counted, at) = previous.map_or((0, Nanos::ZERO), |previous| (previous.counted, previous.at));
    let elapsed = progress.at.since(at).as_secs_f64();
    if elapsed > 0.0 { (progress.counted - counted) as f64 / elapsed } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, counted: u64) -> Progress {
        let at = Nanos::from_secs(seconds);
        Progress { stage: Stage::Measure, at, admitted: 4, counted, errors: 0, overdue: 0, latency: None }
    }

    #[test]
    fn the_line_shows_the_rate_since_the_line_before() {
        assert_eq!(describe(&at(3, 900), Some(&at(1, 500)), 4), "measuring: 900 requests, 200/s");
        let latency = Some(Waited { p50: 20_000, p99: 300_000, max: 5_000_000 });
        let known = Progress { latency, errors: 1, ..at(3, 900) };
        let text = "measuring: 900 requests, 200/s, so far p50 20us p99 300us max 5ms, 1 errors";
        assert_eq!(describe(&known, Some(&at(1, 500)), 4), text);
        let failing = Progress { errors: 2, stage: Stage::Connect, ..at(1, 0) };
        assert_eq!(describe(&failing, None, 9), "connecting: 4 of 9 answered, 2 errors");
        let losing = Progress { overdue: 7, ..at(1, 200) };
        assert_eq!(describe(&losing, None, 4), "measuring: 200 requests, 200/s, 7 lost or late");
    }

    #[test]
    fn a_pipe_gets_a_line_per_second_of_measuring() {
        let warming = Progress { stage: Stage::WarmUp, ..at(1, 0) };
        assert!(!tells_a_second(&warming, None) && !tells_a_second(&at(2, 0), Some(&warming)));
        assert!(tells_a_second(&at(3, 9), Some(&at(2, 0))));
        assert!(!tells_a_second(&Progress { stage: Stage::Drain, ..at(4, 9) }, Some(&at(3, 9))));
    }
}

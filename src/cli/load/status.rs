//! How a run is doing, on standard error once a second: one line that is rewritten on a terminal, a line each in a pipe
//! (of runs that take long enough to be watched), nothing when quiet.

use crate::cli::status_line::StatusLine;
use crate::cli::stderr;
use crate::load::{Config, LatencySnapshot, Progress, RunStage};
use crate::units::{Nanos, counted};

/// In a pipe, shorter runs say nothing until their report.
const WATCHED_FROM: Nanos = Nanos::from_secs(2);

pub struct RunStatus {
    mode: OutputMode,
    connections: usize,
    begun: Option<Progress>,
    previous: Option<Progress>,
}

enum OutputMode {
    Line(StatusLine),
    Lines,
    Quiet,
}

impl RunStatus {
    pub fn new(config: &Config, quiet: bool) -> RunStatus {
        let mode = match (quiet, StatusLine::new(Nanos::ZERO)) {
            (false, Some(line)) => OutputMode::Line(line),
            (false, None) if config.duration > WATCHED_FROM => OutputMode::Lines,
            _ => OutputMode::Quiet,
        };
        RunStatus { mode, connections: config.all_connections(), begun: None, previous: None }
    }

    pub fn show(&mut self, progress: Progress) {
        let span = self.span(&progress);
        let text = || describe(&progress, span.as_ref(), self.connections);
        match &mut self.mode {
            OutputMode::Line(line) => line.show(text),
            OutputMode::Lines if span.is_some() => stderr::print(format_args!("{}", text())),
            OutputMode::Lines | OutputMode::Quiet => {}
        }
        if progress.stage == RunStage::Measure {
            self.begun.get_or_insert(progress);
        }
        self.previous = Some(progress);
    }

    /// What a rate is computed from: the time measured since the previous look.
    fn span(&self, progress: &Progress) -> Option<Span> {
        let measured = |look: &Progress| look.stage == RunStage::Measure;
        let previous = self.previous.as_ref().filter(|previous| measured(previous) && measured(progress))?;
        Some(Span {
            measured: progress.at.since(self.begun.as_ref().unwrap_or(previous).at),
            length: progress.at.since(previous.at),
            requests: progress.counted - previous.counted,
        })
    }
}

/// From one look to the next.
struct Span {
    /// Since the counting began.
    measured: Nanos,
    length: Nanos,
    requests: u64,
}

/// What is most worth knowing comes first: a narrow terminal cuts off the rest.
fn describe(progress: &Progress, span: Option<&Span>, connections: usize) -> String {
    let errors = troubles(progress);
    match (progress.stage, span) {
        (RunStage::Connect, _) => format!("connecting: {} of {connections} answered{errors}", progress.admitted),
        (RunStage::WarmUp, _) => format!("warming up{errors}"),
        (RunStage::Measure, None) => format!("measuring{errors}"),
        (RunStage::Measure, Some(span)) => {
            let (seconds, rate) = (span.measured.as_secs_f64(), rate(span));
            let latency = progress.latency.map(waited).unwrap_or_default();
            format!("{seconds:.0}s: {rate:.0}/s{errors}{latency}, {}", counted(progress.counted, "request"))
        }
        (RunStage::Account, _) => format!("counting switches and system calls{errors}"),
        (RunStage::Drain, _) => format!("waiting for the last answers{errors}"),
    }
}

fn troubles(progress: &Progress) -> String {
    let some = |count, what: String| if count > 0 { format!(", {what}") } else { String::new() };
    let overdue = format!("{} lost or late", progress.overdue);
    some(progress.errors, counted(progress.errors, "error")) + &some(progress.overdue, overdue)
}

fn waited(latency: LatencySnapshot) -> String {
    let LatencySnapshot { p50, p99, max } = latency;
    format!(", so far p50 {} p99 {} max {}", Nanos(p50), Nanos(p99), Nanos(max))
}

fn rate(span: &Span) -> f64 {
    let elapsed = span.length.as_secs_f64();
    if elapsed > 0.0 { span.requests as f64 / elapsed } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(stage: RunStage, seconds: u64, counted: u64) -> Progress {
        let at = Nanos::from_secs(seconds);
        Progress { stage, at, admitted: 4, counted, errors: 0, overdue: 0, latency: None }
    }

    /// What is shown at each of these looks.
    fn shown(looks: &[Progress]) -> Vec<String> {
        let mut line = RunStatus { mode: OutputMode::Quiet, connections: 9, begun: None, previous: None };
        let show = |look: &Progress| {
            let text = describe(look, line.span(look).as_ref(), line.connections);
            line.show(*look);
            text
        };
        looks.iter().map(show).collect()
    }

    #[test]
    fn a_rate_is_that_of_the_measuring_since_the_line_before() {
        use RunStage::{Connect, Drain, Measure, WarmUp};
        let looks =
            [(Connect, 0, 0), (WarmUp, 5, 0), (Measure, 7, 0), (Measure, 8, 500), (Measure, 10, 900), (Drain, 11, 950)];
        let expected = [
            "connecting: 4 of 9 answered",
            "warming up",
            "measuring",
            "1s: 500/s, 500 requests",
            "3s: 200/s, 900 requests",
            "waiting for the last answers",
        ];
        assert_eq!(shown(&looks.map(|(stage, seconds, counted)| look(stage, seconds, counted))), expected);
    }

    #[test]
    fn what_went_wrong_comes_before_what_was_measured() {
        let begin = look(RunStage::Measure, 1, 0);
        let latency = Some(LatencySnapshot { p50: 20_000, p99: 300_000, max: 5_000_000 });
        let known = Progress { latency, errors: 1, overdue: 7, ..look(RunStage::Measure, 3, 400) };
        let text = "2s: 200/s, 1 error, 7 lost or late, so far p50 20us p99 300us max 5ms, 400 requests";
        assert_eq!(shown(&[begin, known])[1], text);
        let failing = Progress { errors: 2, ..look(RunStage::Connect, 1, 0) };
        assert_eq!(shown(&[failing])[0], "connecting: 4 of 9 answered, 2 errors");
    }
}

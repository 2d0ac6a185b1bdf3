//! How far a comparison is, on stderr: a line that is redrawn on a terminal, lines in a pipe, nothing when quiet.

use super::status_line::StatusLine;
use crate::cli::stderr;
use crate::clock::Clock;
use crate::trial::{Plan, TrialSlot};
use crate::units::{Nanos, counted};

pub struct Progress {
    mode: OutputMode,
    clock: Clock,
    /// When the first trial began.
    begun: Option<Nanos>,
    done: u64,
    total: u64,
    /// The trial that runs.
    current: String,
}

enum OutputMode {
    Line(StatusLine),
    Lines,
    Quiet,
}

impl Progress {
    pub fn new(quiet: bool) -> Progress {
        let mode = match (quiet, StatusLine::new(Nanos::ZERO)) {
            (true, _) => OutputMode::Quiet,
            (false, Some(line)) => OutputMode::Line(line),
            (false, None) => OutputMode::Lines,
        };
        Progress { mode, clock: Clock::start(), begun: None, done: 0, total: 0, current: String::new() }
    }

    /// Something worth a line.
    pub fn print(&mut self, text: &str) {
        match &mut self.mode {
            OutputMode::Line(line) => line.print(text),
            OutputMode::Lines => stderr::print(format_args!("{text}")),
            OutputMode::Quiet => {}
        }
    }

    /// The number of trials, once it is known; the first begins.
    pub fn expect(&mut self, trials: u64) {
        self.total = trials;
        self.begun = Some(self.clock.now());
    }

    pub fn starting(&mut self, plan: &Plan, trial: TrialSlot) {
        let (cell, name) = (&plan.workloads[trial.cell].shape, &plan.contestants[trial.contestant].name);
        let size = cell.size_mix.clone().unwrap_or_else(|| cell.size.to_string());
        self.current = format!("{name}, {} x {size} B, round {}", counted(cell.connections, "connection"), trial.round);
        if let OutputMode::Lines = self.mode {
            stderr::print(format_args!("trial {}/{} {}", self.done + 1, self.total, self.current));
        }
        self.draw();
    }

    pub fn finished(&mut self) {
        self.done += 1;
        self.draw();
    }

    fn draw(&mut self) {
        let elapsed = self.clock.now().since(self.begun.unwrap_or_default());
        let text = line(self.done, self.total, elapsed, &self.current);
        if let OutputMode::Line(line) = &mut self.mode {
            line.show(|| text);
        }
    }
}

/// What is most worth knowing comes first: a narrow terminal cuts off the rest.
fn line(done: u64, total: u64, elapsed: Nanos, current: &str) -> String {
    let left = match done {
        0 => String::new(),
        _ => format!(", {} left", left(done, total, elapsed)),
    };
    let current = if current.is_empty() { String::new() } else { format!(": {current}") };
    format!("{done}/{total} trials{left}{current}")
}

/// As if all trials took as long as those before, in whole seconds, or minutes where there are many.
fn left(done: u64, total: u64, elapsed: Nanos) -> String {
    let seconds = elapsed.as_secs_f64() / done as f64 * total.saturating_sub(done) as f64;
    if seconds < 100.0 { format!("{seconds:.0}s") } else { format!("{:.0}m", seconds / 60.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_trials_so_far() {
        assert_eq!(line(0, 35, Nanos::from_secs(9), "uring, round 1"), "0/35 trials: uring, round 1");
        assert_eq!(line(5, 35, Nanos::from_secs(10), "epoll, round 2"), "5/35 trials, 60s left: epoll, round 2");
        assert_eq!(line(1, 35, Nanos::from_secs(10), ""), "1/35 trials, 6m left");
        assert_eq!(line(35, 35, Nanos::from_secs(70), ""), "35/35 trials, 0s left");
    }
}

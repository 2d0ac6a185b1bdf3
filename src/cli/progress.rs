//! How far a comparison is, on stderr: a line that is redrawn on a terminal, lines in a pipe, nothing when quiet.

use super::live::Live;
use crate::cli::told;
use crate::clock::Clock;
use crate::trial::{Plan, TrialSlot};
use crate::units::{Nanos, counted};

pub struct Progress {
    way: Way,
    clock: Clock,
    /// When the first trial began.
    begun: Option<Nanos>,
    done: u64,
    total: u64,
    /// The trial that runs.
    current: String,
}

enum Way {
    Line(Live),
    Lines,
    Quiet,
}

impl Progress {
    pub fn new(quiet: bool) -> Progress {
        let way = match (quiet, Live::new(Nanos::ZERO)) {
            (true, _) => Way::Quiet,
            (false, Some(live)) => Way::Line(live),
            (false, None) => Way::Lines,
        };
        Progress { way, clock: Clock::start(), begun: None, done: 0, total: 0, current: String::new() }
    }

    /// Something worth a line.
    pub fn say(&mut self, text: &str) {
        match &mut self.way {
            Way::Line(live) => live.say(text),
            Way::Lines => told::say(format_args!("{text}")),
            Way::Quiet => {}
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
        if let Way::Lines = self.way {
            told::say(format_args!("trial {}/{} {}", self.done + 1, self.total, self.current));
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
        if let Way::Line(live) = &mut self.way {
            live.show(|| text);
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

//! How far a comparison is, on stderr: a bar on a terminal, lines in a pipe, nothing when quiet.

use crate::trial::{Plan, Schedule};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

pub enum Progress {
    Bar(ProgressBar),
    Lines { done: u64, total: u64 },
    Quiet,
}

impl Progress {
    pub fn new(quiet: bool) -> Progress {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Progress::Quiet,
            (false, false) => Progress::Lines { done: 0, total: 0 },
            (false, true) => Progress::Bar(bar()),
        }
    }

    /// Something worth a line.
    pub fn say(&self, text: &str) {
        match self {
            Progress::Bar(bar) => bar.println(text),
            Progress::Lines { .. } => eprintln!("{text}"),
            Progress::Quiet => {}
        }
    }

    /// The number of trials, once it is known.
    pub fn expect(&mut self, trials: u64) {
        match self {
            Progress::Bar(bar) => bar.set_length(trials),
            Progress::Lines { total, .. } => *total = trials,
            Progress::Quiet => {}
        }
    }

    pub fn starting(&mut self, plan: &Plan, trial: Schedule) {
        let (cell, name) = (&plan.cells[trial.cell], &plan.contestants[trial.contestant].name);
        let size = cell.size_mix.clone().unwrap_or_else(|| cell.size.to_string());
        let what = format!("{name}, {} connections x {size} B, round {}", cell.connections, trial.round);
        match self {
            Progress::Bar(bar) => bar.set_message(what),
            Progress::Lines { done, total } => eprintln!("trial {}/{total} {what}", *done + 1),
            Progress::Quiet => {}
        }
    }

    pub fn finished(&mut self) {
        match self {
            Progress::Bar(bar) => bar.inc(1),
            Progress::Lines { done, .. } => *done += 1,
            Progress::Quiet => {}
        }
    }

    pub fn end(&self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Redrawn seldom: it shares the machine with what it reports on.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(4));
    bar.enable_steady_tick(Duration::from_secs(1));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

//! A comparison under way: the report as it grows, saved after every trial.

use super::settings::{Settings, default_baseline};
use crate::cli::progress::Progress;
use crate::cli::stderr::error_chain;
use crate::record::{CompareReport, Reason, Stopped, TrialRecord, file};
use crate::report::derive::{self, RunningFigures};
use crate::report::{json, stopping};
use crate::trial::{self, Cancel, Observer, Plan, Program, TrialSlot};
use crate::units::{Nanos, counted};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// What starting and stopping the processes of a trial takes, for the estimate shown before the first one.
const OVERHEAD_PER_TRIAL: Nanos = Nanos::from_millis(150);

pub struct Session {
    plan: Plan,
    /// The baseline is chosen among the contestants that can run.
    baseline_open: bool,
    recorder: Recorder,
}

/// Takes the records of the trials.
struct Recorder {
    /// For the names in progress messages.
    plan: Plan,
    report: CompareReport,
    figures: RunningFigures,
    output: PathBuf,
    progress: Progress,
    /// Saving failed already once, which was reported.
    unsaved: bool,
}

impl Session {
    /// Fails where the result could not be saved: better now than after a minute.
    pub fn new(settings: Settings, progress: Progress) -> Result<Session> {
        let Settings { plan, baseline_open, mut report, output } = settings;
        let figures = RunningFigures::new(&mut report)?;
        let recorder = Recorder { plan: plan.clone(), report, figures, output, progress, unsaved: false };
        recorder.save()?;
        Ok(Session { plan, baseline_open, recorder })
    }

    /// Runs all trials, or until interrupted.
    pub fn measure(&mut self, cancel: Cancel) {
        self.recorder.progress.print("checking that every contestant runs here");
        let Ok(unavailable) = trial::check(&self.plan, cancel) else { return };
        let able: Vec<usize> = (0..unavailable.len()).filter(|index| unavailable[*index].is_none()).collect();
        self.recorder.note_unable(&unavailable);
        self.choose_baseline(&able);
        if !able.is_empty() {
            self.announce(able.len() as u64);
        }
        self.recorder.report.stopped = Stopped::Interrupted;
        self.recorder.report.stopped = trial::run(&self.plan, &able, cancel, &mut self.recorder);
    }

    /// A default that cannot run would leave nothing to compare to.
    fn choose_baseline(&mut self, able: &[usize]) {
        let chosen = default_baseline(able.iter().map(|index| &self.plan.contestants[*index]));
        if let Some(contestant) = chosen.filter(|_| self.baseline_open) {
            self.recorder.report.baseline.clone_from(&contestant.name);
        }
        // Without a trial yet there is no histogram that could be damaged.
        let _ = derive::fill(&mut self.recorder.report);
    }

    /// The finished report, and where it was saved.
    pub fn close(self) -> (CompareReport, Result<PathBuf>) {
        let saved = self.recorder.save();
        let Recorder { report, output, progress, .. } = self.recorder;
        // What it drew is wiped before anything else is written.
        drop(progress);
        (report, saved.map(|()| output))
    }

    fn announce(&mut self, contestants: u64) {
        let rounds = &self.plan.rounds;
        let per_round = contestants * self.plan.workloads.len() as u64;
        let (least, most) = (rounds.min * per_round, rounds.max * per_round);
        let each = self.plan.trial_length() + OVERHEAD_PER_TRIAL;
        let time = |trials| rounds.max_time.unwrap_or(Nanos(u64::MAX)).min(Nanos(each.0.saturating_mul(trials)));
        self.recorder.progress.expect(most);
        self.recorder.progress.print(&match least == most {
            true => format!("{}, about {}", counted(most, "trial"), time(most)),
            false => format!("{least} to {most} trials, about {} to {}", time(least), time(most)),
        });
    }
}

impl Recorder {
    /// An engine of ours that this kernel does not allow is unavailable; a program of somebody else's that does not start
    /// is broken.
    fn note_unable(&mut self, reasons: &[Option<Reason>]) {
        for cell in &mut self.report.cells {
            for ((contestant, reason), plan) in cell.contestants.iter_mut().zip(reasons).zip(&self.plan.contestants) {
                let is_ours = matches!(plan.server, Program::Serve(_)) || *reason == Some(Reason::NoFreePort);
                let place = if is_ours { &mut contestant.unavailable } else { &mut contestant.broken };
                place.clone_from(reason);
            }
        }
    }

    fn save(&self) -> Result<()> {
        let name = self.output.display();
        let text = json::render(&self.report)?;
        file::write(&self.output, &text).with_context(|| format!("cannot save to {name}; choose another --output"))
    }
}

impl Observer for Recorder {
    fn starting(&mut self, trial: TrialSlot) {
        self.progress.starting(&self.plan, trial);
    }

    fn is_precise(&self, cell: usize) -> bool {
        let precision = self.report.limits.and_then(|limits| limits.precision);
        precision.is_some_and(|share| stopping::is_precise(&self.report.cells[cell], &self.report.baseline, share))
    }

    fn ended(&mut self, cell: usize, why: Stopped) {
        self.report.cells[cell].stopped = Some(why);
    }

    fn finished(&mut self, trial: TrialSlot, record: TrialRecord) {
        if let Some(reason) = record.failed.as_ref().map(Reason::first_line) {
            self.progress.print(&format!("failed: {reason}"));
        }
        self.figures.add(&mut self.report, trial.cell, trial.contestant, record);
        self.progress.finished();
        if let Err(error) = self.save()
            && !self.unsaved
        {
            self.unsaved = true;
            self.progress.print(&format!("{}; measuring goes on", error_chain(&error)));
        }
    }
}

//! A comparison under way: the report as it grows, saved after every round or trial.

use super::settings::{Settings, default_baseline};
use crate::cli::progress::Progress;
use crate::cli::stderr::error_chain;
use crate::record::{CompareReport, FloorSliceRecord, Reason, SlicesRecord, Stopped, TrialRecord, file};
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
        self.recorder.report.stopped = Stopped::Interrupted;
        self.recorder.report.stopped = match able[..] {
            // No round of nobody.
            [] => Stopped::Rounds,
            _ => {
                self.announce(able.len() as u64);
                trial::run(&self.plan, &able, cancel, &mut self.recorder)
            }
        };
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
        let cells = self.plan.workloads.len() as u64;
        let each = self.plan.trial_length() + OVERHEAD_PER_TRIAL;
        let all = |rounds: u64| Nanos(each.0.saturating_mul(rounds * cells * contestants));
        let time = |count| rounds.max_time.unwrap_or(Nanos(u64::MAX)).min(all(count));
        let (least, most) = (rounds.min, rounds.max);
        let what = match self.plan.slices {
            Some(how) => {
                self.recorder.progress.expect_rounds(&self.plan, how.blocks);
                format!(
                    "round{} of {} of slices of {}",
                    if most == 1 { "" } else { "s" },
                    counted(how.blocks, "block"),
                    Nanos(how.length_ns)
                )
            }
            None => {
                self.recorder.progress.expect(most * cells * contestants);
                format!("round{} of {}", if most == 1 { "" } else { "s" }, counted(contestants, "trial"))
            }
        };
        let cells = if cells > 1 { format!(" in each of {cells} cells") } else { String::new() };
        self.recorder.progress.print(&match least == most {
            true => format!("{most} {what}{cells}, about {}", time(most)),
            false => format!("{least} to {most} {what}{cells}, about {} to {}", time(least), time(most)),
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

    fn save_or_tell(&mut self) {
        if let Err(error) = self.save()
            && !self.unsaved
        {
            self.unsaved = true;
            self.progress.print(&format!("{}; measuring goes on", error_chain(&error)));
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

    fn block(&mut self, cell: usize, round: u64, block: u64, how: SlicesRecord) {
        self.report.cells[cell].slices = Some(how);
        self.progress.block(cell, round, block, how.blocks);
    }

    fn floor(&mut self, cell: usize, slice: FloorSliceRecord) {
        self.report.cells[cell].floor.get_or_insert_default().slices.push(slice);
    }

    fn round_over(&mut self, cell: usize, round: u64) {
        if self.plan.slices.is_none() {
            return;
        }
        let judged = self.report.cells[cell].contestants.iter().filter(|one| one.name != self.report.baseline);
        let ratios: Vec<_> = judged.filter_map(|one| Some((one.name.as_str(), one.ratio?))).collect();
        self.progress.round(cell, round, &ratios);
        self.save_or_tell();
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
        // In slices all of a round are through at once.
        if self.plan.slices.is_none() {
            self.progress.finished();
            self.save_or_tell();
        }
    }
}

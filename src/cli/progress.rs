//! How far a comparison is, on stderr: a line that is redrawn on a terminal, lines in a pipe, nothing when quiet.

use super::status_line::StatusLine;
use crate::cli::stderr;
use crate::clock::Clock;
use crate::record::RatioRecord;
use crate::report::verdict::short_name;
use crate::stats::{Interval, MIN_PAIRS, relative_half_width};
use crate::trial::{Plan, TrialSlot};
use crate::units::{Nanos, counted};
use console::measure_text_width;

/// Columns for each cell of the bar, and how many cells it may have.
const COLUMNS_PER_BAR_CELL: usize = 8;
const BAR_CELLS: (usize, usize) = (5, 20);
/// Half the width of an interval, as a share of the ratio, below which a third decimal means something.
const THREE_DECIMALS_BELOW: f64 = 0.02;

pub struct Progress {
    mode: OutputMode,
    clock: Clock,
    /// When the first trial or round began.
    begun: Option<Nanos>,
    /// No round begins so long after it.
    limit: Option<Nanos>,
    steps: Steps,
    /// Where it is: `round 5/12`.
    place: String,
    /// What follows: the trial that runs, or the ratios so far.
    details: Vec<String>,
    /// Of a comparison in slices.
    rounds: RoundsAhead,
}

/// What is to be done: trials, or blocks.
#[derive(Clone, Copy, Default)]
struct Steps {
    /// Done or skipped.
    passed: u64,
    done: u64,
    /// At most.
    total: u64,
}

#[derive(Clone, Default)]
struct RoundsAhead {
    cells: Vec<String>,
    rounds: u64,
    blocks: u64,
    /// The cell that was last begun, from 1; 0 before the first.
    cell: usize,
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
        Progress {
            mode,
            clock: Clock::start(),
            begun: None,
            limit: None,
            steps: Steps::default(),
            place: String::new(),
            details: Vec::new(),
            rounds: RoundsAhead::default(),
        }
    }

    /// Something worth a line.
    pub fn print(&mut self, text: &str) {
        match &mut self.mode {
            OutputMode::Line(line) => line.print(text),
            OutputMode::Lines => stderr::print(format_args!("{text}")),
            OutputMode::Quiet => {}
        }
    }

    /// Of a comparison in trials: their number, once it is known; the first begins.
    pub fn expect(&mut self, trials: u64) {
        self.steps = Steps { total: trials, ..Steps::default() };
        self.begun = Some(self.clock.now());
    }

    pub fn starting(&mut self, plan: &Plan, trial: TrialSlot) {
        let (cell, name) = (&plan.workloads[trial.cell].shape, &plan.contestants[trial.contestant].name);
        let connections = counted(cell.connections, "connection");
        self.details = vec![format!("{name}, {connections} x {} B, round {}", cell.sizes(), trial.round)];
        self.place = self.trial(self.steps.done + 1);
        if let OutputMode::Lines = self.mode {
            stderr::print(format_args!("{} {}", self.place, self.details[0]));
        }
        self.draw();
    }

    pub fn finished(&mut self) {
        self.steps.done += 1;
        self.steps.passed = self.steps.done;
        self.place = self.trial(self.steps.done);
        self.draw();
    }

    fn trial(&self, number: u64) -> String {
        format!("trial {number}/{}", self.steps.total)
    }

    /// Of a comparison in slices: what is ahead at most, with so many blocks in a round; the first round begins.
    pub fn expect_rounds(&mut self, plan: &Plan, blocks: u64) {
        let cells: Vec<String> = plan
            .workloads
            .iter()
            .map(|workload| format!("{}, {}", workload.generator.protocol, workload.shape.name()))
            .collect();
        self.rounds = RoundsAhead { rounds: plan.rounds.max, blocks, cell: 0, cells };
        self.steps = Steps { total: self.rounds.position(self.rounds.cells.len(), 1, 0), ..Steps::default() };
        self.limit = plan.rounds.max_time;
        self.begun = Some(self.clock.now());
    }

    /// A block begins: its number from 0, of this round, from 1, of this cell, from 0; and how many a round has.
    pub fn block(&mut self, cell: usize, round: u64, block: u64, blocks: u64) {
        self.enter(cell);
        if blocks != self.rounds.blocks {
            self.rounds.blocks = blocks;
            self.steps.total = self.rounds.position(self.rounds.cells.len(), 1, 0);
        }
        self.place = self.rounds.place(cell, round);
        self.steps.passed = self.rounds.position(cell, round, block);
        self.draw();
        self.steps.done += 1;
    }

    /// A round is over: the ratios so far of those of its cell that have one. In a pipe it gets a line.
    pub fn round(&mut self, cell: usize, round: u64, ratios: &[(&str, RatioRecord)]) {
        self.enter(cell);
        self.place = self.rounds.place(cell, round);
        self.steps.passed = self.rounds.position(cell, round + 1, 0);
        self.details = ratios.iter().map(|(name, ratio)| figure(name, ratio)).collect();
        if let OutputMode::Lines = self.mode {
            stderr::print(format_args!("{}", fitted(self.head(), &self.details, usize::MAX)));
        }
        self.draw();
    }

    /// The ratios are those of one cell.
    fn enter(&mut self, cell: usize) {
        if self.rounds.cell == cell + 1 {
            return;
        }
        self.rounds.cell = cell + 1;
        self.details.clear();
        if let (OutputMode::Lines, Some(name), 2..) = (&self.mode, self.rounds.cells.get(cell), self.rounds.cells.len())
        {
            stderr::print(format_args!("cell {}/{}: {name}", cell + 1, self.rounds.cells.len()));
        }
    }

    fn draw(&mut self) {
        let (head, share) = (self.head(), self.share());
        if let OutputMode::Line(line) = &mut self.mode {
            let columns = line.columns();
            line.show(|| fitted(format!("{} {head}", bar(share, columns)), &self.details, columns));
        }
    }

    fn elapsed(&self) -> Nanos {
        self.clock.now().since(self.begun.unwrap_or_default())
    }

    /// What is most worth knowing comes first: a narrow terminal cuts off the rest.
    fn head(&self) -> String {
        match self.steps.left(self.elapsed(), self.limit) {
            Some(left) => format!("{}, {left} left", self.place),
            None => self.place.clone(),
        }
    }

    /// Of the work, or of the time where that ends first.
    fn share(&self) -> f64 {
        let of_time = self.limit.map_or(0.0, |limit| self.elapsed().as_secs_f64() / limit.as_secs_f64());
        of_time.max(self.steps.passed as f64 / self.steps.total.max(1) as f64)
    }
}

impl Steps {
    /// As if all steps took as long as those before, in whole seconds, or minutes where there are many.
    fn left(self, elapsed: Nanos, limit: Option<Nanos>) -> Option<String> {
        let work = elapsed.as_secs_f64() / self.done as f64 * self.total.saturating_sub(self.passed) as f64;
        let time = limit.map_or(f64::INFINITY, |limit| limit.since(elapsed).as_secs_f64());
        let seconds = work.min(time);
        let text = if seconds < 100.0 { format!("{seconds:.0}s") } else { format!("{:.0}m", seconds / 60.0) };
        (self.done > 0).then_some(text)
    }
}

impl RoundsAhead {
    /// Blocks before this one, which is counted from 0.
    fn position(&self, cell: usize, round: u64, block: u64) -> u64 {
        (cell as u64 * self.rounds + round.saturating_sub(1)) * self.blocks + block
    }

    fn place(&self, cell: usize, round: u64) -> String {
        let round = format!("round {round}/{}", self.rounds);
        match self.cells.len() {
            0 | 1 => round,
            cells => format!("cell {}/{cells}, {round}", cell + 1),
        }
    }
}

/// `[####------]`, as wide as fits the terminal.
fn bar(share: f64, columns: usize) -> String {
    let cells = (columns / COLUMNS_PER_BAR_CELL).clamp(BAR_CELLS.0, BAR_CELLS.1);
    let full = ((share * cells as f64) as usize).min(cells);
    format!("[{}{}]", "#".repeat(full), "-".repeat(cells - full))
}

/// `uring 1.041 +-0.9 %`: with half the width of the interval, as a share of the ratio. That of a few rounds is none to
/// rely on.
fn figure(name: &str, ratio: &RatioRecord) -> String {
    let name = short_name(name);
    if ratio.pairs < MIN_PAIRS as u64 {
        return format!("{name} {:.2}", ratio.median);
    }
    let half = relative_half_width(ratio.median, Interval { low: ratio.low, high: ratio.high });
    let decimals = if half < THREE_DECIMALS_BELOW { 3 } else { 2 };
    format!("{name} {:.decimals$} +-{:.1} %", ratio.median, half * 100.0)
}

/// Details after the head, as many as fit whole; at least one.
fn fitted(head: String, details: &[String], columns: usize) -> String {
    const MORE: &str = ", …";
    let mut line = head;
    for (index, detail) in details.iter().enumerate() {
        let (separator, is_last) = (if index == 0 { ": " } else { ", " }, index + 1 == details.len());
        let reserved = if is_last { 0 } else { measure_text_width(MORE) };
        let width = measure_text_width(&line) + separator.len() + measure_text_width(detail) + reserved;
        if index > 0 && width > columns {
            return line + MORE;
        }
        line += separator;
        line += detail;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_steps_so_far_or_of_the_limit() {
        let left = |passed, done, seconds, limit: Option<u64>| {
            Steps { passed, done, total: 35 }.left(Nanos::from_secs(seconds), limit.map(Nanos::from_secs))
        };
        for (passed, done, seconds, limit, expected) in [
            (0, 0, 9, None, None),
            (5, 5, 10, None, Some("60s")),
            (1, 1, 10, None, Some("6m")),
            (35, 35, 70, None, Some("0s")),
            (25, 5, 10, None, Some("20s")),
            (5, 5, 10, Some(40), Some("30s")),
            (5, 5, 10, Some(9), Some("0s")),
        ] {
            assert_eq!(left(passed, done, seconds, limit).as_deref(), expected, "{passed} {done} {seconds} {limit:?}");
        }
    }

    #[test]
    fn blocks_are_counted_over_rounds_and_cells() {
        let ahead = RoundsAhead { cells: vec![String::new(); 3], rounds: 12, blocks: 14, ..RoundsAhead::default() };
        assert_eq!((ahead.position(0, 1, 0), ahead.position(2, 3, 4)), (0, 2 * 12 * 14 + 2 * 14 + 4));
        assert_eq!(ahead.position(2, 13, 0), ahead.position(3, 1, 0));
        assert_eq!(ahead.place(2, 3), "cell 3/3, round 3/12");
        assert_eq!(RoundsAhead { cells: vec![String::new()], ..ahead }.place(0, 3), "round 3/12");
    }

    #[test]
    fn a_bar_is_as_full_as_the_share() {
        assert_eq!(
            (bar(0.0, 80), bar(0.5, 80), bar(7.0, 1)),
            ("[----------]".into(), "[#####-----]".into(), "[#####]".into())
        );
    }

    #[test]
    fn ratios_come_with_half_their_interval_as_many_as_fit() {
        let ratio = |median, low, high| RatioRecord { median, low, high, pairs: 9 };
        let figures = [
            figure("uring", &ratio(1.0411, 1.0317, 1.0504)),
            figure("exec bin/peer {ip}:{port}", &ratio(0.5, 0.4, 0.6)),
            figure("tokio", &ratio(1.0, 1.0, 1.0)),
        ];
        let all = "round 5/12: uring 1.041 +-0.9 %, exec peer 0.50 +-20.0 %, tokio 1.000 +-0.0 %";
        let head = || "round 5/12".to_owned();
        assert_eq!(fitted(head(), &figures, all.len()), all);
        assert_eq!(
            fitted(head(), &figures, all.len() - 1),
            "round 5/12: uring 1.041 +-0.9 %, exec peer 0.50 +-20.0 %, …"
        );
        assert_eq!(fitted(head(), &figures, 3), "round 5/12: uring 1.041 +-0.9 %, …");
        assert_eq!(fitted(head(), &[], 3), "round 5/12");
        assert_eq!(figure("a", &RatioRecord { pairs: 5, ..ratio(1.0411, 1.0411, 1.0411) }), "a 1.04");
    }
}

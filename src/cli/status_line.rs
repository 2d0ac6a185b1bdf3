//! What changes while one looks: a few lines on standard error that are drawn anew in their place, where that is a
//! terminal which can do so. Everywhere else there are plain lines, or none: that is for its users to say.

use crate::clock::Clock;
use crate::units::Nanos;
use console::{Term, is_dumb, truncate_str};

/// Columns left empty at the end of each line, where the terminal shows a Ctrl-C as `^C`: a full line would break.
const MARGIN: usize = 3;

pub struct StatusLine {
    terminal: Term,
    clock: Clock,
    every: Nanos,
    next: Nanos,
    /// What stands there now.
    lines: Vec<String>,
}

impl StatusLine {
    /// Draws at most this often. `None` where standard error is no terminal, or one that cannot go back (TERM is `dumb` or
    /// not set).
    pub fn new(every: Nanos) -> Option<StatusLine> {
        let terminal = Term::buffered_stderr();
        let lively = terminal.is_term() && !is_dumb();
        lively.then(|| StatusLine { terminal, clock: Clock::start(), every, next: Nanos::ZERO, lines: Vec::new() })
    }

    /// Shows this instead of what was shown before, if it is time to. What does not fit on the screen is cut off.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        let now = self.clock.now();
        if now >= self.next {
            self.next = now + self.every;
            self.replace(text().lines().map(str::to_owned).collect());
        }
    }

    /// How long a line may be that is not cut off.
    pub fn columns(&self) -> usize {
        usize::from(self.terminal.size().1).saturating_sub(MARGIN).max(1)
    }

    /// A line that stays, above those that change.
    pub fn print(&mut self, text: &str) {
        let lines = std::mem::take(&mut self.lines);
        self.wipe(lines.len());
        let _ = self.terminal.write_line(text);
        self.replace(lines);
    }

    fn replace(&mut self, lines: Vec<String>) {
        self.wipe(self.lines.len());
        let (rows, columns) = (usize::from(self.terminal.size().0).max(2) - 1, self.columns());
        self.lines = lines.into_iter().take(rows).collect();
        let cut: Vec<_> = self.lines.iter().map(|line| truncate_str(line, columns, "…")).collect();
        let _ = self.terminal.write_str(&cut.join("\n"));
        // Where nobody can be shown anything, nothing is to be done about it either.
        let _ = self.terminal.flush();
    }

    fn wipe(&self, lines: usize) {
        if lines > 0 {
            let _ = self.terminal.move_cursor_up(lines - 1);
            let _ = self.terminal.clear_to_end_of_screen();
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.wipe(self.lines.len());
        let _ = self.terminal.flush();
    }
}

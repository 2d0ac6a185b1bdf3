//! The live view of a trace: the table as far as it is known, on standard error, and only where that is a terminal.

use super::record::hops;
use crate::diag::trace::Path;
use crate::report::probes::trace::table;
use crate::report::times::FiguresRecord;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};

pub struct LiveTable {
    /// `None` where nobody looks.
    view: Option<ProgressBar>,
}

impl LiveTable {
    pub fn new(quiet: bool) -> LiveTable {
        let view = (!quiet && stderr().is_terminal()).then(|| {
            let view = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
            view.with_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        LiveTable { view }
    }

    pub fn show(&mut self, path: &Path) {
        if let Some(view) = &self.view {
            view.set_message(table(&hops(path, FiguresRecord::brief)).join("\n"));
        }
    }
}

impl Drop for LiveTable {
    fn drop(&mut self) {
        if let Some(view) = &self.view {
            view.finish_and_clear();
        }
    }
}

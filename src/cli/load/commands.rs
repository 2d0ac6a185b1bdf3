//! Commands of a load in slices, by line on standard input.

use crate::load::Commander;
use crate::record::slice_command::{SliceCommand, SliceDone};
use std::io::{self, Write};

/// The end of the input is the end of the run, and so is what is no command.
#[derive(Default)]
pub struct StandardInput {
    line: String,
}

impl Commander for StandardInput {
    fn next(&mut self, done: SliceDone) -> Option<SliceCommand> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", done.line()).and_then(|()| out.flush()).ok()?;
        drop(out);
        self.line.clear();
        io::stdin().read_line(&mut self.line).ok()?;
        SliceCommand::parse(&self.line)
    }
}

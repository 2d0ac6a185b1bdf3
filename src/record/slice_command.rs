//! What `compare` says to a generator whose load comes and goes, by line: each command is answered by [`DONE`], and the
//! last by the generator's report.

/// The line that answers each command, and comes once before the first: all connections are made and answered.
pub const DONE: &str = "done";

/// What a generator is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceCommand {
    /// A slice that is measured.
    Slice,
    /// One that is not.
    WarmUp,
    /// Slices in which counters are open that would disturb others.
    Count,
    /// From now on the server is stopped (SIGSTOP) between slices, as it is not quiet.
    StopBetween,
    /// Drain, and report.
    End,
}

const NAMES: [(&str, SliceCommand); 5] = [
    ("slice", SliceCommand::Slice),
    ("warm-up", SliceCommand::WarmUp),
    ("count", SliceCommand::Count),
    ("stop-between", SliceCommand::StopBetween),
    ("end", SliceCommand::End),
];

impl SliceCommand {
    /// As it is written.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// `None` where it is no command.
    pub fn parse(line: &str) -> Option<SliceCommand> {
        NAMES.iter().find(|(name, _)| *name == line.trim()).map(|(_, command)| *command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_read_as_it_is_written() {
        for (_, command) in NAMES {
            assert_eq!(SliceCommand::parse(&format!("{}\n", command.name())), Some(command));
        }
        assert_eq!(["", "slices", "END"].map(SliceCommand::parse), [None; 3]);
    }
}

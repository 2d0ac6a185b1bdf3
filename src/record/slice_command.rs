//! What `compare` and a generator whose load comes and goes say to each other, by line: each command is answered by a
//! [`SliceDone`], and the last by the generator's report.

/// What a generator is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceCommand {
    /// A slice that is measured.
    Slice { length_ns: u64 },
    /// One that is not.
    WarmUp { length_ns: u64 },
    /// Slices in which counters are open that would disturb others.
    Count,
    /// From now on the server is stopped (SIGSTOP) between slices, as it is not quiet.
    StopBetween,
    /// Drain, and report.
    End,
}

/// A command is carried out; the first comes before any: all connections are made and answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceDone {
    /// Requests answered meanwhile.
    pub answers: u64,
    pub took_ns: u64,
    /// The server's CPU time from the slice before to this one, in which nothing was asked of it, and how long that was; 0
    /// where it is not known.
    pub idle_cpu_ns: u64,
    pub idle_ns: u64,
    /// Errors of the run so far that are not allowed: its figures are of no use any more.
    pub errors: u64,
}

const DONE: &str = "done";

impl SliceCommand {
    /// As it is written.
    pub fn line(self) -> String {
        match self {
            SliceCommand::Slice { length_ns } => format!("slice {length_ns}"),
            SliceCommand::WarmUp { length_ns } => format!("warm-up {length_ns}"),
            SliceCommand::Count => "count".into(),
            SliceCommand::StopBetween => "stop-between".into(),
            SliceCommand::End => "end".into(),
        }
    }

    /// `None` where it is no command.
    pub fn parse(line: &str) -> Option<SliceCommand> {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let mut length_ns = || words.next()?.parse().ok();
        Some(match name {
            "slice" => SliceCommand::Slice { length_ns: length_ns()? },
            "warm-up" => SliceCommand::WarmUp { length_ns: length_ns()? },
            "count" => SliceCommand::Count,
            "stop-between" => SliceCommand::StopBetween,
            "end" => SliceCommand::End,
            _ => return None,
        })
    }
}

impl SliceDone {
    /// As it is written.
    pub fn line(self) -> String {
        let SliceDone { answers, took_ns, idle_cpu_ns, idle_ns, errors } = self;
        format!("{DONE} {answers} {took_ns} {idle_cpu_ns} {idle_ns} {errors}")
    }

    /// `None` where it is something else.
    pub fn parse(line: &str) -> Option<SliceDone> {
        let figures = line.strip_prefix(DONE)?.split_whitespace().map(|figure| figure.parse().ok());
        let figures: Vec<u64> = figures.collect::<Option<_>>()?;
        let [answers, took_ns, idle_cpu_ns, idle_ns, errors] = figures[..] else { return None };
        Some(SliceDone { answers, took_ns, idle_cpu_ns, idle_ns, errors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let length_ns = 50_000_000;
        for command in [
            SliceCommand::Slice { length_ns },
            SliceCommand::WarmUp { length_ns },
            SliceCommand::Count,
            SliceCommand::StopBetween,
            SliceCommand::End,
        ] {
            assert_eq!(SliceCommand::parse(&format!("{}\n", command.line())), Some(command));
        }
        assert_eq!(["", "slice", "slice x", "END"].map(SliceCommand::parse), [None; 4]);
        let done = SliceDone { answers: 7, took_ns: 9, idle_cpu_ns: 1, idle_ns: 2, errors: 3 };
        assert_eq!(SliceDone::parse(&done.line()), Some(done));
        assert_eq!(["", "done", "done 1 2 3 4", "{\"done\": 1}"].map(SliceDone::parse), [None; 4]);
    }
}

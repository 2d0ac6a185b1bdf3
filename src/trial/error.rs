//! Why a trial gave no figures: what was tried, on what, why it failed, and what the process said last.

use crate::units::Nanos;
use std::io;
use std::process::ExitStatus;

/// A trial that failed. Its text is stored in the result.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("interrupted")]
    Interrupted,
    #[error("cannot start '{command}': {source}")]
    Start { command: String, source: io::Error },
    #[error("no free port on 127.0.0.1 below the range the kernel hands out; free one between 10000 and 30000")]
    NoPort,
    #[error("the server '{command}' ended ({status}) before it listened{said}")]
    EndedEarly { command: String, status: ExitStatus, said: Said },
    #[error("the server '{command}' did not listen on {address} within {}{said}", whole(.waited))]
    NotReady { command: String, address: String, waited: Nanos, said: Said },
    #[error("the server '{command}' ended ({status}) while it was measured{said}")]
    EndedUnderLoad { command: String, status: ExitStatus, said: Said },
    #[error("the server '{command}' ended with {status} instead of 0 when asked to stop{said}")]
    BadStop { command: String, status: ExitStatus, said: Said },
    #[error("the server '{command}' was still there {} after SIGTERM and was killed{said}", whole(.waited))]
    Hung { command: String, waited: Nanos, said: Said },
    #[error("the generator '{command}' ended with {status}{said}")]
    Generator { command: String, status: ExitStatus, said: Said },
    #[error("the generator '{command}' was not done within {} and was killed{said}", whole(.waited))]
    GeneratorHung { command: String, waited: Nanos, said: Said },
    #[error("the generator '{command}' printed no report of the form {}: {problem}", crate::record::LOAD_SCHEMA)]
    NoReport { command: String, problem: String },
    #[error(
        "process {pid} ('{command}') is still there {} after SIGKILL: end it yourself (a program that changes its user, such as sudo, cannot be ended from here)",
        whole(.waited)
    )]
    NotKilled { pid: u32, command: String, waited: Nanos },
    #[error("waiting for '{command}' failed: {source}")]
    Wait { command: String, source: io::Error },
}

/// The last lines a process wrote to stderr, one below the other.
#[derive(Debug, Default)]
pub struct Said(pub Vec<String>);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("; it wrote nothing to stderr");
        }
        f.write_str("; its stderr:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

fn whole(time: &Nanos) -> String {
    time.to_string()
}

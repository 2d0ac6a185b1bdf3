//! One trial is one server process and one generator process; a comparison is rounds of trials.
//!
//! This module starts processes, waits for them and ends them, all of them, whatever happens. It sends no load and
//! reads no file: what it returns are the records in [`crate::record`].

mod capture;
mod error;
mod generator;
mod process;
mod rounds;
mod server;

pub use error::TrialError;
pub use rounds::{Observer, Schedule, check, run};

use crate::record::ShapeRecord;
use crate::units::{CoreList, Nanos, Share, Transport};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// All a comparison needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The executable that has the commands `serve` and `load`: our own.
    pub program: PathBuf,
    pub contestants: Vec<Contestant>,
    /// The workloads.
    pub cells: Vec<ShapeRecord>,
    pub rounds: Rounds,
    pub seed: u64,
    /// What all contestants serve.
    pub transport: Transport,
    pub server_cores: CoreList,
    pub load: Load,
}

/// When a cell has had enough rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// At least so many, unless the time is over before.
    pub min: u64,
    pub max: u64,
    /// Stop in between once the observer says that the figures are precise enough.
    pub until_precise: bool,
    /// For all cells together; no round begins after it.
    pub max_time: Option<Nanos>,
}

impl Rounds {
    pub fn fixed(count: u64) -> Rounds {
        Rounds { min: count, max: count, until_precise: false, max_time: None }
    }
}

/// A server to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contestant {
    /// Short and unique in its plan.
    pub name: String,
    /// As typed.
    pub words: String,
    pub server: Program,
}

/// How a contestant's server is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// Ours: the words after `serve`.
    Serve(Vec<String>),
    /// Any other: a program and its arguments, in which `{ip}` and `{port}` are filled in.
    Exec(Vec<String>),
}

/// What all trials share of the generator's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    pub cores: CoreList,
    pub threads: u64,
    pub duration: Nanos,
    /// Shortest and longest warm-up.
    pub warmup: Nanos,
    pub warmup_max: Nanos,
    /// Connections of each cell beside the others that are open and silent.
    pub idle: u64,
    /// `None` is a closed loop.
    pub pacing: Option<Pacing>,
    pub timeout: Nanos,
    /// What does not make a trial invalid; `None` leaves it to the generator.
    pub allow_errors: Option<Share>,
    pub max_loss: Option<Share>,
    pub spin: Nanos,
    /// `uring` or `epoll`.
    pub engine: String,
    /// Datagrams that may leave with one send; 0 where each leaves by itself.
    pub gso: u64,
    /// What the servers understand, where that is not any bytes: `sockperf`.
    pub speak: Option<String>,
    /// Count after the counted time what would have disturbed it.
    pub counts: bool,
}

/// When an open loop sends, in the generator's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Requests per second; `None` where the arrival brings its rates.
    pub rate: Option<u64>,
    /// The mean of it all.
    pub mean_rate: u64,
    pub arrival: String,
    pub timer: String,
}

/// Set by a signal handler; every wait in this module ends soon after.
#[derive(Clone, Copy)]
pub struct Cancel<'a>(pub &'a AtomicBool);

impl Cancel<'_> {
    pub fn is_set(self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(self) -> Result<(), TrialError> {
        if self.is_set() { Err(TrialError::Interrupted) } else { Ok(()) }
    }
}

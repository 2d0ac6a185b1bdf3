//! One trial is one server process and one generator process; a comparison is rounds of trials, one after the other or in
//! slices by turns.
//!
//! This module starts processes, waits for them and ends them, all of them, whatever happens. It sends no load and
//! reads no file: what it returns are the records in [`crate::record`].

mod capture;
mod error;
mod floor;
mod generator;
mod listen;
mod observer;
mod process;
mod rounds;
mod server;
mod slices;
mod socket_folder;

pub use error::TrialError;
pub use floor::Floor;
pub use observer::{Observer, TrialSlot};
pub use rounds::{check, run};

use crate::record::{SlicesRecord, Workload};
use crate::units::{CoreList, Nanos};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// All a comparison needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The executable that has the commands `serve` and `load`: our own.
    pub program: PathBuf,
    pub contestants: Vec<Contestant>,
    /// One for each cell.
    pub workloads: Vec<Workload>,
    pub rounds: Rounds,
    /// How the load passes from one to the next within a round; `None`: trials, one after the other.
    pub slices: Option<SlicesRecord>,
    /// Slices are made longer where answers take long.
    pub adapts_slices: bool,
    pub seed: u64,
    pub server_cores: CoreList,
    pub load_cores: CoreList,
    /// Count after the counted time of a trial what would have disturbed it.
    pub counts: bool,
}

impl Plan {
    /// What the contestants are to serve, one cell or another: each of `tcp`, `udp`, `unix` and `unixgram` at most once.
    pub fn protocols(&self) -> Vec<&str> {
        let mut protocols: Vec<&str> = Vec::new();
        for workload in &self.workloads {
            let protocol = workload.generator.protocol.as_str();
            if !protocols.contains(&protocol) {
                protocols.push(protocol);
            }
        }
        protocols
    }

    /// Shortest warm-up and counted time, or all slices of a round and one to warm up.
    pub fn trial_length(&self) -> Nanos {
        if let Some(how) = self.slices {
            return Nanos(how.load_ns());
        }
        self.workloads
            .first()
            .map_or(Nanos::ZERO, |workload| Nanos(workload.generator.warmup_ns) + Nanos(workload.generator.duration_ns))
    }
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
    /// Any other: a program and its arguments, in which `{ip}` and `{port}`, or `{path}`, are filled in.
    Exec(Vec<String>),
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

//! What processes use: CPU time, context switches, memory, and what the kernel's performance counters count.
//!
//! All of it is read from outside, at the ends of a span; nothing here happens per message. Threads and processes that
//! come and go in between never make a difference negative: what is missing because of them is counted.

mod cores;
mod cpu;
mod memory;
mod perf;
mod process_tree;
mod switches;
mod tracefs;

pub use cores::{CoresTime, cores_time};
pub use cpu::{Cpu, ProcessTreeCpu, ProcessTreeUse, process_cpu, process_tree_cpu, thread_cpu};
pub use memory::process_tree_resident;
pub use perf::{Counters, PerfEvent};
pub use process_tree::{other_threads, process_tree_threads, processes};
pub use switches::{ProcessTreeSwitches, Switches, SwitchesUse, own_switches, process_tree_switches};

/// A figure that cannot be had here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The figure.
    pub what: &'static str,
    /// The reason.
    pub why: String,
    /// How to get it.
    pub remedy: String,
}

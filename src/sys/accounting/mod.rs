//! What processes use: CPU time, context switches, memory, and what the kernel's performance counters count.
//!
//! All of it is read from outside, at the ends of a span; nothing here happens per message. Threads and processes that
//! come and go in between never make a difference negative: what is missing because of them is told.

mod cores;
mod cpu;
mod memory;
mod perf;
mod switches;
mod tree;

pub use cores::{CoresTime, cores_time};
pub use cpu::{Cpu, TreeCpu, TreeUse, process_cpu, thread_cpu, tree_cpu};
pub use memory::tree_resident;
pub use perf::{Counted, Counters};
pub use switches::{Switches, SwitchesUse, TreeSwitches, own_switches, tree_switches};
pub use tree::{other_threads, processes, tree_threads};

/// A figure that cannot be had here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The figure.
    pub what: &'static str,
    pub why: String,
    /// How to get it.
    pub remedy: String,
}

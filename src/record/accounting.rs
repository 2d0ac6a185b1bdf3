//! What both ends of a run used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What both ends used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountingRecord {
    pub generator: EndRecord,
    /// `None` when no server process was named.
    pub server: Option<EndRecord>,
    /// Interrupts on the cores of both; `None` in files older than it, and where no cores were watched.
    #[serde(default)]
    pub interrupts: Option<InterruptsRecord>,
    /// What could not be read, each thing once.
    pub unavailable: Vec<UnavailableRecord>,
}

/// What interrupts and softirqs took of the cores of both ends within the counted time: mostly the network's work, also
/// that for others. To 10 ms per core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterruptsRecord {
    pub cpu_ns: u64,
    /// None of it is in the CPU time of the ends (CONFIG_IRQ_TIME_ACCOUNTING). Other kernels put it down to whomever it
    /// interrupted too.
    pub apart: bool,
}

/// What one end used: all its threads, io_uring's worker and SQPOLL threads included. `None` is unknown.
///
/// CPU time is of the counted time. The counts are not, because counting costs something (system calls take some 100 ns
/// longer each; switches are read thread by thread): they have spans of their own right after the counted time, under the
/// same load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndRecord {
    /// CPU time in user and in system mode. Their sum is exact; how it divides is what the kernel saw at its ticks (1 to
    /// 10 ms), so good for some per cent in a second.
    pub user_ns: Option<u64>,
    pub system_ns: Option<u64>,
    /// Context switches because a thread waited, and because its core was given to another.
    pub voluntary_switches: Option<CountRecord>,
    pub involuntary_switches: Option<CountRecord>,
    /// The generator's do not include those of the thread that reads the counters.
    pub syscalls: Option<CountRecord>,
    /// In user and system mode. Counted together, before the system calls.
    pub instructions: Option<CountRecord>,
    pub cycles: Option<CountRecord>,
    /// Memory in RAM at the end of the counted time, without what the kernel keeps for sockets and rings.
    pub resident_bytes: Option<u64>,
    /// By how much that is more than before the run's first connection. What an earlier client made the process reserve
    /// is not in it, what a new process reserves once for all connections is.
    pub resident_growth_bytes: Option<i64>,
}

/// Events and the requests that were answered in the same span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountRecord {
    pub count: u64,
    pub requests: u64,
    pub duration_ns: u64,
}

/// How [`UnavailableRecord::what`] names them.
pub const SYSTEM_CALLS: &str = "system calls";

/// A figure that could not be had, and how to get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnavailableRecord {
    pub what: String,
    pub why: String,
    pub remedy: String,
}

/// What one end used per request, over one or several runs. `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UseRecord {
    pub user_ns_per_request: Option<f64>,
    pub system_ns_per_request: Option<f64>,
    pub voluntary_switches_per_request: Option<f64>,
    pub involuntary_switches_per_request: Option<f64>,
    pub syscalls_per_request: Option<f64>,
    pub instructions_per_request: Option<f64>,
    pub cycles_per_request: Option<f64>,
    /// Mean over the runs.
    pub resident_bytes: Option<f64>,
    /// What a connection added to it.
    pub resident_growth_bytes_per_connection: Option<f64>,
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_report_from_before_the_accounting_is_read() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/results/2026-11-23-epyc-2core/ringload.json");
        let text = std::fs::read_to_string(path).unwrap();
        let report: super::super::LoadReport = serde_json::from_str(&text).unwrap();
        assert!(report.accounting.is_none() && report.requests > 0);
    }
}

//! What machine this is, for the record.

use crate::record::HostRecord;
use std::fs;

const UNKNOWN: &str = "unknown";

/// Facts of the running kernel; `unknown` where it does not report them.
pub fn facts(available_cores: usize) -> HostRecord {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| UNKNOWN.into());
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    HostRecord { kernel: kernel.trim().to_owned(), cpu: cpu_model(&cpuinfo), cores: available_cores as u64 }
}

/// The line is called "model name" on x86 and is missing on most others.
fn cpu_model(cpuinfo: &str) -> String {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| matches!(key.trim(), "model name" | "Model" | "cpu model"))
        .map_or_else(|| UNKNOWN.to_owned(), |(_, model)| model.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found_or_unknown() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\n"), "A CPU @ 2 GHz");
        assert_eq!(cpu_model("processor : 0\n"), UNKNOWN);
        assert!(!facts(1).kernel.is_empty());
    }
}

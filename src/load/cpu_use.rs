//! CPU time of both ends between two instants, as the main thread reads it.

use super::Config;
use crate::clock::Clock;
use crate::sys::accounting::{self, CoresTime, Cpu, ProcessTreeCpu, ProcessTreeUse};
use crate::sys::affinity;
use crate::units::{CoreList, Nanos};

/// CPU time used so far, and when it was read.
#[derive(Clone, Debug)]
pub struct CpuSample {
    pub at: Nanos,
    pub generator: Option<Cpu>,
    pub server: Option<ProcessTreeCpu>,
    /// What became of the watched cores' time.
    pub cores: Option<CoresTime>,
}

/// CPU time used between two samples, or in several such spans together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuUse {
    /// From the first to the second sample.
    pub span: Nanos,
    pub generator: Option<Cpu>,
    pub server: Option<ProcessTreeUse>,
    pub cores: Option<CoresTime>,
}

impl CpuSample {
    /// What was used since an earlier sample.
    pub fn since(&self, earlier: &CpuSample) -> CpuUse {
        CpuUse {
            span: self.at.since(earlier.at),
            generator: self.generator.zip(earlier.generator).map(|(now, before)| now.since(before)),
            server: self.server.as_ref().zip(earlier.server.as_ref()).map(|(now, before)| now.since(before)),
            cores: self.cores.zip(earlier.cores).map(|(now, before)| now.since(before)),
        }
    }

    /// With the processes that the server has started since.
    pub fn with_new_of(self, server: Option<u32>) -> CpuSample {
        let tree = self.server.zip(server).map(|(tree, pid)| tree.with_new_of(pid));
        CpuSample { server: tree, ..self }
    }
}

impl CpuUse {
    /// Both together; what is unknown of one is unknown of both.
    pub fn with(self, other: CpuUse) -> CpuUse {
        let server = self
            .server
            .zip(other.server)
            .map(|(one, other)| ProcessTreeUse { cpu: one.cpu + other.cpu, ended: one.ended + other.ended });
        CpuUse {
            span: self.span + other.span,
            generator: self.generator.zip(other.generator).map(|(one, other)| one + other),
            server,
            cores: self.cores.zip(other.cores).map(|(one, other)| one + other),
        }
    }
}

/// Reads CPU clocks.
#[derive(Debug)]
pub struct CpuReader {
    clock: Clock,
    /// The server's processes as they were when the reader was made.
    server: Option<Vec<u32>>,
    /// Cores whose time is in the samples.
    pub watched_cores: Vec<usize>,
}

impl CpuReader {
    /// Looking for the server's processes takes a while where it has many threads: not to be done while much is to do.
    pub fn new(config: &Config, clock: Clock) -> CpuReader {
        let server = config.server_pid.map(accounting::processes);
        CpuReader { clock, server, watched_cores: watched_cores(config) }
    }

    pub fn sample(&self) -> CpuSample {
        let server = self.server.as_ref();
        CpuSample {
            at: self.clock.now(),
            generator: accounting::process_cpu(std::process::id()).ok(),
            server: server.and_then(|known| accounting::process_tree_cpu(known).ok()),
            cores: accounting::cores_time(&self.watched_cores).ok().filter(|_| !self.watched_cores.is_empty()),
        }
    }
}

/// Cores on which every program but the generator and the server is another: those of both, or without a known server
/// the generator's alone, if it is pinned.
fn watched_cores(config: &Config) -> Vec<usize> {
    let server = config.server_pid.and_then(affinity::cores_of);
    let own = config.pin.clone().or_else(|| affinity::available().ok().filter(|_| server.is_some()));
    let mut cores: Vec<usize> = server.iter().chain(&own).flat_map(CoreList::as_slice).copied().collect();
    cores.sort_unstable();
    cores.dedup();
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_add_up_and_what_is_unknown_of_one_is_unknown_of_all() {
        let sample = |at, cpu| CpuSample {
            at: Nanos(at),
            generator: Some(Cpu { total: Nanos(cpu), ..Cpu::default() }),
            server: None,
            cores: None,
        };
        let one = sample(100, 10).since(&sample(40, 4));
        let both = one.with(sample(300, 50).since(&sample(200, 20)));
        assert_eq!((both.span, both.generator.map(|cpu| cpu.total)), (Nanos(160), Some(Nanos(36))));
        assert_eq!(both.with(CpuUse::default()).generator, None);
    }
}

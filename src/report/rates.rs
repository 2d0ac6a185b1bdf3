//! Requests per second and CPU time per request as they are shown: the baseline's, and everybody else's as the ratio to
//! it says. Medians of different rounds can contradict the ratio of the rounds in which both were measured, as the machine
//! was not the same in them; of figures that stand beside each other in a table that is not to be read.

use super::pairing::is_in_slices;
use crate::record::{ContestantRecord, LoadReport, RatiosRecord, SliceRecord, TrialRecord};
use crate::stats::{median, trimmed_geometric_mean};

/// The middle over the rounds; CPU times in nanoseconds per request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub throughput_per_s: Option<f64>,
    pub server_cpu_ns: Option<f64>,
    pub generator_cpu_ns: Option<f64>,
}

impl Rates {
    /// Of the contestant by itself.
    pub fn of(trials: &[TrialRecord]) -> Rates {
        let valid: Vec<&LoadReport> = trials.iter().filter_map(TrialRecord::valid).collect();
        match valid.iter().any(|load| is_in_slices(load)) {
            true => of_slices(&valid),
            false => of_trials(&valid),
        }
    }

    /// Of a contestant that has these ratios to `base`; its own where there is no ratio.
    pub fn relative_to(self, base: Rates, ratios: &RatiosRecord) -> Rates {
        let times = |base: Option<f64>, ratio: Option<f64>| base.zip(ratio).map(|(base, ratio)| base * ratio);
        let ratio =
            |of: fn(&RatiosRecord) -> Option<crate::record::JudgedRatioRecord>| of(ratios).map(|it| it.ratio.median);
        let server = times(base.server_cpu_ns, ratio(|ratios| ratios.server_cpu));
        let total = times(base.total_cpu_ns(), ratio(|ratios| ratios.total_cpu));
        let generator = total.zip(server).map(|(total, server)| total - server).filter(|rest| *rest > 0.0);
        Rates {
            throughput_per_s: times(base.throughput_per_s, ratio(|ratios| ratios.throughput)).or(self.throughput_per_s),
            server_cpu_ns: server.or(self.server_cpu_ns),
            generator_cpu_ns: generator.or(self.generator_cpu_ns),
        }
    }

    /// Of both ends.
    pub fn total_cpu_ns(self) -> Option<f64> {
        Some(self.server_cpu_ns? + self.generator_cpu_ns?)
    }

    pub fn store(self, contestant: &mut ContestantRecord) {
        contestant.throughput_per_s = self.throughput_per_s;
        contestant.server_cpu_ns_per_request = self.server_cpu_ns;
        contestant.generator_cpu_ns_per_request = self.generator_cpu_ns;
    }
}

fn of_slices(valid: &[&LoadReport]) -> Rates {
    let middle = |figure: fn(&SliceRecord) -> Option<f64>| {
        trimmed_geometric_mean(
            valid.iter().filter_map(|load| trimmed_geometric_mean(load.slices.iter().filter_map(figure))),
        )
    };
    Rates {
        throughput_per_s: middle(|slice| Some(slice.throughput())),
        server_cpu_ns: middle(SliceRecord::server_cpu),
        generator_cpu_ns: middle(|slice| Some(slice.generator_cpu_ns as f64 / slice.answers as f64)),
    }
}

fn of_trials(valid: &[&LoadReport]) -> Rates {
    let throughputs: Vec<f64> = valid.iter().map(|load| load.throughput_per_s).collect();
    Rates {
        throughput_per_s: median(&throughputs),
        server_cpu_ns: per_request(valid.iter().filter_map(|load| Some((load.cpu.server_ns?, load.requests)))),
        generator_cpu_ns: per_request(valid.iter().map(|load| (load.cpu.generator_ns, load.requests))),
    }
}

/// Total CPU time by total requests.
fn per_request(trials: impl Iterator<Item = (u64, u64)>) -> Option<f64> {
    let (cpu, requests) =
        trials.fold((0.0, 0.0), |(cpu, requests), (ns, count)| (cpu + ns as f64, requests + count as f64));
    (requests > 0.0).then(|| cpu / requests)
}

//! The ratios of two contestants round by round, which is what everything that is judged comes from.
//!
//! Where a round was measured in slices its ratio is the middle of those of its blocks: the two slices of a block lie next
//! to each other, and what the machine did meanwhile is in both. Else it is that of the two trials. Percentiles are always
//! those of the whole round: a slice has too few requests for a 99th, and percentiles are never averaged.
//!
//! A slice in which nothing was answered has no figure, but it must not cost less than a bad one: where the other
//! contestant was answered meanwhile, it is worse than any other.

use crate::record::{JudgedRatioRecord, LoadReport, RatiosRecord, SliceRecord, TrialRecord};
use crate::stats::{Interval, PairedRatio, RESAMPLES, paired_ratio, rounds_ratio, trimmed_geometric_mean};
use std::collections::BTreeMap;

/// Resamples of the ratio of trials for all figures but the one that older versions judged: as many as show.
const FEWER_RESAMPLES: usize = 2_000;

/// The ratio to a contestant that answered nothing, further from 1 than any that is measured.
const SILENT: f64 = 1e6;
/// At a given rate a short slice may have no request to answer; where the other one answered so many, it had.
const SURELY_ASKED: u64 = 20;

/// What is judged of a contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Throughput,
    ServerCpu,
    TotalCpu,
    P50,
    P99,
}

impl Figure {
    pub const ALL: [Figure; 5] = [Figure::Throughput, Figure::ServerCpu, Figure::TotalCpu, Figure::P50, Figure::P99];

    /// Of a slice; `None` of what only whole rounds have.
    fn of_slice(self, slice: &SliceRecord) -> Option<f64> {
        match self {
            Figure::Throughput => Some(slice.throughput()),
            Figure::ServerCpu => slice.server_cpu(),
            Figure::TotalCpu => slice.total_cpu(),
            Figure::P50 | Figure::P99 => None,
        }
    }

    /// Requests of a slice that its figure is made of.
    fn answered(self, slice: &SliceRecord) -> u64 {
        match self {
            Figure::Throughput => slice.requests,
            _ => slice.answers,
        }
    }

    /// Of two slices of a block, of which the silent one is the worse; `None` where both are, or a figure is not known.
    /// `enough` is what the other one has answered at least where a slice is called silent.
    fn of_block(self, ours: &SliceRecord, base: &SliceRecord, enough: u64) -> Option<f64> {
        let ratio = self.of_slice(ours)? / self.of_slice(base)?;
        let worse = if self == Figure::Throughput { 1.0 / SILENT } else { SILENT };
        match (self.answered(ours), self.answered(base)) {
            (0, other) => (other >= enough).then_some(worse),
            (other, 0) => (other >= enough).then_some(1.0 / worse),
            _ => Some(ratio),
        }
    }

    fn of_round(self, load: &LoadReport) -> Option<f64> {
        let per_request = |cpu_ns: u64| cpu_ns as f64 / load.requests as f64;
        match self {
            Figure::Throughput => Some(load.throughput_per_s),
            Figure::ServerCpu => load.cpu.server_ns.map(per_request),
            Figure::TotalCpu => load.cpu.server_ns.map(|server| per_request(server + load.cpu.generator_ns)),
            Figure::P50 => Some(load.waiting_ns().p50 as f64),
            Figure::P99 => Some(load.waiting_ns().p99 as f64),
        }
    }

    /// What is stored of it.
    pub fn of_record(self, ratios: &RatiosRecord) -> Option<JudgedRatioRecord> {
        match self {
            Figure::Throughput => ratios.throughput,
            Figure::ServerCpu => ratios.server_cpu,
            Figure::TotalCpu => ratios.total_cpu,
            Figure::P50 => ratios.p50,
            Figure::P99 => ratios.p99,
        }
    }

    /// Its place in what is stored.
    pub fn in_record(self, ratios: &mut RatiosRecord) -> &mut Option<JudgedRatioRecord> {
        match self {
            Figure::Throughput => &mut ratios.throughput,
            Figure::ServerCpu => &mut ratios.server_cpu,
            Figure::TotalCpu => &mut ratios.total_cpu,
            Figure::P50 => &mut ratios.p50,
            Figure::P99 => &mut ratios.p99,
        }
    }
}

/// Of each round in which both are valid, which one it is and the ratio.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairing {
    /// The rounds were measured in slices.
    pub in_slices: bool,
    pub rounds: Vec<(u64, f64)>,
}

/// A contestant's figure relative to another's.
pub fn pair(figure: Figure, ours: &[TrialRecord], base: &[TrialRecord]) -> Pairing {
    pair_by(ours, base, |ours, base| match is_in_slices(ours) && is_in_slices(base) {
        true if !matches!(figure, Figure::P50 | Figure::P99) => blocks(figure, ours, base),
        _ => Some(figure.of_round(ours)? / figure.of_round(base)?),
    })
}

/// The same of [`LoadReport::score`]: above 1 is better, whatever the kind of load.
pub fn pair_scores(ours: &[TrialRecord], base: &[TrialRecord]) -> Pairing {
    match ours.iter().filter_map(TrialRecord::valid).any(|load| load.response_ns.is_some()) {
        true => pair_by(ours, base, |ours, base| Some(ours.score() / base.score())),
        false => pair(Figure::Throughput, ours, base),
    }
}

fn pair_by(
    ours: &[TrialRecord],
    base: &[TrialRecord],
    ratio: impl Fn(&LoadReport, &LoadReport) -> Option<f64>,
) -> Pairing {
    let base: BTreeMap<u64, &LoadReport> = base.iter().filter_map(|one| Some((one.round, one.valid()?))).collect();
    let of_round = |trial: &TrialRecord| {
        let ratio = ratio(trial.valid()?, base.get(&trial.round)?)?;
        ratio.is_finite().then_some((trial.round, ratio))
    };
    let in_slices = ours.iter().filter_map(TrialRecord::valid).any(is_in_slices);
    Pairing { in_slices, rounds: ours.iter().filter_map(of_round).collect() }
}

pub fn is_in_slices(load: &LoadReport) -> bool {
    !load.slices.is_empty()
}

/// The middle of the blocks' ratios; the n-th slices of both are a block.
fn blocks(figure: Figure, ours: &LoadReport, base: &LoadReport) -> Option<f64> {
    let enough = if ours.response_ns.is_some() { SURELY_ASKED } else { 1 };
    let both = ours.slices.iter().zip(&base.slices);
    trimmed_geometric_mean(both.filter_map(|(ours, base)| figure.of_block(ours, base, enough)))
}

impl Pairing {
    /// Of rounds that are stored as their ratios.
    pub fn of(in_slices: bool, ratios: impl Iterator<Item = f64>) -> Pairing {
        Pairing { in_slices, rounds: (1..).zip(ratios).collect() }
    }

    /// Of each round.
    pub fn ratios(&self) -> Vec<f64> {
        self.rounds.iter().map(|(_, ratio)| *ratio).collect()
    }

    /// The ratio over all rounds; `None` without any.
    pub fn ratio(&self, seed: u64) -> Option<PairedRatio> {
        self.ratio_from(FEWER_RESAMPLES, seed)
    }

    /// The same as older versions computed it, so that what they stored gives the same figures.
    pub fn main_ratio(&self, seed: u64) -> Option<PairedRatio> {
        self.ratio_from(RESAMPLES, seed)
    }

    /// Of a contestant paired with itself.
    pub fn to_itself(&self) -> Option<PairedRatio> {
        let interval = Interval { low: 1.0, high: 1.0 };
        let pairs = self.rounds.len();
        (pairs > 0).then_some(PairedRatio { median: 1.0, interval, pairs, least_p_value: 0.0 })
    }

    fn ratio_from(&self, resamples: usize, seed: u64) -> Option<PairedRatio> {
        match self.in_slices {
            true => rounds_ratio(&self.ratios(), seed),
            false => paired_ratio(&self.ratios(), resamples, seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(answers: u64) -> SliceRecord {
        let (requests, counted_ns, length_ns) = (answers, 45_000_000, 50_000_000);
        SliceRecord {
            requests,
            counted_ns,
            answers,
            length_ns,
            server_cpu_ns: Some(20_000_000),
            generator_cpu_ns: 30_000_000,
        }
    }

    #[test]
    fn who_answers_nothing_in_a_slice_is_the_worse_one_in_it() {
        let of = |figure: Figure, ours, base| figure.of_block(&slice(ours), &slice(base), 1);
        for (figure, silent) in [(Figure::Throughput, 1e-6), (Figure::ServerCpu, 1e6), (Figure::TotalCpu, 1e6)] {
            assert_eq!(of(figure, 0, 500), Some(silent), "{figure:?}");
            assert_eq!(of(figure, 500, 0), Some(1.0 / silent), "{figure:?}");
            assert_eq!(of(figure, 0, 0), None, "{figure:?}");
            assert_eq!(of(figure, 500, 500), Some(1.0), "{figure:?}");
        }
        let idle = SliceRecord { server_cpu_ns: None, ..slice(0) };
        assert_eq!(Figure::ServerCpu.of_block(&idle, &slice(500), 1), None, "its CPU time is not known");
    }

    #[test]
    fn at_a_low_rate_a_slice_without_a_request_says_nothing() {
        let of = |base| Figure::Throughput.of_block(&slice(0), &slice(base), SURELY_ASKED);
        assert_eq!((of(2), of(SURELY_ASKED)), (None, Some(1e-6)));
    }

    #[test]
    fn silent_slices_cost_a_round_its_ratio() {
        let load = |answers: &[u64]| LoadReport {
            slices: answers.iter().copied().map(slice).collect(),
            ..LoadReport::default()
        };
        let of = |ours: &[u64]| blocks(Figure::Throughput, &load(ours), &load(&[500; 6])).unwrap();
        assert!(of(&[600, 600, 600, 0, 0, 0]) < 0.01, "half of them");
        assert!(of(&[600, 600, 600, 600, 600, 0]) > 1.19, "one of them is an accident");
    }
}

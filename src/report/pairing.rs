//! The ratios of two contestants round by round, which is what everything that is judged comes from.
//!
//! Where a round was measured in slices its ratio is the middle of those of its blocks: the two slices of a block lie next
//! to each other, and what the machine did meanwhile is in both. Else it is that of the two trials. Percentiles are always
//! those of the whole round: a slice has too few requests for a 99th, and percentiles are never averaged.

use crate::record::{JudgedRatioRecord, LoadReport, RatiosRecord, SliceRecord, TrialRecord};
use crate::stats::{Interval, PairedRatio, RESAMPLES, paired_ratio, rounds_ratio, trimmed_geometric_mean};
use std::collections::BTreeMap;

/// Resamples of the ratio of trials for all figures but the one that older versions judged: as many as show.
const FEWER_RESAMPLES: usize = 2_000;

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
        true if !matches!(figure, Figure::P50 | Figure::P99) => blocks(ours, base, |slice| figure.of_slice(slice)),
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
fn blocks(ours: &LoadReport, base: &LoadReport, figure: impl Fn(&SliceRecord) -> Option<f64>) -> Option<f64> {
    let both = ours.slices.iter().zip(&base.slices);
    trimmed_geometric_mean(both.filter_map(|(ours, base)| Some(figure(ours)? / figure(base)?)))
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
        (!self.rounds.is_empty()).then_some(PairedRatio { median: 1.0, interval, pairs: self.rounds.len() })
    }

    fn ratio_from(&self, resamples: usize, seed: u64) -> Option<PairedRatio> {
        match self.in_slices {
            true => rounds_ratio(&self.ratios(), seed),
            false => paired_ratio(&self.ratios(), resamples, seed),
        }
    }
}

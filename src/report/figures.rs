//! The figures of a cell as they are shown, the fastest first, so that they agree with each other: where a ratio is shown
//! beside a figure, the figure is the baseline's times the ratio. So are the stored rates; of an open loop, whose ratio is
//! that of the p99 response time, this is done here.

use super::verdict::short_name;
use crate::record::{CellRecord, CompareReport, ContestantRecord, JudgedRatioRecord, RatioRecord, Verdict};

/// What can be said of a contestant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Baseline,
    Compared,
    /// Not one round counts.
    NotMeasured,
    Broken,
    /// It cannot run here.
    Unavailable,
}

/// A contestant's figures.
#[derive(Clone, Debug)]
pub struct Figures<'a> {
    pub contestant: &'a ContestantRecord,
    /// As it is shown.
    pub name: String,
    pub standing: Standing,
    /// Relative to the baseline: requests per second; of an open loop the p99 response time.
    pub speed: Option<JudgedRatioRecord>,
    /// The server's CPU time per request.
    pub server_cpu: Option<JudgedRatioRecord>,
    pub throughput_per_s: Option<f64>,
    pub server_cpu_ns: Option<f64>,
    pub p50_ns: Option<f64>,
    pub p99_ns: Option<f64>,
}

/// Those of a cell.
#[derive(Clone, Debug)]
pub struct CellFigures<'a> {
    pub cell: &'a CellRecord,
    /// The baseline's name as it is shown.
    pub baseline: String,
    /// It is an open loop.
    pub paced: bool,
    pub all: Vec<Figures<'a>>,
}

impl<'a> CellFigures<'a> {
    pub fn of(report: &CompareReport, cell: &'a CellRecord) -> CellFigures<'a> {
        let paced = cell.load(&report.context.load).rate_per_s.is_some();
        let base = cell.contestants.iter().find(|one| one.name == report.baseline && one.rounds > 0);
        let mut all: Vec<Figures> =
            cell.contestants.iter().map(|one| figures(one, base, &report.baseline, paced)).collect();
        all.sort_by(|one, other| rank(one, paced).total_cmp(&rank(other, paced)));
        CellFigures { cell, baseline: short_name(&report.baseline), paced, all }
    }

    /// Those that have this standing.
    pub fn of_standing(&self, standing: Standing) -> impl Iterator<Item = &Figures<'a>> {
        self.all.iter().filter(move |one| one.standing == standing)
    }
}

/// The less the further up.
fn rank(figures: &Figures, paced: bool) -> f64 {
    let last = match figures.standing {
        Standing::Baseline | Standing::Compared => 0.0,
        Standing::NotMeasured => 1e200,
        Standing::Broken => 1e201,
        Standing::Unavailable => 1e202,
    };
    let speed = if paced { figures.p99_ns } else { figures.throughput_per_s.map(|rate| 1.0 / rate) };
    last + speed.filter(|speed| speed.is_finite()).unwrap_or(1e100)
}

fn figures<'a>(one: &'a ContestantRecord, base: Option<&ContestantRecord>, baseline: &str, paced: bool) -> Figures<'a> {
    let standing = standing(one, baseline);
    let compared = standing == Standing::Compared && base.is_some();
    let speed = if paced { p99_ratio(one) } else { throughput_ratio(one) }.filter(|_| compared);
    let server_cpu = one.ratios.server_cpu.filter(|_| compared);
    let p99 = |one: &ContestantRecord| one.latency_ns.map(|latency| latency.p99 as f64);
    let agreeing = base.and_then(p99).zip(speed.filter(|_| paced)).map(|(base, speed)| base * speed.ratio.median);
    // Whoever answers wrong has no speed.
    let counts = |figure: Option<f64>| figure.filter(|_| standing != Standing::Broken);
    Figures {
        contestant: one,
        name: short_name(&one.name),
        standing,
        speed,
        server_cpu,
        throughput_per_s: counts(one.throughput_per_s),
        server_cpu_ns: counts(one.server_cpu_ns_per_request),
        p50_ns: counts(one.latency_ns.map(|latency| latency.p50 as f64)),
        p99_ns: counts(agreeing.or_else(|| p99(one))),
    }
}

fn standing(one: &ContestantRecord, baseline: &str) -> Standing {
    match one {
        one if one.unavailable.is_some() => Standing::Unavailable,
        one if one.broken.is_some() => Standing::Broken,
        one if one.rounds == 0 => Standing::NotMeasured,
        one if one.name == baseline => Standing::Baseline,
        _ => Standing::Compared,
    }
}

fn throughput_ratio(one: &ContestantRecord) -> Option<JudgedRatioRecord> {
    one.ratios.throughput.or_else(|| one.ratio.map(|ratio| of_older_file(ratio, one.verdict)))
}

/// Above 1 where its response times are longer.
fn p99_ratio(one: &ContestantRecord) -> Option<JudgedRatioRecord> {
    let inverted = |ratio: RatioRecord| RatioRecord {
        median: 1.0 / ratio.median,
        low: 1.0 / ratio.high,
        high: 1.0 / ratio.low,
        pairs: ratio.pairs,
    };
    one.ratios.p99.or_else(|| one.ratio.map(|ratio| of_older_file(inverted(ratio), one.verdict)))
}

/// Where nothing but the ratio of the speeds is known.
fn of_older_file(ratio: RatioRecord, verdict: Option<Verdict>) -> JudgedRatioRecord {
    JudgedRatioRecord { ratio, p_value: None, bound: None, verdict: verdict.unwrap_or(Verdict::TooFewRounds) }
}

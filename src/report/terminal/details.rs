//! What is known beyond what is read at a glance, of one cell: every ratio, the latencies and how far they can be trusted,
//! what both ends used, the rounds that stand apart.

use super::super::columns::{Align, Column, lines, parts};
use super::super::datagrams;
use super::super::figures::{CellFigures, Figures};
use super::super::interrupts;
use super::super::intervals;
use super::super::percent::{Percent, bound_words};
use super::super::rates::Rates;
use super::super::text_style::{Line, Span, TextStyle, wrap};
use super::scale::{RATES, Scale, TIMES};
use crate::record::{ContestantRecord, JudgedRatioRecord, QuantileRecord};
use crate::units::few;

const ABSENT: &str = "-";

/// Blocks of lines, to be parted by empty ones.
pub fn blocks(figures: &CellFigures, style: &TextStyle) -> Vec<Vec<Line>> {
    let wrapped = |texts: Vec<String>| -> Vec<Line> {
        let lines = texts.iter().flat_map(|text| wrap(text, style.text_width(), "    "));
        lines.map(|line| vec![line.into()]).collect()
    };
    let cell = figures.cell;
    let rest = [intervals::outliers_of(cell), interrupts::lines(cell), datagrams::lines(cell)].concat();
    let room = style.width.max(style.text_width());
    [wrapped(ratios(figures)), latencies(figures, room), usage(figures, room), wrapped(rest)]
        .into_iter()
        .filter(|block| !block.is_empty())
        .collect()
}

/// All that is judged of each contestant.
fn ratios(figures: &CellFigures) -> Vec<String> {
    figures.all.iter().filter_map(|one| ratios_of(one, &figures.baseline)).collect()
}

fn ratios_of(one: &Figures, baseline: &str) -> Option<String> {
    let ratios = &one.contestant.ratios;
    let named = [
        ("requests/s", ratios.throughput),
        ("server CPU/request", ratios.server_cpu),
        ("CPU of both ends/request", ratios.total_cpu),
        ("p50", ratios.p50),
        ("p99", ratios.p99),
    ];
    let all: Vec<String> = named.into_iter().filter_map(|(of, judged)| Some(ratio(of, &judged?))).collect();
    (one.speed.is_some() && !all.is_empty()).then(|| format!("{} vs {baseline}: {}", one.name, all.join("; ")))
}

fn ratio(of: &str, judged: &JudgedRatioRecord) -> String {
    format!("{}{}, {}", bound_words(judged.bound), Percent::of(judged).sentence(of), judged.verdict.text())
}

/// The quantiles with their intervals.
fn latencies(figures: &CellFigures, room: usize) -> Vec<Line> {
    let all: Vec<&Figures> = figures.all.iter().filter(|one| one.contestant.latency_ns.is_some()).collect();
    if all.is_empty() {
        return Vec::new();
    }
    let mut columns = Vec::new();
    for (quantile, title) in intervals::SHOWN {
        let value = |one: &&Figures| of_quantile(one.contestant, quantile).copied();
        columns.extend(with_interval(title, all.iter().map(value).collect()));
    }
    let max = |one: &&Figures| one.contestant.latency_ns.map(|latency| latency.max as f64);
    columns.push(scaled("max", 2, TIMES, all.iter().map(max).collect()));
    let legend = vec![intervals::LEGEND.to_owned().into()];
    below_each_other(&names("latency", &all), columns, room).into_iter().chain([legend]).collect()
}

/// In as many parts as it takes.
fn below_each_other(names: &Column, columns: Vec<Column>, room: usize) -> Vec<Line> {
    parts(names, columns, room).iter().flat_map(|part| lines(part)).collect()
}

fn of_quantile(contestant: &ContestantRecord, quantile: f64) -> Option<&QuantileRecord> {
    contestant.quantiles.iter().find(|record| record.quantile == quantile)
}

/// A quantile and its interval in the same unit.
fn with_interval(title: &str, all: Vec<Option<QuantileRecord>>) -> [Column; 2] {
    let bounds = |one: &QuantileRecord| [Some(one.value_ns), one.low_ns, one.high_ns];
    let known: Vec<f64> = all.iter().flatten().flat_map(bounds).flatten().map(|nanos| nanos as f64).collect();
    let scale = Scale::of(known.iter().copied(), TIMES);
    let show = |nanos: Option<u64>| nanos.map_or(ABSENT.to_owned(), |nanos| scale.show(nanos as f64));
    let values = all.iter().map(|one| show(one.map(|one| one.value_ns)).into()).collect();
    let interval = |one: &Option<QuantileRecord>| match one {
        Some(one) if one.low_ns.or(one.high_ns).is_some() => format!("[{},{}]", show(one.low_ns), show(one.high_ns)),
        _ => String::new(),
    };
    let intervals = all.iter().map(|one| interval(one).into()).collect();
    [Column::new([title, scale.unit], Align::Right, 2, values), Column::new(["", "[95 %]"], Align::Left, 1, intervals)]
}

/// CPU time per request of both ends, system calls, and what each was measured as by itself.
fn usage(figures: &CellFigures, room: usize) -> Vec<Line> {
    let all: Vec<&Figures> = figures.all.iter().filter(|one| one.contestant.rounds > 0).collect();
    if all.is_empty() {
        return Vec::new();
    }
    let own: Vec<Rates> = all.iter().map(|one| Rates::of(&one.contestant.trials)).collect();
    let of =
        |pick: fn(&ContestantRecord) -> Option<f64>| all.iter().map(|one| pick(one.contestant)).collect::<Vec<_>>();
    let count = |title, values: Vec<Option<f64>>| {
        let cells = values.into_iter().map(|value| value.map_or(ABSENT.to_owned(), few).into());
        Column::new(title, Align::Right, 1, cells.collect())
    };
    let columns = [
        scaled("req/s", 2, RATES, own.iter().map(|own| own.throughput_per_s).collect()),
        count(["", "rounds"], of(|one| Some(one.rounds as f64))),
        scaled("server", 2, TIMES, own.iter().map(|own| own.server_cpu_ns).collect()),
        scaled("user", 1, TIMES, of(|one| one.server_use.user_ns_per_request)),
        scaled("system", 1, TIMES, of(|one| one.server_use.system_ns_per_request)),
        count(["switch", "/req"], of(switches)),
        scaled("load", 2, TIMES, own.iter().map(|own| own.generator_cpu_ns).collect()),
        scaled("user", 1, TIMES, of(|one| one.generator_use.user_ns_per_request)),
        scaled("system", 1, TIMES, of(|one| one.generator_use.system_ns_per_request)),
        count(["sysc", "/req"], of(|one| one.generator_use.syscalls_per_request)),
    ];
    let is_known = |column: &Column| column.cells.iter().any(|cell| cell.text != ABSENT);
    below_each_other(&names("by itself", &all), columns.into_iter().filter(is_known).collect(), room)
}

/// The server's.
fn switches(one: &ContestantRecord) -> Option<f64> {
    Some(one.server_use.voluntary_switches_per_request? + one.server_use.involuntary_switches_per_request?)
}

fn names(title: &str, all: &[&Figures]) -> Column {
    let cells: Vec<Span> = all.iter().map(|one| one.name.clone().into()).collect();
    Column::new([title, ""], Align::Left, 0, cells)
}

fn scaled(title: &str, gap: usize, units: &[(f64, &'static str)], values: Vec<Option<f64>>) -> Column {
    let scale = Scale::of(values.iter().flatten().copied(), units);
    let cells = values.iter().map(|value| value.map_or(ABSENT.to_owned(), |value| scale.show(value)).into());
    Column::new([title, scale.unit], Align::Right, gap, cells.collect())
}

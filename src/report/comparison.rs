//! A comparison as a result.

use super::compared::{Compared, DiffError, Side, SideRecord, fields};
use super::conclusion::{conclusion, of_cell};
use super::figures::{CellFigures, Figures, Standing};
use super::percent::{bound_words, has_interval};
use super::result::{LATENCIES, Rows, Series, StoredResult, Table, shown};
use super::text_style::TextStyle;
use super::threshold::{Metric, Subject, latency_figures, lost, relative_figures};
use super::verdict::short_name;
use super::{derive, json, terminal, trial_rows};
use crate::record::histogram::HistogramError;
use crate::record::{
    CellRecord, CompareReport, ContestantRecord, GeneratorSettings, JudgedRatioRecord, LoadReport, RatioRecord,
    TrialRecord,
};
use crate::stats::median;
use crate::units::{Nanos, counted};

impl StoredResult for CompareReport {
    fn derive(&mut self) -> Result<(), HistogramError> {
        derive::fill(self)
    }

    fn schema(&self) -> &str {
        &self.context.schema
    }

    fn json(&self) -> Result<String, serde_json::Error> {
        json::render(self)
    }

    fn text(&self, style: &TextStyle) -> String {
        terminal::render(self, style)
    }

    fn rows(&self) -> Option<Rows> {
        Some(trial_rows::lines(&trial_rows::of_comparison(self)))
    }

    fn tables(&self) -> Option<Vec<Table>> {
        let mut tables: Vec<Table> = self.cells.iter().map(|cell| table(self, cell)).collect();
        let begin = format!("{}\n\n{}", conclusion(self), setting(self));
        tables.first_mut().into_iter().for_each(|first| first.before.insert_str(0, &begin));
        Some(tables)
    }

    fn series(&self) -> Option<Vec<Series<'_>>> {
        Some(trial_rows::series_by_tag(&trial_rows::of_comparison(self)))
    }

    /// Every contestant but the baseline, in every cell; the baseline itself where it is alone or broken.
    fn subjects(&self) -> Vec<Subject> {
        self.cells.iter().flat_map(|cell| judged(self, cell)).collect()
    }

    fn compared(&self) -> Result<Compared, DiffError> {
        Ok(compared(self))
    }
}

fn judged<'a>(report: &'a CompareReport, cell: &'a CellRecord) -> impl Iterator<Item = Subject> + 'a {
    let alone = cell.contestants.len() == 1;
    let counts = move |one: &&ContestantRecord| alone || one.name != report.baseline || one.broken.is_some();
    cell.contestants.iter().filter(counts).map(move |one| subject(cell, one))
}

/// A contestant's figures.
fn subject(cell: &CellRecord, contestant: &ContestantRecord) -> Subject {
    let loads = contestant.trials.iter().filter_map(|trial: &TrialRecord| trial.load.as_ref());
    let mut figures = Vec::new();
    if contestant.rounds > 0 {
        figures.push((Metric::Errors, loads.flat_map(|load| load.errors.values()).sum::<u64>() as f64));
    }
    figures.extend(contestant.throughput_per_s.map(|rate| (Metric::Throughput, rate)));
    figures.extend(contestant.latency_ns.iter().flat_map(latency_figures));
    let (server, generator) = (contestant.server_cpu_ns_per_request, contestant.generator_cpu_ns_per_request);
    figures.extend(server.map(|cpu| (Metric::ServerCpu, cpu)));
    figures.extend(server.zip(generator).map(|(server, generator)| (Metric::TotalCpu, server + generator)));
    figures.extend(relative_figures(contestant));
    figures.extend(contestant.datagrams.as_ref().map(lost));
    Subject { name: format!("{} ({})", short_name(&contestant.name), cell.name()), figures }
}

fn compared(report: &CompareReport) -> Compared {
    let context = &report.context;
    let sides = report.cells.iter().flat_map(|cell| cell.contestants.iter().map(move |one| side(cell, one)));
    Compared {
        settings: vec![
            ("kernel", context.host.kernel.clone()),
            ("processor", context.host.cpu.clone()),
            ("server cores", context.server_cores.clone()),
            ("generator cores", context.load_cores.clone()),
        ],
        fields: fields("generator", &context.load),
        seed: context.seed,
        sides: sides.collect(),
    }
}

/// A contestant is the same where its name and its workload are.
///
/// Its throughput is that of its own rounds, as the ratio to another file is: the stored one is relative to a baseline that
/// the other file does not have.
fn side(cell: &CellRecord, one: &ContestantRecord) -> Side {
    let valid = || one.trials.iter().filter_map(TrialRecord::valid);
    let throughputs: Vec<f64> = valid().map(|load| load.throughput_per_s).collect();
    Side {
        key: format!("{} {:?} {}", one.name, cell.shape, cell.name()),
        subject: subject(cell, one),
        scores: valid().map(LoadReport::score).collect(),
        paced: one.is_paced(),
        problem: None,
        record: SideRecord {
            throughput_per_s: median(&throughputs),
            rounds: one.rounds,
            quantiles: one.quantiles.clone(),
        },
    }
}

fn setting(report: &CompareReport) -> String {
    let context = &report.context;
    format!(
        "ringmark {}, {}, Linux {} on {}; server on cores {}, generator on {}.\n",
        context.ringmark,
        context.started,
        context.host.kernel,
        context.host.cpu,
        context.server_cores,
        context.load_cores
    )
}

/// The figures that the text shows, and more of them.
fn table(report: &CompareReport, cell: &CellRecord) -> Table {
    let figures = CellFigures::of(report, cell);
    let last =
        [("server CPU/req", true), ("CPU ratio", true), ("rounds", true), ("ratio [95 %]", true), ("verdict", false)];
    let after = if report.cells.len() > 1 { of_cell(&figures) } else { String::new() };
    Table {
        before: format!(
            "\n{}, {} B, {} in flight on each{}:\n\n",
            counted(cell.shape.connections, "connection"),
            cell.shape.sizes(),
            cell.shape.depth,
            open_loop(cell.load(&report.context.load))
        ),
        columns: [("contestant", false), ("req/s", true)].into_iter().chain(LATENCIES).chain(last).collect(),
        rows: figures.all.iter().map(row).collect(),
        after,
    }
}

/// What latency and ratio are of, where requests are sent by a schedule.
fn open_loop(load: &GeneratorSettings) -> String {
    let paced = load.rate_per_s.zip(load.arrival.as_ref());
    paced.map_or_else(String::new, |(rate, arrival)| {
        format!(" at most, open loop of {rate} requests/s ({arrival}); latency is response time, the ratio that of p99")
    })
}

fn row(figures: &Figures) -> Vec<String> {
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let nanos = |nanos: Option<f64>| nanos.map(|nanos| Nanos(nanos.round() as u64).to_string());
    let one = figures.contestant;
    let [_, _, p999, max] = shown(one.latency_ns.as_ref());
    vec![
        format!("`{}`", figures.name),
        known(figures.throughput_per_s.map(|rate| format!("{rate:.0}"))),
        known(nanos(figures.p50_ns)),
        known(nanos(figures.p99_ns)),
        p999,
        max,
        known(nanos(figures.server_cpu_ns)),
        known(figures.server_cpu.as_ref().map(ratio)),
        one.rounds.to_string(),
        known(figures.speed.as_ref().map(ratio)),
        verdict(figures).to_owned(),
    ]
}

/// `1.038 [1.024, 1.051]`, with what it may be beyond that; no interval where there are too few rounds for one.
fn ratio(judged: &JudgedRatioRecord) -> String {
    let RatioRecord { median, low, high, .. } = judged.ratio;
    let interval = if has_interval(judged) { format!(" [{low:.3}, {high:.3}]") } else { String::new() };
    format!("{}{median:.3}{interval}", bound_words(judged.bound))
}

fn verdict(figures: &Figures) -> &'static str {
    match figures.standing {
        Standing::Unavailable => "unavailable",
        Standing::Broken => "broken",
        Standing::NotMeasured => "no valid round",
        Standing::Baseline => "baseline",
        Standing::Compared => figures.speed.map_or("-", |speed| speed.verdict.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::export::tests::comparison;
    use super::*;
    use crate::record::Shape;

    #[test]
    fn a_name_tells_one_cell_from_another() {
        let report = comparison();
        let of = |cell: CellRecord| subject(&cell, &report.cells[0].contestants[0]).name;
        let cell = |depth, connect_per_request, size_mix: Option<&str>| CellRecord {
            shape: Shape {
                connections: 8,
                size: 64,
                size_mix: size_mix.map(str::to_owned),
                depth,
                connect_per_request,
            },
            ..CellRecord::default()
        };
        for (cell, name) in [
            (cell(1, false, None), "epoll (8 connections x 64 B)"),
            (cell(1, false, Some("64:9,1k:1")), "epoll (8 connections x 64:9,1k:1 B)"),
            (cell(16, false, None), "epoll (8 connections x 64 B, 16 in flight)"),
            (cell(1, true, None), "epoll (8 connections x 64 B, a connection per request)"),
        ] {
            assert_eq!(of(cell), name);
        }
    }
}

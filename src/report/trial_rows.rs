//! The trials of a result, one after the other, with where they belong. A line of each has these columns:
//!
//! | columns | what they say |
//! |---|---|
//! | connections, size, depth, connect_per_request | the workload: `size` in bytes, of a mix the mean; `depth` requests in flight per connection, in an open loop the most |
//! | contestant, round, position | whose trial: of a single run the target, 0 and 0 |
//! | valid, problems | whether its figures count, and every reason why not |
//! | requests, duration_ns, throughput_per_s | answered within the counted time, its length, their quotient |
//! | min_ns … max_ns | what a client waits: in a closed loop service time, in an open loop response time, from when a request was due |
//! | server_cpu_…, generator_cpu_ns_per_request | user and system time, all threads |
//! | errors, lost | of all kinds; datagrams that were not answered |
//! | loop, rate_per_s, arrival, timer | `open` or `closed`; of an open loop the requests per second asked for (of a ramp the mean), how they are spaced, and how the generator waits |
//! | size_mix, idle | sizes and their shares, `64:90,1400:10`; connections beside the others that are open and idle |
//! | protocol, gso, dialect | `tcp`, `udp`, `unix`, `unixgram`; datagrams per send (0: one); how datagrams are numbered |

use super::export::plain;
use super::result::{Interval, LATENCY_COLUMNS, Rows, Series, latency_fields};
use super::verdict::short_name;
use crate::record::workload::{Column, PROPERTIES};
use crate::record::{CellRecord, CompareReport, GeneratorSettings, LoadReport, Reason, Workload};

/// A trial and where it belongs.
pub struct Row<'a> {
    /// `None` for a single run.
    pub cell: Option<&'a CellRecord>,
    /// What it was to run, whether or not it did. Of a comparison without what the generator alone knows.
    pub workload: Workload,
    /// The contestant's name; for a single run the target.
    pub contestant: &'a str,
    /// 0 for a single run.
    pub round: u64,
    pub position: u64,
    pub load: Option<&'a LoadReport>,
    /// Why its figures do not count, all reasons; empty where they do.
    pub problems: Vec<&'a Reason>,
}

/// The single trial of a run.
pub fn of_run(load: &LoadReport) -> Row<'_> {
    Row {
        cell: None,
        workload: load.workload.clone(),
        contestant: &load.target,
        round: 0,
        position: 0,
        load: Some(load),
        problems: load.invalid.iter().collect(),
    }
}

/// Every trial: cell by cell, contestant by contestant, round by round.
pub fn of_comparison(report: &CompareReport) -> Vec<Row<'_>> {
    report.cells.iter().flat_map(|cell| of_cell(cell, cell.load(&report.context.load))).collect()
}

fn of_cell<'a>(cell: &'a CellRecord, settings: &'a GeneratorSettings) -> impl Iterator<Item = Row<'a>> {
    cell.contestants.iter().flat_map(move |contestant| {
        contestant.trials.iter().map(move |trial| Row {
            cell: Some(cell),
            workload: workload(cell, settings, trial.load.as_ref()),
            contestant: &contestant.name,
            round: trial.round,
            position: trial.position,
            load: trial.load.as_ref(),
            problems: trial.problems().collect(),
        })
    })
}

/// What the comparison asked for; the rest is of the trial itself.
fn workload(cell: &CellRecord, settings: &GeneratorSettings, load: Option<&LoadReport>) -> Workload {
    let trial = load.map(|load| load.workload.clone()).unwrap_or_default();
    let mut generator = settings.clone();
    if generator.dialect.is_empty() {
        generator.dialect.clone_from(&trial.generator.dialect);
    }
    Workload { shape: cell.shape.clone(), generator, ..trial }
}

impl Row<'_> {
    /// The report, if its figures count.
    pub fn valid(&self) -> Option<&LoadReport> {
        self.load.filter(|_| self.problems.is_empty())
    }

    /// Contestant and workload in one word: a tag, a part of a file's name.
    pub fn tag(&self) -> String {
        let cell = self.cell.map(|cell| {
            let way = if cell.shape.connect_per_request {
                "-reconnecting".to_owned()
            } else {
                format!("x{}", cell.shape.depth)
            };
            let sizes = cell.shape.sizes().replace(':', "=").replace(',', "-");
            let protocol = cell.load.iter().map(|load| format!("-{}", load.protocol)).collect::<String>();
            format!("{protocol}-{}c-{sizes}B{way}", cell.shape.connections)
        });
        plain(&short_name(self.contestant)) + &cell.unwrap_or_default()
    }
}

/// Columns of the workload that stand before the contestant; the others came later and stand last.
const LEADING: usize = 4;
/// Columns of [`figures`].
const FIGURES: usize = 14;

/// A line per trial.
pub fn lines(trials: &[Row]) -> Rows {
    Rows { header: header(), lines: trials.iter().map(fields).collect() }
}

/// The columns of the workload, in the order of its properties.
fn workload_columns() -> impl Iterator<Item = Column> {
    PROPERTIES.iter().filter_map(|property| property.column)
}

fn header() -> String {
    let leading = workload_columns().take(LEADING).map(|column| column.name);
    let trial = ["contestant,round,position,valid,requests,duration_ns,throughput_per_s", LATENCY_COLUMNS];
    let rest = ["server_cpu_ns_per_request,generator_cpu_ns_per_request,errors,lost,problems"];
    let later = workload_columns().skip(LEADING).map(|column| column.name);
    leading.chain(trial).chain(rest).chain(later).collect::<Vec<_>>().join(",")
}

fn fields(row: &Row) -> Vec<String> {
    let mut workload = workload_columns().map(|column| (column.value)(&row.workload));
    let mut fields: Vec<String> = workload.by_ref().take(LEADING).collect();
    fields.extend([row.contestant.to_owned(), row.round.to_string(), row.position.to_string()]);
    fields.push(u8::from(row.valid().is_some()).to_string());
    fields.extend(figures(row));
    fields.push(row.problems.iter().map(|reason| reason.to_string()).collect::<Vec<_>>().join("; "));
    fields.extend(workload);
    fields
}

/// Empty where there is none. Latency is what a client waits: response time in an open loop, else service time.
fn figures(row: &Row) -> Vec<String> {
    let Some(load) = row.load else { return vec![String::new(); FIGURES] };
    let known = |value: Option<f64>| value.map(|value| format!("{value:.1}")).unwrap_or_default();
    let mut fields =
        vec![load.requests.to_string(), load.duration_ns.to_string(), format!("{:.1}", load.throughput_per_s)];
    fields.extend(latency_fields(load.waiting_ns()));
    fields.extend([known(load.cpu.server_ns_per_request), known(load.cpu.generator_ns_per_request)]);
    fields.push(load.errors.values().sum::<u64>().to_string());
    fields.push(load.datagrams.as_ref().map(|datagrams| datagrams.lost.to_string()).unwrap_or_default());
    fields
}

/// What the clients of a run waited.
pub fn series(load: &LoadReport) -> Series<'_> {
    let mut series = Series { name: None, whole: Vec::new(), intervals: Vec::new() };
    append(&mut series, load);
    series
}

/// What the clients of each contestant under each workload waited, in the trials that count. Their starts are not stored:
/// within a series they follow each other without a gap, from 0.
pub fn series_by_tag<'a>(trials: &[Row<'a>]) -> Vec<Series<'a>> {
    let mut all: Vec<Series> = Vec::new();
    for row in trials {
        let Some(load) = row.load.filter(|_| row.problems.is_empty()) else { continue };
        let name = Some(row.tag());
        let place = all.iter().position(|series| series.name == name).unwrap_or_else(|| {
            all.push(Series { name, whole: Vec::new(), intervals: Vec::new() });
            all.len() - 1
        });
        append(&mut all[place], load);
    }
    all
}

fn append<'a>(series: &mut Series<'a>, load: &'a LoadReport) {
    let begin = series.intervals.last().map_or(0, |last| last.start_ns + last.length_ns);
    series.whole.push(load.waiting_histogram());
    series.intervals.extend(load.intervals.iter().map(|part| Interval {
        start_ns: begin + part.start_ns,
        length_ns: part.length_ns,
        histogram: part.waiting_histogram(),
    }));
    if load.intervals.is_empty() {
        let histogram = load.waiting_histogram();
        series.intervals.push(Interval { start_ns: begin, length_ns: load.duration_ns, histogram });
    }
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, failed, report, steady, trial};
    use super::*;

    #[test]
    fn a_tag_names_the_mix_of_sizes() {
        let mut report = report(vec![contestant("epoll", vec![failed(1, "x")])]);
        assert_eq!(of_comparison(&report)[0].tag(), "epoll-64c-64Bx1");
        report.cells[0].shape.size_mix = Some("64:90,1k:10".into());
        assert_eq!(of_comparison(&report)[0].tag(), "epoll-64c-64=90-1k=10Bx1");
    }

    /// The fields of these columns in the first line.
    fn first(rows: &Rows, columns: &[&str]) -> Vec<String> {
        let place = |column: &&str| rows.header.split(',').position(|name| name == *column).unwrap();
        columns.iter().map(|column| rows.lines[0][place(column)].clone()).collect()
    }

    #[test]
    fn the_columns_are_those_of_older_versions_and_new_ones_come_last() {
        let old = "connections,size,depth,connect_per_request,contestant,round,position,valid,requests,duration_ns,\
            throughput_per_s,min_ns,mean_ns,p50_ns,p90_ns,p99_ns,p999_ns,max_ns,server_cpu_ns_per_request,\
            generator_cpu_ns_per_request,errors,lost,problems,loop,rate_per_s,arrival,timer,size_mix,idle,protocol,gso,\
            dialect";
        assert!(header().starts_with(old), "{}", header());
    }

    #[test]
    fn open_loops_mixes_and_transports_are_told_apart() {
        let columns = ["loop", "rate_per_s", "arrival", "timer", "size_mix", "idle", "protocol", "gso"];
        let mut report = report(vec![contestant("epoll", steady(1e5))]);
        report.context.load.protocol = "tcp".into();
        let plain = first(&lines(&of_comparison(&report)), &columns);
        assert_eq!(plain, ["closed", "", "", "", "", "0", "tcp", "0"]);
        let load = &mut report.context.load;
        (load.rate_per_s, load.arrival, load.timer) = (Some(20_000), Some("poisson".into()), Some("spin".into()));
        (load.idle, load.protocol, load.gso) = (5, "udp".into(), 16);
        report.cells[0].shape.size_mix = Some("64".into());
        let open = first(&lines(&of_comparison(&report)), &columns);
        assert_eq!(open, ["open", "20000", "poisson", "spin", "64", "5", "udp", "16"]);
        let mut load = trial(1, 1e5, &[]).load.unwrap();
        (load.workload.generator.rate_per_s, load.workload.shape.size_mix) = (Some(7), Some("64:9,1k:1".into()));
        let run = first(&lines(&[of_run(&load)]), &["loop", "rate_per_s", "size_mix"]);
        assert_eq!(run, ["open", "7", "64:9,1k:1"]);
    }
}

//! Records in, comma-separated values out (RFC 4180): one line per trial, raw, for statistics of your own; of a diagnosis
//! one per kind of time, target or hop.
//!
//! Times are integer nanoseconds (means have a decimal), 0 is no and 1 is yes; a field is empty where nothing is known.
//! Columns that are added come last. Of trials:
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
//! | size_mix, idle | sizes and their shares, `64:90,1400:10`; connections beside the others that are open and silent |
//! | protocol, gso, dialect | `tcp`, `udp`, `unix`, `unixgram`; datagrams per send (0: one); how datagrams are numbered |

mod diagnoses;

use super::export::{ExportError, Exporter, Part};
use super::file::Stored;
use super::trials::{Row, rows};
use crate::record::LatencyRecord;
use crate::record::workload::{Column, PROPERTIES};

/// One line per trial.
pub struct Csv;

/// Columns of the workload that stand before the contestant; the others came later and stand last.
const LEADING: usize = 4;
const COLUMNS: &str = "contestant,round,position,valid,requests,duration_ns,throughput_per_s,min_ns,mean_ns,p50_ns,p90_ns,\
    p99_ns,p999_ns,max_ns,server_cpu_ns_per_request,generator_cpu_ns_per_request,errors,lost,problems";

/// Columns of [`figures`].
const FIGURES: usize = 14;

impl Exporter for Csv {
    fn export(&self, result: &Stored) -> Result<Vec<Part>, ExportError> {
        let text = match result {
            Stored::Wire(report) => diagnoses::of_wire(report),
            Stored::Ping(report) => diagnoses::of_ping(report),
            Stored::Trace(report) => diagnoses::of_trace(report),
            _ => table(&header(), rows(result)?.iter().map(fields)),
        };
        Ok(Part::whole(text))
    }
}

/// The header and a line for each row of fields.
fn table(header: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let lines: String = rows.map(|fields| fields.join(",") + "\r\n").collect();
    format!("{header}\r\n{lines}")
}

/// The columns of the workload, in the order of its properties.
fn workload_columns() -> impl Iterator<Item = Column> {
    PROPERTIES.iter().filter_map(|property| property.column)
}

fn header() -> String {
    let leading = workload_columns().take(LEADING).map(|column| column.name);
    let later = workload_columns().skip(LEADING).map(|column| column.name);
    leading.chain([COLUMNS]).chain(later).collect::<Vec<_>>().join(",")
}

fn fields(row: &Row) -> Vec<String> {
    let mut workload = workload_columns().map(|column| quoted(&(column.value)(&row.workload)));
    let mut fields: Vec<String> = workload.by_ref().take(LEADING).collect();
    fields.extend([quoted(row.contestant), row.round.to_string(), row.position.to_string()]);
    fields.push(u8::from(row.valid().is_some()).to_string());
    fields.extend(figures(row));
    fields.push(quoted(&row.problems.join("; ")));
    fields.extend(workload);
    fields
}

/// Empty where there is none. Latency is what a client waits: response time in an open loop, else service time.
fn figures(row: &Row) -> Vec<String> {
    let Some(load) = row.load else { return vec![String::new(); FIGURES] };
    let known = |value: Option<f64>| value.map(|value| format!("{value:.1}")).unwrap_or_default();
    let mut fields =
        vec![load.requests.to_string(), load.duration_ns.to_string(), format!("{:.1}", load.throughput_per_s)];
    fields.extend(latencies(load.waiting_ns()));
    fields.extend([known(load.cpu.server_ns_per_request), known(load.cpu.generator_ns_per_request)]);
    fields.push(load.errors.values().sum::<u64>().to_string());
    fields.push(load.datagrams.as_ref().map(|datagrams| datagrams.lost.to_string()).unwrap_or_default());
    fields
}

/// min, mean, p50, p90, p99, p99.9, max.
fn latencies(latency: &LatencyRecord) -> [String; 7] {
    let LatencyRecord { min, mean, p50, p90, p99, p999, max } = *latency;
    let [min, p50, p90, p99, p999, max] = [min, p50, p90, p99, p999, max].map(|nanos| nanos.to_string());
    [min, format!("{mean:.1}"), p50, p90, p99, p999, max]
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::export::tests::{comparison, only, single};
    use super::*;

    #[test]
    fn a_line_per_trial_with_as_many_fields_as_the_header() {
        let text = only(Csv.export(&comparison()).unwrap());
        let columns = header().split(',').count();
        assert_eq!(text.matches("\r\n").count(), 1 + 14, "{text}");
        let plain = text.lines().find(|line| line.contains(",epoll,3,")).unwrap();
        assert_eq!(plain.split(',').count(), columns, "{plain}");
        assert!(plain.starts_with("64,64,1,0,epoll,3,1,1,100,1000000,100003.0,"), "{plain}");
        assert!(
            text.contains(",uring --recv oneshot,2,1,0,") && text.contains("\"an answer, \"\"wrong\"\"\""),
            "{text}"
        );
        assert!(text.contains("oneshot,3,1,0,,,,,,,,,,,,,,,\"the server ended;\nno memory\",closed,,,,,0,"), "{text}");
        assert_eq!(only(Csv.export(&single()).unwrap()).lines().count(), 2);
    }

    /// The fields of these columns in the first line.
    fn first<'a>(text: &'a str, columns: &[&str]) -> Vec<&'a str> {
        let fields: Vec<&str> = text.lines().nth(1).unwrap().split(',').collect();
        columns.iter().map(|column| fields[header().split(',').position(|name| name == *column).unwrap()]).collect()
    }

    #[test]
    fn open_loops_mixes_and_transports_are_told_apart() {
        let columns = ["loop", "rate_per_s", "arrival", "timer", "size_mix", "idle", "protocol", "gso"];
        let Stored::Compare(mut report) = comparison() else { panic!("a comparison") };
        report.scene.load.protocol = "tcp".into();
        let text = only(Csv.export(&Stored::Compare(report.clone())).unwrap());
        assert_eq!(first(&text, &columns), ["closed", "", "", "", "", "0", "tcp", "0"]);
        let load = &mut report.scene.load;
        (load.rate_per_s, load.arrival, load.timer) = (Some(20_000), Some("poisson".into()), Some("spin".into()));
        (load.idle, load.protocol, load.gso) = (5, "udp".into(), 16);
        report.cells[0].shape.size_mix = Some("64".into());
        let text = only(Csv.export(&Stored::Compare(report)).unwrap());
        assert_eq!(first(&text, &columns), ["open", "20000", "poisson", "spin", "64", "5", "udp", "16"]);
        let Stored::Load(mut load) = single() else { panic!("a run") };
        (load.workload.generator.rate_per_s, load.workload.shape.size_mix) = (Some(7), Some("64:9,1k:1".into()));
        let text = only(Csv.export(&Stored::Load(load)).unwrap());
        assert_eq!(first(&text, &["loop", "rate_per_s"]), ["open", "7"]);
        assert!(text.contains(",\"64:9,1k:1\","), "{text}");
    }
}

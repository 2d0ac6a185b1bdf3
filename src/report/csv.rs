//! Records in, comma-separated values out (RFC 4180): one line per trial, raw, for statistics of your own; of a diagnosis
//! one per kind of time, target or hop.

mod diagnoses;

use super::export::{ExportError, Exporter, Part};
use super::file::Stored;
use super::schema::LatencyRecord;
use super::trials::{Row, rows};

/// One line per trial.
pub struct Csv;

const HEADER: &str = "connections,size,depth,connect_per_request,contestant,round,position,valid,requests,duration_ns,\
    throughput_per_s,min_ns,mean_ns,p50_ns,p90_ns,p99_ns,p999_ns,max_ns,server_cpu_ns_per_request,\
    generator_cpu_ns_per_request,errors,lost,problems";

/// Columns of [`figures`].
const FIGURES: usize = 14;

impl Exporter for Csv {
    fn export(&self, result: &Stored) -> Result<Vec<Part>, ExportError> {
        let text = match result {
            Stored::Wire(report) => diagnoses::of_wire(report),
            Stored::Ping(report) => diagnoses::of_ping(report),
            Stored::Trace(report) => diagnoses::of_trace(report),
            _ => table(HEADER, rows(result)?.iter().map(fields)),
        };
        Ok(Part::whole(text))
    }
}

/// The header and a line for each row of fields.
fn table(header: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let lines: String = rows.map(|fields| fields.join(",") + "\r\n").collect();
    format!("{header}\r\n{lines}")
}

fn fields(row: &Row) -> Vec<String> {
    let mut fields = workload(row).to_vec();
    fields.extend([quoted(row.contestant), row.round.to_string(), row.position.to_string()]);
    fields.push(u8::from(row.valid().is_some()).to_string());
    fields.extend(figures(row));
    fields.push(quoted(&row.problems.join("; ")));
    fields
}

fn workload(row: &Row) -> [String; 4] {
    let of_run = |load: &super::schema::LoadReport| {
        let workload = &load.workload;
        (workload.connections, workload.size, workload.depth, workload.connect_per_request)
    };
    let of_cell = row.cell.map(|cell| (cell.connections, cell.size, cell.depth, cell.connect_per_request));
    let (connections, size, depth, reconnecting) = of_cell.or(row.load.map(of_run)).unwrap_or_default();
    [connections.to_string(), size.to_string(), depth.to_string(), u8::from(reconnecting).to_string()]
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
        let columns = HEADER.split(',').count();
        assert_eq!(text.matches("\r\n").count(), 1 + 14, "{text}");
        let plain = text.lines().find(|line| line.contains(",epoll,3,")).unwrap();
        assert_eq!(plain.split(',').count(), columns, "{plain}");
        assert!(plain.starts_with("64,64,1,0,epoll,3,1,1,100,1000000,100003.0,"), "{plain}");
        assert!(
            text.contains(",uring --recv oneshot,2,1,0,") && text.contains("\"an answer, \"\"wrong\"\"\""),
            "{text}"
        );
        assert!(text.contains("oneshot,3,1,0,,,,,,,,,,,,,,,\"the server ended;\nno memory\""), "{text}");
        assert_eq!(only(Csv.export(&single()).unwrap()).lines().count(), 2);
    }
}

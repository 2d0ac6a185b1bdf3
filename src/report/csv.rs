//! Records in, comma-separated values out (RFC 4180): one line per trial, raw, for statistics of your own.

use super::export::{ExportError, Exporter, Part};
use super::file::Stored;
use super::schema::LatencyRecord;
use super::trials::{Row, rows};
use super::wire::WireReport;

/// One line per trial.
pub struct Csv;

const HEADER: &str = "connections,size,depth,connect_per_request,contestant,round,position,valid,requests,duration_ns,\
    throughput_per_s,min_ns,mean_ns,p50_ns,p90_ns,p99_ns,p999_ns,max_ns,server_cpu_ns_per_request,\
    generator_cpu_ns_per_request,errors,lost,problems";

impl Exporter for Csv {
    fn export(&self, result: &Stored) -> Result<Vec<Part>, ExportError> {
        if let Stored::Wire(report) = result {
            return Ok(Part::whole(of_wire(report)));
        }
        let lines = rows(result)?.iter().map(line).collect::<String>();
        Ok(Part::whole(format!("{HEADER}\r\n{lines}")))
    }
}

const WIRE_HEADER: &str = "device,port,duration_ns,kind,samples,min_ns,mean_ns,p50_ns,p90_ns,p99_ns,p999_ns,max_ns";

/// Read off the wire: one line per kind of time.
fn of_wire(report: &WireReport) -> String {
    let lines = report.kinds().map(|(kind, figures)| {
        let LatencyRecord { min, mean, p50, p90, p99, p999, max } = figures.latency_ns;
        let (device, port, duration) = (quoted(&report.device), report.port, report.duration_ns);
        let (kind, samples) = (quoted(kind), figures.samples);
        format!("{device},{port},{duration},{kind},{samples},{min},{mean:.1},{p50},{p90},{p99},{p999},{max}\r\n")
    });
    format!("{WIRE_HEADER}\r\n{}", lines.concat())
}

fn line(row: &Row) -> String {
    let mut fields = workload(row).to_vec();
    fields.extend([quoted(row.contestant), row.round.to_string(), row.position.to_string()]);
    fields.push(u8::from(row.valid().is_some()).to_string());
    fields.extend(figures(row));
    fields.push(quoted(&row.problems.join("; ")));
    fields.join(",") + "\r\n"
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
fn figures(row: &Row) -> [String; 14] {
    let Some(load) = row.load else { return Default::default() };
    let latency = load.waiting_ns();
    let known = |value: Option<f64>| value.map(|value| format!("{value:.1}")).unwrap_or_default();
    [
        load.requests.to_string(),
        load.duration_ns.to_string(),
        format!("{:.1}", load.throughput_per_s),
        latency.min.to_string(),
        format!("{:.1}", latency.mean),
        latency.p50.to_string(),
        latency.p90.to_string(),
        latency.p99.to_string(),
        latency.p999.to_string(),
        latency.max.to_string(),
        known(load.cpu.server_ns_per_request),
        known(load.cpu.generator_ns_per_request),
        load.errors.values().sum::<u64>().to_string(),
        load.datagrams.as_ref().map(|datagrams| datagrams.lost.to_string()).unwrap_or_default(),
    ]
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

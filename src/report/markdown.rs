//! Records in, Markdown out: a table to paste into an issue or a README.

mod diagnoses;

use super::export::{ExportError, Exporter, Part};
use super::file::Stored;
use super::verdict::{conclusion, short_name};
use crate::record::{CellRecord, CompareReport, ContestantRecord, GeneratorRecord, LatencyRecord, LoadReport, Verdict};
use crate::units::{Nanos, counted};

/// A table per workload.
pub struct Markdown;

const LATENCIES: &str = "p50 | p99 | p99.9 | max";

impl Exporter for Markdown {
    fn export(&self, result: &Stored) -> Result<Vec<Part>, ExportError> {
        match result {
            Stored::Compare(report) => Ok(Part::whole(comparison(report))),
            Stored::Load(report) => Ok(Part::whole(single(report))),
            Stored::Aa(_) => Err(ExportError::NoTrials),
            Stored::Wire(report) => Ok(Part::whole(diagnoses::of_wire(report))),
            Stored::Ping(report) => Ok(Part::whole(diagnoses::of_ping(report))),
            Stored::Trace(report) => Ok(Part::whole(diagnoses::of_trace(report))),
        }
    }
}

fn comparison(report: &CompareReport) -> String {
    let intro = format!(
        "ringmark {}, {}, Linux {} on {}; server on cores {}, generator on {}.\n",
        report.scene.ringmark,
        report.scene.started,
        report.scene.host.kernel,
        report.scene.host.cpu,
        report.scene.server_cores,
        report.scene.load_cores
    );
    let cells = report.cells.iter().map(|cell| table(report, cell));
    intro + &cells.collect::<String>()
}

fn table(report: &CompareReport, cell: &CellRecord) -> String {
    let rows: String = cell.contestants.iter().map(row).collect();
    format!(
        "\n{}, {} B, {} in flight on each{}:\n\n\
         | contestant | req/s | {LATENCIES} | server CPU/req | rounds | ratio [95 %] | verdict |\n\
         |:---|---:|---:|---:|---:|---:|---:|---:|---:|:---|\n{rows}\n{}\n",
        counted(cell.shape.connections, "connection"),
        cell.shape.sizes(),
        cell.shape.depth,
        open_loop(&report.scene.load),
        conclusion(cell, &report.baseline)
    )
}

/// What latency and ratio are of, where requests are sent by a schedule.
fn open_loop(load: &GeneratorRecord) -> String {
    let paced = load.rate_per_s.zip(load.arrival.as_ref());
    paced.map_or_else(String::new, |(rate, arrival)| {
        format!(" at most, open loop of {rate} requests/s ({arrival}); latency is response time, the ratio that of p99")
    })
}

fn row(contestant: &ContestantRecord) -> String {
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let ratio = contestant.ratio.filter(|_| contestant.verdict != Some(Verdict::Baseline));
    format!(
        "| `{}` | {} | {} | {} | {} | {} | {} |\n",
        short_name(&contestant.name).replace('|', "\\|"),
        known(contestant.throughput_per_s.map(|rate| format!("{rate:.0}"))),
        latencies(contestant.latency_ns.as_ref()),
        known(contestant.server_cpu_ns_per_request.map(|nanos| Nanos(nanos.round() as u64).to_string())),
        contestant.rounds,
        known(ratio.map(|ratio| format!("{:.3} [{:.3}, {:.3}]", ratio.median, ratio.low, ratio.high))),
        contestant.verdict.map_or("unavailable", Verdict::text)
    )
}

fn latencies(latency: Option<&LatencyRecord>) -> String {
    match latency {
        Some(latency) => {
            [latency.p50, latency.p99, latency.p999, latency.max].map(|n| Nanos(n).to_string()).join(" | ")
        }
        None => ["-"; 4].join(" | "),
    }
}

fn single(report: &LoadReport) -> String {
    let reasons: String = report.invalid.iter().map(|reason| format!("**INVALID**: {reason}\n\n")).collect();
    let errors: u64 = report.errors.values().sum();
    format!(
        "{reasons}| target | req/s | {LATENCIES} | errors |\n|:---|---:|---:|---:|---:|---:|---:|\n\
         | {} | {:.0} | {} | {errors} |\n",
        report.target,
        report.throughput_per_s,
        latencies(Some(report.waiting_ns()))
    )
}

#[cfg(test)]
mod tests {
    use super::super::export::tests::{all, comparison, only};
    use super::*;

    #[test]
    fn every_row_of_a_table_has_as_many_columns_as_its_header() {
        for result in all() {
            let text = only(Markdown.export(&result).unwrap());
            let widths: Vec<usize> =
                text.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
            assert!(widths.len() >= 3 && widths.iter().all(|width| *width == widths[0]), "{text}");
        }
        let text = only(Markdown.export(&comparison()).unwrap());
        assert!(
            text.contains("| `uring --recv oneshot` | 120005 | 1us |") && text.contains("| too few rounds |"),
            "{text}"
        );
    }

    #[test]
    fn an_open_loop_says_what_its_ratios_are_of() {
        let Stored::Compare(mut report) = comparison() else { panic!("a comparison") };
        assert!(!Markdown.export(&Stored::Compare(report.clone())).unwrap()[0].text.contains("open loop"));
        (report.scene.load.rate_per_s, report.scene.load.arrival) = (Some(20_000), Some("poisson".into()));
        report.cells[0].shape.size_mix = Some("64:9,1k:1".into());
        let text = only(Markdown.export(&Stored::Compare(report)).unwrap());
        assert!(text.contains("64:9,1k:1 B") && text.contains("20000 requests/s (poisson); latency is resp"), "{text}");
    }
}

//! A comparison to read: the answer in a sentence, under what it was measured, the figures, and what limits the answer; all
//! else where it is asked for.
//!
//! ASCII beside the contestants' names, and the same bytes for the same style wherever it is written, so that two renderings
//! can be compared.

mod bar;
mod details;
mod grid;
mod notes;
mod scale;
mod setting;
mod table;

use super::accounting::missing;
use super::conclusion::{conclusion, of_cell};
use super::figures::{CellFigures, Standing};
use super::text_style::{Line, Look, Span, TextStyle, wrap};
use crate::record::{CompareReport, SYSTEM_CALLS, TrialRecord};
use crate::units::Nanos;

/// A matrix of more cells is shown as a grid alone.
const MAX_TABLES: usize = 4;

/// The whole report as text, with a final line break.
pub fn render(report: &CompareReport, style: &TextStyle) -> String {
    let cells: Vec<CellFigures> = report.cells.iter().map(|cell| CellFigures::of(report, cell)).collect();
    let mut blocks = vec![paragraph(&conclusion(report), style, Look::Strong), setting(report, style)];
    if cells.len() <= MAX_TABLES || style.verbose {
        cells.iter().for_each(|cell| blocks.extend(cell_blocks(report, cell, style)));
    }
    if cells.len() > 1 {
        blocks.extend(grid::grids(report, &cells, style));
    }
    blocks.push(notes(report, &cells, style));
    blocks.push(
        not_counted(report)
            .filter(|_| style.verbose)
            .map(|text| paragraph(&text, style, Look::Plain))
            .unwrap_or_default(),
    );
    let lines = blocks.into_iter().filter(|block| !block.is_empty());
    lines.map(|block| style.paint(&block)).collect::<Vec<_>>().join("\n")
}

fn paragraph(text: &str, style: &TextStyle, look: Look) -> Vec<Line> {
    wrap(text, style.text_width(), "  ").into_iter().map(|line| vec![Span::new(line, look)]).collect()
}

fn setting(report: &CompareReport, style: &TextStyle) -> Vec<Line> {
    let more = if style.verbose { setting::at_length(report) } else { Vec::new() };
    [setting::line(report)].iter().chain(&more).flat_map(|text| paragraph(text, style, Look::Plain)).collect()
}

/// The table of a cell, with its own sentence where there are several, and all else that is asked for.
fn cell_blocks(report: &CompareReport, cell: &CellFigures, style: &TextStyle) -> Vec<Vec<Line>> {
    let is_one_of_several = report.cells.len() > 1;
    let mut table = Vec::new();
    if is_one_of_several {
        let shape = setting::cell(report, cell.cell).join(", ");
        table.extend(paragraph(&format!("{shape}: {}", of_cell(cell)), style, Look::Strong));
    }
    table.extend(table::table(cell, style));
    table.extend(floor(cell).iter().flat_map(|text| paragraph(text, style, Look::Plain)));
    let details = if style.verbose { details::blocks(cell, style) } else { Vec::new() };
    [table].into_iter().chain(details).collect()
}

/// How far the contestants are from what the kernel alone takes.
fn floor(cell: &CellFigures) -> Option<String> {
    let floor = cell.cell.floor.as_ref()?.cpu_ns_per_request?;
    let shown = cell.all.iter().filter(|one| matches!(one.standing, Standing::Baseline | Standing::Compared));
    let multiples: Vec<String> =
        shown.filter_map(|one| Some(format!("{} {:.1}x", one.name, one.contestant.floor_multiple?))).collect();
    let multiples = if multiples.is_empty() { String::new() } else { format!("; {}", multiples.join(", ")) };
    let time = Nanos(floor.round() as u64);
    Some(format!("floor: one thread, plain send and receive on a loopback pair: {time} CPU/req{multiples} (both ends)"))
}

/// A line each, wrapped; what a process wrote below it, indented.
fn notes(report: &CompareReport, cells: &[CellFigures], style: &TextStyle) -> Vec<Line> {
    let notes = notes::notes(report, cells, style.verbose);
    let lines = notes.iter().flat_map(|note| {
        let mut parts = note.lines();
        let first = wrap(&format!("! {}", parts.next().unwrap_or_default()), style.text_width(), "  ");
        first.into_iter().chain(parts.map(|line| format!("    | {line}")))
    });
    lines.map(|line| vec![line.into()]).collect()
}

/// Why a figure could not be counted, and the remedy.
fn not_counted(report: &CompareReport) -> Option<String> {
    let contestants = report.cells.iter().flat_map(|cell| &cell.contestants);
    let loads = contestants.flat_map(|one| &one.trials).filter_map(TrialRecord::valid);
    let accounts = loads.filter_map(|load| load.accounting.as_ref());
    missing(accounts.flat_map(|accounting| &accounting.unavailable).filter(|missing| missing.what == SYSTEM_CALLS))
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, failed, report, steady, trial};
    use super::*;
    use crate::record::{
        AccountingRecord, CountRecord, EndRecord, FloorRecord, Reason, SlicesRecord, Stopped, UnavailableRecord,
    };

    fn plain(report: &CompareReport) -> String {
        render(report, &TextStyle::default())
    }

    fn at_length(report: &CompareReport) -> String {
        render(report, &TextStyle { verbose: true, ..TextStyle::default() })
    }

    /// The text in one line.
    fn unwrapped(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_answer_comes_first_and_what_went_wrong_last() {
        let mut trials = steady(120_000.0);
        trials[1] = trial(2, 9e9, &["7 answers were wrong"]);
        trials[3] = trial(4, 9e9, &["12 answers were wrong"]);
        trials[4] = failed(5, "the server ended; its stderr:\nno memory");
        let mut absent = contestant("tokio-uring --entries 4096", vec![]);
        absent.unavailable = Some(Reason::unclassified("io_uring is forbidden"));
        let long = contestant("exec ./a-server-of-mine --port {port} --and-more-of-it", steady(99_000.0));
        let mut report = report(vec![contestant("uring", trials), contestant("epoll", steady(1e5)), absent, long]);
        let text = plain(&report);
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.starts_with("tokio-uring --entries 4096 cannot run here; "), "{text}");
        for part in [
            "uring, rounds 2, 4 of 7 do not count: 7 answers were wrong",
            "uring, round 5 of 7 does not count: the server ended; its stderr:\n    | no memory",
            "tokio-uring --entries 4096 cannot run here: io_uring is forbidden",
            "64 connections x 64 B, closed loop, 7 rounds of 1s, cores 2+2",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        report.stopped = Stopped::Interrupted;
        assert!(plain(&report).starts_with("INTERRUPTED after 21 trials: "));
    }

    #[test]
    fn all_else_is_told_where_it_is_asked_for() {
        let mut trials = steady(120_000.0);
        let syscalls = Some(CountRecord { count: 400, requests: 10_000, duration_ns: 1 });
        let [what, why, remedy] = [SYSTEM_CALLS, "no tracefs", "mount it"].map(str::to_owned);
        trials[0].load.as_mut().unwrap().accounting = Some(AccountingRecord {
            server: Some(EndRecord { syscalls, user_ns: Some(5_000), ..EndRecord::default() }),
            unavailable: vec![UnavailableRecord { what, why, remedy }],
            ..AccountingRecord::default()
        });
        let named = contestant("exec ./mine --port {port}", steady(99_000.0));
        let report = report(vec![contestant("uring", trials), contestant("epoll", steady(1e5)), named]);
        let (brief, long) = (plain(&report), unwrapped(&at_length(&report)));
        for part in [
            "Server on cores 0-1, generator on cores 2-3 (epoll, 2 threads).",
            "Linux 6.8.0 on some processor (4 cores), 2026-01-31T23:59:59Z, ringmark 0.1.0.",
            "exec mine: exec ./mine --port {port}",
            "not counted: system calls (no tracefs; remedy: mount it)",
            "Latency is service time",
            "p99.9",
        ] {
            assert!(long.contains(part) && !unwrapped(&brief).contains(part), "{part} is not in\n{long}");
        }
        assert!(brief.contains("0.04"), "{brief}");
        assert!(at_length(&report).lines().all(|line| line.len() <= 80), "{}", at_length(&report));
    }

    #[test]
    fn an_open_loop_says_what_its_latency_is() {
        let mut report = report(vec![contestant("epoll", steady(1e5))]);
        report.context.load.rate_per_s = Some(15_000);
        report.context.load.arrival = Some("ramp:10000..20000".into());
        report.context.load.timer = Some("hybrid".into());
        let text = unwrapped(&at_length(&report));
        for part in ["open loop, 15000 requests/s (ramp:10000..20000)", "Latency is response time", "(hybrid timer)"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_is_allowed_and_what_the_sides_share_is_told() {
        let mut report = report(vec![contestant("epoll", steady(1e5))]);
        assert!(!plain(&report).contains("allowed") && !plain(&report).contains('!'));
        (report.context.load.allow_errors, report.context.load.max_loss) = (Some(0.02), Some(0.5));
        report.context.siblings_shared = true;
        let text = unwrapped(&plain(&report));
        assert!(
            text.contains("errors up to 2 % and loss up to 50 % allowed") && text.contains("the SAME CORE"),
            "{text}"
        );
        report.context.cores_shared = true;
        assert!(plain(&report).contains("SHARED a core"));
    }

    #[test]
    fn slices_and_their_floor_are_told() {
        let mut report = report(vec![contestant("epoll", steady(1e5)), contestant("uring", steady(1.2e5))]);
        report.slices =
            Some(SlicesRecord { length_ns: 50_000_000, settle_ns: 5_000_000, blocks: 14, ..SlicesRecord::default() });
        report.cells[0].floor = Some(FloorRecord { cpu_ns_per_request: Some(3_100.0), slices: Vec::new() });
        report.cells[0].contestants[1].floor_multiple = Some(1.42);
        let text = unwrapped(&plain(&report));
        assert!(text.contains("closed loop, 7 rounds of 14 x 50ms, cores 2+2"), "{text}");
        assert!(
            text.contains("floor: one thread, plain send and receive on a loopback pair: 3.10us CPU/req; uring 1.4x"),
            "{text}"
        );
    }

    #[test]
    fn a_matrix_is_a_grid_and_its_tables_are_there_where_they_are_few_or_asked_for() {
        let mut report = report(vec![contestant("epoll", steady(1e5)), contestant("uring", steady(1.2e5))]);
        for (cells, tables) in [(2_u64, 2), (4, 4), (5, 0)] {
            let cell = |connections| {
                let mut cell = report.cells[0].clone();
                cell.shape.connections = connections;
                cell
            };
            report.cells = (1..=cells).map(cell).collect();
            let text = plain(&report);
            assert!(text.contains("uring vs epoll, requests/s in %\nconns"), "{text}");
            assert_eq!(text.matches("CPU /req").count(), tables, "{text}");
            assert!(text.starts_with(&format!("uring is faster than epoll in all {cells} cells (+20 % requests/s).")));
        }
        assert_eq!(at_length(&report).matches("CPU /req").count(), 5);
    }

    #[test]
    fn what_every_cell_says_is_said_once() {
        let mut absent = contestant("uring", vec![]);
        absent.unavailable = Some(Reason::unclassified("io_uring is forbidden"));
        let mut report = report(vec![contestant("epoll", steady(1e5)), absent]);
        report.cells = vec![report.cells[0].clone(); 3];
        assert_eq!(plain(&report).matches("io_uring is forbidden").count(), 1);
        report.cells[1].shape.size = 4096;
        report.cells[1].contestants[1].unavailable = Some(Reason::NoFreePort);
        let text = unwrapped(&plain(&report));
        assert!(text.contains("! In 2 of 3 cells: uring cannot run here: io_uring"), "{text}");
        assert!(text.contains("! 64 connections x 4 KiB: uring cannot run here: no free port"), "{text}");
    }
}

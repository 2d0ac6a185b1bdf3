//! A matrix as a grid for each contestant: connections by size, the ratio in each cell.

use super::super::columns::{Align, Column, lines, parts};
use super::super::figures::{CellFigures, Figures, Standing};
use super::super::percent::{Percent, bound_sign, is_shown};
use super::super::text_style::{Line, Look, Span, TextStyle};
use super::table::look;
use crate::record::{CellRecord, CompareReport, GeneratorSettings, Shape, Verdict};
use crate::units::Bytes;

/// A grid for each contestant but the baseline, and what its signs mean.
pub fn grids(report: &CompareReport, cells: &[CellFigures], style: &TextStyle) -> Vec<Vec<Line>> {
    let mut names: Vec<&str> = Vec::new();
    for one in cells.iter().flat_map(|cell| &cell.all).filter(|one| one.name != cells[0].baseline) {
        if !names.contains(&one.name.as_str()) {
            names.push(&one.name);
        }
    }
    let grids = names.into_iter().flat_map(|name| kinds(cells).into_iter().map(move |kind| (name, kind)));
    let mut all: Vec<Vec<Line>> = grids.map(|(name, kind)| grid(report, cells, name, &kind, style)).collect();
    if !all.is_empty() {
        all.push(vec![vec![Span::new(LEGEND, Look::Faint)]]);
    }
    all
}

const LEGEND: &str = "(in brackets: no difference shown; ?: too few rounds)";

/// What else than connections and size tells cells apart.
#[derive(Clone, Debug, PartialEq)]
struct Kind {
    depth: u64,
    connect_per_request: bool,
    load: Option<GeneratorSettings>,
}

impl Kind {
    fn of(cell: &CellRecord) -> Kind {
        let Shape { depth, connect_per_request, .. } = cell.shape;
        Kind { depth, connect_per_request, load: cell.load.clone() }
    }
}

fn kinds(cells: &[CellFigures]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for kind in cells.iter().map(|cell| Kind::of(cell.cell)) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

fn grid(report: &CompareReport, cells: &[CellFigures], name: &str, kind: &Kind, style: &TextStyle) -> Vec<Line> {
    let cells: Vec<&CellFigures> = cells.iter().filter(|cell| Kind::of(cell.cell) == *kind).collect();
    let connections = each(&cells, |shape| shape.connections);
    let sizes = each(&cells, size);
    let mut grid = vec![vec![Span::new(title(report, &cells, name, kind), Look::Strong)]];
    let first =
        Column::new(["conns", ""], Align::Right, 0, connections.iter().map(|count| count.to_string().into()).collect());
    let columns: Vec<Column> = sizes.iter().map(|size| column(&cells, name, &connections, size)).collect();
    for part in parts(&first, columns, style.width) {
        grid.extend(lines(&part));
    }
    grid
}

fn title(report: &CompareReport, cells: &[&CellFigures], name: &str, kind: &Kind) -> String {
    let Some(first) = cells.first() else { return name.to_owned() };
    let of = if first.paced { "p99 response time" } else { "requests/s" };
    let depth = if kind.depth > 1 && !first.paced { format!(", {} in flight each", kind.depth) } else { String::new() };
    let connecting = if kind.connect_per_request { ", a new connection for each request" } else { "" };
    let is_shared = report.cells.iter().all(|cell| cell.load.is_none());
    let load = if is_shared { String::new() } else { traffic(first.cell.load(&report.context.load)) };
    format!("{name} vs {}, {of} in %{load}{depth}{connecting}", first.baseline)
}

/// Of cells that do not all have the same.
fn traffic(load: &GeneratorSettings) -> String {
    let rate = load.rate_per_s.map(|rate| format!(" at {rate} requests/s")).unwrap_or_default();
    format!(", {}{rate}", load.protocol.to_ascii_uppercase())
}

/// Each value once, in the order of the cells.
fn each<T: PartialEq>(cells: &[&CellFigures], of: fn(&Shape) -> T) -> Vec<T> {
    let mut values = Vec::new();
    for value in cells.iter().map(|cell| of(&cell.cell.shape)) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

fn size(shape: &Shape) -> String {
    shape.size_mix.clone().unwrap_or_else(|| Bytes(shape.size).to_string())
}

fn column(cells: &[&CellFigures], name: &str, connections: &[u64], of: &str) -> Column {
    let find = |count: &u64| {
        let cell = cells.iter().find(|cell| cell.cell.shape.connections == *count && size(&cell.cell.shape) == of)?;
        cell.all.iter().find(|one| one.name == name)
    };
    let spans = connections.iter().map(|count| find(count).map(said).unwrap_or_default());
    Column::new([of, ""], Align::Right, 3, spans.collect())
}

fn said(one: &Figures) -> Span {
    match (one.standing, &one.speed) {
        (Standing::Broken, _) => Span::new("broken", Look::Bad),
        (Standing::Unavailable, _) => Span::new("absent", Look::Bad),
        (Standing::NotMeasured, _) => Span::new("invalid", Look::Bad),
        (_, None) => "-".to_owned().into(),
        (_, Some(speed)) => {
            let text = format!("{}{}", bound_sign(speed.bound), Percent::of(speed).median);
            let text = match speed.verdict {
                verdict if is_shown(verdict) => text,
                Verdict::TooFewRounds => text + "?",
                _ => format!("({text})"),
            };
            Span::new(text, look(speed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::derive::tests::{contestant, report, steady};
    use super::super::super::percent::tests::judged;
    use super::*;
    use crate::record::{Bound, JudgedRatioRecord, Reason};

    fn cell(connections: u64, size: u64, speed: Option<JudgedRatioRecord>) -> CellRecord {
        let all = report(vec![contestant("epoll", steady(1e5)), contestant("uring", steady(1e5))]);
        let mut cell = { all }.cells.swap_remove(0);
        (cell.shape.connections, cell.shape.size) = (connections, size);
        cell.contestants[1].ratios.throughput = speed;
        cell
    }

    /// Two sizes by two counts of connections, one of the four without a verdict.
    fn matrix() -> CompareReport {
        let more = judged(1.31, 1.29, 1.33, Verdict::Faster);
        let none = judged(1.002, 0.99, 1.01, Verdict::NoDifferenceShown);
        let mut all = report(Vec::new());
        all.cells = vec![
            cell(1, 64, Some(none)),
            cell(1, 4096, Some(more)),
            cell(64, 64, Some(JudgedRatioRecord { bound: Some(Bound::AtLeast), ..more })),
            cell(64, 4096, None),
        ];
        all.cells[3].contestants[1].broken = Some(Reason::NoFreePort);
        all
    }

    fn drawn(report: &CompareReport, width: usize) -> String {
        let cells: Vec<CellFigures> = report.cells.iter().map(|cell| CellFigures::of(report, cell)).collect();
        let style = TextStyle { width, ..TextStyle::default() };
        grids(report, &cells, &style).iter().map(|grid| style.paint(grid)).collect()
    }

    #[test]
    fn a_matrix_is_read_by_connections_and_size() {
        let expected = format!(
            "uring vs epoll, requests/s in %\n\
             conns       64       4k\n    \
                 1   (+0.2)      +31\n   \
                64     >+31   broken\n\
             {LEGEND}\n"
        );
        assert_eq!(drawn(&matrix(), 80), expected);
    }

    #[test]
    fn where_cells_differ_in_their_transport_each_grid_names_its_own() {
        let mut report = matrix();
        report.context.load.protocol = "tcp".into();
        let load = GeneratorSettings { protocol: "unix".into(), ..report.context.load.clone() };
        report.cells[3].load = Some(load);
        let text = drawn(&report, 80);
        assert!(text.contains("requests/s in %, TCP\n") && text.contains("requests/s in %, UNIX\n"), "{text}");
    }

    #[test]
    fn sizes_that_do_not_fit_follow_below() {
        let text = drawn(&matrix(), 15);
        assert_eq!(text.matches("conns").count(), 2, "{text}");
    }
}

//! Under what a comparison was measured: in one line, and at length.

use super::super::stopping;
use super::super::tolerance;
use super::super::verdict::short_name;
use crate::record::{CellRecord, CompareReport, GeneratorSettings, Shape, SlicesRecord, Stopped};
use crate::units::{Bytes, CoreList, Nanos, counted};

/// `TCP echo, 64 connections x 64 B, closed loop, 12 rounds of 14 x 50ms, cores 1+1`
pub fn line(report: &CompareReport) -> String {
    let shared = &report.context.load;
    let cells = match &report.cells[..] {
        [cell] => whole(&cell.shape, cell.load(shared)),
        cells if cells.iter().any(|cell| cell.load.is_some()) => vec![counted(cells.len() as u64, "cell")],
        cells => [vec![traffic(shared), counted(cells.len() as u64, "cell")], pace(shared)].concat(),
    };
    let allowed = tolerance::describe(shared.allow_errors, shared.max_loss);
    cells.into_iter().chain([rounds(report), cores(report)]).chain(allowed).collect::<Vec<_>>().join(", ")
}

fn whole(of: &Shape, load: &GeneratorSettings) -> Vec<String> {
    [vec![traffic(load)], shape(of, load), pace(load)].concat()
}

/// What distinguishes a cell from the others.
pub fn cell(report: &CompareReport, cell: &CellRecord) -> Vec<String> {
    match &cell.load {
        Some(load) => whole(&cell.shape, load),
        None => shape(&cell.shape, &report.context.load),
    }
}

fn traffic(load: &GeneratorSettings) -> String {
    match (load.protocol.as_str(), load.gso) {
        ("udp", 1..) => format!("UDP echo, up to {} with one send (UDP_SEGMENT)", counted(load.gso, "datagram")),
        (protocol, _) => format!("{} echo", protocol.to_ascii_uppercase()),
    }
}

/// `64 connections x 64 B`, and what is out of the ordinary.
fn shape(shape: &Shape, load: &GeneratorSettings) -> Vec<String> {
    let peers = if load.protocol == "udp" { "socket" } else { "connection" };
    let size = format!("{} x {}", counted(shape.connections, peers), size(shape));
    let depth = (shape.depth > 1 && load.rate_per_s.is_none()).then(|| format!("{} in flight each", shape.depth));
    let connecting = shape.connect_per_request.then(|| "a new connection for each request".to_owned());
    [size].into_iter().chain(depth).chain(connecting).collect()
}

/// `64 B`, `4 KiB`, `64:9,1k:1 B`
fn size(shape: &Shape) -> String {
    let size = shape.size_mix.clone().unwrap_or_else(|| Bytes(shape.size).to_string());
    match size.split_at(size.len().saturating_sub(1)) {
        (number, unit @ ("k" | "M" | "G")) => format!("{number} {}iB", unit.to_uppercase()),
        _ => format!("{size} B"),
    }
}

fn pace(load: &GeneratorSettings) -> Vec<String> {
    let idle = (load.idle > 0).then(|| format!("beside {}", counted(load.idle, "silent one")));
    let pace = match (load.rate_per_s, &load.arrival) {
        (Some(rate), Some(arrival)) => format!("open loop, {rate} requests/s ({arrival})"),
        _ => "closed loop".to_owned(),
    };
    idle.into_iter().chain([pace]).collect()
}

/// As many as were run.
fn rounds(report: &CompareReport) -> String {
    let run = report.cells.iter().map(|cell| stopping::rounds(report, cell)).max().unwrap_or(0);
    let run = match report.stopped {
        Stopped::Interrupted => format!("up to {}", counted(run, "round")),
        _ => counted(run, "round"),
    };
    let Some(slices) = slices(report) else {
        return format!("{run} of {}", Nanos(report.context.load.duration_ns));
    };
    let is_longer = |cell: &CellRecord| cell.slices.is_some_and(|of_cell| of_cell.length_ns > slices.length_ns);
    let longer = if report.cells.iter().any(is_longer) { " or longer" } else { "" };
    format!("{run} of {} x {}{longer}", slices.blocks, Nanos(slices.length_ns))
}

/// Those of the only cell; of several as they were meant, which some may have longer.
fn slices(report: &CompareReport) -> Option<SlicesRecord> {
    match &report.cells[..] {
        [cell] => cell.slices.or(report.slices),
        _ => report.slices,
    }
}

/// How many there are for the server and for the generator.
fn cores(report: &CompareReport) -> String {
    let count = |list: &str| list.parse::<CoreList>().map_or_else(|_| list.to_owned(), |cores| cores.len().to_string());
    format!("cores {}+{}", count(&report.context.server_cores), count(&report.context.load_cores))
}

/// What ran, where, and what the figures mean.
pub fn at_length(report: &CompareReport) -> Vec<String> {
    let (context, load) = (&report.context, &report.context.load);
    let server = format!(
        "Server on cores {}, generator on cores {} ({}, {}).",
        context.server_cores,
        context.load_cores,
        load.engine,
        counted(load.threads, "thread")
    );
    let machine = format!(
        "Linux {} on {} ({}), {}, ringmark {}.",
        context.host.kernel,
        context.host.cpu,
        counted(context.host.cores, "core"),
        context.started,
        context.ringmark
    );
    let meanings = meanings(report);
    [server, measured(report), machine, AGREEING.to_owned()]
        .into_iter()
        .chain(meanings)
        .chain(programs(report))
        .collect()
}

const AGREEING: &str = "Where a ratio is shown beside a figure, the figure is the baseline's times the ratio, so that the machine's drift \
    between the rounds is in neither.";

fn measured(report: &CompareReport) -> String {
    let (load, time) = (&report.context.load, |nanos: u64| Nanos(nanos).to_string());
    let seed = report.context.seed;
    match slices(report) {
        Some(slices) => format!(
            "{} of {} blocks: all servers of a round run, and in each block the load passes from one to the next, {} each, \
             of which the first {} are not counted; order shuffled by seed {seed}, servers restarted for each round.",
            planned(report),
            slices.blocks,
            time(slices.length_ns),
            time(slices.settle_ns)
        ),
        None => format!(
            "{} of {} counted after {} of warm-up{}, contestants in an order shuffled by seed {seed}, servers restarted.",
            planned(report),
            time(load.duration_ns),
            time(load.warmup_ns),
            if load.warmup_max_ns > load.warmup_ns { " or more" } else { "" },
        ),
    }
}

/// `7 rounds`, or `7 to 50 rounds`.
fn planned(report: &CompareReport) -> String {
    match &report.limits {
        Some(limits) if limits.max_rounds > report.rounds => {
            format!("{} to {}", report.rounds, counted(limits.max_rounds, "round"))
        }
        _ => counted(report.rounds, "round"),
    }
}

/// What latency is in each kind of cell.
fn meanings(report: &CompareReport) -> Vec<String> {
    let mut all: Vec<String> = report.cells.iter().map(|cell| meaning(cell.load(&report.context.load))).collect();
    all.dedup();
    all
}

/// What latency is, and from when on it counts.
fn meaning(load: &GeneratorSettings) -> String {
    match (load.rate_per_s, &load.timer) {
        (Some(_), timer) => format!(
            "Latency is response time: from the instant a request was meant to be sent until its whole answer is here; the \
             throughput is the one asked for ({} timer).",
            timer.as_deref().unwrap_or("unknown")
        ),
        _ => "Latency is service time: from a request's sending until its whole answer is here.".to_owned(),
    }
}

/// What was run under the names that are shown shortened.
fn programs(report: &CompareReport) -> impl Iterator<Item = String> {
    let contestants = report.cells.first().map_or(&[][..], |cell| &cell.contestants);
    let shortened = contestants.iter().map(|one| (short_name(&one.name), &one.name));
    shortened.filter(|(short, name)| short != *name).map(|(short, name)| format!("{short}: {name}"))
}

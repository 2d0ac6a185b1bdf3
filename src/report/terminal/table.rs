//! The table of a cell: what is read at a glance, the fastest first. What does not fit is left out, the least important
//! first; long names are cut and given in full below.

use super::super::columns::{Align, Column, lines, width};
use super::super::figures::{CellFigures, Figures, Standing};
use super::super::percent::{Percent, bound_sign, is_shown};
use super::super::text_style::{Line, Look, PLAIN_WIDTH, Span, TextStyle};
use super::bar::BarScale;
use super::scale::{RATES, Scale, TIMES};
use crate::record::{JudgedRatioRecord, Verdict};
use crate::units::few;
use console::measure_text_width;

const ABSENT: &str = "-";
/// No difference in CPU time was shown, or there are too few rounds.
const NOT_SHOWN: &str = "~";
/// Columns of the bar where there is room, and where there is little.
const WIDE_BAR: usize = 21;
const SMALL_BAR: usize = 9;
/// A name longer than this makes a table wider than 80 columns, where the terminal is.
const LONG_NAME: usize = 12;
/// As long a name is in a table of 80 columns with all there is.
const USUAL_NAME: usize = 10;
/// The most of a name that a table of 80 columns shows whatever is left out for it.
const MAX_NAME: usize = 20;
/// The baseline's name, where it stands in the head.
const MAX_BASELINE: usize = 14;

/// What a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    name: usize,
    bar: usize,
    syscalls: bool,
    p50: bool,
    p99: bool,
    cpu: bool,
    cpu_ratio: bool,
    interval: bool,
    verdict: bool,
}

/// The whole table and, where names were cut, what they are.
pub fn table(figures: &CellFigures, style: &TextStyle) -> Vec<Line> {
    let longest = figures.all.iter().map(|one| measure_text_width(&one.name)).max().unwrap_or(0);
    let more = if longest > LONG_NAME { longest - USUAL_NAME } else { 0 };
    let room = (PLAIN_WIDTH + more).min(style.width);
    let layouts = layouts(longest);
    let drawn = |layout: &Layout| columns(figures, layout);
    let fits = layouts.iter().find(|layout| width(&drawn(layout)) <= room);
    let layout = fits.or(layouts.last()).copied().unwrap_or(layouts[0]);
    let mut table = lines(&drawn(&layout));
    table.extend(full_names(figures, layout.name));
    table
}

/// From everything to the least, in the order in which they are tried.
fn layouts(longest: usize) -> Vec<Layout> {
    let mut layout = Layout {
        name: longest,
        bar: WIDE_BAR,
        syscalls: true,
        p50: true,
        p99: true,
        cpu: true,
        cpu_ratio: true,
        interval: true,
        verdict: true,
    };
    let mut all = vec![layout];
    let steps: [fn(&mut Layout); 14] = [
        |layout| layout.bar = 15,
        |layout| layout.bar = 11,
        |layout| layout.bar = SMALL_BAR,
        |layout| layout.name = layout.name.min(MAX_NAME),
        |layout| layout.syscalls = false,
        |layout| layout.name = layout.name.min(16),
        |layout| layout.p50 = false,
        |layout| layout.bar = 0,
        |layout| layout.p99 = false,
        |layout| layout.name = layout.name.min(12),
        |layout| layout.cpu_ratio = false,
        |layout| layout.cpu = false,
        |layout| layout.interval = false,
        |layout| layout.verdict = false,
    ];
    for step in steps {
        step(&mut layout);
        all.push(layout);
    }
    all
}

fn columns(figures: &CellFigures, layout: &Layout) -> Vec<Column> {
    let all = &figures.all;
    let names = all.iter().map(|one| Span::new(cut(&one.name, layout.name), Look::Strong)).collect();
    let mut columns = vec![Column::new(["", ""], Align::Left, 0, names)];
    columns.push(scaled("req/s", 2, RATES, all.iter().map(|one| one.throughput_per_s)));
    if all.iter().any(|one| one.speed.is_some()) {
        columns.extend(ratio(figures, layout));
    }
    if layout.verdict {
        columns.push(Column::new(["", ""], Align::Left, 1, all.iter().map(verdict).collect()));
    }
    if layout.cpu {
        columns.extend(cpu(all, layout.cpu_ratio));
    }
    if layout.p50 {
        columns.push(scaled("p50", 2, TIMES, all.iter().map(|one| one.p50_ns)));
    }
    if layout.p99 {
        columns.push(scaled("p99", if layout.p50 { 1 } else { 2 }, TIMES, all.iter().map(|one| one.p99_ns)));
    }
    if layout.syscalls {
        columns.extend(syscalls(all));
    }
    columns
}

/// Figures in one unit.
fn scaled<'a>(
    title: &str,
    gap: usize,
    units: &[(f64, &'static str)],
    values: impl Iterator<Item = Option<f64>> + Clone + 'a,
) -> Column {
    let scale = Scale::of(values.clone().flatten(), units);
    let cells = values.map(|value| value.map_or(ABSENT.to_owned(), |value| scale.show(value)).into());
    Column::new([title, scale.unit], Align::Right, gap, cells.collect())
}

/// The ratio, its interval and the bar.
fn ratio(figures: &CellFigures, layout: &Layout) -> Vec<Column> {
    let of_each = |show: &dyn Fn(&JudgedRatioRecord) -> String| {
        let show = |one: &Figures| one.speed.as_ref().map(|speed| Span::new(show(speed), look(speed)));
        figures.all.iter().map(|one| show(one).unwrap_or_default()).collect::<Vec<_>>()
    };
    let title = if figures.paced { "p99 vs" } else { "vs" };
    let baseline = match measure_text_width(&figures.baseline) <= MAX_BASELINE {
        true => figures.baseline.clone(),
        false => "baseline".to_owned(),
    };
    let medians = of_each(&|speed| format!("{}{}", bound_sign(speed.bound), Percent::of(speed).median));
    let mut columns = vec![Column::new([title, "%"], Align::Right, 2, medians)];
    if layout.interval {
        let intervals = of_each(&|speed| Percent::of(speed).brackets().unwrap_or_default());
        columns.push(Column::new([&baseline, "[95 %]"], Align::Left, 1, intervals));
    }
    if layout.bar > 0 {
        columns.push(bar(figures, layout.bar));
    }
    columns
}

fn bar(figures: &CellFigures, width: usize) -> Column {
    let scale = BarScale::of(figures.all.iter().filter_map(|one| one.speed.as_ref()), width);
    let draw = |one: &Figures| match (&one.speed, one.standing) {
        (Some(speed), _) => Span::new(scale.draw(speed), look(speed)),
        (None, Standing::Baseline) => Span::new(scale.middle(), Look::Faint),
        (None, _) => Span::default(),
    };
    Column::new(["", &scale.head()], Align::Left, 1, figures.all.iter().map(draw).collect())
}

/// Shorter than the stored one.
fn verdict(one: &Figures) -> Span {
    match (one.standing, one.speed) {
        (Standing::Broken, _) => Span::new("broken", Look::Bad),
        (Standing::Unavailable, _) => Span::new("absent", Look::Bad),
        (Standing::NotMeasured, _) => Span::new("invalid", Look::Bad),
        (Standing::Baseline, _) => Span::new("base", Look::Faint),
        (Standing::Compared, None) => Span::default(),
        (Standing::Compared, Some(speed)) => Span::new(short_verdict(speed.verdict), look(&speed)),
    }
}

/// A verdict in seven letters.
pub fn short_verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NoDifferenceShown => "no diff",
        Verdict::TooFewRounds => "too few",
        Verdict::Baseline => "base",
        other => other.text(),
    }
}

/// Green is faster or less.
pub fn look(judged: &JudgedRatioRecord) -> Look {
    match judged.verdict {
        Verdict::Faster | Verdict::Less => Look::Good,
        Verdict::Slower | Verdict::More | Verdict::Broken => Look::Bad,
        _ => Look::Faint,
    }
}

/// The server's CPU time per request, and its ratio where a difference was shown.
fn cpu(all: &[Figures], with_ratio: bool) -> Vec<Column> {
    let of_each = all.iter().map(|one| one.server_cpu_ns);
    if !with_ratio || all.iter().all(|one| one.server_cpu.is_none()) {
        return vec![scaled("CPU/req", 2, TIMES, of_each)];
    }
    let ratios = all.iter().map(|one| one.server_cpu.as_ref().map(cpu_ratio).unwrap_or_default());
    vec![scaled("CPU", 2, TIMES, of_each), Column::new(["/req", "%"], Align::Right, 1, ratios.collect())]
}

fn cpu_ratio(judged: &JudgedRatioRecord) -> Span {
    let text = if is_shown(judged.verdict) { Percent::of(judged).median } else { NOT_SHOWN.to_owned() };
    Span::new(text, look(judged))
}

/// The server's system calls; left out where nobody could count them.
fn syscalls(all: &[Figures]) -> Option<Column> {
    let counted = |one: &Figures| one.contestant.server_use.syscalls_per_request;
    let is_known = all.iter().any(|one| counted(one).is_some());
    let cell = |one: &Figures| counted(one).map_or(ABSENT.to_owned(), per_request).into();
    is_known.then(|| Column::new(["sysc", "/req"], Align::Right, 1, all.iter().map(cell).collect()))
}

fn per_request(count: f64) -> String {
    if count >= 0.005 { format!("{count:.2}") } else { few(count) }
}

/// Names that were cut, in full.
fn full_names(figures: &CellFigures, most: usize) -> Vec<Line> {
    let long = figures.all.iter().filter(|one| measure_text_width(&one.name) > most);
    long.map(|one| vec![format!("{}: {}", cut(&one.name, most), one.name).into()]).collect()
}

/// The beginning and the end of a name that is too long: what differs is often at the end.
fn cut(name: &str, most: usize) -> String {
    if measure_text_width(name) <= most {
        return name.to_owned();
    }
    let half = most.saturating_sub(2) / 2;
    let begin: String = name.chars().take(most.saturating_sub(2) - half).collect();
    let end: Vec<char> = name.chars().rev().take(half).collect();
    format!("{begin}..{}", end.into_iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::super::derive::tests::{contestant, report, steady};
    use super::super::super::percent::tests::judged;
    use super::*;
    use crate::record::{Bound, CompareReport, RatiosRecord, Reason};

    /// Like the default comparison.
    fn usual() -> CompareReport {
        let ratios = |median: f64, low: f64, high: f64, verdict, cpu: JudgedRatioRecord| RatiosRecord {
            throughput: Some(judged(median, low, high, verdict)),
            server_cpu: Some(cpu),
            ..RatiosRecord::default()
        };
        let less = judged(0.92, 0.91, 0.94, Verdict::Less);
        let more = judged(1.57, 1.5, 1.6, Verdict::More);
        let none = judged(0.996, 0.98, 1.01, Verdict::NoDifferenceShown);
        let all = [
            ("threads", ratios(0.63, 0.51, 0.71, Verdict::Slower, more)),
            ("uring", ratios(1.038, 1.024, 1.051, Verdict::Faster, less)),
            ("tokio", ratios(0.98, 0.96, 1.01, Verdict::NoDifferenceShown, none)),
            ("tokio-uring", ratios(0.941, 0.935, 0.957, Verdict::Slower, none)),
        ];
        let mut contestants = vec![contestant("epoll", steady(221e3))];
        contestants.extend(all.iter().map(|(name, _)| contestant(name, steady(1e5))));
        let mut report = report(contestants);
        let cell = &mut report.cells[0];
        for (one, (_, ratios)) in cell.contestants[1..].iter_mut().zip(all) {
            one.ratios = ratios;
        }
        for one in &mut cell.contestants {
            // As they are stored.
            let times = |judged: Option<JudgedRatioRecord>| judged.map_or(1.0, |judged| judged.ratio.median);
            one.throughput_per_s = Some(221e3 * times(one.ratios.throughput.filter(|_| one.name != "epoll")));
            one.server_use.syscalls_per_request = Some(2.04);
            one.server_cpu_ns_per_request =
                Some(4_470.0 * times(one.ratios.server_cpu.filter(|_| one.name != "epoll")));
            one.latency_ns =
                one.latency_ns.map(|latency| crate::record::LatencyRecord { p50: 286_000, p99: 1_250_000, ..latency });
        }
        report
    }

    fn drawn(report: &CompareReport, width: usize) -> String {
        let style = TextStyle { width, ..TextStyle::default() };
        style.paint(&table(&CellFigures::of(report, &report.cells[0]), &style))
    }

    #[test]
    fn the_usual_comparison_fits_into_80_columns_with_all_there_is() {
        let expected = [
            "             req/s    vs epoll                           CPU /req  p50  p99 sysc",
            "                 k     % [95 %]      -50 0 +50            us    %   us   ms /req",
            "uring          229  +3.8 [+2.4,+5.1]     |#    faster   4.11 -8.0  286 1.25 2.04",
            "epoll          221                       |     base     4.47       286 1.25 2.04",
            "tokio          217  -2.0 [-4.0,+1.0]    -|-    no diff  4.45    ~  286 1.25 2.04",
            "tokio-uring    208  -5.9 [-6.5,-4.3]    #|     slower   4.45    ~  286 1.25 2.04",
            "threads        139   -37 [-49,-29]   -###|     slower   7.02  +57  286 1.25 2.04",
        ];
        assert_eq!(drawn(&usual(), 80).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_fastest_comes_first() {
        let report = usual();
        let figures = CellFigures::of(&report, &report.cells[0]);
        let order: Vec<&str> = figures.all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(order, ["uring", "epoll", "tokio", "tokio-uring", "threads"]);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_names_are_cut() {
        let mut report = usual();
        report.cells[0].contestants[3].name = "uring --recv oneshot --entries 4096 --taskrun none".into();
        for width in [30, 40, 50, 60, 70, 80, 100, 120] {
            let text = drawn(&report, width);
            assert!(text.lines().take(7).all(|line| line.len() <= width), "{width}\n{text}");
            assert!(text.contains("req/s") && text.contains("+3.8"), "{width}\n{text}");
        }
        let text = drawn(&report, 80);
        assert!(text.ends_with(": uring --recv oneshot --entries 4096 --taskrun none\n"), "{text}");
        let wide = drawn(&report, 120);
        assert!(wide.contains("sysc") && wide.lines().count() == 7, "{wide}");
    }

    #[test]
    fn what_may_be_more_and_what_was_not_measured_is_marked() {
        let mut report = usual();
        let contestants = &mut report.cells[0].contestants;
        contestants[2].ratios.throughput.as_mut().unwrap().bound = Some(Bound::AtLeast);
        contestants[3] = contestant("absent", Vec::new());
        contestants[3].unavailable = Some(Reason::NoFreePort);
        let text = drawn(&report, 80);
        assert!(text.contains(">+3.8 [+2.4,+5.1]"), "{text}");
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last, ["absent", "-", "absent", "-", "-", "-", "-"]);
    }

    #[test]
    fn an_open_loops_ratio_is_that_of_its_response_times() {
        let mut report = usual();
        report.context.load.rate_per_s = Some(15_000);
        for one in &mut report.cells[0].contestants[1..] {
            one.ratios.p99 = Some(judged(0.8, 0.7, 0.9, Verdict::Faster));
        }
        let text = drawn(&report, 80);
        assert!(text.contains("p99 vs epoll") && text.contains("-20 [-30,-10]"), "{text}");
        let uring = text.lines().find(|line| line.starts_with("uring")).unwrap();
        assert!(uring.contains(" 1.00") && !uring.contains(" 1.25"), "{text}");
    }
}

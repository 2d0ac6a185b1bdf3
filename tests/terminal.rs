//! What a person sees who looks at the programs in a terminal: a live view that is redrawn in its place, gone before the
//! report is there, cut off where the terminal is narrow; and a Ctrl-C that leaves nothing of it.

use ringmark::diag::socket_caps::{PACKET_SOCKETS, socket_caps};
use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use support::programs;
use support::server::{Process, Server};
use support::skip::skip;
use support::terminal::{Picture, Shown, Terminal};

const WIDE: u16 = 120;
const NARROW: u16 = 40;
/// What the kernel shows for a Ctrl-C.
const TYPED: &str = "^C";

/// Nothing of the live view is left in what remains on the screen.
#[track_caller]
fn assert_wiped(shown: &Shown, live: &[&str]) {
    for part in [&[TYPED], live].concat() {
        assert!(!shown.text().contains(part), "{part} is left of the live view:\n{}", shown.text());
    }
}

/// The live view stays in so many rows, though the terminal has so many columns.
#[track_caller]
fn assert_in_place<'a>(pictures: impl Iterator<Item = &'a Picture>, rows: usize) {
    for picture in pictures {
        let used = picture.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
        assert!(used <= rows, "{used} rows: {picture:#?}");
    }
}

/// A run of ringload may be invalid on a machine that is busy with other tests; then it says so first.
#[track_caller]
fn assert_ran(shown: &Shown) {
    let first = shown.rows.first().map_or("", String::as_str);
    match shown.status.code() {
        Some(0) => assert!(first.starts_with("target "), "{}", shown.text()),
        Some(3) => assert!(first.starts_with("INVALID: "), "{}", shown.text()),
        _ => panic!("{:?}\n{}", shown.status, shown.text()),
    }
}

fn has_rate(row: &str) -> bool {
    row.contains("s: ") && row.contains("/s")
}

struct Load {
    server: Server,
}

impl Load {
    fn new() -> Load {
        Load { server: Server::start(&["epoll"]) }
    }

    fn start(&self, options: &[&str], columns: u16, variables: &[(&str, &str)]) -> Terminal {
        let address = self.server.address(0).to_string();
        let words = [&[address.as_str(), "-c", "2", "--warmup", "100ms", "--no-counts"], options].concat();
        Terminal::start(programs::ringload(), &words, columns, variables)
    }
}

#[test]
fn ringload_has_a_live_line_until_its_report() {
    let shown = Load::new().start(&["-d", "2500ms"], WIDE, &[]).end();
    assert_ran(&shown);
    let live: Vec<&Picture> = shown.before("load ").collect();
    assert_in_place(live.iter().copied(), 1);
    let mut seconds: Vec<&str> = live.iter().map(|picture| picture[0].as_str()).filter(|row| has_rate(row)).collect();
    seconds.dedup();
    assert!(seconds.len() >= 2 && seconds[0].starts_with("1s: "), "{seconds:?}");
    assert!(seconds[1].contains("so far p50 ") && seconds[1].ends_with(" requests"), "{seconds:?}");
    assert_wiped(&shown, &["so far p50", "measuring"]);
    assert!(shown.text().contains("\nerrors    none"), "{}", shown.text());
}

#[test]
fn a_narrow_terminal_cuts_the_live_line_off() {
    let shown = Load::new().start(&["-d", "2500ms"], NARROW, &[]).end();
    assert_ran(&shown);
    assert_in_place(shown.before("load "), 1);
    assert!(shown.before("load ").any(|picture| has_rate(&picture[0])), "{:#?}", shown.pictures);
    assert_wiped(&shown, &["so far p50", "…"]);
}

#[test]
fn ctrl_c_ends_ringload_with_a_report_and_nothing_of_the_live_line() {
    let load = Load::new();
    for columns in [WIDE, NARROW] {
        let terminal = load.start(&["-d", "60s"], columns, &[]);
        terminal.wait_for("a rate", |picture| has_rate(&picture[0]));
        terminal.press_ctrl_c();
        let shown = terminal.end();
        assert_ran(&shown);
        assert_wiped(&shown, &["so far p50", "waiting for"]);
        let text = shown.rows.concat();
        assert!(text.contains("stopped early by a signal: ") && text.contains("errors    none"), "{text}");
    }
}

#[test]
fn no_color_is_no_reason_to_show_nothing_and_a_dumb_terminal_gets_lines() {
    let load = Load::new();
    let colourless = load.start(&["-d", "2500ms"], WIDE, &[("NO_COLOR", "1")]).end();
    assert!(colourless.before("load ").any(|picture| has_rate(&picture[0])), "{:#?}", colourless.pictures);
    assert!(colourless.is_plain() && colourless.bytes.contains(&0x1b), "{}", colourless.text());
    let dumb = load.start(&["-d", "2500ms"], WIDE, &[("TERM", "dumb")]).end();
    assert!(!dumb.bytes.contains(&0x1b), "{}", dumb.text());
    assert!(dumb.rows.iter().filter(|row| has_rate(row)).count() >= 2, "{}", dumb.text());
}

#[test]
fn quiet_shows_the_report_alone() {
    let shown = Load::new().start(&["-d", "1500ms", "--quiet"], WIDE, &[]).end();
    assert_ran(&shown);
    assert!(!shown.bytes.contains(&0x1b), "{}", shown.text());
    assert_eq!(shown.before("load ").filter(|picture| picture.iter().any(|row| has_rate(row))).count(), 0);
}

#[test]
fn a_pipe_gets_plain_lines() {
    let load = Load::new();
    let mut command = Command::new(programs::ringload());
    command.arg(load.server.address(0).to_string()).args(["-c", "1", "-d", "2500ms", "--no-counts"]);
    let ended = Process::start(command).end();
    assert!(ended.stderr.lines().count() >= 1 && ended.stderr.lines().all(has_rate), "{ended:?}");
    assert!(!ended.stderr.contains('\x1b'), "{ended:?}");
}

/// A comparison of short trials, saved in this folder.
fn compare(folder: &std::path::Path, rounds: &str, more: &[&str], columns: u16) -> Terminal {
    let output = folder.join("result.json").display().to_string();
    let words = ["compare", "epoll", "threads", "-c", "2", "-d", "100ms", "--warmup", "20ms", "--rounds", rounds];
    Terminal::start(programs::ringmark(), &[&words[..], &["-o", &output], more].concat(), columns, &[])
}

#[test]
fn compare_shows_how_far_it_is_and_wipes_it() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let shown = compare(folder.path(), "2", &[], WIDE).end();
    shown.assert_code(0);
    let live = |part: &str| shown.before("Fewer than").any(|picture| picture.iter().any(|row| row.contains(part)));
    assert!(live("[-------") && live("round 2/2, ") && live(" left: threads "), "{:#?}", shown.pictures);
    // Two lines that stay, and the one that changes.
    assert_in_place(shown.before("Fewer than"), 3);
    assert_wiped(&shown, &["round 2/2, "]);
    assert!(shown.rows[1].starts_with("2 rounds of 2 blocks of slices of 50ms, about "), "{}", shown.text());
    assert!(shown.rows.last().is_some_and(|row| row.starts_with("Saved: ")), "{}", shown.text());
}

#[test]
fn ctrl_c_ends_compare_with_what_it_has() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let terminal = compare(folder.path(), "500", &[], NARROW);
    terminal.wait_for("a round", |picture| picture.iter().any(|row| row.contains("round 2/500, ")));
    terminal.press_ctrl_c();
    let shown = terminal.end();
    shown.assert_code(130);
    assert_wiped(&shown, &["/500, "]);
    assert_in_place(shown.before("INTERRUPTED").filter(|picture| picture[2].contains("/500, ")), 3);
    assert!(shown.rows.concat().contains("INTERRUPTED after "), "{}", shown.text());
    assert!(folder.path().join("result.json").exists());
}

#[test]
fn a_quiet_compare_shows_its_report_alone() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let shown = compare(folder.path(), "1", &["--quiet", "--color", "never"], WIDE).end();
    shown.assert_code(0);
    assert!(!shown.bytes.contains(&0x1b) && !shown.text().contains("checking that"), "{}", shown.text());
}

/// A comparison that is kept in this repository.
const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/2026-11-24-epyc-2core/default.json");

fn report(options: &[&str], columns: u16, variables: &[(&str, &str)]) -> Shown {
    Terminal::start(programs::ringmark(), &[&["report", STORED], options].concat(), columns, variables).end()
}

#[test]
fn a_report_is_as_wide_as_its_terminal_and_at_most_80_columns() {
    for (columns, has_bar) in [(NARROW, false), (60, false), (80, true), (WIDE, true)] {
        let shown = report(&[], columns, &[]);
        shown.assert_code(0);
        let widest = shown.rows.iter().map(|row| row.chars().count()).max().unwrap_or(0);
        assert!(widest <= usize::from(columns).min(80), "{widest} of {columns}\n{}", shown.text());
        assert!(shown.rows[0].starts_with("Slower than epoll: tokio-uring"), "{}", shown.text());
        // Its marks stand as far apart as there is room.
        let words = shown.text().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words.contains("-50 0 +50"), has_bar, "{columns}\n{}", shown.text());
        // A row for each, whatever is left out of it.
        assert!(shown.rows.iter().any(|row| row.starts_with("threads ") && row.contains("-37")), "{}", shown.text());
    }
}

#[test]
fn colours_are_for_terminals_unless_they_are_asked_for_or_unwanted() {
    for (options, variables, is_plain) in [
        (&[][..], &[][..], false),
        (&[], &[("NO_COLOR", "1")], true),
        (&[], &[("NO_COLOR", "")], false),
        (&[], &[("TERM", "dumb")], true),
        (&["--color", "never"], &[], true),
        (&["--color", "always"], &[("NO_COLOR", "1")], false),
    ] {
        let shown = report(options, WIDE, variables);
        assert_eq!(shown.is_plain(), is_plain, "{options:?} {variables:?}\n{}", shown.text());
    }
    let piped = |options: &[&str]| {
        let mut command = Command::new(programs::ringmark());
        command.args(["report", STORED]).args(options).env("TERM", "xterm-256color");
        String::from_utf8(command.output().expect("running it").stdout).expect("text")
    };
    let plain = piped(&[]);
    assert!(!plain.contains('\x1b') && plain.lines().all(|line| line.len() <= 80), "{plain}");
    assert!(piped(&["--color", "always"]).contains('\x1b'));
}

/// Why echo requests cannot be sent here. `None` where they can.
fn without_echo_requests() -> Option<String> {
    let mut echo = socket_caps().into_iter().filter(|cap| cap.name != PACKET_SOCKETS);
    (!echo.any(|cap| cap.outcome.is_ok())).then(|| "no socket for echo requests is allowed here".into())
}

#[test]
fn the_live_view_of_a_trace_is_a_table_that_ctrl_c_turns_into_the_report() {
    if let Some(reason) = without_echo_requests() {
        return skip(reason);
    }
    for columns in [WIDE, NARROW] {
        let words = ["trace", "--icmp", "-c", "0", "-i", "100ms", "127.0.0.1"];
        let terminal = Terminal::start(programs::ringmark(), &words, columns, &[]);
        let answers =
            |picture: &Picture| picture[1].split_whitespace().nth(3).and_then(|word| word.parse::<u64>().ok());
        terminal.wait_for("three answers", |picture| answers(picture).is_some_and(|answers| answers >= 3));
        terminal.press_ctrl_c();
        let shown = terminal.end();
        shown.assert_code(0);
        assert_in_place(shown.before("trace to "), 2);
        assert!(shown.rows[0].starts_with("trace to 127.0.0.1") && !shown.text().contains(TYPED), "{}", shown.text());
        assert_eq!(shown.text().matches("address").count(), 1, "{}", shown.text());
    }
}

#[test]
fn the_live_line_of_a_fast_ping_is_wiped() {
    if let Some(reason) = without_echo_requests() {
        return skip(reason);
    }
    let terminal = Terminal::start(programs::ringmark(), &["ping", "-c", "0", "-i", "1ms", "127.0.0.1"], NARROW, &[]);
    terminal.wait_for("answers", |picture| picture[0].ends_with(" otherwise") && !picture[0].starts_with("1 "));
    terminal.press_ctrl_c();
    let shown = terminal.end();
    shown.assert_code(0);
    assert_wiped(&shown, &["otherwise"]);
    assert!(shown.text().contains("127.0.0.1"), "{}", shown.text());
}

/// Datagrams to a server and back, as long as it lives.
struct Chatter {
    end: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Chatter {
    fn start(port: u16) -> Chatter {
        let end = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&end);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binding");
        socket.set_read_timeout(Some(support::WATCHDOG)).expect("setting a timeout");
        let talk = move || {
            while !seen.load(Ordering::Relaxed) {
                socket.send_to(&[7; 64], ("127.0.0.1", port)).expect("sending");
                socket.recv(&mut [0; 128]).expect("an answer");
                thread::sleep(std::time::Duration::from_millis(5));
            }
        };
        Chatter { end, thread: Some(thread::spawn(talk)) }
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

#[test]
fn the_live_view_of_sniffed_latency_gives_way_to_the_report() {
    let packets = socket_caps().into_iter().find(|cap| cap.name == PACKET_SOCKETS).expect("it is among them");
    if let Err(error) = packets.outcome {
        return skip(error);
    }
    let server = Server::spawn(support::server::ringmark(["serve", "epoll", "--echo", "udp://127.0.0.1:0"]), 1);
    let address = server.listeners[0].rsplit(' ').next().expect("an address").to_owned();
    let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let chatter = Chatter::start(port);
    let words = ["sniff", "--latency", "--port", &port.to_string()];
    let terminal = Terminal::start(programs::ringmark(), &words, NARROW, &[]);
    terminal.wait_for("service times", |picture| picture.iter().any(|row| row.starts_with("service time ")));
    terminal.press_ctrl_c();
    let shown = terminal.end();
    drop(chatter);
    shown.assert_code(0);
    // One line that stays, and the table.
    assert_in_place(shown.before("port "), 6);
    let text = shown.text();
    assert!(!text.contains(TYPED) && text.matches("service time ").count() == 1, "{text}");
    assert!(text.starts_with("listening on lo\n"), "{text}");
}

//! `ringmark sniff --latency` beside the clients whose requests it watches. What passes the wire lies within what a client
//! measures: the client's clock starts before its request is captured, and stops after the answer was. So the wire's
//! median is at most the client's, and what is between them is the client's own way to the wire and back.

use serde_json::Value;
use signal_hook::consts::{SIGCONT, SIGINT, SIGSTOP};
use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use support::net::can_capture;
use support::programs;
use support::retry;
use support::server::{Process, Server, ringmark};
use support::{WATCHDOG, wait_until};

/// Rounding, and histograms of three digits on both sides.
const TOLERANCE: f64 = 1.1;
/// The client's own part may be large on a busy machine, which lets it wait for a core, but not as large as this.
const LEAST_SHARE: f64 = 0.001;
/// So many requests fit in the room that there is for packets, however fast the machine is and though nobody reads them.
const REQUESTS: &str = "20000";

/// Watches a port until told to end.
struct Wire(Process);

impl Wire {
    fn watch(port: u16, more: &[&str]) -> Wire {
        let port = port.to_string();
        let words = ["sniff", "--latency", "--port", &port, "--format", "json"];
        // With room for a second of packets, unless told otherwise: a busy machine may not let it run for as long.
        let room: &[&str] = if more.contains(&"-B") { &[] } else { &["-B", "64M"] };
        let process = Process::start(ringmark(words.into_iter().chain(room.iter().chain(more).copied())));
        let status = format!("/proc/{}/status", process.pid());
        wait_until("it watches", || fs::read_to_string(&status).expect("it runs").contains("NoNewPrivs:\t1"));
        Wire(process)
    }

    #[track_caller]
    fn report(self) -> Value {
        self.0.signal(SIGINT);
        let ended = self.0.end();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout.join("\n")).expect("JSON")
    }
}

#[track_caller]
fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {report}"))
}

/// The wire's median, if it is within what the client measured.
#[track_caller]
fn expect_within(report: &Value, client_p50: f64) {
    let wire = number(report, "/service/p50");
    assert!(wire > 0.0 && wire <= client_p50 * TOLERANCE, "wire {wire} ns, client {client_p50} ns: {report}");
    assert!(wire >= client_p50 * LEAST_SHARE, "wire {wire} ns, client {client_p50} ns: {report}");
}

fn ringload(target: &str, more: &[&str]) -> Value {
    let mut command = Command::new(programs::ringload());
    command
        .args([target, "--warmup", "0", "--engine", "epoll", "--format", "json", "--quiet", "--no-counts"])
        .args(more);
    if !more.contains(&"-d") {
        command.args(["-d", "1s"]);
    }
    let output = command.stderr(Stdio::piped()).output().expect("ringload runs");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn the_wire_lies_within_ringloads_service_time_on_tcp() {
    if !can_capture(&[]) {
        return;
    }
    for connections in ["1", "8"] {
        let server = Server::start(&["epoll"]);
        let address = server.address(0);
        let wire = Wire::watch(address.port(), &[]);
        let load = ringload(&format!("tcp://{address}"), &["-c", connections, "-n", REQUESTS]);
        let report = wire.report();
        expect_within(&report, number(&load, "/latency_ns/p50"));
        assert_eq!(number(&report, "/packets/dropped"), 0.0, "{report}");
        let (samples, counted) = (number(&report, "/service/samples"), number(&load, "/requests"));
        assert!(samples >= counted, "{samples} of {counted}: each request gives a sample, and the first ones more");
        for nothing in ["torn", "overlapping", "unsolicited", "forgotten"] {
            assert_eq!(number(&report, &format!("/seen/{nothing}")), 0.0, "{nothing}: {report}");
        }
        let connections: f64 = connections.parse().expect("a number");
        for handshake in ["/handshake_server", "/handshake_client"] {
            assert!(number(&report, &format!("{handshake}/samples")) >= connections, "{report}");
            assert!(number(&report, &format!("{handshake}/min")) > 0.0, "{report}");
        }
        let [first, least, most] =
            ["connections/0/p50", "service/min", "service/max"].map(|of| number(&report, &format!("/{of}")));
        assert!((least..=most).contains(&first), "a connection's are among all: {report}");
        server.drain();
    }
}

/// Where the server takes most of the time, the client's own way to the wire and back is lost in it.
#[test]
fn of_a_server_that_takes_its_time_wire_and_client_tell_the_same_median() {
    if !can_capture(&[]) {
        return;
    }
    for (handicap, least) in [("2ms", 2e6), ("5ms", 5e6)] {
        let server = Server::start(&["epoll", "--handicap", handicap]);
        let address = server.address(0);
        let share = Cell::new(0.0);
        let run = || {
            let wire = Wire::watch(address.port(), &[]);
            let load = ringload(&format!("tcp://{address}"), &["-c", "1"]);
            let report = wire.report();
            let (wire, client) = (number(&report, "/service/p50"), number(&load, "/latency_ns/p50"));
            assert!(wire >= least, "the server cannot be faster: {wire} ns");
            assert!(wire <= client * TOLERANCE, "wire {wire} ns, client {client} ns: {report}");
            share.set(wire / client);
            serde_json::from_value(load).expect("a report")
        };
        retry::if_disturbed(run, |_| (0.9..1.01).contains(&share.get()));
    }
}

#[test]
fn the_wire_lies_within_ringloads_service_time_on_udp() {
    if !can_capture(&[]) {
        return;
    }
    let server = Server::spawn(ringmark(["serve", "epoll", "--echo", "udp://127.0.0.1:0"]), 1);
    let support::datagrams::Place::Udp(address) = server.datagrams(0) else { panic!("an address") };
    let wire = Wire::watch(address.port(), &[]);
    let load = ringload(&format!("udp://{address}"), &["-c", "2", "-n", REQUESTS]);
    let report = wire.report();
    expect_within(&report, number(&load, "/latency_ns/p50"));
    let (samples, counted) = (number(&report, "/service/samples"), number(&load, "/requests"));
    assert!(samples >= counted, "{samples} of {counted}: {report}");
    assert_eq!(number(&report, "/seen/unsolicited"), 0.0, "{report}");
}

/// While it is frozen the kernel drops; what it then sees begins somewhere in the middle of everything. A hole taken for
/// silence would show as a time that no client met.
#[test]
fn holes_in_what_was_captured_make_no_samples() {
    if !can_capture(&[]) {
        return;
    }
    for (transport, words) in [("tcp", "tcp://127.0.0.1:0"), ("udp", "udp://127.0.0.1:0")] {
        let server = Server::spawn(ringmark(["serve", "epoll", "--echo", words]), 1);
        let address = match (transport, server.listeners.first()) {
            ("tcp", _) => server.address(0),
            (_, Some(line)) => line.rsplit(' ').next().expect("an address").parse().expect("an address"),
            _ => panic!("no listener"),
        };
        let held = HOLES_MS.iter().any(|hole| {
            holes_make_no_samples(&format!("{transport}://{address}"), address.port(), Duration::from_millis(*hole))
        });
        assert!(held, "{transport}: not with any of {HOLES_MS:?} ms");
        server.drain();
    }
}

/// The slower the machine, the longer it takes until the kernel must drop.
const HOLES_MS: [u64; 4] = [150, 150, 600, 2400];

/// Whether there were holes, and nothing that looks like one; prints what there was else.
fn holes_make_no_samples(target: &str, port: u16, hole: Duration) -> bool {
    let wire = Wire::watch(port, &["-B", "512k"]);
    let length = format!("{}ms", 100 + 3 * (150 + hole.as_millis()));
    let load = thread::scope(|scope| {
        let loading = scope.spawn(|| ringload(target, &["-c", "8", "-d", &length]));
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(150));
            wire.0.signal(SIGSTOP);
            thread::sleep(hole);
            wire.0.signal(SIGCONT);
        }
        loading.join().expect("ringload")
    });
    let report = wire.report();
    let (wire, client) = (number(&report, "/service/max"), number(&load, "/latency_ns/max"));
    expect_within(&report, number(&load, "/latency_ns/p50"));
    // What is outside the counted time may take a little longer, but not as long as a hole.
    let held = number(&report, "/packets/dropped") > 0.0
        && number(&report, "/seen/torn") > 0.0
        && wire <= (client * TOLERANCE).max(100e6);
    if !held {
        println!("{target}, holes of {hole:?}: wire {wire} ns, client {client} ns: {report}");
    }
    held
}

/// Takes its time once a question has come to its point, and answers in two pieces.
fn slow_server(think: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listening");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepting");
            stream.set_nodelay(true).expect("no delay");
            let mut room = [0; 4096];
            while let Ok(len @ 1..) = stream.read(&mut room) {
                if room[len - 1] != b'.' {
                    continue;
                }
                thread::sleep(think);
                stream.write_all(b"first").expect("answering");
                thread::sleep(think);
                stream.write_all(b"last").expect("answering");
            }
        }
    });
    address
}

fn exchange(stream: &mut TcpStream, pieces: &[&[u8]]) {
    for piece in pieces {
        stream.write_all(piece).expect("asking");
        thread::sleep(Duration::from_millis(5));
    }
    stream.read_exact(&mut [0; 9]).expect("an answer");
}

#[test]
fn thinking_and_answering_are_told_apart_and_pieces_are_told() {
    if !can_capture(&[]) {
        return;
    }
    let think = Duration::from_millis(40);
    let address = slow_server(think);
    for mode in [&[][..], &["--immediate"]] {
        let wire = Wire::watch(address.port(), mode);
        let mut stream = TcpStream::connect(address).expect("connecting");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(WATCHDOG)).expect("a timeout");
        exchange(&mut stream, &[b"whole."]);
        exchange(&mut stream, &[b"whole."]);
        drop(stream);
        let mut stream = TcpStream::connect(address).expect("connecting");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(WATCHDOG)).expect("a timeout");
        exchange(&mut stream, &[b"in ", b"pieces."]);
        drop(stream);
        let report = wire.report();
        assert_eq!(number(&report, "/service/samples"), 3.0, "{report}");
        assert!(number(&report, "/service/min") >= 2.0 * 40e6 * 0.999, "{report}");
        // The answer's second piece comes as much later as its first took.
        let first = number(&report, "/first_answer/p50");
        assert!((40e6 * 0.999..number(&report, "/service/max")).contains(&first), "{report}");
        assert_eq!((number(&report, "/seen/connections"), number(&report, "/seen/in_pieces")), (2.0, 1.0), "{report}");
    }
}

/// nginx with a configuration of its own; killed when dropped.
struct Nginx {
    child: Child,
    _directory: tempfile::TempDir,
    port: u16,
}

impl Nginx {
    fn start() -> Nginx {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().display();
        let port = TcpListener::bind("127.0.0.1:0").expect("binding").local_addr().expect("an address").port();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {path}/{kind};"))
            .collect();
        let user = if ringmark::sys::privileges::is_root() { "user root;" } else { "" };
        let text = format!(
            "daemon off; master_process off; {user} pid {path}/pid; error_log {path}/errors; worker_processes 1;
             events {{ worker_connections 64; }}
             http {{ access_log off; {temporary} server {{
                 listen 127.0.0.1:{port}; location / {{ return 200 'an answer of nginx'; }} }} }}"
        );
        let configuration = directory.path().join("nginx.conf");
        fs::write(&configuration, text).expect("writing");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&configuration).arg("-e").arg(directory.path().join("errors"));
        ringmark::sys::process::contain(&mut command, None);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx starts");
        let nginx = Nginx { child, _directory: directory, port };
        wait_until("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `50%   123.00us` as nanoseconds.
fn median(wrk: &str) -> f64 {
    let line = wrk.lines().find(|line| line.trim_start().starts_with("50%")).unwrap_or_else(|| panic!("{wrk}"));
    let value = line.split_whitespace().nth(1).expect("a value");
    let unit = value.find(char::is_alphabetic).expect("a unit");
    let scale = match &value[unit..] {
        "us" => 1e3,
        "ms" => 1e6,
        _ => 1e9,
    };
    value[..unit].parse::<f64>().expect("a number") * scale
}

#[test]
fn nginx_under_wrk_is_bracketed_by_what_wrk_measures() {
    if !can_capture(&["nginx", "wrk"]) {
        return;
    }
    let nginx = Nginx::start();
    let wire = Wire::watch(nginx.port, &[]);
    let url = format!("http://127.0.0.1:{}/", nginx.port);
    let output = Command::new("wrk").args(["-t1", "-c4", "-d1s", "--latency", &url]).output().expect("wrk runs");
    let client = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = wire.report();
    let requests: f64 = client
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
        .unwrap_or_else(|| panic!("{client}"));
    let samples = number(&report, "/service/samples");
    // Nobody bounds what wrk asks for: on a fast machine there may be more packets than room for them.
    let dropped = number(&report, "/packets/dropped");
    if dropped == 0.0 {
        expect_within(&report, median(&client));
    }
    let seen = samples + 4.0 * dropped;
    assert!(seen >= requests * 0.9 && samples <= requests + 100.0, "{samples} of {requests}: {client}{report}");
}

#[test]
fn text_for_eyes_has_the_figures_and_the_connections() {
    if !can_capture(&[]) {
        return;
    }
    let server = Server::start(&["epoll"]);
    let address = server.address(0);
    let port = address.port().to_string();
    let process = Process::start(ringmark(["sniff", "--latency", "--port", &port, "--quiet"]));
    let status = format!("/proc/{}/status", process.pid());
    wait_until("it watches", || fs::read_to_string(&status).expect("it runs").contains("NoNewPrivs:\t1"));
    (0..2).for_each(|seed| server.connect(seed).echo(1000));
    process.signal(SIGINT);
    let ended = process.end();
    let text = ended.stdout.join("\n");
    for part in
        ["dropped by the kernel, 2 connections", "service time", "first answer", "handshake, server", " > 127.0.0.1:"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(ended.stderr, "", "quiet is quiet");
    server.drain();
}

#[test]
fn every_exporter_takes_it_and_bounds_judge_it() {
    if !can_capture(&[]) {
        return;
    }
    let server = Server::start(&["epoll"]);
    let directory = tempfile::tempdir().expect("a directory");
    let file = |form: &str| directory.path().join(format!("wire.{form}"));
    let exports = ["json", "csv", "md", "hlog", "hgrm"].map(|form| format!("{form}={}", file(form).display()));
    let port = server.address(0).port().to_string();
    let words = ["sniff", "--latency", "--port", &port, "--quiet", "--fail-if", "p50>1ns", "--fail-if", "p50>1h"];
    let exporting = exports.iter().flat_map(|export| ["--export", export]);
    let process = Process::start(ringmark(words.into_iter().chain(exporting)));
    let status = format!("/proc/{}/status", process.pid());
    wait_until("it watches", || fs::read_to_string(&status).expect("it runs").contains("NoNewPrivs:\t1"));
    let mut peer = server.connect(1);
    (0..5).for_each(|_| peer.echo(100));
    drop(peer);
    process.signal(SIGINT);
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(99), "{ended:?}");
    assert_eq!((ended.stderr.matches("--fail-if").count(), ended.stderr.contains("p50>1ns")), (1, true), "{ended:?}");
    let text = |form| fs::read_to_string(file(form)).unwrap_or_else(|error| panic!("{form}: {error}"));
    assert!(text("csv").lines().nth(1).is_some_and(|line| line.contains(",service time,5,")), "{}", text("csv"));
    assert!(text("md").contains("| service time | 5 |"), "{}", text("md"));
    assert!(text("hlog").contains("Tag=service_time,0.000,"), "{}", text("hlog"));
    let distribution = directory.path().join("wire.service_time.hgrm");
    assert!(fs::read_to_string(distribution).expect("a part of its own").contains("Total count    =            5"));
    // The stored form is read again, and says the same.
    let shown = Process::start(ringmark(["report", file("json").to_str().expect("text")])).end();
    assert_eq!(shown.stdout, ended.stdout);
    let published = Process::start(ringmark(["schema", "wire"])).end();
    let schema: Value = serde_json::from_str(&published.stdout.join("\n")).expect("JSON");
    let stored: Value = serde_json::from_str(&text("json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let problems: Vec<String> = validator.iter_errors(&stored).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?}");
    server.drain();
}

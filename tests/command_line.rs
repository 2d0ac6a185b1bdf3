//! The program from outside: what its help teaches, what it refuses and what it advises then, its signals, its output,
//! and other people's clients.

use proptest::prelude::*;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use support::client::{Peer, send_until_stuck};
use support::datagrams::Client;
use support::programs;
use support::server::{Ended, Process, Server, fields, ringmark, run};
use support::skip::{are_installed, has_openbsd_netcat, skip};

const ENGINES: [&str; 5] = ["uring", "epoll", "threads", "tokio", "tokio-uring"];
/// An echo listener on a port that the kernel chooses, on an engine that every machine has.
const EPOLL: [&str; 4] = ["serve", "epoll", "--echo", "tcp://127.0.0.1:0"];

#[track_caller]
fn no_panic(ended: &Ended) {
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    assert!(ended.status.code().is_some_and(|code| code <= 2), "an exit code of its own: {ended:?}");
}

// Help

#[test]
fn help_teaches_every_option_of_the_engines() {
    const COMMON: [&str; 12] = [
        "--echo",
        "--discard",
        "--cores",
        "--no-pin",
        "--accept",
        "--backlog",
        "--no-nodelay",
        "--rcvbuf",
        "--sndbuf",
        "--stats",
        "--drain",
        "--buffer-size",
    ];
    const URING: [&str; 11] = [
        "--recv",
        "--buffers",
        "--files",
        "--taskrun",
        "--sqpoll",
        "--sqpoll-cpu",
        "--entries",
        "--spin",
        "Linux 6.0",
        "Linux 6.1",
        "5.19",
    ];
    for engine in ENGINES {
        let own: &[&str] = match engine {
            "uring" => &URING,
            "epoll" => &["--spin", "--buffers"],
            "tokio-uring" => &["--taskrun", "--entries", "5.19"],
            _ => &[],
        };
        let help = run(["serve", engine, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{help:?}");
        let text = help.stdout.join("\n");
        COMMON
            .iter()
            .chain(own)
            .for_each(|word| assert!(text.contains(word), "{engine}: nothing about {word}\n{text}"));
    }
}

#[test]
fn help_of_the_program_names_what_there_is() {
    let text = run(["serve", "--help"]).stdout.join("\n");
    ENGINES.iter().chain(&["SIGTERM", "ready"]).for_each(|word| assert!(text.contains(word), "{word}: {text}"));
    let text = run(["--help"]).stdout.join("\n");
    ["serve", "compare"].iter().for_each(|word| assert!(text.contains(word), "{word}: {text}"));
    let nothing = run([]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(nothing.stderr.contains("Usage"), "{nothing:?}");
}

// Listeners

#[test]
fn several_listeners_of_all_kinds_work_at_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let unix = format!("unix:{}", directory.path().join("echo").display());
    let six = support::net::has_ipv6();
    let mut words =
        vec!["serve", "epoll", "--echo", "tcp://127.0.0.1:0", "--echo", &unix, "--discard", "tcp://127.0.0.1:0"];
    if six {
        words.extend(["--echo", "tcp://[::1]:0"]);
    }
    let server = Server::spawn(ringmark(words), 3 + usize::from(six));
    assert!(server.listeners[0].starts_with("echo tcp 127.0.0.1:"), "{:?}", server.listeners);
    assert_eq!(server.listeners[1], format!("echo {unix}"));
    server.connect(1).echo(10_000);
    Peer::new(UnixStream::connect(server.path(1)).expect("connecting"), 2).echo(10_000);
    let discard = server.listeners.iter().position(|line| line.starts_with("discard tcp ")).expect("its line");
    Peer::connect(server.address(discard), 3).send(10_000);
    if six {
        let six = server.listeners.iter().position(|line| line.starts_with("echo tcp [::1]:")).expect("its line");
        Peer::connect(server.address(six), 4).echo(10_000);
    }
    let ended = server.drain();
    assert_eq!(ended.count("bytes_out"), 20_000 + if six { 10_000 } else { 0 });
}

#[test]
fn a_listener_may_be_bound_to_a_device() {
    let server = Server::spawn(ringmark(["serve", "epoll", "--echo", "127.0.0.1%lo:0"]), 2);
    assert!(server.listeners[0].starts_with("echo tcp 127.0.0.1%lo:"), "{:?}", server.listeners);
    assert!(server.listeners[1].starts_with("echo udp 127.0.0.1%lo:"), "{:?}", server.listeners);
    server.connect(1).echo(1000);
    Client::new(&server.datagrams(1)).echo(2, 1000);
    server.drain();
}

#[test]
fn discard_says_nothing_and_counts() {
    let server = Server::spawn(ringmark(["serve", "epoll", "--discard", "tcp://127.0.0.1:0"]), 1);
    let mut peer = server.connect(1);
    peer.send(1 << 20);
    peer.stream.shutdown(Shutdown::Write).expect("shutting down");
    peer.expect_end();
    let ended = server.drain();
    assert_eq!((ended.count("bytes_in"), ended.count("bytes_out"), ended.count("failed")), (1 << 20, 0, 0));
}

#[test]
fn a_stale_unix_socket_is_replaced() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("echo");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("binding"));
    assert!(path.exists());
    let server = Server::spawn(ringmark(["serve", "epoll", "--echo", &format!("unix:{}", path.display())]), 1);
    Peer::new(UnixStream::connect(&path).expect("connecting"), 2).echo(100);
    server.drain();
}

// Output and signals

#[test]
fn stats_are_printed_while_it_runs() {
    let server = Server::spawn(ringmark(EPOLL.into_iter().chain(["--stats", "100ms"])), 1);
    let mut peer = server.connect(1);
    peer.echo(5000);
    server.wait_for_stats("bytes_out", 5000);
    let line = server.process.line().expect("another line");
    assert!(line.starts_with("stats "), "{line}");
    assert_eq!((fields(&line)["open"], fields(&line)["connections"]), ("1", "1"), "{line}");
    server.drain();
}

#[test]
fn both_signals_end_it_in_order() {
    for signal in [SIGINT, SIGTERM] {
        let server = Server::spawn(ringmark(EPOLL), 1);
        server.connect(1).echo(100);
        server.process.signal(signal);
        let ended = server.drained();
        assert_eq!((ended.count("connections"), ended.count("bytes_in")), (1, 100));
        assert_eq!(ended.stdout.len(), 1, "{ended:?}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let words = ["--drain", "1h", "--sndbuf", "64k", "--rcvbuf", "64k"];
    let server = Server::spawn(ringmark(EPOLL.into_iter().chain(words)), 1);
    let mut stuck = [Peer::connect_small(server.address(0), 1, 64 << 10)];
    send_until_stuck(&server.process, &mut stuck, 4 << 20);
    let mut idle = server.connect(2);
    idle.echo(1);
    server.process.signal(SIGTERM);
    idle.expect_end();
    server.process.signal(SIGTERM);
    let ended = server.process.end();
    assert_eq!(ended.status.signal(), Some(SIGTERM), "{ended:?}");
}

// What it refuses

#[test]
fn an_address_in_use_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binding");
    let address = taken.local_addr().expect("getsockname").to_string();
    for engine in ["epoll", "threads"] {
        let ended = run(["serve", engine, "--echo", &address]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("another program listens there"), "{ended:?}");
        assert!(ended.stderr.contains(&address) && ended.stdout.is_empty(), "{ended:?}");
        assert_eq!(ended.stderr.matches("Address already in use").count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_advice() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").expect("writing");
    let not_a_socket = format!("unix:{}", file.display());
    let nowhere = format!("unix:{}/missing/echo", directory.path().display());
    let cases: [(&[&str], &str); 20] = [
        (&["epoll", "--echo", "127.0.0.1:7", "--discard", "127.0.0.1:7"], "127.0.0.1:7 is named twice"),
        (&["epoll", "--echo", "[::1]:9", "--echo", "udp://[::1]:9"], "named twice"),
        (&["epoll", "--echo", &nowhere], "make it first"),
        (&["epoll", "--echo", "localhost:80"], "localhost is 127.0.0.1"),
        (&["epoll", "--echo", "127.0.0.1"], "port is missing"),
        (&["epoll", "--echo", "192.0.2.1:0"], "ip address"),
        (&["epoll", "--echo", "127.0.0.1%nosuchdev:0"], "ip link"),
        (&["epoll", "--echo", &not_a_socket], "choose another path"),
        (&["epoll", "--echo", &nowhere], "/missing/echo"),
        (&["epoll", "--accept", "reuseport", "--echo", &nowhere], "--accept balanced"),
        (&["nginx"], "--help"),
        (&["epoll", "--recv", "oneshot"], "--recv"),
        (&["uring", "--sqpoll", "--taskrun", "defer"], "leave out one"),
        (&["uring", "--recv", "never"], "multishot"),
        (&["uring", "--sqpoll-cpu", "0"], "--sqpoll"),
        (&["epoll", "--cores", "9999"], "may use only"),
        (&["epoll", "--cores", "0"], "at least one"),
        (&["epoll", "--cores", "4096-4097"], "not one this process may use"),
        (&["epoll", "--buffer-size", "1"], "64"),
        (&["epoll", "--stats", "1ns"], "10ms"),
    ];
    for (words, advice) in cases {
        let ended = run(["serve"].into_iter().chain(words.iter().copied()));
        no_panic(&ended);
        assert!(matches!(ended.status.code(), Some(1 | 2)), "{words:?}: {ended:?}");
        assert!(ended.stderr.contains(advice), "{words:?}: {}", ended.stderr);
    }
    assert_eq!(std::fs::read(&file).expect("it is still there"), b"precious");
}

#[test]
fn an_sqpoll_core_that_is_not_there_is_named() {
    if let Some(reason) = support::without_uring() {
        return skip(reason);
    }
    let ended = run(["serve", "uring", "--echo", "tcp://127.0.0.1:0", "--sqpoll", "--sqpoll-cpu", "4095"]);
    no_panic(&ended);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("4095") && ended.stderr.contains("--sqpoll-cpu"), "{}", ended.stderr);
}

/// A command of the shell, in which $0 is ringmark and $1 ringload: its exit code and what it said on standard error.
fn shell(line: &str) -> Ended {
    let mut command = Command::new("sh");
    command.args(["-c", line, programs::ringmark(), programs::ringload()]);
    Process::start(command).end()
}

#[test]
fn output_that_nobody_can_take_ends_no_command_with_a_panic() {
    let server = Server::spawn(ringmark(EPOLL), 1);
    let load = format!("\"$1\" {} -c 1 -d 100ms --warmup 0 --no-counts", server.address(0));
    let compare = "\"$0\" compare epoll --rounds 1 -d 50ms --warmup 0 -c 1 -o /dev/null";
    for (command, code) in [
        ("\"$0\" doctor > /dev/full", 1),
        ("\"$0\" doctor --format json > /dev/full", 1),
        ("\"$0\" schema > /dev/full", 1),
        (&format!("{load} > /dev/full"), 1),
        (&format!("{compare} > /dev/full"), 1),
        (&format!("{load} --export csv=/dev/full > /dev/null"), 1),
    ] {
        let ended = shell(command);
        assert_eq!(ended.status.code(), Some(code), "{command}: {ended:?}");
        assert!(!ended.stderr.contains("panicked") && ended.stderr.contains("No space left"), "{command}: {ended:?}");
    }
    // What is said beside the result is not worth a failure.
    let unheard = shell(&format!("{compare} 2> /dev/full"));
    assert_eq!(unheard.status.code(), Some(0), "{unheard:?}");
    assert!(unheard.stdout.iter().any(|line| line.contains("epoll")), "{unheard:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for command in ["doctor", "doctor --format json", "schema", "compare --help", "serve --help"] {
        let ended = shell(&format!("(\"$0\" {command}; echo $? >&2) | head -n 0"));
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert!(!ended.stderr.contains("panicked") && matches!(last, "0" | "1"), "{command}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{command}: {ended:?}");
    }
}

#[test]
fn a_ping_ends_when_nobody_reads_it_any_more() {
    let ended = shell("(\"$0\" ping -c 0 -i 10ms 127.0.0.1; echo $? >&2) | head -n 1");
    if ended.stderr.starts_with('4') || ended.stderr.contains("ping_group_range") {
        return skip("no socket for echo requests is allowed here");
    }
    assert_eq!(ended.stderr, "0\n", "{ended:?}");
}

#[test]
fn ringload_refuses_what_makes_no_sense_with_advice() {
    for (words, code, advice) in [
        ("127.0.0.1:0", 2, "port 0"),
        ("127.0.0.1:1 --warmup 2s --warmup-max 1s", 2, "--warmup-max 1s is less than --warmup 2s"),
        ("127.0.0.1:1 --max-loss 5%", 2, "is for datagrams"),
        ("127.0.0.1:1 --export csv=/proc/no/such.csv", 1, "choose another place"),
        ("127.0.0.1:1 --export csv=/tmp", 1, "/tmp"),
        ("127.0.0.1:1", 1, "start the server first"),
    ] {
        let ended = shell(&format!("\"$1\" {words}"));
        assert_eq!(ended.status.code(), Some(code), "{words}: {ended:?}");
        assert!(ended.stderr.contains(advice), "{words}: {}", ended.stderr);
    }
}

#[test]
fn the_other_commands_refuse_what_makes_no_sense_with_advice() {
    for (words, code, advice) in [
        ("compare epoll --warmup 2s --warmup-max 1s", 2, "is less than --warmup 2s"),
        ("compare a=epoll a=threads", 2, "two contestants are named 'a'"),
        ("compare a=epoll b=threads --baseline c", 2, "one of: a, b"),
        ("compare epoll --rounds 1 -o /dev/null --export md=/proc/no/such.md", 1, "choose another place"),
        (
            "compare \"exec ./none {port}\" --rounds 1 -o /dev/null",
            1,
            "checking that every contestant runs here\nSaved",
        ),
        ("report /dev/zero", 1, "no result"),
        ("report - < /dev/null", 1, "not JSON"),
        ("sniff --latency", 2, "--port N"),
        ("sniff -w x --files 3", 2, "--rotate-size"),
        ("sniff --connections 5", 2, "--latency"),
        ("sniff --port 0", 2, "1..=65535"),
        ("ping ''", 2, "'': no such host"),
        ("trace 127.0.0.1 --export csv=/proc/no/such.csv", 4, "choose another place"),
    ] {
        let ended = shell(&format!("\"$0\" {words}"));
        assert_eq!(ended.status.code(), Some(code), "{words}: {ended:?}");
        assert!(ended.stderr.contains(advice), "{words}: {}", ended.stderr);
    }
}

#[test]
fn every_help_has_an_example() {
    for command in ["compare", "serve", "report", "doctor", "ping", "trace", "sniff", "schema"] {
        let text = run([command, "--help"]).stdout.join("\n");
        assert!(text.contains("Example"), "{command}: {text}");
    }
    let load = shell("\"$1\" --help").stdout.join("\n");
    assert!(load.contains("Examples:") && load.contains("Ctrl-C"), "{load}");
}

fn word() -> impl Strategy<Value = OsString> {
    let known = prop::sample::select(vec![
        "serve",
        "uring",
        "epoll",
        "tokio",
        "help",
        "--echo",
        "--discard",
        "--cores",
        "--buffers",
        "--buffer-size",
        "--drain",
        "--stats",
        "--sqpoll",
        "--sqpoll=",
        "--taskrun",
        "defer",
        "--entries",
        "--spin",
        "--backlog",
        "0",
        "1",
        "-1",
        "127.0.0.1:0",
        "[::1]:0",
        "127.0.0.1:",
        "[",
        "%",
        "127.0.0.1%:0",
        "unix:",
        "unix:x",
        "1e9",
        "1.5",
        "9999999999999999999",
        "18446744073709551616s",
        "0.0000001ns",
        "0-",
        "-",
        "--",
        "1-0",
        ",",
        "5µs",
        "64k",
        "",
    ]);
    prop_oneof![
        4 => known.prop_map(OsString::from),
        1 => "[^\\x00]{0,12}".prop_map(OsString::from),
        1 => prop::collection::vec(1..=255u8, 0..8).prop_map(OsString::from_vec),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_arguments_make_it_panic(words in prop::collection::vec(word(), 0..6), serve: bool) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = ringmark(serve.then_some(["serve", "epoll"]).into_iter().flatten());
        command.args(&words).current_dir(directory.path());
        let process = Process::start(command);
        // Words that happen to make sense start a server.
        if process.line().is_some_and(|line| line.starts_with("listening ")) {
            process.signal(SIGTERM);
        }
        let ended = process.end();
        prop_assert!(!ended.stderr.contains("panicked"), "{words:?}: {ended:?}");
        prop_assert!(ended.status.code().is_some_and(|code| code <= 2), "{words:?}: {ended:?}");
    }
}

// Where io_uring is forbidden

/// Makes io_uring_setup(2), system call 425, return EPERM, as containers do; then becomes its arguments.
const FORBID_URING: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN, EPERM, ALLOW = 0x20, 0x15, 0x06, 0x00050001, 0x7fff0000
steps = [(LOAD_NUMBER, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, 425), (RETURN, 0, 0, EPERM), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
program = Program(len(steps), ctypes.addressof(code))
NO_NEW_PRIVS, SECCOMP, FILTER = 38, 22, 2
if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, ctypes.byref(program), 0, 0):
    sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
"#;

fn without_io_uring(words: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", FORBID_URING, programs::ringmark()]).args(words);
    command
}

#[test]
fn where_io_uring_is_forbidden_it_says_so_and_others_work() {
    if !are_installed(&["python3"]) {
        return;
    }
    for engine in ["uring", "tokio-uring"] {
        let ended = Process::start(without_io_uring(&["serve", engine, "--echo", "tcp://127.0.0.1:0"])).end();
        if ended.status.code() == Some(77) {
            return skip("seccomp filters cannot be installed here");
        }
        no_panic(&ended);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("seccomp") && ended.stdout.is_empty(), "{ended:?}");
    }
    let server = Server::spawn(without_io_uring(&EPOLL), 1);
    server.connect(1).echo(10_000);
    server.drain();
}

// Other people's clients

/// What a program says to this input.
fn answer_of(program: &str, words: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("starting it");
    child.stdin.take().expect("piped").write_all(input).expect("writing to it");
    let mut answer = Vec::new();
    child.stdout.take().expect("piped").read_to_end(&mut answer).expect("reading from it");
    child.wait().expect("waiting for it");
    answer
}

#[test]
fn netcat_and_socat_hear_their_echo() {
    let server = Server::spawn(ringmark(EPOLL), 1);
    let port = server.address(0).port().to_string();
    let message = support::pattern::bytes(5, 0, 30_000);
    if has_openbsd_netcat() {
        assert!(answer_of("nc", &["-N", "-w", "20", "127.0.0.1", &port], &message) == message);
    }
    if are_installed(&["socat"]) {
        assert!(answer_of("socat", &["-t", "20", "-", &format!("TCP:127.0.0.1:{port}")], &message) == message);
    }
    assert_eq!(server.drain().count("failed"), 0);
}

#[test]
fn curl_hears_its_own_request() {
    if !are_installed(&["curl"]) {
        return;
    }
    let server = Server::spawn(ringmark(EPOLL), 1);
    let url = format!("http://{}/ringmark", server.address(0));
    // An echo never says that the answer is over; what came until then is what counts.
    let answer = answer_of("curl", &["-sN", "--http0.9", "--noproxy", "*", "--max-time", "2", &url], b"");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("GET /ringmark HTTP/1.1"), "{text:?}");
    server.drain();
}

/// With two shards there are limits at which one gets its descriptors and the other does not: the reason is told, and
/// nothing hangs.
#[test]
fn a_shard_that_cannot_start_ends_the_server_with_its_reason() {
    for limit in 9..20 {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -Hn {limit}; exec \"$0\" \"$@\""), programs::ringmark()]).args(EPOLL);
        let process = Process::start(shell);
        if process.line().is_some_and(|line| line.starts_with("listening")) {
            process.signal(SIGTERM);
        }
        let ended = process.end();
        no_panic(&ended);
        assert!(ended.status.success() || ended.stderr.contains("ringmark: "), "limit {limit}: {ended:?}");
    }
}

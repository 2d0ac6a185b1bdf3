//! `ringmark compare` in slices: every kind of load, every engine, servers that are not quiet and servers that fail.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use support::{programs, retry};
use tempfile::TempDir;

/// An echo server that ends at its so many-th answer.
const MORTAL: &str = r#"
import os, selectors, socket, sys
port, answers = int(sys.argv[1]), int(sys.argv[2])
listener = socket.create_server(("127.0.0.1", port), backlog=128)
ready = selectors.DefaultSelector()
ready.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in ready.select():
        if key.fileobj is listener:
            ready.register(listener.accept()[0], selectors.EVENT_READ)
            continue
        data = key.fileobj.recv(65536)
        answers -= 1
        if answers == 0:
            os.abort()
        key.fileobj.sendall(data)
"#;

const PATIENCE: Duration = Duration::from_secs(60);

fn command(folder: &TempDir, words: &[&str]) -> Command {
    let mut command = Command::new(programs::ringmark());
    command.args(["compare", "-o", "result.json"]).args(words).current_dir(folder.path()).stdin(Stdio::null());
    command
}

fn run(folder: &TempDir, words: &[&str]) -> Output {
    command(folder, &[&["--slice", "20ms"], words].concat()).output().unwrap()
}

fn saved(folder: &TempDir) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.path().join("result.json")).unwrap()).unwrap()
}

/// One in which every trial counts; `None`, with the reasons printed, where the machine does not let them.
fn undisturbed(folder: &TempDir, words: &[&str]) -> Option<Value> {
    retry::if_not_counted(|| run(folder, words), |_| retry::reasons_of_trials(&saved(folder)))?;
    Some(saved(folder))
}

fn contestants(report: &Value) -> &Vec<Value> {
    report["cells"][0]["contestants"].as_array().unwrap()
}

fn slices(contestant: &Value, round: usize) -> &Vec<Value> {
    let trial = &contestant["trials"][round];
    trial["load"]["slices"].as_array().unwrap_or_else(|| panic!("{}: {}", contestant["name"], trial["failed"]))
}

fn number(record: &Value, name: &str) -> u64 {
    record[name].as_u64().unwrap_or_else(|| panic!("{name}: {record}"))
}

/// What must hold of each slice, whatever the load.
fn assert_whole(slice: &Value) {
    assert!(number(slice, "answers") >= number(slice, "requests") && number(slice, "requests") > 0, "{slice}");
    assert!(number(slice, "length_ns") >= number(slice, "counted_ns") && number(slice, "counted_ns") > 0, "{slice}");
    for name in ["server_cpu_ns", "generator_cpu_ns"] {
        assert!(number(slice, name) > 0, "{slice}");
    }
}

#[test]
fn every_kind_of_load_comes_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    for load in [
        &["-c", "3"][..],
        &["-c", "2", "--depth", "4", "-s", "64:9,16k:1"],
        &["-c", "2", "-s", "1M"],
        &["-c", "3", "--idle", "5"],
        &["-c", "4", "--connect-per-request"],
        &["-c", "4", "-R", "2k", "--arrival", "poisson"],
        &["-c", "4", "-R", "2k", "--connect-per-request"],
        &["-c", "3", "--udp"],
        &["-c", "3", "--udp", "-R", "2k"],
        &["-c", "2", "--udp", "--gso", "4", "--depth", "8"],
        &["-c", "3", "--unix"],
    ] {
        let words = [&["epoll", "threads", "--rounds", "1", "--blocks", "3"], load].concat();
        let Some(report) = undisturbed(&folder, &words) else { continue };
        assert_eq!((number(&report["slices"], "length_ns"), number(&report["slices"], "blocks")), (20_000_000, 3));
        for contestant in contestants(&report) {
            assert_eq!(slices(contestant, 0).len(), 3, "{load:?}");
            slices(contestant, 0).iter().for_each(assert_whole);
            let load = &contestant["trials"][0]["load"];
            assert!(load["errors"].as_object().unwrap().values().all(|errors| errors == 0), "{load}");
        }
    }
}

#[test]
fn every_engine_has_its_slice_in_each_block() {
    let folder = tempfile::tempdir().unwrap();
    let Some(report) = undisturbed(&folder, &["--rounds", "2", "--blocks", "2", "-c", "4"]) else { return };
    let runs = contestants(&report).iter().filter(|one| one["unavailable"].is_null());
    for contestant in runs.inspect(|one| println!("{}", one["name"])) {
        for round in [0, 1] {
            assert_eq!(slices(contestant, round).len(), 2);
            slices(contestant, round).iter().for_each(assert_whole);
        }
        assert!(contestant["ratios"]["server_cpu"]["median"].as_f64().is_some_and(|ratio| ratio > 0.0), "{contestant}");
    }
    let floor = report["cells"][0]["floor"]["slices"].as_array().unwrap();
    assert!(floor.len() == 4 && floor.iter().all(|slice| number(slice, "requests") > 0), "{floor:?}");
}

/// The load's own totals are those of its slices.
#[test]
fn slices_add_up_to_their_round() {
    let folder = tempfile::tempdir().unwrap();
    let Some(report) = undisturbed(&folder, &["epoll", "--rounds", "1", "--blocks", "5", "-c", "4"]) else { return };
    let load = &contestants(&report)[0]["trials"][0]["load"];
    let sum =
        |name: &str| load["slices"].as_array().unwrap().iter().map(|slice| number(slice, name)).sum::<u64>() as f64;
    let close = |one: f64, other: f64| (one / other - 1.0).abs() < 0.01;
    assert!(close(load["throughput_per_s"].as_f64().unwrap(), sum("requests") * 1e9 / sum("counted_ns")), "{load}");
    for (figure, cpu) in [("server_ns_per_request", "server_cpu_ns"), ("generator_ns_per_request", "generator_cpu_ns")]
    {
        assert!(close(load["cpu"][figure].as_f64().unwrap(), sum(cpu) / sum("answers")), "{load}");
    }
}

#[test]
fn a_server_that_is_not_quiet_is_stopped_while_others_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["epoll", "restless=epoll --spin 10s", "--rounds", "1", "--blocks", "3", "-c", "2"];
    let Some(report) = undisturbed(&folder, &words) else { return };
    let warned = |index: usize| {
        let reasons = contestants(&report)[index]["trials"][0]["load"]["warning_reasons"].as_array().unwrap().clone();
        reasons.iter().any(|reason| reason["code"] == "stopped-between-slices")
    };
    assert_eq!([warned(0), warned(1)], [false, true], "{report}");
    slices(&contestants(&report)[1], 0).iter().for_each(assert_whole);
}

#[test]
fn who_fails_in_a_round_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mortal.py"), MORTAL).unwrap();
    let words = ["epoll", "mortal=exec python3 mortal.py {port} 300", "--rounds", "3", "--blocks", "3", "-c", "2"];
    let out = run(&folder, &words);
    assert_eq!(out.status.code(), Some(5), "{}", String::from_utf8_lossy(&out.stderr));
    let report = saved(&folder);
    let [epoll, mortal] = &contestants(&report)[..] else { panic!("{report}") };
    assert_eq!((number(epoll, "rounds"), number(mortal, "rounds")), (3, 0));
    assert_eq!(
        (&mortal["verdict"], &mortal["broken_reason"]["code"]),
        (&"broken".into(), &"server-ended-under-load".into())
    );
}

#[test]
fn slices_are_longer_where_answers_take_long_unless_their_length_is_given() {
    let folder = tempfile::tempdir().unwrap();
    for (words, longer) in [(&[][..], true), (&["--slice", "50ms"], false)] {
        let slow = ["epoll --handicap 1ms", "-c", "10", "--rounds", "1", "-d", "100ms"];
        let out = command(&folder, &[&slow[..], words].concat()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let length = number(&saved(&folder)["cells"][0]["slices"], "length_ns");
        assert_eq!(length >= 200_000_000, longer, "{length}");
    }
}

/// What is measured in trials is judged as what is measured in slices, and told by the same names.
#[test]
fn trials_one_after_the_other_give_the_same_verdict_fields() {
    let folder = tempfile::tempdir().unwrap();
    let slow = ["epoll", "epoll --handicap 2ms", "-c", "1", "--rounds", "6", "--warmup", "0", "-d", "100ms"];
    let [trials, slices] = [&["--trials"][..], &[]].map(|how| {
        let words = [&slow[..], how].concat();
        let run = || command(&folder, &words).output().unwrap();
        retry::if_not_counted(run, |_| retry::reasons_of_trials(&saved(&folder)))?;
        Some(saved(&folder))
    });
    let (Some(trials), Some(slices)) = (trials, slices) else { return };
    assert!(trials["slices"].is_null() && slices["slices"].is_object(), "{trials}");
    for report in [&trials, &slices] {
        let handicapped = &contestants(report)[1];
        assert_eq!(
            [&handicapped["verdict"], &handicapped["ratios"]["throughput"]["verdict"]],
            ["slower"; 2],
            "{handicapped}"
        );
    }
    let names = |record: &Value| record.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for (one, other) in contestants(&trials).iter().zip(contestants(&slices)) {
        for figure in ["throughput", "server_cpu", "total_cpu", "p50", "p99"] {
            assert_eq!(names(&one["ratios"][figure]), names(&other["ratios"][figure]), "{figure}");
        }
        assert_eq!((names(one), names(&one["ratio"])), (names(other), names(&other["ratio"])));
        let load = &one["trials"][0]["load"];
        assert!(load["slices"].as_array().is_none_or(Vec::is_empty) && number(load, "requests") > 0, "{load}");
    }
}

/// The comparison under way, and what it says on stderr.
struct UnderWay {
    comparison: Child,
    folder: TempDir,
}

impl UnderWay {
    fn start(words: &[&str]) -> UnderWay {
        let folder = tempfile::tempdir().unwrap();
        let stderr = fs::File::create(folder.path().join("stderr")).unwrap();
        let words = [&["--slice", "20ms"], words].concat();
        let comparison = command(&folder, &words).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        UnderWay { comparison, folder }
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// Waits for what `find` looks for.
    fn wait_for<T>(&mut self, what: &str, mut find: impl FnMut(&mut UnderWay) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = find(self) {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "no {what}: {:?} {}", self.comparison.kill(), self.stderr());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The server with these words, and its generator, once both are there.
    fn lane(&self, server: &str) -> Option<(u32, u32)> {
        let children = children(self.comparison.id());
        let generator = |server: &u32| {
            let pid = format!(" --server-pid {server} ");
            children.iter().find(|(_, words)| words.contains(" load ") && words.contains(&pid)).map(|(pid, _)| *pid)
        };
        let servers = children.iter().filter(|(_, words)| words.contains(&format!(" serve {server} --echo ")));
        servers.map(|(pid, _)| *pid).find_map(|server| Some((server, generator(&server)?)))
    }

    fn ended(&mut self) -> Option<i32> {
        self.wait_for("end of the comparison", |it| it.comparison.try_wait().unwrap()).code()
    }
}

/// The processes that this one has started, and their command lines.
fn children(parent: u32) -> Vec<(u32, String)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let of_parent = pids.filter(|pid| status(*pid).is_some_and(|(_, other)| other == parent));
    of_parent
        .map(|pid| (pid, fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()))
        .map(|(pid, words)| (pid, String::from_utf8_lossy(&words).replace('\0', " ")))
        .collect()
}

/// The state of a process, and who started it.
fn status(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut words = stat.rsplit(") ").next()?.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success(), "{name} {pid}");
}

#[test]
fn an_interrupt_within_a_round_keeps_those_before_it_and_leaves_no_server_stopped() {
    let words = ["threads", "restless=epoll --spin 10s", "-c", "2", "--rounds", "500", "--blocks", "10"];
    let mut it = UnderWay::start(&words);
    it.wait_for("first round", |it| it.stderr().contains("\nround 1/500").then_some(()));
    // It is not its turn: the other one has the load.
    it.wait_for("stopped server", |it| {
        it.lane("epoll --spin 10s").filter(|(server, _)| status(*server).is_some_and(|(state, _)| state == 'T'))
    });
    let started = children(it.comparison.id());
    signal("-INT", it.comparison.id());
    assert_eq!(it.ended(), Some(130), "{}", it.stderr());
    assert_eq!(started.len(), 4, "{started:?}");
    let left: Vec<_> = started.iter().filter(|(pid, _)| Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    let report = saved(&it.folder);
    assert_eq!(report["stopped"], "interrupted");
    for contestant in contestants(&report) {
        let trials = contestant["trials"].as_array().unwrap();
        assert!(!trials.is_empty() && trials.len() < 500);
        (0..trials.len()).for_each(|round| assert_eq!(slices(contestant, round).len(), 10));
    }
}

#[test]
fn a_generator_that_is_killed_costs_its_contestant_the_round_and_nobody_else() {
    let words = ["epoll", "threads", "restless=epoll --spin 10s", "-c", "2", "--rounds", "2", "--blocks", "20"];
    for victim in ["threads", "epoll --spin 10s"] {
        let mut it = UnderWay::start(&words);
        let (server, generator) = it.wait_for("generator", |it| it.lane(victim));
        thread::sleep(Duration::from_millis(300));
        signal("-KILL", generator);
        assert_eq!(it.ended(), Some(0), "{}", it.stderr());
        assert!(!Path::new(&format!("/proc/{server}")).exists());
        let report = saved(&it.folder);
        for contestant in contestants(&report) {
            let is_victim = contestant["words"] == victim;
            let first = &contestant["trials"][0];
            assert_eq!(first["load"].is_null(), is_victim, "{contestant}");
            if is_victim {
                assert_eq!(first["failed_reason"]["code"], "generator-failed", "{first}");
            } else {
                assert_eq!(slices(contestant, 0).len(), 20);
            }
            assert_eq!(slices(contestant, 1).len(), 20);
        }
    }
}

/// What the generator is told by line it answers by line, and at the end of its input it reports.
#[test]
fn a_generator_whose_input_ends_reports_what_it_has() {
    let mut server = Command::new(programs::ringmark())
        .args(["serve", "epoll", "--echo", "tcp://127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("commands"), "warm-up 1000000\nslice 10000000\nslice 10000000\n").unwrap();
    let out = Command::new(programs::ringmark())
        .args(["load", address, "--slices", "--quiet", "--format", "json", "-c", "2"])
        .stdin(fs::File::open(folder.path().join("commands")).unwrap())
        .output()
        .unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let lines: Vec<&str> = std::str::from_utf8(&out.stdout).unwrap().lines().collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[..4].iter().all(|line| line.starts_with("done ")), "{lines:?}");
    let report: Value = serde_json::from_str(lines[4]).unwrap();
    assert_eq!(report["slices"].as_array().unwrap().len(), 2);
}

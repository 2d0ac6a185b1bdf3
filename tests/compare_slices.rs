//! `ringmark compare` in slices: every kind of load, every engine, servers that are not quiet and servers that fail.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
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

fn run(folder: &TempDir, words: &[&str]) -> Output {
    let short = ["compare", "--slice", "20ms", "-o", "result.json"];
    Command::new(programs::ringmark())
        .args([&short[..], words].concat())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
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
    contestant["trials"][round]["load"]["slices"].as_array().unwrap()
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
        let slow = ["compare", "epoll --handicap 1ms", "-c", "10", "--rounds", "1", "-d", "100ms", "-o", "result.json"];
        let out = Command::new(programs::ringmark())
            .args([&slow[..], words].concat())
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let length = number(&saved(&folder)["cells"][0]["slices"], "length_ns");
        assert_eq!(length >= 200_000_000, longer, "{length}");
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

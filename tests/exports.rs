//! What results become: exports that other tools read, a schema that real output keeps, bounds that fail, old files.

use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use support::server::Server;
use support::skip::skip;
use support::{programs, retry};
use tempfile::TempDir;

struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Scene {
        Scene { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    fn ringmark(&self, words: &[&str]) -> Output {
        self.run(programs::ringmark(), words)
    }

    fn run(&self, program: &str, words: &[&str]) -> Output {
        Command::new(program).args(words).current_dir(self.folder.path()).stdin(Stdio::null()).output().unwrap()
    }

    /// A short run against an echo server of ours, with these further words.
    fn ringload(&self, words: &[&str]) -> Output {
        let server = Server::start(&["epoll"]);
        let address = server.address(0).to_string();
        let fixed = [address.as_str(), "-c", "2", "--engine", "epoll", "--warmup", "0", "--no-pin"];
        self.run(programs::ringload(), &[&fixed, words].concat())
    }

    /// A short comparison saved as `result.json`.
    fn compare(&self, words: &[&str]) -> Output {
        let fixed = ["compare", "epoll", "threads", "-c", "1", "-d", "300ms", "--warmup", "0", "-o", "result.json"];
        self.ringmark(&[&fixed, words].concat())
    }

    /// One whose trials all count; `None`, with the reasons printed, where the machine does not let them.
    fn compare_undisturbed(&self, words: &[&str]) -> Option<Output> {
        retry::if_not_counted(|| self.compare(words), |_| retry::reasons_of_trials(&self.json("result.json")))
    }
}

#[track_caller]
fn succeeded(out: &Output) -> String {
    assert_eq!(out.status.code(), Some(0), "{}", stderr(out));
    String::from_utf8(out.stdout.clone()).unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// A schema that `ringmark schema` prints.
fn schema(scene: &Scene, of: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(&succeeded(&scene.ringmark(&["schema", of]))).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

#[track_caller]
fn assert_valid(schema: &jsonschema::Validator, instance: &Value) {
    let errors: Vec<String> =
        schema.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn real_output_has_the_form_that_the_schema_publishes() {
    let scene = Scene::new();
    let load: Value = serde_json::from_str(&succeeded(&scene.ringload(&["-d", "300ms", "--format", "json"]))).unwrap();
    let of_load = schema(&scene, "load");
    assert_valid(&of_load, &load);
    let Some(compared) = scene.compare_undisturbed(&["--rounds", "2"]) else { return };
    succeeded(&compared);
    assert_valid(&schema(&scene, "compare"), &scene.json("result.json"));
    let aa = scene.ringmark(&["compare", "--aa=1", "-c", "1", "-d", "300ms", "--warmup", "10ms", "-o", "aa.json"]);
    // On a busy machine too few of its rounds are valid, or a difference is claimed in vain: it is saved all the same.
    assert!(matches!(aa.status.code(), Some(0 | 1 | 4)), "{}", stderr(&aa));
    assert_valid(&schema(&scene, "aa"), &scene.json("aa.json"));
    let against = scene.ringmark(&["report", "result.json", "--baseline", "result.json", "--format", "json"]);
    assert_valid(&schema(&scene, "against"), &serde_json::from_str(&succeeded(&against)).unwrap());
    // The schema is one that says no.
    for (field, value) in [("requests", Value::from("many")), ("latency_ns", Value::Null)] {
        let mut broken = load.clone();
        broken[field] = value;
        assert!(!of_load.is_valid(&broken), "{field}");
    }
    assert!(!of_load.is_valid(&scene.json("result.json")));
}

#[test]
fn every_export_is_written_and_report_writes_the_same_ones() {
    let scene = Scene::new();
    let exports = ["json", "csv", "md", "hlog", "hgrm"].map(|form| format!("{form}=one/run.{form}"));
    let words: Vec<&str> = exports.iter().flat_map(|export| ["--export", export.as_str()]).collect();
    let Some(compared) = scene.compare_undisturbed(&[&["--rounds", "2"], &words[..]].concat()) else { return };
    succeeded(&compared);
    let again: Vec<String> = words.iter().map(|word| word.replace("one/", "two/")).collect();
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    succeeded(&scene.ringmark(&[&["report", "result.json"], &again[..]].concat()));
    let mut names: Vec<String> =
        fs::read_dir(scene.path("one")).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected =
        ["run.csv", "run.epoll-1c-64Bx1.hgrm", "run.hlog", "run.json", "run.md", "run.threads-1c-64Bx1.hgrm"];
    assert_eq!(names, expected);
    names.iter().for_each(|name| {
        assert_eq!(scene.text(&format!("one/{name}")), scene.text(&format!("two/{name}")), "{name}");
    });
    assert_eq!(scene.json("one/run.json"), scene.json("result.json"));
    assert_eq!(scene.text("one/run.csv").lines().count(), 1 + 4);
    assert!(scene.text("one/run.md").contains("| `threads` |"));
    let nowhere = scene.ringmark(&["report", "result.json", "--export", "csv=/proc/no/run.csv"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("/proc/no/run.csv"), "{}", stderr(&nowhere));
    let unknown = scene.ringmark(&["report", "result.json", "--export", "xml=x"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("json, csv, md, hlog, hgrm"), "{}", stderr(&unknown));
}

#[test]
fn bounds_that_hold_exit_99_and_say_which_figure_crossed_them() {
    let scene = Scene::new();
    let run = ["-d", "300ms", "--format", "json"];
    let good = ["--fail-if", "errors>0", "--fail-if", "p99>10m", "--fail-if", "throughput<1"];
    succeeded(&scene.ringload(&[&run[..], &good].concat()));
    let bad = scene.ringload(&[&run[..], &["--fail-if", "p50>1ns", "--fail-if", "errors>0"]].concat());
    assert_eq!(bad.status.code(), Some(99));
    assert!(stderr(&bad).contains("--fail-if p50>1ns is crossed: ") && !stderr(&bad).contains("errors"));
    let bound = ["--rounds", "1", "--fail-if", "ratio<0.0001"];
    let Some(compared) = scene.compare_undisturbed(&bound) else { return };
    succeeded(&compared);
    for (bound, code) in [("ratio<1000", 99), ("max<1us", 0), ("p99.9>1ns", 99), ("lost>0", 99)] {
        let out = scene.ringmark(&["report", "result.json", "--fail-if", bound]);
        assert_eq!(out.status.code(), Some(code), "{bound}: {}", stderr(&out));
        assert_eq!(stderr(&out).contains("threads (1 connections x 64 B)"), code == 99, "{}", stderr(&out));
    }
    for (bound, part) in [("p98>1ms", "'p98' is no figure"), ("ratio<1", "a single run is compared to nothing")] {
        let out = scene.ringload(&["-d", "300ms", "--fail-if", bound]);
        assert_eq!(out.status.code(), Some(2), "{bound}");
        assert!(stderr(&out).contains(part), "{}", stderr(&out));
    }
}

#[test]
fn two_stored_results_are_compared_and_called_unpaired() {
    let scene = Scene::new();
    let Some(compared) = scene.compare_undisturbed(&["--rounds", "6"]) else { return };
    succeeded(&compared);
    fs::copy(scene.path("result.json"), scene.path("old.json")).unwrap();
    let out = scene.ringmark(&["report", "result.json", "--baseline", "old.json", "--fail-if", "ratio<0.99"]);
    let text = succeeded(&out);
    for part in ["not paired", "epoll (1 connections x 64 B)", "throughput 1.000 [", "] no difference shown: "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let load = scene.json("result.json")["cells"][0]["contestants"][0]["trials"][0]["load"].to_string();
    fs::write(scene.path("load.json"), load).unwrap();
    let single = succeeded(&scene.ringmark(&["report", "load.json", "--baseline", "load.json"]));
    assert!(single.contains("single runs show nothing"), "{single}");
    let mixed = scene.ringmark(&["report", "load.json", "--baseline", "old.json"]);
    assert_eq!(mixed.status.code(), Some(1));
    assert!(stderr(&mixed).contains("give two of a kind"), "{}", stderr(&mixed));
}

/// Results of older versions, as they are kept in this repository.
#[test]
fn stored_results_of_older_versions_still_read_and_tell_the_same() {
    let scene = Scene::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let folders = fs::read_dir(root).unwrap().map(|one| one.unwrap().path());
    let runs = folders.filter(|path| path.is_dir() && !path.ends_with("local"));
    let files = runs.flat_map(|folder| fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()));
    let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|one| one == "json")).collect();
    assert!(files.len() >= 9, "{files:?}");
    for file in files {
        let name = file.to_str().unwrap();
        let stored: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let rendered = succeeded(&scene.ringmark(&["report", name]));
        // Of comparisons of a contestant with itself only the verdicts are kept.
        let has_histograms = stored["schema"] != "ringmark.aa/1";
        assert!(rendered.contains(if has_histograms { "99" } else { "against itself" }), "{name}: {rendered}");
        let export: &[&str] = if has_histograms { &["--export", "hlog=x.hlog"] } else { &[] };
        let again = succeeded(&scene.ringmark(&[&["report", name, "--format", "json"], export].concat()));
        let again: Value = serde_json::from_str(&again).unwrap();
        assert_unchanged(&stored, &again, name);
        assert_eq!(read_and_written(&again), again, "{name}");
    }
}

/// What becomes of a result that is read and written once more.
fn read_and_written(result: &Value) -> Value {
    let read = ringmark::report::result::parse(&result.to_string()).unwrap();
    serde_json::from_str(&read.json().unwrap()).unwrap()
}

/// How far a quantile can be trusted: estimated anew, and by now better than when the oldest files were written.
const ESTIMATES: [&str; 3] = ["effective_samples", "low_ns", "high_ns"];

/// Of a contestant: what follows from its ratio to the baseline by now, and was a median of other rounds before. The ratio
/// itself is what it was.
const FOLLOW_FROM_RATIOS: [&str; 3] = ["throughput_per_s", "server_cpu_ns_per_request", "generator_cpu_ns_per_request"];

/// Whether a figure may have changed since. A claim may have become none, as all of a comparison are held at 5 % together;
/// where the generator was at its limit in a round, that round counts by now, and everything derived is of one round more.
fn may_differ(contestant: &Value, key: &str, new: &Value) -> bool {
    let trials = contestant["trials"].as_array().into_iter().flatten();
    let mut codes = trials.flat_map(|trial| trial["load"]["invalid_reasons"].as_array().into_iter().flatten());
    let is_bound = codes.any(|reason| reason["code"] == "generator-bottleneck");
    let is_withdrawn = key == "verdict" && *new == "no difference shown";
    FOLLOW_FROM_RATIOS.contains(&key) || is_withdrawn || is_bound && !["name", "words", "trials"].contains(&key)
}

/// Every figure of the old file is in the new one, with its value; the new one may say more.
fn assert_unchanged(old: &Value, new: &Value, place: &str) {
    match (old, new) {
        (Value::Object(contestant), Value::Object(_)) if contestant.contains_key("trials") => {
            let lasting = contestant.iter().filter(|(key, _)| !may_differ(old, key, &new[*key]));
            lasting.for_each(|(key, value)| assert_unchanged(value, &new[key], &format!("{place}.{key}")));
        }
        (Value::Object(old), Value::Object(_)) => {
            let lasting = old.iter().filter(|(key, _)| !ESTIMATES.contains(&key.as_str()));
            lasting.for_each(|(key, value)| assert_unchanged(value, &new[key], &format!("{place}.{key}")));
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            old.iter().zip(new).for_each(|(old, new)| assert_unchanged(old, new, &format!("{place}[]")));
        }
        _ => assert_eq!(old, new, "{place}"),
    }
}

// What ping and trace found

/// Whether ICMP sockets may be had here; a reason is printed where not.
fn may_ping(scene: &Scene) -> bool {
    let probe = scene.ringmark(&["ping", "-q", "-c", "1", "127.0.0.1"]);
    if probe.status.code() != Some(4) {
        return true;
    }
    let required = std::env::var("RINGMARK_REQUIRE_NET").is_ok_and(|value| value == "1");
    assert!(!required, "RINGMARK_REQUIRE_NET=1, but: {}", stderr(&probe));
    skip(stderr(&probe));
    false
}

/// Every format into a file called so.
fn exports_to(name: &str) -> Vec<String> {
    let forms = ["json", "csv", "md", "hlog", "hgrm"];
    forms.iter().flat_map(|form| ["--export".to_owned(), format!("{form}={name}.{form}")]).collect()
}

/// Runs a probe that exports everything; `report` then tells, and exports, the same out of what was stored.
fn probe(scene: &Scene, words: &[&str]) -> Value {
    let exports = [exports_to("one/run"), exports_to("two/run")];
    let [one, two] = exports.each_ref().map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
    let printed = succeeded(&scene.ringmark(&[words, &one].concat()));
    let told = succeeded(&scene.ringmark(&[&["report", "one/run.json"], &two[..]].concat()));
    assert_eq!(printed, told);
    for entry in fs::read_dir(scene.path("one")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert_eq!(scene.text(&format!("one/{name}")), scene.text(&format!("two/{name}")), "{name}");
    }
    let found = scene.json("one/run.json");
    assert_valid(&schema(scene, words[0]), &found);
    found
}

#[test]
fn what_a_ping_found_is_kept_and_read_by_others() {
    let scene = Scene::new();
    if !may_ping(&scene) {
        return;
    }
    let found = probe(&scene, &["ping", "-q", "-c", "200", "-i", "1ms", "127.0.0.1"]);
    let csv = scene.text("one/run.csv");
    assert!(csv.lines().nth(1).unwrap().starts_with("127.0.0.1,127.0.0.1,1,56,1000000,"), "{csv}");
    assert!(scene.text("one/run.md").contains("| 127.0.0.1 | 200 | 200 | 0 % |"));
    let Some(python) = python() else { return };
    let read = read_back(python, &scene.path("one/run.hlog"));
    let times = &found["targets"][0]["round_trips_ns"];
    assert_eq!((&read["count"], &read["max"]), (&times["samples"], &times["max"]));
    assert_eq!((&read["count"], &read["intervals"][0]["tag"]), (&200.into(), &Value::Null), "{read}");
    assert_same_counts(&read, &scene.text("one/run.hgrm"));
}

#[test]
fn targets_of_a_ping_are_told_apart() {
    let scene = Scene::new();
    if !may_ping(&scene) {
        return;
    }
    probe(&scene, &["ping", "-q", "-c", "20", "-i", "1ms", "127.0.0.1", "127.0.0.2"]);
    for target in ["127.0.0.1", "127.0.0.2"] {
        let distribution = distribution(&scene.text(&format!("one/run.{target}.hgrm")));
        assert_eq!(distribution.last().unwrap()[2], 20.0);
    }
    let bounds = ["--fail-if", "p50>1ns", "--fail-if", "lost>0"];
    let crossed = scene.ringmark(&[&["ping", "-q", "-c", "1", "127.0.0.1"], &bounds[..]].concat());
    assert_eq!((crossed.status.code(), stderr(&crossed).lines().count()), (Some(99), 1), "{crossed:?}");
    for word in ["ping", "trace"] {
        let ratio = scene.ringmark(&[word, "-c", "1", "127.0.0.1", "--fail-if", "ratio<1"]);
        assert_eq!(ratio.status.code(), Some(3), "{word}: {ratio:?}");
    }
    let Some(python) = python() else { return };
    let read = read_back(python, &scene.path("one/run.hlog"));
    let tags: Vec<&Value> = read["intervals"].as_array().unwrap().iter().map(|one| &one["tag"]).collect();
    assert_eq!(tags, ["127.0.0.1", "127.0.0.2"], "{read}");
}

#[test]
fn what_a_trace_found_is_kept_and_read_by_others() {
    let scene = Scene::new();
    if !may_ping(&scene) {
        return;
    }
    let found = probe(&scene, &["trace", "--icmp", "-c", "20", "-i", "5ms", "127.0.0.1"]);
    let csv = scene.text("one/run.csv");
    assert!(csv.lines().nth(1).unwrap().contains(",1,127.0.0.1,20,20,0,0,0,0,20,"), "{csv}");
    let Some(python) = python() else { return };
    let read = read_back(python, &scene.path("one/run.hlog"));
    let times = &found["hops"][0]["round_trips_ns"];
    assert_eq!((&read["count"], &read["max"]), (&times["samples"], &times["max"]));
    assert_eq!((&read["count"], &read["intervals"][0]["tag"]), (&20.into(), &"hop-1".into()), "{read}");
    assert_same_counts(&read, &scene.text("one/run.hop-1.hgrm"));
}

// Another implementation of HdrHistogram

/// A Python that has PyPI's hdrhistogram; installs it below the target folder where that is possible.
///
/// # Panics
/// When there is none, and RINGMARK_REQUIRE_PEERS=1 says that there must be.
fn python() -> Option<Command> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let command = || {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &folder).stdin(Stdio::null());
        command
    };
    let has_it = || command().args(["-c", "import hdrh.log"]).output().is_ok_and(|out| out.status.success());
    let mut reason = "python3 cannot be run".to_owned();
    if !has_it() {
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
        let out = command().args(install).arg(&folder).arg("hdrhistogram").output();
        reason = out.map_or(reason, |out| stderr(&out));
    }
    if has_it() {
        return Some(command());
    }
    let required = std::env::var("RINGMARK_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    assert!(!required, "RINGMARK_REQUIRE_PEERS=1, but PyPI's hdrhistogram cannot be installed: {reason}");
    skip(format_args!("PyPI's hdrhistogram cannot be installed: {reason}"));
    None
}

fn read_back(mut python: Command, hlog: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports/readback.py");
    let out = python.arg(script).arg(hlog).output().unwrap();
    serde_json::from_str(&succeeded(&out)).unwrap()
}

/// Value, percentile and count of each line of a distribution.
fn distribution(text: &str) -> Vec<[f64; 3]> {
    let lines = text.lines().filter(|line| line.starts_with(' ') && !line.contains("Value"));
    lines
        .map(|line| {
            let fields: Vec<f64> = line.split_whitespace().map(|field| field.parse().unwrap()).collect();
            [fields[0], fields[1], fields[2]]
        })
        .collect()
}

#[test]
fn another_implementation_reads_the_log_and_counts_the_same_distribution() {
    let Some(python) = python() else { return };
    let scene = Scene::new();
    let begun = Instant::now();
    let exports = ["--export", "hlog=run.hlog", "--export", "hgrm=run.hgrm", "--export", "json=run.json"];
    let out = scene.ringload(&[&["-d", "2200ms"][..], &exports].concat());
    succeeded(&out);
    let live: Vec<String> = stderr(&out).lines().map(str::to_owned).collect();
    assert!(!live.is_empty() && live.iter().all(|line| line.contains("s: ") && line.contains("/s, ")), "{live:?}");
    assert!(live.iter().any(|line| line.contains("/s, so far p50 ")), "{live:?}");
    let read = read_back(python, &scene.path("run.hlog"));
    let report = scene.json("run.json");
    let intervals = read["intervals"].as_array().unwrap();
    assert_eq!(intervals.len(), report["intervals"].as_array().unwrap().len().max(1), "{read}");
    assert_eq!(read["count"], report["requests"]);
    assert_eq!(read["max"], report["latency_ns"]["max"]);
    let counted = intervals.last().unwrap()["end_ms"].as_f64().unwrap();
    assert!(counted >= 2_000.0 && counted <= begun.elapsed().as_millis() as f64, "{read}");
    assert!(intervals.iter().all(|interval| interval["tag"].is_null()), "{read}");
    assert!(distribution(&scene.text("run.hgrm")).len() > 20);
    let counts: HashMap<u64, f64> = read["below"].as_array().unwrap().iter().map(value_and_count).collect();
    let all = read["count"].as_f64().unwrap();
    for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        // Ranks are rounded by one rule here and by another there, so the value is looked up.
        let value = report["latency_ns"][name].as_u64().unwrap();
        assert!(counts[&value] / all >= quantile, "{name} of {value}ns: {} of {all}", counts[&value]);
    }
    assert_same_counts(&read, &scene.text("run.hgrm"));
}

fn value_and_count(pair: &Value) -> (u64, f64) {
    (pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap())
}

/// Every count of a distribution is that of the other implementation.
#[track_caller]
fn assert_same_counts(read: &Value, hgrm: &str) {
    let counts: HashMap<u64, f64> = read["below"].as_array().unwrap().iter().map(value_and_count).collect();
    let ours = distribution(hgrm);
    assert!(ours.last().is_some_and(|last| last[1] == 1.0), "{ours:?}");
    let all = read["count"].as_f64().unwrap();
    for [micros, percentile, count] in ours {
        let nanos = (micros * 1e3).round() as u64;
        assert_eq!(counts.get(&nanos), Some(&count), "at {micros}us, percentile {percentile}");
        assert!(count / all >= percentile - 1e-12, "{count} of {all} is less than {percentile}");
    }
}

#[test]
fn another_implementation_reads_a_log_of_several_contestants() {
    let Some(python) = python() else { return };
    let scene = Scene::new();
    let words = ["--rounds", "2", "--export", "hlog=run.hlog"];
    let Some(compared) = scene.compare_undisturbed(&words) else { return };
    succeeded(&compared);
    let read = read_back(python, &scene.path("run.hlog"));
    let tags: Vec<&str> =
        read["intervals"].as_array().unwrap().iter().map(|one| one["tag"].as_str().unwrap()).collect();
    let expected = ["epoll-1c-64Bx1", "epoll-1c-64Bx1", "threads-1c-64Bx1", "threads-1c-64Bx1"];
    assert_eq!(tags, expected, "{read}");
}

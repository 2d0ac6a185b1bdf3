//! `ringmark compare` and `ringmark report` from outside: real processes, short trials, servers that misbehave.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{programs, retry};
use tempfile::TempDir;

/// An echo server that behaves as its first argument says.
const SERVER: &str = r#"
import os, selectors, signal, socket, sys, time
mode, port = sys.argv[1], int(sys.argv[2])
if mode == "dies":
    sys.exit("no memory today")
if mode == "silent":
    time.sleep(600)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "asked":
    signal.signal(signal.SIGTERM, lambda *_: open("asked", "w").close())
if mode == "lossy":
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", port))
    received = 0
    while True:
        data, sender = datagrams.recvfrom(65536)
        received += 1
        # Not the first ones, which every socket needs to be admitted.
        if received < 20 or received % 10:
            datagrams.sendto(data, sender)
listener = socket.create_server(("127.0.0.1", port), backlog=128)
ready = selectors.DefaultSelector()
ready.register(listener, selectors.EVENT_READ)
answers = 0
while True:
    for key, _ in ready.select():
        if key.fileobj is listener:
            ready.register(listener.accept()[0], selectors.EVENT_READ)
            continue
        if mode == "hangs":
            time.sleep(600)
        try:
            data = key.fileobj.recv(65536)
            # It hangs up now and then, once everybody was answered for the first time.
            if mode == "fickle" and answers > 50 and answers % 100 == 0:
                data = b""
            data and key.fileobj.sendall(data)
        except OSError:
            data = b""
        answers += 1
        if mode == "crashes" and answers > 50:
            print("out of luck", file=sys.stderr, flush=True)
            os.abort()
        if not data:
            ready.unregister(key.fileobj)
            key.fileobj.close()
"#;

/// Environment variable that the processes of one test inherit, so that leftovers are found.
const MARK: &str = "RINGMARK_TEST_MARK";
const PATIENCE: Duration = Duration::from_secs(60);

/// One test's folder and the mark of its processes.
struct Scene {
    folder: TempDir,
    mark: String,
}

impl Scene {
    fn new() -> Scene {
        static SCENES: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("server.py"), SERVER).unwrap();
        let mark = format!("{}-{}", std::process::id(), SCENES.fetch_add(1, Ordering::Relaxed));
        Scene { folder, mark }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn server(&self, mode: &str) -> String {
        format!("exec python3 server.py {mode} {{port}}")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(programs::ringmark());
        command.args(words).current_dir(self.folder.path()).env(MARK, &self.mark).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// A short comparison of these contestants with these further options, saved as `result.json`.
    fn compare(&self, contestants: &[&str], options: &[&str]) -> Output {
        let short = ["-d", "300ms", "--warmup", "0", "--output", "result.json"];
        self.run(&[&["compare"], contestants, &short[..], options].concat())
    }

    /// One whose trials all count; `None`, with the reasons printed, where the machine does not let them.
    fn compare_undisturbed(&self, contestants: &[&str], options: &[&str]) -> Option<Output> {
        retry::if_not_counted(|| self.compare(contestants, options), |_| retry::reasons_of_trials(&self.saved()))
    }

    fn saved(&self) -> Value {
        self.json("result.json")
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }

    /// No process of this test is left. One that was killed may need a moment.
    fn assert_nothing_runs(&self) {
        let start = Instant::now();
        while !self.running().is_empty() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.running(), Vec::<String>::new());
    }

    fn running(&self) -> Vec<String> {
        let entry = format!("{MARK}={}", self.mark).into_bytes();
        let marked = |folder: &Path| {
            fs::read(folder.join("environ")).is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == entry))
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|process| process.path());
        processes
            .filter(|folder| marked(folder))
            .map(|folder| {
                format!("{} {}", folder.display(), fs::read_to_string(folder.join("cmdline")).unwrap_or_default())
            })
            .collect()
    }
}

/// The exit status of a process that is about to end.
fn ended(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if start.elapsed() > PATIENCE => panic!("still running: {:?}", child.kill()),
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// In one line, however it was broken into lines.
fn unwrapped(bytes: &[u8]) -> String {
    text(bytes).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn contestant(report: &Value, cell: usize, index: usize) -> &Value {
    &report["cells"][cell]["contestants"][index]
}

#[test]
fn a_comparison_gives_every_promised_name_and_renders_the_same_again() {
    let scene = Scene::new();
    let server = scene.server("good");
    let options = ["-c", "4", "--rounds", "6", "--seed", "9", "--format", "json"];
    let Some(out) = scene.compare_undisturbed(&[&server, &server], &options) else { return };
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report, scene.saved());
    assert_eq!((&report["schema"], &report["stopped"]), (&"ringmark.compare/1".into(), &"rounds".into()));
    assert_eq!((report["seed"].as_u64(), report["baseline"].as_str()), (Some(9), Some(server.as_str())));
    for name in ["kernel", "cpu", "cores"] {
        assert!(!report["host"][name].is_null(), "{name}");
    }
    assert!(report["server_cores"].is_string() && report["load_cores"].is_string());
    let second = contestant(&report, 0, 1);
    assert_eq!(second["name"], format!("{server} #2"));
    for name in ["throughput_per_s", "server_cpu_ns_per_request", "generator_cpu_ns_per_request"] {
        assert!(second[name].as_f64().unwrap() > 0.0, "{name}: {second}");
    }
    for name in ["p50", "p99", "p999", "max"] {
        assert!(second["latency_ns"][name].as_u64().unwrap() > 0, "{name}");
    }
    for name in ["median", "low", "high"] {
        assert!(second["ratio"][name].as_f64().unwrap() > 0.0, "{name}");
    }
    assert_eq!(contestant(&report, 0, 0)["verdict"], "baseline");
    let verdicts = ["faster", "slower", "no difference shown", "too few rounds"];
    assert!(verdicts.contains(&second["verdict"].as_str().unwrap()));
    assert_eq!(second["trials"].as_array().unwrap().len(), 6);
    assert_eq!(second["trials"][0]["load"]["schema"], "ringload/1");
    assert!(text(&out.stderr).contains("round 6/6"), "{}", text(&out.stderr));
    assert_eq!(report["slices"]["length_ns"], 50_000_000, "{report}");

    let once = scene.run(&["report", "result.json"]);
    fs::write(scene.path("again.json"), scene.run(&["report", "result.json", "--format", "json"]).stdout).unwrap();
    assert_eq!(fs::read(scene.path("again.json")).unwrap(), fs::read(scene.path("result.json")).unwrap());
    assert_eq!(text(&scene.run(&["report", "again.json"]).stdout), text(&once.stdout));
    fs::write(scene.path("load.json"), second["trials"][0]["load"].to_string()).unwrap();
    assert!(text(&scene.run(&["report", "load.json"]).stdout).contains("requests/s"));
    scene.assert_nothing_runs();
}

#[test]
fn our_own_servers_are_named_by_what_differs_and_tell_their_placement() {
    let scene = Scene::new();
    let contestants = ["threads", "epoll --spin 0", "epoll --no-nodelay"];
    let Some(out) = scene.compare_undisturbed(&contestants, &["-c", "3", "--rounds", "1"]) else { return };
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report = scene.saved();
    for (index, name) in ["threads", "epoll", "epoll --no-nodelay"].into_iter().enumerate() {
        let contestant = contestant(&report, 0, index);
        assert_eq!(contestant["name"], name, "{contestant}");
        let shards = contestant["trials"][0]["connections_per_shard"].as_array().unwrap();
        assert_eq!(shards.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 3, "{contestant}");
        assert!(contestant["server_cpu_ns_per_request"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(report["baseline"], "epoll");
    assert!(text(&out.stdout).starts_with("Fewer than 6 rounds, so nothing shown: "), "{}", text(&out.stdout));
    scene.assert_nothing_runs();
}

#[test]
fn the_table_of_a_run_is_the_table_of_its_file() {
    let scene = Scene::new();
    let out = scene.compare(&[&scene.server("good")], &["--rounds", "1", "-c", "1,2", "-s", "64,1k", "--quiet"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(text(&out.stderr), "Saved: result.json\n");
    assert_eq!(text(&out.stdout), text(&scene.run(&["report", "result.json"]).stdout));
    let report = scene.saved();
    let cells: Vec<(u64, u64)> = report["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| (cell["connections"].as_u64().unwrap(), cell["size"].as_u64().unwrap()))
        .collect();
    assert_eq!(cells, [(1, 64), (1, 1024), (2, 64), (2, 1024)]);
}

#[test]
fn rounds_end_when_precise_or_at_their_limits_and_say_which() {
    let scene = Scene::new();
    let server = scene.server("good");
    for (options, stopped, rounds) in [
        // Half-widths below 99 % are reached soon after there is an interval, however noisy the machine is.
        (&["--rounds", "2", "--precision", "99%"][..], "precision", 6..=50),
        (&["--rounds", "1", "--precision", "0.001%", "--max-rounds", "2"], "max-rounds", 2..=2),
        (&["--precision", "1%", "--max-time", "1ms"], "max-time", 1..=1),
        (&["--rounds", "2"], "rounds", 2..=2),
    ] {
        let options = [&["-c", "1"], options].concat();
        let Some(out) = scene.compare_undisturbed(&[&server, &server], &options) else { continue };
        assert!(out.status.success(), "{}", text(&out.stderr));
        let report = scene.saved();
        assert_eq!((&report["stopped"], &report["cells"][0]["stopped"]), (&stopped.into(), &stopped.into()));
        let run = contestant(&report, 0, 1)["trials"].as_array().unwrap().len();
        assert!(rounds.contains(&run), "{run} rounds with {options:?}");
        assert_eq!(text(&out.stdout).contains("Stopped after"), stopped != "rounds", "{}", text(&out.stdout));
    }
}

#[test]
fn a_slowdown_that_was_planted_is_found() {
    let scene = Scene::new();
    let contestants = ["epoll", "epoll --handicap 2ms"];
    let Some(out) = scene.compare_undisturbed(&contestants, &["-c", "1", "--rounds", "6"]) else { return };
    assert!(out.status.success(), "{}", text(&out.stderr));
    let slow = contestant(&scene.saved(), 0, 1).clone();
    assert_eq!((&slow["name"], &slow["verdict"]), (&"epoll --handicap 2ms".into(), &"slower".into()));
    assert!(slow["latency_ns"]["min"].as_u64().unwrap() >= 2_000_000, "{}", slow["latency_ns"]);
}

#[test]
fn a_contestant_against_itself_tells_how_often_it_was_found_different() {
    let scene = Scene::new();
    let words = ["compare", "--aa=1", "threads", "-c", "1", "-d", "300ms", "--warmup", "0", "-o", "aa.json"];
    let out = retry::if_not_counted(|| scene.run(&words), |_| retry::reasons_of_aa(&scene.json("aa.json")));
    let Some(out) = out else { return };
    let report = scene.json("aa.json");
    assert_eq!((&report["schema"], &report["stopped"]), (&"ringmark.aa/1".into(), &"rounds".into()));
    let comparisons = report["comparisons"].as_array().unwrap();
    assert_eq!((comparisons.len(), report["decided"].as_u64()), (1, Some(1)), "{report}");
    assert!(comparisons.iter().all(|one| one["ratios"].as_array().map(Vec::len) == Some(12)), "{report}");
    // A single false alarm may be chance.
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("comparison 1 of 1: "), "{}", text(&out.stderr));
    assert_eq!(text(&out.stdout), text(&scene.run(&["report", "aa.json"]).stdout));
    for (words, part) in [
        (&["compare", "--aa", "uring", "epoll"][..], "name one"),
        (&["compare", "--aa", "-c", "1,2"], "one workload"),
        (&["compare", "--aa", "--rounds", "5"], "--aa needs 6 rounds at least"),
        (&["compare", "--aa=0"], "0 is not in"),
    ] {
        let out = scene.run(words);
        assert_eq!(out.status.code(), Some(2), "{words:?}");
        assert!(text(&out.stderr).contains(part), "{words:?}: {}", text(&out.stderr));
    }
    scene.assert_nothing_runs();
}

#[test]
fn an_open_loop_with_mixed_sizes_and_a_crowd_is_passed_on_and_told() {
    let scene = Scene::new();
    let words =
        ["-R", "2k", "--arrival", "poisson", "--timer", "sleep", "-s", "64:9,1k:1", "--idle", "5", "--rounds", "1"];
    let out = scene.compare(&["epoll"], &[&words[..], &["-c", "3", "--load-engine", "epoll"]].concat());
    let (saved, text) = (scene.saved(), unwrapped(&out.stdout));
    let workload = &saved["cells"][0]["contestants"][0]["trials"][0]["load"]["workload"];
    for (name, value) in [("rate_per_s", 2000), ("idle", 5), ("connections", 3), ("depth", 4096), ("size", 160)] {
        assert_eq!(workload[name], value, "{name}: {workload}");
    }
    for (name, value) in [("arrival", "poisson"), ("timer", "sleep"), ("size_mix", "64:9,1k:1")] {
        assert_eq!(workload[name], value, "{name}: {workload}");
    }
    for part in ["open loop, 2000 requests/s (poisson)", "64:9,1k:1 B", "beside 5 silent ones"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    scene.assert_nothing_runs();
}

#[test]
fn what_is_allowed_is_passed_on_and_told() {
    let scene = Scene::new();
    let (fickle, lossy) = (scene.server("fickle"), scene.server("lossy"));
    let udp = ["--udp", "--timeout", "20ms"];
    for (server, options, allowance, name, told) in [
        (&fickle, &[][..], "--allow-errors", "allow_errors", "errors up to 90 % allowed"),
        (&lossy, &udp[..], "--max-loss", "max_loss", "loss up to 90 % allowed"),
    ] {
        let options = [options, &["--rounds", "1", "-c", "2"]].concat();
        let run = |more: &[&str]| unwrapped(&scene.compare(&[server], &[&options[..], more].concat()).stdout);
        let refused = run(&[]);
        assert!(
            refused.contains("round 1 of 1 does not count: ") && refused.contains(allowance) && !refused.contains(told),
            "{refused}"
        );
        let allowed = run(&[allowance, "90%"]);
        let saved = scene.saved();
        let load = &contestant(&saved, 0, 0)["trials"][0]["load"];
        assert_eq!(load["invalid"].as_array().map(Vec::len), Some(0), "{allowed}");
        assert_eq!((saved["load"][name].as_f64(), load["workload"][name].as_f64()), (Some(0.9), Some(0.9)));
        assert!(allowed.contains(told), "{allowed}");
    }
    scene.assert_nothing_runs();
}

#[test]
fn servers_that_fail_fail_alone() {
    let scene = Scene::new();
    let servers = ["good", "dies", "silent", "hangs", "crashes", "stubborn"].map(|mode| scene.server(mode));
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    let out = scene.compare(&servers, &["-c", "4", "--rounds", "1"]);
    assert_eq!(out.status.code(), Some(5), "{}", text(&out.stderr));
    let report = scene.saved();
    let broken = |index| &contestant(&report, 0, index)["broken_reason"];
    let trial = |index| &contestant(&report, 0, index)["trials"][0];
    assert!(!trial(0)["load"].is_null() && !trial(5)["load"].is_null(), "{report}");
    let died = broken(1);
    assert_eq!([&died["code"], &died["status"]], ["server-ended-early", "exit status: 1"], "{died}");
    assert_eq!(died["stderr"], serde_json::json!(["no memory today"]));
    assert_eq!(broken(2)["code"], "server-not-ready", "{}", broken(2));
    assert!(!trial(3)["load"]["invalid"].as_array().unwrap().is_empty(), "{}", trial(3));
    let crash = &trial(4)["failed_reason"];
    assert!(
        crash["code"] == "server-ended-under-load" && crash["stderr"].to_string().contains("out of luck"),
        "{crash}"
    );
    assert!(crash["status"].to_string().contains("signal: 6"), "{crash}");
    let said = unwrapped(&out.stdout);
    for part in ["are broken; ", "server.py dies is broken: ", "server.py hangs is broken: ", "| out of luck"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    scene.assert_nothing_runs();
}

#[test]
fn the_default_baseline_is_one_that_runs() {
    let scene = Scene::new();
    let servers = ["dies", "good", "good"].map(|mode| scene.server(mode));
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    for (options, baseline, verdicts) in [
        (&[][..], 1, ["broken", "baseline", "too few rounds"]),
        (&["--baseline", servers[0]], 0, ["broken", "too few rounds", "too few rounds"]),
    ] {
        let options = [&["--rounds", "1", "-c", "1"], options].concat();
        let Some(out) = scene.compare_undisturbed(&servers, &options) else { continue };
        assert_eq!(out.status.code(), Some(5), "{}", text(&out.stderr));
        let report = scene.saved();
        assert_eq!(report["baseline"], servers[baseline]);
        assert_eq!([0, 1, 2].map(|index| contestant(&report, 0, index)["verdict"].clone()), verdicts);
    }
    scene.assert_nothing_runs();
}

#[test]
fn a_server_behind_a_shell_is_stopped_with_all_it_started() {
    let scene = Scene::new();
    let server = "exec sh -c 'python3 server.py stubborn {port} & python3 server.py silent 0 & wait'";
    let out = scene.compare(&[server], &["-c", "4", "--rounds", "1"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    scene.assert_nothing_runs();
}

#[test]
fn when_nothing_can_be_measured_the_exit_code_says_so() {
    let scene = Scene::new();
    let out = scene.compare(&[&scene.server("dies"), "exec ./no-such-program {port}"], &[]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert_eq!(contestant(&scene.saved(), 0, 1)["broken_reason"]["code"], "cannot-start");
    assert!(text(&out.stdout).contains("no memory today"));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_runs() {
    let scene = Scene::new();
    let touch = "exec touch started {port}";
    for (words, part) in [
        (&["nginx"][..], "contestant 'nginx'"),
        (&["exec"], "no command"),
        (&["exec ./server"], "{port}"),
        (&["exec './server {port}"], "quote"),
        (&["uring --no-such-option"], "--no-such-option"),
        (&["--baseline", "apache"], "one of: exec touch started {port}"),
        (&["--rounds", "0"], "0 is not in"),
        (&["--precision", "200%"], "is no share"),
        (&["--max-rounds", "9"], "--precision"),
        (&["--precision", "2%", "--max-rounds", "3"], "is less than --rounds 12"),
        (&["-c", "0"], "0 is not in"),
        (&["-s", "64,x"], "'x'"),
        (&["--timeout", "1"], "with a unit"),
        (&["--server-cores", "8000-8001"], "not one this process may use"),
        (&["-t", "1000"], "1000 generator threads"),
        (&["--max-loss", "5%"], "add --udp"),
        (&["--udp", "--max-loss", "1"], "write percent"),
        (&["--precision", "0"], "more than 0"),
    ] {
        let out = scene.compare(&[touch], words);
        assert_eq!(out.status.code(), Some(2), "{words:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(part), "{words:?}: {}", text(&out.stderr));
        assert!(!scene.path("started").exists() && !scene.path("result.json").exists(), "{words:?}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_found_out_first() {
    let scene = Scene::new();
    let out = scene.run(&["compare", "exec touch started {port}", "--output", "/proc/no/such.json"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("--output"), "{}", text(&out.stderr));
    assert!(!scene.path("started").exists());
}

#[test]
fn files_that_are_no_results_get_a_clear_message() {
    let scene = Scene::new();
    for (content, part) in [
        ("hello", "not JSON"),
        ("{}", "no \"schema\""),
        (r#"{"schema":"ringmark.compare/7","ringmark":"3.0"}"#, "ringmark.compare/7"),
        (r#"{"schema":"ringmark.compare/1","cells":[]}"#, "damaged"),
    ] {
        fs::write(scene.path("file"), content).unwrap();
        let out = scene.run(&["report", "file"]);
        assert_eq!(out.status.code(), Some(1));
        assert!(text(&out.stderr).contains(part), "{}", text(&out.stderr));
    }
    assert!(text(&scene.run(&["report", "absent"]).stderr).contains("cannot read absent"));
}

#[test]
fn an_interrupt_keeps_what_was_measured_and_leaves_nothing_behind() {
    let scene = Scene::new();
    let server = scene.server("good");
    let words = ["compare", &server, &server, "--rounds", "500", "-d", "100ms", "--output", "result.json"];
    let mut child = scene.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut lines = stderr.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("round 2/500")));
    interrupt(&child);
    let drain = thread::spawn(move || lines.count());
    let status = ended(&mut child);
    drain.join().unwrap();
    let mut table = String::new();
    child.stdout.take().unwrap().read_to_string(&mut table).unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(table.starts_with("INTERRUPTED after "), "{table}");
    let report = scene.saved();
    assert_eq!(report["stopped"], "interrupted");
    let trials = |index| contestant(&report, 0, index)["trials"].as_array().unwrap().len();
    assert!(trials(0) + trials(1) >= 2, "{report}");
    scene.assert_nothing_runs();
}

#[test]
fn a_second_interrupt_leaves_nothing_behind_either() {
    let scene = Scene::new();
    // Neither the shell nor what it starts ends when asked to, so the comparison waits for a while.
    let server = "exec sh -c 'trap \"\" TERM; python3 server.py asked {port} & wait'";
    let words = ["compare", server, "--rounds", "1", "--output", "result.json", "--quiet"];
    let mut child = scene.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !scene.path("asked").exists() && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
    }
    interrupt(&child);
    thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "the first interrupt waits for the server");
    interrupt(&child);
    assert_eq!(ended(&mut child).code(), Some(130));
    scene.assert_nothing_runs();
}

//! What a comparison may be given: contestants with names of their own, unix sockets, scenarios.

use serde_json::Value;
use std::fs;
use std::process::{Command, Output, Stdio};
use support::programs;
use tempfile::TempDir;

/// An echo server on the unix socket that its second argument names: of a stream, or of datagrams.
const SERVER: &str = r#"
import socket, sys, threading
kind, path = sys.argv[1:]
if kind == "datagrams":
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(path)
    while True:
        data, sender = server.recvfrom(65536)
        server.sendto(data, sender)
server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.bind(path)
server.listen(100)
def echo(client):
    while data := client.recv(65536):
        client.sendall(data)
while True:
    threading.Thread(target=echo, args=[server.accept()[0]], daemon=True).start()
"#;

/// A folder in which comparisons run, and one for temporary files within it.
fn scene() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("server.py"), SERVER).unwrap();
    fs::create_dir(folder.path().join("tmp")).unwrap();
    folder
}

fn compare(folder: &TempDir, words: &[&str]) -> Output {
    let short = ["compare", "-d", "50ms", "--warmup", "0", "-c", "2", "--rounds", "1", "-o", "result.json"];
    Command::new(programs::ringmark())
        .args([&short[..], words].concat())
        .current_dir(folder.path())
        .env("TMPDIR", folder.path().join("tmp"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn saved(folder: &TempDir) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.path().join("result.json")).unwrap()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_contestant_goes_by_the_name_it_was_given() {
    let folder = scene();
    let out = compare(&folder, &["base=epoll --spin=50us", "other=threads", "--baseline", "other"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report = saved(&folder);
    assert_eq!(report["baseline"], "other");
    assert!(text(&out.stderr).contains("\nround 1/1"), "a line for each round: {}", text(&out.stderr));
    let contestant = &report["cells"][0]["contestants"][0];
    assert_eq!((&contestant["name"], &contestant["words"]), (&"base".into(), &"epoll --spin=50us".into()));
    assert!(text(&out.stdout).contains("base") && !text(&out.stdout).contains("50us"), "{}", text(&out.stdout));
}

#[test]
fn servers_are_reached_by_unix_sockets_in_a_folder_that_is_gone_afterwards() {
    let folder = scene();
    for (options, protocol, server) in [
        (&["--unix"][..], "unix", "python=exec python3 server.py streams {path}"),
        (&["--unix", "--udp"], "unixgram", "python=exec python3 server.py datagrams {path}"),
    ] {
        let out = compare(&folder, &[&["epoll", server], options].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
        let report = saved(&folder);
        assert_eq!(report["load"]["protocol"], protocol);
        for contestant in report["cells"][0]["contestants"].as_array().unwrap() {
            let load = &contestant["trials"][0]["load"];
            assert!(load["requests"].as_u64().unwrap() > 0, "{contestant}");
            let target = load["target"].as_str().unwrap();
            assert!(target.starts_with(&format!("{protocol}:{}/tmp/ringmark-", folder.path().display())), "{target}");
        }
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn what_cannot_be_reached_by_a_unix_socket_is_said_before_anything_runs() {
    let folder = scene();
    for (words, part) in [
        (&["--unix", "exec ./server {port}"][..], "does not say where {path} goes"),
        (&["exec ./server {path}"], "does not say where {port} goes"),
        (&["--unix", "--udp", "epoll", "--gso", "8"], "a unix socket has no super-packets"),
    ] {
        let out = compare(&folder, words);
        assert_eq!(out.status.code(), Some(2), "{words:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(part), "{words:?}: {}", text(&out.stderr));
    }
    assert!(!folder.path().join("result.json").exists());
}

const SCENARIO: &str = r#"
contestants = ["threads", "base=epoll"]
baseline = "base"
rounds = 1
duration = "50ms"
warmup = 0
quiet = true
output = "result.json"
[[cells]]
transport = ["tcp", "udp", "unix"]
connections = [1, 2]
[[cells]]
transport = "udp"
connections = 1
rate = [500, "1k"]
[variants.small]
[[variants.small.cells]]
size = 100
"#;

fn ringmark(folder: &TempDir, words: &[&str]) -> Output {
    Command::new(programs::ringmark()).args(words).current_dir(folder.path()).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_scenario_is_run_and_its_cells_say_what_they_are() {
    let folder = scene();
    fs::write(folder.path().join("a.toml"), SCENARIO).unwrap();
    let out = ringmark(&folder, &["compare", "--scenario", "a.toml"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report = saved(&folder);
    assert_eq!((&report["baseline"], &report["load"]["protocol"]), (&"base".into(), &"tcp".into()));
    let cells = report["cells"].as_array().unwrap();
    let told: Vec<_> = cells
        .iter()
        .map(|cell| {
            let asked = &cell["contestants"][1]["trials"][0]["load"]["workload"];
            let load = if cell["load"].is_null() { &report["load"] } else { &cell["load"] };
            assert_eq!((&load["protocol"], &load["rate_per_s"]), (&asked["protocol"], &asked["rate_per_s"]), "{cell}");
            (load["protocol"].as_str().unwrap(), cell["connections"].as_u64().unwrap(), load["rate_per_s"].as_u64())
        })
        .collect();
    let closed = ["tcp", "udp", "unix"].into_iter().flat_map(|protocol| [(protocol, 1, None), (protocol, 2, None)]);
    let open = [("udp", 1, Some(500)), ("udp", 1, Some(1000))];
    assert_eq!(told, closed.chain(open).collect::<Vec<_>>());
}

#[test]
fn what_is_typed_beside_a_scenario_wins_and_contestants_join() {
    let folder = scene();
    fs::write(folder.path().join("a.toml"), SCENARIO).unwrap();
    let words = ["compare", "--scenario=a.toml", "-c3", "--udp", "--variant", "small", "mine=epoll", "--baseline=mine"];
    let out = ringmark(&folder, &words);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report = saved(&folder);
    assert_eq!((&report["baseline"], &report["load"]["protocol"]), (&"mine".into(), &"udp".into()));
    let cells = report["cells"].as_array().unwrap();
    let names: Vec<&Value> = cells[0]["contestants"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["threads", "base", "mine"]);
    assert_eq!((cells.len(), &cells[0]["connections"], &cells[0]["size"]), (1, &3.into(), &100.into()));
}

#[test]
fn what_is_wrong_with_a_scenario_is_said_with_its_name() {
    let folder = scene();
    fs::write(folder.path().join("a.toml"), SCENARIO).unwrap();
    fs::write(folder.path().join("bad.toml"), "max_time = '5s'").unwrap();
    for (words, part) in [
        (&["--scenario", "bad.toml"][..], "ringmark compare: scenario bad.toml: unknown key 'max_time'; there are: "),
        (&["--scenario", "none.toml"], "scenario none.toml: cannot open it; name a TOML file such as those in bench/"),
        (&["--scenario", "."], "scenario .: it is a folder; name a TOML file in it"),
        (&["--scenario", "a.toml", "--variant", "big"], "no variant 'big'; there are: small"),
        (&["--scenario", "a.toml", "--size", "x"], "'--size <BYTES>'"),
        (&["--scenario", "a.toml", "--aa"], "cannot be used with"),
        (&["--variant", "small"], "--scenario <FILE>"),
        (&["--scenario", "a.toml", "base=uring"], "two contestants are named 'base'"),
    ] {
        let out = ringmark(&folder, &[&["compare"], words].concat());
        assert_eq!(out.status.code(), Some(2), "{words:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(part), "{words:?}: {}", text(&out.stderr));
    }
    let help = ringmark(&folder, &["compare", "--scenario", "a.toml", "--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("[[cells]]"), "{}", text(&help.stderr));
}

//! What a comparison may be given: contestants with names of their own, unix sockets.

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

//! `ringmark ping` from outside: loopback, network namespaces of its own, an answerer that misbehaves, a user without
//! rights, and fping beside it.

use serde_json::Value;
use signal_hook::consts::{SIGCONT, SIGINT, SIGSTOP};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::net::has_ipv6;
use support::netns::{Chain, Unprivileged};
use support::programs;
use support::server::{Ended, Process, ringmark, run};
use support::skip::skip;

/// The JSON that it printed.
#[track_caller]
fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout.join("\n")).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[track_caller]
fn expect_code(ended: &Ended, code: i32) {
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
}

fn number(record: &Value, name: &str) -> u64 {
    record[name].as_u64().unwrap_or_else(|| panic!("no {name} in {record}"))
}

/// What each request became, of a target.
fn counts(target: &Value) -> [u64; 6] {
    ["sent", "answered", "late", "refused", "unsent", "lost"].map(|name| number(target, name))
}

/// Whether ICMP sockets may be had outside of namespaces; a reason is printed where not.
fn may_ping() -> bool {
    let probe = run(["ping", "-q", "-c", "1", "127.0.0.1"]);
    match probe.status.code() {
        Some(4) => {
            let required = std::env::var("RINGMARK_REQUIRE_NET").is_ok_and(|value| value == "1");
            assert!(!required, "RINGMARK_REQUIRE_NET=1, but: {}", probe.stderr);
            skip(probe.stderr);
            false
        }
        _ => true,
    }
}

#[test]
fn loopback_answers_over_both_versions_of_ip() {
    if !may_ping() {
        return;
    }
    let second = if has_ipv6() { "::1" } else { "127.0.0.3" };
    let words = ["ping", "-c", "50", "-i", "1ms", "-s", "1000", "--format", "json", "127.0.0.1", second, "127.0.0.2"];
    let ended = run(words);
    expect_code(&ended, 0);
    let record = json(&ended);
    assert_eq!(record["schema"], "ringmark.ping/1");
    assert_eq!(number(&record, "kernel_stamps") + number(&record, "clock_stamps"), 150, "{record}");
    let targets = record["targets"].as_array().unwrap();
    let addresses: Vec<&str> = targets.iter().map(|target| target["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["127.0.0.1", second, "127.0.0.2"]);
    for target in targets {
        assert_eq!(counts(target), [50, 50, 0, 0, 0, 0], "{target}");
        assert_eq!(["duplicates", "reordered", "corrupt"].map(|name| number(target, name)), [0; 3]);
        let times = &target["round_trips_ns"];
        let order = ["min", "p50", "p90", "p99", "max"].map(|name| number(times, name));
        assert!(order[0] > 0 && order.is_sorted(), "{times}");
    }
}

#[test]
fn microseconds_apart_nothing_is_lost_or_mixed_up() {
    if !may_ping() {
        return;
    }
    // More than 16 bits can number.
    let ended = run(["ping", "-c", "70000", "-i", "10us", "-s", "16", "--format", "json", "127.0.0.1"]);
    expect_code(&ended, 0);
    let record = json(&ended);
    let target = &record["targets"][0];
    let [sent, answered, late, ..] = counts(target);
    assert_eq!(sent, 70_000);
    assert!(sent - answered - late <= number(&record, "overflowed"), "{record}");
    assert_eq!(["duplicates", "reordered", "corrupt"].map(|name| number(target, name)), [0; 3], "{target}");
}

#[test]
fn answers_are_shown_one_by_one_and_then_summed_up() {
    if !may_ping() {
        return;
    }
    let ended = run(["ping", "-c", "2", "-i", "20ms", "--ttl", "9", "127.0.0.1"]);
    expect_code(&ended, 0);
    let lines = &ended.stdout;
    assert!(lines[0].starts_with("127.0.0.1: seq 0, 56 bytes, ttl "), "{lines:?}");
    assert!(lines[1].starts_with("127.0.0.1: seq 1, 56 bytes, ttl "), "{lines:?}");
    assert!(lines[2].starts_with("target ") && lines[3].starts_with("127.0.0.1 "), "{lines:?}");
    let quiet = run(["ping", "-q", "-c", "2", "-i", "20ms", "127.0.0.1"]);
    assert!(quiet.stdout[0].starts_with("target "), "{quiet:?}");
}

#[test]
fn a_signal_ends_it_with_what_is_known() {
    if !may_ping() {
        return;
    }
    let process = Process::start(ringmark(["ping", "-c", "0", "-i", "50ms", "127.0.0.1"]));
    (0..3).for_each(|_| assert!(process.line().is_some_and(|line| line.starts_with("127.0.0.1: seq "))));
    process.signal(SIGINT);
    let ended = process.end();
    expect_code(&ended, 0);
    assert!(ended.stdout.iter().any(|line| line.starts_with("target ")), "{ended:?}");
}

#[test]
fn exit_codes_are_those_of_fping() {
    let bad: [&[&str]; 6] = [
        &["ping"],
        &["ping", "--nonsense", "127.0.0.1"],
        &["ping", "-s", "65508", "127.0.0.1"],
        &["ping", "-i", "0", "127.0.0.1"],
        &["ping", "-i", "100us", "192.0.2.1"],
        &["ping", "-i", "1us", "--timeout", "10s", "127.0.0.1"],
    ];
    for words in bad {
        expect_code(&run(words.iter().copied()), 3);
    }
    assert!(run(["ping", "-i", "100us", "192.0.2.1"]).stderr.contains("--flood"));
    let missing = run(["ping", "-c", "1", "host.invalid"]);
    expect_code(&missing, 2);
    assert!(missing.stderr.contains("'host.invalid': no such host"), "{missing:?}");
    expect_code(&run(["ping", "--help"]), 0);
    if may_ping() {
        let some = run(["ping", "-c", "1", "host.invalid", "127.0.0.1"]);
        expect_code(&some, 2);
        assert!(some.stdout.iter().any(|line| line.starts_with("127.0.0.1: seq 0")), "{some:?}");
    }
}

#[test]
fn who_is_silent_is_told_from_who_answers() {
    let Some(chain) = Chain::new(2) else { return };
    chain.run(1, "ip addr add 10.77.0.3/24 dev back");
    let table = "table ip silence { chain input { type filter hook input priority 0; ip daddr 10.77.0.3 drop; }; }";
    if !chain.filter(1, table) {
        return;
    }
    let words = ["ping", "-c", "5", "-i", "10ms", "--timeout", "1500ms", "--format", "json", "10.77.0.3", "10.77.0.2"];
    let ended = chain.ringmark(0, &words);
    expect_code(&ended, 1);
    let record = json(&ended);
    assert_eq!(counts(&record["targets"][0]), [5, 0, 0, 0, 0, 5]);
    assert_eq!(counts(&record["targets"][1]), [5, 5, 0, 0, 0, 0]);
    assert_eq!((&record["targets"][0]["reachable"], &record["targets"][1]["reachable"]), (&false.into(), &true.into()));
}

/// Type, code, sender and words of the one kind of error that a target met, and how often.
#[track_caller]
fn only_error(target: &Value) -> (u64, u64, &str, &str, u64) {
    let errors = target["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{target}");
    let error = &errors[0];
    let text = |name: &str| error[name].as_str().unwrap();
    (number(error, "icmp_type"), number(error, "icmp_code"), text("from"), text("meaning"), number(error, "count"))
}

/// Targets that the router in the middle refuses, each with what it says; `ping` runs the program in the first namespace.
fn refusals_are_matched(ping: impl Fn(&[&str]) -> Ended) {
    let words = |rest: &[&'static str]| [&["ping", "-c", "4", "-i", "20ms", "--format", "json"], rest].concat();
    let ended = ping(&words(&["10.99.0.1", "fd99::1", "10.77.1.2"]));
    expect_code(&ended, 1);
    let record = json(&ended);
    for (index, error) in [(0, (3, 1, "10.77.0.2", "host unreachable", 4)), (1, (1, 0, "fd77:0:0::2", "no route", 4))] {
        let target = &record["targets"][index];
        assert_eq!(counts(target), [4, 0, 0, 4, 0, 0], "{target}");
        let told = only_error(target);
        assert_eq!((told.0, told.1, told.3, told.4), (error.0, error.1, error.3, error.4), "{target}");
        let [from, expected] = [told.2, error.2].map(|text| text.parse::<std::net::IpAddr>().unwrap());
        assert_eq!(from, expected);
    }
    assert_eq!(counts(&record["targets"][2]), [4, 4, 0, 0, 0, 0]);
    let ended = ping(&words(&["--ttl", "1", "10.77.1.2"]));
    expect_code(&ended, 1);
    let record = json(&ended);
    let (kind, code, from, meaning, count) = only_error(&record["targets"][0]);
    assert_eq!((kind, code, from, count), (11, 0, "10.77.0.2", 4));
    assert!(meaning.contains("time exceeded"), "{meaning}");
}

/// Three namespaces, of which the middle one refuses 10.99.0.0/16 and knows no way to fd99::.
fn refusing_chain() -> Option<Chain> {
    let chain = Chain::new(3)?;
    chain.run(1, "ip route add unreachable 10.99.0.0/16; ip -6 route del default");
    Some(chain)
}

#[test]
fn errors_are_matched_to_the_request_they_quote() {
    let Some(chain) = refusing_chain() else { return };
    refusals_are_matched(|words| chain.ringmark(0, words));
}

#[test]
fn without_rights_a_ping_socket_does_or_the_remedy_is_named() {
    let Some(chain) = refusing_chain() else { return };
    let program = Unprivileged::install();
    chain.run(0, "echo 1 0 >/proc/sys/net/ipv4/ping_group_range");
    let refused = program.run(&chain, 0, &["ping", "-c", "1", "127.0.0.1"]);
    expect_code(&refused, 4);
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    for part in ["setcap cap_net_raw+ep", "net.ipv4.ping_group_range=\"0 2147483647\""] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    chain.run(0, "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range");
    let ended = program.run(&chain, 0, &["ping", "-c", "20", "-i", "1ms", "--format", "json", "127.0.0.1", "::1"]);
    expect_code(&ended, 0);
    let record = json(&ended);
    for index in 0..2 {
        assert_eq!(record["sockets"][index]["kind"], "ping");
        assert_eq!(counts(&record["targets"][index]), [20, 20, 0, 0, 0, 0]);
    }
    refusals_are_matched(|words| program.run(&chain, 0, words));
}

/// Begins an answerer that takes the kernel's place.
const ANSWERER: &str = r#"
import collections, socket, struct, time
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
print("ready", flush=True)
def send(to, body):
    message = b"\0\0\0\0" + body
    total = sum(struct.unpack("!%dH" % (len(message) // 2), message))
    total = (total >> 16) + (total & 0xffff); total += total >> 16
    raw.sendto(b"\0\0" + struct.pack("!H", ~total & 0xffff) + body, (to, 0))
"#;

/// Answers twice, wrongly, late, or after the next one, by the number's remainder.
const MISBEHAVE: &str = r#"
held = None
while True:
    packet, (peer, _) = raw.recvfrom(2048)
    if packet[20] != 8: continue
    body = packet[24:]
    kind = struct.unpack("!H", body[2:4])[0] % 5
    if kind == 0: send(peer, body); send(peer, body)
    elif kind == 1: send(peer, body[:-1] + bytes([body[-1] ^ 1]))
    elif kind == 2: held = body
    elif kind == 3: send(peer, body); send(peer, held)
    else: late = body; time.sleep(0.45); send(peer, late)
"#;

/// Answers after a tenth of a second.
const DELAY: &str = r#"
queue = collections.deque()
while True:
    raw.settimeout(max(0.001, queue[0][0] - time.time()) if queue else None)
    try: packet, (peer, _) = raw.recvfrom(2048)
    except TimeoutError: packet = None
    now = time.time()
    if packet and packet[20] == 8: queue.append((now + 0.1, peer, packet[24:]))
    while queue and queue[0][0] <= now: _, to, body = queue.popleft(); send(to, body)
"#;

/// A process that ends with the test.
struct Helper(Child);

impl Helper {
    /// Answers echo requests in a namespace with this loop.
    fn answer(chain: &Chain, index: usize, answering: &str) -> Helper {
        chain.run(index, "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all");
        let (mut command, script) = (chain.command(index, "python3"), format!("{ANSWERER}{answering}"));
        let mut child = command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "python3 is needed here");
        Helper(child)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether an answer is in time is a matter of the answerer as well, whom a busy machine keeps waiting for a core.
#[track_caller]
fn expect_in_one_of_three(run: impl Fn() -> Result<(), String>) {
    let attempts: Vec<_> =
        (0..3).map_while(|_| run().inspect_err(|got| println!("another time: {got}")).err()).collect();
    assert!(attempts.len() < 3, "each time otherwise: {attempts:?}");
}

#[test]
fn answers_that_misbehave_are_told_apart() {
    let Some(chain) = Chain::new(2) else { return };
    let _answerer = Helper::answer(&chain, 1, MISBEHAVE);
    // A request that waits for the next one is answered 600 ms later: late, not merely out of order. For the last one's
    // late answer nobody waits.
    expect_in_one_of_three(|| {
        let words = ["ping", "-c", "5", "-i", "600ms", "--timeout", "300ms", "--format", "json", "10.77.0.2"];
        let ended = chain.ringmark(0, &words);
        expect_code(&ended, 0);
        let late = json(&ended);
        let target = &late["targets"][0];
        let strays = ["duplicates", "reordered", "corrupt"].map(|name| number(target, name));
        let latest = number(target, "latest_ns");
        let held = counts(target) == [5, 3, 1, 0, 0, 1] && strays == [1, 0, 1] && latest > 300_000_000;
        if held { Ok(()) } else { Err(late.to_string()) }
    });
    let ended =
        chain.ringmark(0, &["ping", "-c", "5", "-i", "40ms", "--timeout", "5s", "--format", "json", "10.77.0.2"]);
    let record = json(&ended);
    let target = &record["targets"][0];
    assert_eq!(counts(target), [5, 5, 0, 0, 0, 0], "{target}");
    assert_eq!(["duplicates", "reordered", "corrupt"].map(|name| number(target, name)), [1, 1, 1], "{target}");
}

#[test]
fn what_arrived_in_time_is_not_late_because_nobody_looked() {
    let Some(chain) = Chain::new(2) else { return };
    let _answerer = Helper::answer(&chain, 1, DELAY);
    expect_in_one_of_three(|| {
        let mut command = chain.command(0, programs::ringmark());
        command.args(["ping", "-c", "0", "-i", "20ms", "--timeout", "500ms", "--format", "json", "10.77.0.2"]);
        let process = Process::start(command);
        // It is stopped for longer than the time limit, while some five answers are under way.
        for (signal, after) in [(SIGSTOP, 500), (SIGCONT, 1000), (SIGINT, 200)] {
            std::thread::sleep(Duration::from_millis(after));
            process.signal(signal);
        }
        let record = json(&process.end());
        let [sent, answered, rest @ ..] = counts(&record["targets"][0]);
        if sent > 5 && (answered, rest) == (sent, [0; 4]) { Ok(()) } else { Err(record.to_string()) }
    });
}

#[test]
fn counts_as_fping_does() {
    if !may_ping() {
        return;
    }
    let theirs = match Command::new("fping").args(["-q", "-c", "3", "-p", "20", "127.0.0.1", "127.0.0.2"]).output() {
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => return skip(format_args!("fping is not here ({error})")),
    };
    let record = json(&run(["ping", "-c", "3", "-i", "20ms", "--format", "json", "127.0.0.1", "127.0.0.2"]));
    for target in record["targets"].as_array().unwrap() {
        let name = target["address"].as_str().unwrap().parse::<Ipv4Addr>().unwrap().to_string();
        let line = theirs.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{theirs}"));
        let [sent, answered, ..] = counts(target);
        let ours = format!("xmt/rcv/%loss = {sent}/{answered}/0%");
        assert!(line.contains(&ours), "ours: {ours}, fping's: {line}");
    }
}

//! ringload from outside: the program against servers that behave and servers that do not.

use ringmark::record::{LoadReport, Reason};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};
use support::load::peers::{self, Manner, Peer};
use support::load::{self, command, engines, report, ringload};
use support::skip::skip;

/// Whether it makes a run invalid because of how fast and how busy this machine is.
fn is_of_the_machine(reason: &Reason) -> bool {
    matches!(reason, Reason::GeneratorBottleneck { .. } | Reason::NotSteady { .. })
}

/// The report of a run without an error, silent on standard error, and valid as far as the machine allows.
#[track_caller]
fn valid(output: &Output) -> LoadReport {
    let report = report(output);
    assert!(report.invalid.iter().all(is_of_the_machine), "{:?} {:?}", report.invalid, report.errors);
    assert_eq!(output.status.code(), Some(if report.invalid.is_empty() { 0 } else { 3 }), "{output:?}");
    assert!(report.errors.values().all(|count| *count == 0), "{:?}", report.errors);
    load::expect_silence(output);
    report
}

/// The report of a run that must have failed with this kind of error.
fn invalid(output: &Output, kind: &str) -> LoadReport {
    let report = report(output);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(report.errors[kind] > 0, "{:?}", report.errors);
    let of_this_kind = |reason: &Reason| matches!(reason, Reason::Errors { kinds } if kinds.contains_key(kind));
    assert!(report.invalid.iter().any(of_this_kind), "{:?}", report.invalid);
    report
}

#[test]
fn exactly_n_requests_are_counted_and_the_report_is_whole() {
    let peer = Peer::tcp(Manner::Echo);
    for engine in engines() {
        let report = valid(&ringload(engine, &peer.address, &["-c", "8", "-t", "2", "-n", "777", "-s", "100"]));
        assert_eq!((report.schema.as_str(), report.requests), ("ringload/1", 777));
        assert_eq!(
            (report.workload.shape.connections, report.workload.generator.threads, report.workload.shape.size),
            (8, 2, 100)
        );
        assert_eq!(report.workload.generator.engine, engine);
        let latency = report.latency_ns;
        let order = [latency.min, latency.p50, latency.p90, latency.p99, latency.p999, latency.max];
        assert!(order.is_sorted() && latency.min > 0, "{latency:?}");
        assert!(report.duration_ns > 0 && report.throughput_per_s > 0.0);
        let kinds: Vec<_> = report.errors.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["closed", "connect", "corrupt", "other", "reset", "timeout"]);
    }
}

#[test]
fn without_counts_the_load_ends_with_its_duration() {
    let peer = Peer::tcp(Manner::Echo);
    let server_pid = std::process::id().to_string();
    let words = ["-c", "2", "-d", "200ms", "--server-pid", &server_pid];
    for (no_counts, counted) in [(&["--no-counts"][..], false), (&[], true)] {
        let report = valid(&ringload("epoll", &peer.address, &[&words, no_counts].concat()));
        let generator = report.accounting.expect("it is always there").generator;
        assert_eq!(generator.voluntary_switches.is_some(), counted, "{generator:?}");
        assert!(report.cpu.generator_ns > 0);
    }
}

#[test]
fn a_run_ends_after_its_duration() {
    let peer = Peer::tcp(Manner::Echo);
    for engine in engines() {
        // In a shorter time a busy machine may answer nothing.
        let report = valid(&ringload(engine, &peer.address, &["-d", "700ms", "-c", "4"]));
        assert_eq!(report.duration_ns, 700_000_000);
        assert!(report.requests > 0);
    }
}

#[test]
fn pipelined_requests_and_odd_sizes_come_back_whole() {
    let peer = Peer::tcp(Manner::Echo);
    for engine in engines() {
        for size in ["1", "7", "4095"] {
            let words = ["-c", "3", "-n", "2000", "--depth", "16", "-s", size];
            assert_eq!(valid(&ringload(engine, &peer.address, &words)).requests, 2000);
        }
    }
}

#[test]
fn large_requests_come_back_whole() {
    let peer = Peer::tcp(Manner::Echo);
    for engine in engines() {
        let report = valid(&ringload(engine, &peer.address, &["-c", "3", "-n", "40", "--depth", "2", "-s", "1M"]));
        assert_eq!(report.requests, 40);
    }
}

#[test]
fn a_unix_socket_is_a_target_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let peer = Peer::unix(&directory.path().join("echo"), Manner::Echo);
    for engine in engines() {
        let report = valid(&ringload(engine, &peer.address, &["-c", "16", "-n", "500"]));
        assert_eq!((report.requests, report.target), (500, peer.address.clone()));
        valid(&ringload(engine, &peer.address, &["-c", "4", "-n", "100", "--connect-per-request"]));
    }
}

#[test]
fn a_connection_per_request_really_is_one() {
    for engine in engines() {
        let peer = Peer::tcp(Manner::Echo);
        let report = valid(&ringload(engine, &peer.address, &["-c", "4", "-n", "200", "--connect-per-request"]));
        assert!(report.requests == 200 && report.workload.shape.connect_per_request);
        // One per connection for admission; warm-up and the end bring more.
        assert!(peer.connections.load(Ordering::SeqCst) >= 204);
    }
}

#[test]
fn a_thousand_connections_are_all_answered() {
    let peer = Peer::tcp(Manner::Echo);
    for engine in engines() {
        let report = valid(&ringload(engine, &peer.address, &["-c", "1000", "-t", "2", "-n", "3000"]));
        assert_eq!((report.requests, report.workload.shape.connections), (3000, 1000));
    }
}

#[test]
fn every_kind_of_wrong_byte_is_corrupt() {
    // Early: the answers to the first request. Late: under load.
    for manner in [
        Manner::FlipAt(5),
        Manner::FlipAt(64 * 50 + 63),
        Manner::DropAt(3),
        Manner::DropAt(64 * 50),
        Manner::AddAfter(63),
        Manner::AddAfter(64 * 50 + 10),
        Manner::AddAtEnd,
    ] {
        let peer = Peer::tcp(manner);
        for engine in engines() {
            let output = ringload(engine, &peer.address, &["-c", "2", "-n", "1000", "--depth", "2", "--timeout", "2s"]);
            let report = report(&output);
            assert_eq!(output.status.code(), Some(3), "{manner:?} {engine}: {report:?}");
            // A missing first byte leaves the last one missing: the answer is wrong as soon as another byte is there.
            assert!(report.errors["corrupt"] > 0, "{manner:?} {engine}: {:?}", report.errors);
        }
    }
}

#[test]
fn mixed_sizes_come_back_whole() {
    let peer = Peer::tcp(Manner::Echo);
    for engine in engines() {
        let words = ["-c", "5", "-n", "3000", "--depth", "3", "-s", "64:90,1400:9,16k:1"];
        let before = peer.received.load(Ordering::SeqCst);
        let workload = valid(&ringload(engine, &peer.address, &words)).workload;
        assert_eq!((workload.shape.size, workload.shape.size_mix.as_deref()), (347, Some("64:90,1400:9,16k:1")));
        // Of at least 3000 requests some are large.
        assert!(peer.received.load(Ordering::SeqCst) - before > 3000 * 150);
        // On a loaded machine the lag may make it invalid, but no byte goes wrong.
        let paced = report(&ringload(engine, &peer.address, &["-c", "5", "-R", "1k", "-n", "300", "-s", "1:1,5000:1"]));
        assert!(paced.requests > 0 && paced.errors.values().all(|count| *count == 0), "{:?}", paced.errors);
    }
}

#[test]
fn a_silent_crowd_is_open_alive_and_asked_twice() {
    for engine in engines() {
        let peer = Peer::tcp(Manner::Echo);
        let report = valid(&ringload(engine, &peer.address, &["-c", "2", "--idle", "31", "-t", "2", "-n", "100"]));
        assert_eq!((report.workload.shape.connections, report.workload.generator.idle), (2, 31));
        assert_eq!((report.requests, peer.connections.load(Ordering::SeqCst)), (100, 33));
    }
}

#[test]
fn a_silent_connection_that_is_closed_is_told() {
    let peer = Peer::tcp(Manner::CloseSilent(Duration::from_millis(150)));
    for engine in engines() {
        let output = ringload(engine, &peer.address, &["-c", "1", "--idle", "3", "-d", "500ms"]);
        invalid(&output, "closed");
    }
}

#[test]
fn a_byte_missing_at_the_end_is_a_timeout() {
    let peer = Peer::tcp(Manner::DropAt(63));
    for engine in engines() {
        let words = ["-c", "1", "-s", "64", "-n", "10", "--timeout", "200ms"];
        invalid(&ringload(engine, &peer.address, &words), "timeout");
    }
}

#[test]
fn a_server_that_closes_early_is_told() {
    for manner in [Manner::CloseAfter(0), Manner::CloseAfter(10), Manner::CloseAfter(6400)] {
        let peer = Peer::tcp(manner);
        for engine in engines() {
            let output = ringload(engine, &peer.address, &["-c", "2", "-n", "1000"]);
            let report = report(&output);
            assert_eq!(output.status.code(), Some(3), "{report:?}");
            assert!(report.errors["closed"] + report.errors["reset"] > 0, "{manner:?}: {:?}", report.errors);
        }
    }
}

#[test]
fn a_server_that_goes_silent_is_a_timeout() {
    for manner in [Manner::SilentAfter(0), Manner::SilentAfter(640)] {
        let peer = Peer::tcp(manner);
        for engine in engines() {
            invalid(&ringload(engine, &peer.address, &["-c", "2", "-d", "1s", "--timeout", "100ms"]), "timeout");
        }
    }
}

#[test]
fn connections_not_admitted_are_counted() {
    let peer = Peer::tcp(Manner::SilentAfter(0));
    for engine in engines() {
        let report = invalid(&ringload(engine, &peer.address, &["-c", "3", "--timeout", "100ms"]), "timeout");
        assert_eq!((report.requests, report.duration_ns), (0, 0));
        assert_eq!(report.invalid[0], Reason::NotAdmitted { admitted: 0, connections: 3 });
    }
}

#[test]
fn a_refused_connection_is_explained() {
    let refused = peers::refused_address().to_string();
    let nowhere = "unix:/nonexistent/echo.sock";
    for engine in engines() {
        for (address, cause) in [(refused.as_str(), "refused"), (nowhere, "No such file")] {
            let output = ringload(engine, address, &[]);
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
            for part in [address, cause, "start the server"] {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
    }
}

#[test]
fn bad_options_exit_with_2() {
    for words in [&[][..], &["localhost"], &["127.0.0.1:1", "-s", "0"], &["127.0.0.1:1", "-c", "1", "-t", "2"]] {
        let output = command(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}

#[test]
fn an_interrupt_still_brings_the_report() {
    for engine in engines() {
        let peer = Peer::tcp(Manner::Echo);
        let words = [&peer.address, "--engine", engine, "--format", "json", "--warmup", "0", "-d", "10m", "-c", "2"];
        let child = command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The counting begins a moment after the first answers, and then much is answered.
        let received = || peer.received.load(Ordering::SeqCst);
        wait_for(|| received() > 64 * 100);
        thread::sleep(Duration::from_millis(300));
        let before = received();
        wait_for(|| received() > before + 64 * 100);
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let report = valid(&child.wait_with_output().unwrap());
        assert!(report.requests > 0 && report.duration_ns < 600_000_000_000);
        let stopped = |warning: &Reason| matches!(warning, Reason::Interrupted { .. });
        assert!(report.warnings.iter().any(stopped), "{:?}", report.warnings);
    }
}

#[test]
fn the_servers_cpu_time_is_accounted() {
    let peer = Peer::tcp(Manner::Echo);
    let own = std::process::id().to_string();
    for engine in engines() {
        // A machine that stands still while it is counted counts nothing.
        let run = |_| valid(&ringload(engine, &peer.address, &["-c", "1", "-n", "3000", "--server-pid", &own]));
        let report =
            (0..5).map(run).find(counted_under_load).expect("requests while it is counted, in one of five runs");
        assert!(report.cpu.generator_ns > 0 && report.cpu.server_ns.is_some_and(|cpu| cpu > 0), "{:?}", report.cpu);
        check_accounting(&report);
    }
    let output = ringload("epoll", &peer.address, &["--server-pid", "2147483000"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("2147483000"));
}

fn counted_under_load(report: &LoadReport) -> bool {
    let accounting = report.accounting.as_ref().unwrap();
    let counts =
        [accounting.server.unwrap(), accounting.generator].map(|end| [end.syscalls, end.instructions, end.cycles]);
    counts.iter().flatten().flatten().all(|count| count.requests > 0)
}

/// Every figure of both ends is there, or the report says why not.
fn check_accounting(report: &LoadReport) {
    let accounting = report.accounting.as_ref().unwrap();
    let server = accounting.server.unwrap();
    let both = server.user_ns.zip(server.system_ns).map(|(user, system)| user + system);
    let unsplit = accounting.unavailable.iter().any(|missing| missing.what.contains("user and system"));
    assert!(both == report.cpu.server_ns || (both.is_none() && unsplit), "{accounting:?}");
    for (end, own_cpu) in [(server, report.cpu.server_ns), (accounting.generator, Some(report.cpu.generator_ns))] {
        assert!(end.resident_bytes.is_some_and(|bytes| bytes > 0) && end.resident_growth_bytes.is_some(), "{end:?}");
        assert!(end.user_ns <= own_cpu, "{end:?}");
        for (what, count) in
            [("system calls", end.syscalls), ("instructions", end.instructions), ("cycles", end.cycles)]
        {
            let missing = accounting.unavailable.iter().find(|missing| missing.what == what);
            match (count, missing) {
                (Some(count), _) => assert!(count.count > 0 && count.requests > 0, "{what}: {count:?}"),
                (None, Some(missing)) => skip(format_args!("{what}: {}; {}", missing.why, missing.remedy)),
                (None, None) => panic!("{what} is neither counted nor told to be missing: {accounting:?}"),
            }
        }
    }
    assert!(accounting.generator.voluntary_switches.is_some());
    let switches = server.voluntary_switches.is_some();
    assert!(switches || accounting.unavailable.iter().any(|missing| missing.what.contains("switches")));
    if let Some(calls) = server.syscalls {
        assert!(calls.count + 10 >= 2 * calls.requests * 9 / 10, "a receive and a send for each request: {calls:?}");
    }
}

#[test]
fn text_shows_the_reasons_first() {
    let peer = Peer::tcp(Manner::FlipAt(0));
    let output = command(&[&peer.address, "--engine", "epoll", "-c", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.starts_with(b"INVALID: "), "{output:?}");
}

fn wait_for(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain");
        thread::sleep(Duration::from_millis(5));
    }
}

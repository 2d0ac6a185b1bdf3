//! ringload's open loop and what makes a run invalid, from outside: real servers that stall, lag and fail.

#[path = "load/peers.rs"]
mod peers;
#[path = "load/program.rs"]
mod program;

use peers::{Manner, Peer};
use program::{engines, report, ringload};
use ringmark::report::schema::LoadReport;
use std::time::Duration;

const MILLISECOND: u64 = 1_000_000;

/// A server that answers nothing for the first tenth of every second.
fn stalling() -> Peer {
    Peer::tcp(Manner::Stall { every: Duration::from_secs(1), length: Duration::from_millis(100) })
}

fn reasons(report: &LoadReport) -> String {
    [report.invalid.clone(), report.warnings.clone()].concat().join("\n")
}

/// A tenth of the requests is due while the server stalls: users wait 90 ms at p99. With one request in flight the
/// generator sends one request into each stall, 1 in 1000, and service time shows none of it at p99.
#[test]
fn response_time_shows_the_stall_that_service_time_hides() {
    let peer = stalling();
    for engine in engines() {
        let words = ["-c", "1", "--depth", "1", "-R", "1k", "-d", "3s"];
        let report = report(&ringload(engine, &peer.address, &words));
        let (response, service) = (report.response_ns.unwrap(), report.latency_ns);
        assert!(response.p99 > 60 * MILLISECOND, "{response:?}");
        assert!(response.max > 90 * MILLISECOND && service.max > 90 * MILLISECOND, "{response:?} {service:?}");
        assert!(service.p99 < response.p99 / 2, "{service:?} {response:?}");
        // The wait is lag, but none of the timer's.
        assert!(report.send_lag_ns.unwrap().p99 > 60 * MILLISECOND, "{:?}", report.send_lag_ns);
        assert!(report.timer_error_ns.unwrap().p50 < 5 * MILLISECOND, "{:?}", report.timer_error_ns);
    }
}

/// With pipelining every request goes out when it is due, so that service time is the response time.
#[test]
fn a_pipelining_client_sends_into_the_stall() {
    let peer = stalling();
    for engine in engines() {
        let report =
            report(&ringload(engine, &peer.address, &["-c", "4", "-R", "1k", "--arrival", "poisson", "-d", "3s"]));
        let (response, service) = (report.response_ns.unwrap(), report.latency_ns);
        assert!(response.p99 > 60 * MILLISECOND && service.p99 > 60 * MILLISECOND, "{response:?} {service:?}");
        assert!(report.send_lag_ns.unwrap().p50 < 5 * MILLISECOND, "{:?}", report.send_lag_ns);
    }
}

#[test]
fn the_closed_loop_hides_the_stall_and_says_what_it_measures() {
    let peer = stalling();
    let report = report(&ringload("epoll", &peer.address, &["-c", "1", "-d", "3s"]));
    assert!(report.latency_ns.max > 80 * MILLISECOND && report.latency_ns.p99 < 20 * MILLISECOND, "{report:?}");
    assert!(report.response_ns.is_none() && report.workload.generator.rate_per_s.is_none());
}

#[test]
fn the_rate_asked_for_is_the_rate_achieved() {
    let peer = Peer::tcp(Manner::Echo);
    for engine in engines() {
        for words in
            [&["-R", "2k", "-t", "2"][..], &["-R", "2k", "--arrival", "burst:20"], &["--arrival", "ramp:1k..3k"]]
        {
            let words = [words, &["-c", "8", "-d", "1500ms"]].concat();
            let report = report(&ringload(engine, &peer.address, &words));
            assert!((2900..=3100).contains(&report.requests), "{words:?}: {} {}", report.requests, reasons(&report));
            assert_eq!(report.workload.generator.rate_per_s, Some(2000));
        }
        let words = ["-c", "8", "-R", "200", "-d", "1s", "--connect-per-request", "--timer", "sleep"];
        let report = report(&ringload(engine, &peer.address, &words));
        assert!((195..=205).contains(&report.requests), "{} {}", report.requests, reasons(&report));
        assert_eq!(report.workload.generator.timer.as_deref(), Some("sleep"));
    }
}

#[test]
fn seconds_are_kept_and_add_up() {
    let peer = Peer::tcp(Manner::Echo);
    let report = report(&ringload("epoll", &peer.address, &["-c", "2", "-R", "500", "-d", "2500ms"]));
    let intervals: Vec<_> = report.intervals.iter().map(|part| (part.start_ns, part.length_ns)).collect();
    assert_eq!(intervals, [(0, 1_000), (1_000, 1_000), (2_000, 500)].map(|(a, b)| (a * MILLISECOND, b * MILLISECOND)));
    assert_eq!(report.intervals.iter().map(|part| part.requests).sum::<u64>(), report.requests);
    assert!(report.intervals.iter().all(|part| part.response_histogram.is_some()));
}

#[test]
fn a_rate_beyond_the_server_is_invalid() {
    let peer = Peer::tcp(Manner::Slow(Duration::from_millis(2)));
    for engine in engines() {
        let output = ringload(engine, &peer.address, &["-c", "1", "-R", "5k", "-d", "500ms", "--depth", "4"]);
        let report = report(&output);
        assert_eq!(output.status.code(), Some(3));
        assert!(reasons(&report).contains("of the requests asked for"), "{}", reasons(&report));
    }
}

#[test]
fn errors_are_all_right_as_far_as_they_are_allowed() {
    for engine in engines() {
        let peer = Peer::tcp(Manner::CloseAfter(6400));
        let words = ["-c", "2", "-d", "500ms", "--allow-errors"];
        let report_of = |share| report(&ringload(engine, &peer.address, &[&words[..], &[share]].concat()));
        let (allowed, refused) = (report_of("50%"), report_of("0.01%"));
        assert!(allowed.invalid.is_empty() && reasons(&allowed).contains("as allowed"), "{}", reasons(&allowed));
        assert!(refused.invalid.iter().any(|reason| reason.contains("--allow-errors")), "{}", reasons(&refused));
    }
}

#[test]
fn a_warm_up_ends_when_throughput_is_steady_or_at_its_cap() {
    let peer = Peer::tcp(Manner::Echo);
    for engine in engines() {
        let words = ["-c", "2", "-R", "1k", "-d", "300ms", "--warmup", "200ms", "--warmup-max", "400ms"];
        let steady = report(&ringload(engine, &peer.address, &words)).steady.unwrap();
        let warmup = steady.warmup_ns / MILLISECOND;
        // Publishing the window's begin ahead takes 20 ms, and a loaded machine some more.
        assert!((200..1000).contains(&warmup) && steady.interval_ns == 20 * MILLISECOND, "{steady:?}");
        assert!(steady.reached || warmup >= 400, "{steady:?}");
        let without = report(&ringload(engine, &peer.address, &["-d", "100ms", "--warmup", "0"]));
        assert_eq!(without.steady, None);
    }
}

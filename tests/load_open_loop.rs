//! ringload's open loop and what makes a run invalid, from outside: real servers that stall, lag and fail.

use ringmark::record::{LoadReport, Reason};
use std::time::Duration;
use support::load::peers::{Manner, Peer};
use support::load::{engines, report, ringload};
use support::retry;

const MILLISECOND: u64 = 1_000_000;

/// A server that answers nothing for the first tenth of every second.
fn stalling() -> Peer {
    Peer::tcp(Manner::Stall { every: Duration::from_secs(1), length: Duration::from_millis(100) })
}

fn reasons(report: &LoadReport) -> Vec<Reason> {
    [report.invalid.clone(), report.warnings.clone()].concat()
}

/// A tenth of the requests is due while the server stalls: users wait 90 ms at p99. With one request in flight the
/// generator sends one request into each stall, 1 in 1000, and service time shows none of it at p99.
#[test]
fn response_time_shows_the_stall_that_service_time_hides() {
    let peer = stalling();
    for engine in engines() {
        let words = ["-c", "1", "--depth", "1", "-R", "1k", "-d", "3s"];
        retry::if_disturbed(
            || paced(engine, &peer, &words),
            |report| {
                let (response, service) = (report.response_ns.unwrap(), report.latency_ns);
                let (lag, timer_error) = (report.send_lag_ns.unwrap(), report.timer_error_ns.unwrap());
                let both_saw_it = response.max > 80 * MILLISECOND && service.max > 80 * MILLISECOND;
                let only_one_shows_it = response.p99 > 60 * MILLISECOND && service.p99 < response.p99 / 2;
                // The wait is lag, but none of the timer's.
                both_saw_it && only_one_shows_it && lag.p99 > 60 * MILLISECOND && timer_error.p50 < 5 * MILLISECOND
            },
        );
    }
}

/// A report whose response times hold the service times, however disturbed the run was.
#[track_caller]
fn paced(engine: &str, peer: &Peer, words: &[&str]) -> LoadReport {
    let report = report(&ringload(engine, &peer.address, words));
    let (response, service) = (report.response_ns.unwrap(), report.latency_ns);
    assert!(response.p50 >= service.p50 && response.p99 >= service.p99 && response.max >= service.max, "{report:?}");
    assert!(report.errors.values().all(|count| *count == 0), "{:?}", report.errors);
    report
}

/// With pipelining every request goes out when it is due, so that service time is the response time.
#[test]
fn a_pipelining_client_sends_into_the_stall() {
    let peer = stalling();
    for engine in engines() {
        let words = ["-c", "4", "-R", "1k", "--arrival", "poisson", "-d", "3s"];
        retry::if_disturbed(
            || paced(engine, &peer, &words),
            |report| {
                let both = report.response_ns.unwrap().p99.min(report.latency_ns.p99);
                both > 60 * MILLISECOND && report.send_lag_ns.unwrap().p50 < 5 * MILLISECOND
            },
        );
    }
}

#[test]
fn the_closed_loop_hides_the_stall_and_says_what_it_measures() {
    let peer = stalling();
    retry::if_disturbed(
        || {
            let report = report(&ringload("epoll", &peer.address, &["-c", "1", "-d", "3s"]));
            assert!(report.response_ns.is_none() && report.workload.generator.rate_per_s.is_none());
            report
        },
        |report| report.latency_ns.max > 80 * MILLISECOND && report.latency_ns.p99 < 20 * MILLISECOND,
    );
}

#[test]
fn the_rate_asked_for_is_the_rate_achieved() {
    let peer = Peer::tcp(Manner::Echo);
    for engine in engines() {
        for words in
            [&["-R", "2k", "-t", "2"][..], &["-R", "2k", "--arrival", "burst:20"], &["--arrival", "ramp:1k..3k"]]
        {
            let words = [words, &["-c", "8", "-d", "1500ms"]].concat();
            let run = || {
                let report = paced(engine, &peer, &words);
                assert_eq!(report.workload.generator.rate_per_s, Some(2000));
                report
            };
            retry::if_disturbed(run, |report| (2900..=3100).contains(&report.requests));
        }
        let words = ["-c", "8", "-R", "200", "-d", "1s", "--connect-per-request", "--timer", "sleep"];
        let run = || {
            let report = paced(engine, &peer, &words);
            assert_eq!(report.workload.generator.timer.as_deref(), Some("sleep"));
            report
        };
        retry::if_disturbed(run, |report| (195..=205).contains(&report.requests));
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
        let too_slow = |reason: &Reason| matches!(reason, Reason::RateNotReached { .. });
        assert!(report.invalid.iter().any(too_slow), "{:?}", reasons(&report));
    }
}

#[test]
fn errors_are_all_right_as_far_as_they_are_allowed() {
    for engine in engines() {
        let peer = Peer::tcp(Manner::CloseAfter(6400));
        // By number and not by time: each connection closes after a hundred.
        let words = ["-c", "2", "-n", "1000", "--allow-errors"];
        let report_of = |share| report(&ringload(engine, &peer.address, &[&words[..], &[share]].concat()));
        let (allowed, refused) = (report_of("50%"), report_of("0.01%"));
        let errors = |reason: &Reason| matches!(reason, Reason::Errors { .. });
        let tolerated = |reason: &Reason| matches!(reason, Reason::ErrorsAllowed { .. });
        assert!(!allowed.invalid.iter().any(errors), "{:?}", reasons(&allowed));
        assert!(allowed.warnings.iter().any(tolerated), "{:?}", reasons(&allowed));
        assert!(refused.invalid.iter().any(errors), "{:?}", reasons(&refused));
    }
}

#[test]
fn a_warm_up_ends_when_throughput_is_steady_or_at_its_cap() {
    let peer = Peer::tcp(Manner::Echo);
    for engine in engines() {
        let words = ["-c", "2", "-R", "1k", "-d", "300ms", "--warmup", "200ms", "--warmup-max", "400ms"];
        let run = || {
            let report = paced(engine, &peer, &words);
            let steady = report.steady.unwrap();
            let least = if steady.reached { 200 } else { 400 };
            assert!(steady.warmup_ns >= least * MILLISECOND && steady.interval_ns == 20 * MILLISECOND, "{steady:?}");
            report
        };
        // Publishing the window's begin ahead takes 20 ms, and a loaded machine some more.
        retry::if_disturbed(run, |report| report.steady.unwrap().warmup_ns < 1000 * MILLISECOND);
        let without = report(&ringload(engine, &peer.address, &["-n", "10", "--warmup", "0"]));
        assert_eq!(without.steady, None);
    }
}

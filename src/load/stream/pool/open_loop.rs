//! Open and closed loops against a server whose queue can be computed: what is measured is what theory says.

use super::*;
use crate::load::driver::Driver;
use crate::load::histograms::{Histograms, RESPONSE, SEND_LAG, TIMER_ERROR};
use crate::load::pacer::{Pace, Pacer, Plan};
use crate::load::shared::Shared;
use crate::load::stream::engine::sim::{Serving, Sim};
use crate::load::timeline::Timeline;
use crate::protocol::echo::client::EchoStream;
use crate::protocol::size_distribution::SizeDistribution;
use hdrhistogram::Histogram;

const TICK: Nanos = Nanos::from_millis(10);
const SIZE: usize = 64;

/// How the generator behaves.
#[derive(Clone, Copy)]
struct Client {
    connections: usize,
    depth: u64,
    pace: Option<Pace>,
    alone: bool,
    /// It wakes so late for a request.
    late: Nanos,
    /// It does nothing for so long at the begin of every second: its core is taken away.
    frozen: Nanos,
}

impl Client {
    fn paced(arrival: &str, rate: &str) -> Client {
        let pace = Some(Pace { arrival: arrival.parse().unwrap(), rate: rate.parse().unwrap() });
        Client { connections: 1, depth: 4096, pace, alone: false, late: Nanos::ZERO, frozen: Nanos::ZERO }
    }

    fn plan(self, planned: Nanos) -> ThreadPlan {
        let pacer = |pace| Pacer::Open(Plan { pace, thread: 0, threads: 1, planned, seed: 3 });
        ThreadPlan {
            connect_per_request: self.alone,
            pacer: self.pace.map_or(Pacer::ClosedLoop, pacer),
            ..ThreadPlan::for_test(self.connections, SizeDistribution::All(SIZE as u64), self.depth)
        }
    }
}

fn serving(time: u64, stall: Nanos) -> Serving {
    Serving { size: SIZE, time: Nanos(time), stall }
}

/// A run on virtual time whose counted window is the seconds from 1 on.
fn run(client: Client, serving: Serving, seconds: u64) -> Histograms {
    let window = Nanos::from_secs(seconds);
    let (first, shared) = (Nanos::from_secs(1), Shared::new(None, std::thread::current()));
    let plan = client.plan(window);
    let pool = ConnectionPool::<EchoStream>::new(plan.clone());
    let mut driver = Driver::new(&plan, pool, Sim::new(serving), &shared);
    let mut now = Nanos(1);
    loop {
        driver.advance(now);
        if driver.finished() {
            break;
        }
        now = [driver.next_send().map(|at| at + client.late), driver.engine.next_event()]
            .into_iter()
            .flatten()
            .fold(now + TICK, Nanos::min)
            .max(now + Nanos(1));
        now = now + Nanos(client.frozen.0.saturating_sub(now.0 % Nanos::from_secs(1).0));
        if shared.admitted() == client.connections && shared.start() == Nanos(u64::MAX) {
            shared.start_at(first);
            shared.open_window(first, first + window);
        }
        driver.engine.set_now(now);
        driver.begin_tick(now);
        driver.take_in(Clock::start());
    }
    let recorder = driver.finish().0.recorder;
    assert_eq!(recorder.error_count(), 0);
    let mut timeline = Timeline::new();
    timeline.collect(shared.interval_exchange());
    timeline.finish(std::iter::once(&recorder), window).0
}

/// Response time, send lag and timer error of an open loop.
fn paced(histograms: &Histograms) -> [&Histogram<u64>; 3] {
    [RESPONSE, SEND_LAG, TIMER_ERROR].map(|name| histograms.get(name).expect("an open loop"))
}

fn quantile(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64
}

fn assert_near(what: &str, value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance * expected, "{what} is {value}, not {expected}");
}

const STALL: Nanos = Nanos::from_millis(100);

/// A tenth of the requests is due in the stall and waits for its end: response times above x are 10 % − x/s of all.
/// With one request in flight only one in a thousand is *sent* before it: service time does not see the others wait.
#[test]
fn a_stalled_servers_response_time_is_what_arriving_users_wait_and_service_time_is_not() {
    let one_at_a_time = Client { depth: 1, ..Client::paced("constant", "1k") };
    let histograms = run(one_at_a_time, serving(10_000, STALL), 10);
    let [response, send_lag, timer_error] = paced(&histograms);
    assert_eq!(response.len(), 10_000);
    assert_near("response p95", quantile(response, 0.95), 50e6, 0.03);
    assert_near("response p99", quantile(response, 0.99), 90e6, 0.03);
    assert_near("service p99", quantile(histograms.service(), 0.99), 10e3, 0.01);
    assert_near("service max", histograms.service().max() as f64, 100e6, 0.02);
    assert_near("send lag p99", quantile(send_lag, 0.99), 90e6, 0.03);
    // The server's fault, not the timer's.
    assert!(timer_error.max() <= 1, "{}", timer_error.max());
}

#[test]
fn with_pipelining_the_requests_go_out_in_time_and_service_time_is_the_response_time() {
    let histograms = run(Client::paced("constant", "1k"), serving(10_000, STALL), 10);
    let [response, send_lag, timer_error] = paced(&histograms);
    assert_near("response p99", quantile(response, 0.99), 90e6, 0.03);
    assert_near("service p99", quantile(histograms.service(), 0.99), 90e6, 0.03);
    assert!(send_lag.max() <= 1, "{}", send_lag.max());
    assert_eq!(timer_error.len(), response.len());
}

/// The closed loop asks nobody while the server stalls: one slow answer a second among 90 thousand.
#[test]
fn a_closed_loop_hides_the_stall() {
    let closed = Client { depth: 1, pace: None, ..Client::paced("constant", "1k") };
    let histograms = run(closed, serving(10_000, STALL), 3);
    assert_near("requests", histograms.service().len() as f64, 270_000.0, 0.01);
    assert_near("p99.9", quantile(histograms.service(), 0.999), 10e3, 0.01);
    assert!(histograms.get(RESPONSE).is_none());
}

/// Pollaczek and Khinchine: at load ρ the mean wait is ρ·s / 2(1 − ρ) for Poisson arrivals (M/D/1), and none for a
/// constant rate (D/D/1).
#[test]
fn queues_are_as_long_as_theory_says() {
    for (arrival, rate, expected) in [
        ("poisson", "50k", 15_000.0),
        ("poisson", "80k", 30_000.0),
        ("constant", "50k", 10_000.0),
        // Of five at once the third is the mean.
        ("burst:5", "50k", 30_000.0),
    ] {
        let client = Client { connections: 64, ..Client::paced(arrival, rate) };
        let histograms = run(client, serving(10_000, Nanos::ZERO), 8);
        assert_near(&format!("{arrival} at {rate}"), paced(&histograms)[0].mean(), expected, 0.05);
    }
}

#[test]
fn the_rate_is_kept_whatever_the_arrivals() {
    for (arrival, rate, expected, tolerance) in [
        ("constant", "20k", 80_000.0, 1e-4),
        ("burst:100", "20k", 80_000.0, 2e-3),
        ("poisson", "20k", 80_000.0, 0.011),
        ("ramp:10k..30k", "20k", 80_000.0, 1e-3),
    ] {
        let client = Client { connections: 8, ..Client::paced(arrival, rate) };
        let histograms = run(client, serving(1_000, Nanos::ZERO), 4);
        assert_near(arrival, histograms.service().len() as f64, expected, tolerance);
    }
}

#[test]
fn a_late_generator_is_late_and_not_the_server_slow() {
    let late = Client { late: Nanos(30_000), ..Client::paced("constant", "1k") };
    let histograms = run(late, serving(10_000, Nanos::ZERO), 2);
    let [response, send_lag, timer_error] = paced(&histograms);
    assert_near("service", quantile(histograms.service(), 0.5), 10e3, 0.01);
    assert_near("send lag", quantile(send_lag, 0.5), 30e3, 0.01);
    assert_near("timer error", quantile(timer_error, 0.99), 30e3, 0.01);
    assert_near("response", quantile(response, 0.5), 40e3, 0.01);
}

/// A tenth of the requests is due while the generator does nothing; then the first of them takes the only place, and
/// the others wait for it. Late it was with each of them.
#[test]
fn a_generator_that_was_away_is_late_whatever_the_connections_state() {
    for depth in [1, 4096] {
        let away = Client { depth, frozen: STALL, ..Client::paced("constant", "1k") };
        let histograms = run(away, serving(10_000, Nanos::ZERO), 10);
        let [response, _, timer_error] = paced(&histograms);
        assert_near("timer errors", timer_error.len() as f64, response.len() as f64, 2e-3);
        assert_near("timer error p95", quantile(timer_error, 0.95), 50e6, 0.03);
        assert_near("timer error p99", quantile(timer_error, 0.99), 90e6, 0.03);
    }
}

/// Of five at once four find the connection full: the generator wakes late for all of them, and waits for none.
#[test]
fn waiting_for_a_place_adds_to_the_response_and_not_to_the_timers_error() {
    for late in [Nanos::ZERO, Nanos(30_000)] {
        let client = Client { depth: 1, late, ..Client::paced("burst:5", "1k") };
        let histograms = run(client, serving(100_000, Nanos::ZERO), 4);
        let [response, send_lag, timer_error] = paced(&histograms);
        assert_eq!((timer_error.len(), response.len()), (4_000, 4_000));
        for q in [0.01, 0.5, 0.99] {
            assert!(
                quantile(timer_error, q) - late.0 as f64 <= 0.01 * late.0 as f64 + 1.0,
                "{}",
                quantile(timer_error, q)
            );
            assert!(quantile(timer_error, q) >= late.0 as f64);
        }
        assert_near("service max", histograms.service().max() as f64, 100e3, 0.01);
        assert_near("send lag max", send_lag.max() as f64, 400e3 + late.0 as f64, 0.01);
        assert_near("response max", response.max() as f64, 500e3 + late.0 as f64, 0.01);
    }
}

/// Where a protocol forbids pipelining, requests wait with their instants.
#[test]
fn a_connection_per_request_waits_for_its_turn() {
    let client = Client { connections: 4, depth: 1, alone: true, ..Client::paced("constant", "1k") };
    let histograms = run(client, serving(10_000, STALL), 5);
    let [response, _, timer_error] = paced(&histograms);
    assert_eq!(response.len(), 5_000);
    assert_near("response p99", quantile(response, 0.99), 90e6, 0.03);
    assert!(timer_error.max() < 1_000_000, "{}", timer_error.max());
}

/// One that was closed takes the next request that waits at once, not when another is due.
#[test]
fn a_connection_per_request_takes_the_next_that_waits_when_it_is_free() {
    let client = Client { connections: 1, depth: 1, alone: true, ..Client::paced("burst:5", "1k") };
    let histograms = run(client, serving(100_000, Nanos::ZERO), 4);
    assert_near("response max", paced(&histograms)[0].max() as f64, 500e3, 0.02);
}

#[test]
fn an_overloaded_server_falls_behind_and_the_schedule_does_not_wait() {
    let client = Client { connections: 4, depth: 8, ..Client::paced("constant", "2k") };
    let histograms = run(client, serving(1_000_000, Nanos::ZERO), 4);
    // Half of what is asked for; the last answered one was due half the time ago.
    assert_near("answered", histograms.service().len() as f64, 4_000.0, 0.01);
    assert_near("response max", paced(&histograms)[0].max() as f64, 2e9, 0.05);
    // 32 are in flight, each a millisecond of work.
    assert_near("service max", histograms.service().max() as f64, 32e6, 0.05);
}

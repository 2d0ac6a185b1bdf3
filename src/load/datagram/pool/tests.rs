//! A pool on an engine without a kernel, on virtual time: an echo that takes its time for each datagram.

use super::*;
use crate::load::datagram::engine::{IoStats, Writer};
use crate::load::driver::Driver;
use crate::load::engine::impl_test_engine;
use crate::load::histograms::{Histograms, RESPONSE, TIMER_ERROR};
use crate::load::pacer::{Pace, Pacer, Plan};
use crate::load::timeline::Timeline;
use crate::protocol::echo::client::EchoDatagrams;
use crate::protocol::size_distribution::SizeDistribution;
use crate::units::{Address, SizeMix};
use proptest::prelude::*;
use socket2::Socket;
use std::net::UdpSocket;
use std::sync::LazyLock;

/// What the sockets are connected to; nothing is sent to it.
static TARGET: LazyLock<UdpSocket> = LazyLock::new(|| UdpSocket::bind("127.0.0.1:0").unwrap());
const TICK: Nanos = Nanos::from_millis(10);
const SECOND: Nanos = Nanos::from_secs(1);

/// Answers each datagram after `least` and at most as much again as `spread`, so that they overtake each other.
struct Sim {
    now: Nanos,
    /// When the counted window begins.
    first: Nanos,
    least: u64,
    spread: u64,
    random: crate::stats::Random,
    largest: usize,
    answers: Vec<(Nanos, usize, Vec<u8>)>,
    lengths: Vec<usize>,
    /// Cuts the last byte off every so manieth answer after the admission; 0 is never.
    cut: u64,
    cuts: u64,
}

impl Sim {
    fn new(plan: &ThreadPlan, least: u64, spread: u64) -> Sim {
        let random = crate::stats::Random::new(spread);
        let largest = plan.client.sizes.largest() as usize;
        let first = Nanos::from_millis(1);
        Sim {
            now: Nanos::ZERO,
            first,
            least,
            spread,
            random,
            largest,
            answers: vec![],
            lengths: vec![],
            cut: 0,
            cuts: 0,
        }
    }

    fn next_event(&self) -> Option<Nanos> {
        self.answers.iter().map(|(at, ..)| *at).min()
    }
}

impl_test_engine!(Sim, receives_in_events: false);

impl DatagramEngine for Sim {
    fn open(&mut self, _: usize, _: Socket) -> io::Result<()> {
        Ok(())
    }

    fn send(&mut self, number: usize, count: usize, mut write: impl Writer) -> Result<usize, Refused> {
        let taken = count.min(1 + self.random.below(3));
        for index in 0..taken {
            let mut datagram = vec![0; self.largest];
            let len = write(index, &mut datagram);
            datagram.truncate(len);
            self.lengths.push(datagram.len());
            if self.cut > 0 && self.now > self.first && self.random.below(self.cut as usize) == 0 {
                datagram.pop();
                self.cuts += 1;
            }
            let time = self.least + self.random.below(1 + self.spread as usize) as u64;
            self.answers.push((self.now + Nanos(time), number, datagram));
        }
        Ok(taken)
    }

    fn socket(&self, _: usize) -> Option<&Socket> {
        None
    }

    fn events(&mut self, mut notify: impl FnMut(usize, Event<'_>)) {
        self.answers.sort_by_key(|(at, ..)| *at);
        let due = self.answers.partition_point(|(at, ..)| *at <= self.now);
        for (_, number, datagram) in self.answers.drain(..due) {
            notify(number, Event::Datagram(&datagram));
        }
    }

    fn io_stats(&self) -> IoStats {
        IoStats::default()
    }
}

fn plan(sockets: usize, depth: u64, sizes: SizeDistribution) -> ThreadPlan {
    let target = Address::udp(TARGET.local_addr().unwrap());
    let timeout = Nanos::from_secs(5);
    ThreadPlan { target, timeout, admit_at_once: 3, ..ThreadPlan::for_test(sockets, sizes, depth) }
}

fn driver<'a>(plan: &ThreadPlan, sim: Sim, shared: &'a Shared) -> Driver<'a, SocketPool<EchoDatagrams>, Sim> {
    Driver::new(plan, SocketPool::new(plan.clone()), sim, shared)
}

fn at_rate(rate: &str) -> Pacer {
    let pace = Pace { arrival: "constant".parse().unwrap(), rate: rate.parse().unwrap() };
    Pacer::Open(Plan { pace, thread: 0, threads: 1, planned: Nanos::from_secs(10), seed: 3 })
}

/// Drives a pool to its end as a thread would; for the first `frozen` of every second the thread does nothing.
fn drive(plan: &ThreadPlan, shared: &Shared, sim: Sim, window: Nanos, frozen: Nanos) -> (ThreadResult, Sim) {
    let mut driver = driver(plan, sim, shared);
    let mut now = Nanos(1);
    loop {
        if driver.next_deadline().is_some_and(|deadline| now >= deadline) {
            driver.check_deadlines(now);
        }
        driver.advance(now);
        if driver.finished() {
            return driver.finish();
        }
        let next = driver.next_send().into_iter().chain(driver.engine.next_event()).fold(now + TICK, Nanos::min);
        now = next.max(now + Nanos(1));
        now = now + Nanos(frozen.0.saturating_sub(now.0 % SECOND.0));
        if shared.admitted() == plan.connections && shared.start() == Nanos(u64::MAX) {
            shared.open_window(driver.engine.first, driver.engine.first + window);
        }
        driver.engine.now = now;
        driver.begin_tick(now);
        driver.take_in(Clock::start());
    }
}

fn histograms(result: &ThreadResult, shared: &Shared, window: Nanos) -> Histograms {
    let mut timeline = Timeline::new();
    timeline.collect(shared.interval_exchange());
    timeline.finish(std::iter::once(&result.recorder), window).0
}

fn sizes() -> impl Strategy<Value = SizeDistribution> {
    let leak = |text: &str| {
        let mix: SizeMix = text.parse().unwrap();
        SizeDistribution::leak(mix.mean(), Some(&mix))
    };
    let mixed = prop::sample::select(vec!["16:1,17:1,18:1", "64:90,1400:9,9000:1", "16:1,65507:1"]).prop_map(leak);
    prop_oneof![(16u64..300).prop_map(SizeDistribution::All), mixed]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_request_is_answered_once_whatever_its_size_and_whoever_overtakes_it(
        sizes in sizes(), sockets in 1usize..6, depth in 1u64..9, requests in 1u64..300, spread in 0u64..300_000,
        paced: bool,
    ) {
        let shared = Shared::new(Some(requests), std::thread::current());
        let pacer = if paced { at_rate("20k") } else { Pacer::ClosedLoop };
        let plan = ThreadPlan { pacer, ..plan(sockets, depth, sizes) };
        let sim = Sim::new(&plan, 5_000, spread);
        let (result, sim) = drive(&plan, &shared, sim, Nanos::from_secs(60), Nanos::ZERO);
        let stats = result.datagrams.unwrap();
        prop_assert_eq!((result.recorder.requests(), result.recorder.error_count()), (requests, 0));
        prop_assert_eq!((stats.counts.lost(), stats.counts.late, stats.counts.duplicated, stats.corrupt), (0, 0, 0, 0));
        prop_assert_eq!(stats.requests, sim.lengths.len() as u64);
        if let SizeDistribution::All(size) = sizes {
            prop_assert!(sim.lengths.iter().all(|len| *len as u64 == size));
        }
    }

    #[test]
    fn an_answer_of_another_length_is_corrupt_and_its_request_lost(sizes in sizes(), sockets in 1usize..4, depth in 1u64..5) {
        let shared = Shared::new(Some(400), std::thread::current());
        let plan = ThreadPlan { timeout: Nanos::from_millis(20), ..plan(sockets, depth, sizes) };
        let sim = Sim { cut: 40, ..Sim::new(&plan, 5_000, 20_000) };
        let (result, sim) = drive(&plan, &shared, sim, Nanos::from_secs(60), Nanos::ZERO);
        let stats = result.datagrams.unwrap();
        prop_assert_eq!(stats.corrupt, sim.cuts);
        prop_assert!(stats.counts.lost() <= sim.cuts && stats.overdue == sim.cuts);
    }
}

/// As with streams: what is due while the thread does nothing is late, though the first of it takes each socket's only
/// place.
#[test]
fn a_generator_that_was_away_is_late_whatever_the_sockets_state() {
    let window = Nanos::from_secs(10);
    for depth in [1, 64] {
        let shared = Shared::new(None, std::thread::current());
        let plan = ThreadPlan { pacer: at_rate("1k"), ..plan(2, depth, SizeDistribution::All(64)) };
        let sim = Sim { first: SECOND, ..Sim::new(&plan, 10_000, 0) };
        let (result, _) = drive(&plan, &shared, sim, window, Nanos::from_millis(100));
        let histograms = histograms(&result, &shared, window);
        let [response, timer_error] = [RESPONSE, TIMER_ERROR].map(|name| histograms.get(name).expect("an open loop"));
        assert!(response.len().abs_diff(timer_error.len()) <= 20, "{} {}", response.len(), timer_error.len());
        for (quantile, expected) in [(0.95, 50e6), (0.99, 90e6)] {
            let is = timer_error.value_at_quantile(quantile) as f64;
            assert!((is - expected).abs() < 0.03 * expected, "depth {depth}: {quantile} of the timer errors is {is}");
        }
        assert!(histograms.service().max() <= 11_000, "{}", histograms.service().max());
    }
}

/// Timeouts are kept less exactly than so short a pause.
#[test]
fn a_socket_that_rests_goes_on_when_its_own_pause_is_over() {
    let at = |micros: u64| Nanos(micros * 1_000);
    let shared = Shared::new(None, std::thread::current());
    shared.open_window(Nanos(1), SECOND);
    let plan = plan(2, 1, SizeDistribution::All(64));
    let mut driver = driver(&plan, Sim::new(&plan, 5_000, 0), &shared);
    driver.begin_tick(at(100));
    driver.advance(at(100));
    driver.check_deadlines(at(100));
    for (number, now) in [(0, 1_000), (1, 1_500)] {
        driver.begin_tick(at(now));
        driver.pool.on_event(&mut driver.context, number, Event::Failed(io::Error::from_raw_os_error(libc::ENOBUFS)));
    }
    for (now, rest) in [(1_999, [true, true]), (2_000, [false, true]), (2_500, [false, false])] {
        driver.begin_tick(at(now));
        if driver.next_deadline().is_some_and(|deadline| at(now) >= deadline) {
            driver.check_deadlines(at(now));
        }
        assert_eq!(
            [0, 1].map(|number: usize| driver.pool.sockets[number].send_state != SendState::Ready),
            rest,
            "at {now} us"
        );
    }
}

/// Each answer comes when its time is over, but before anyone looked for what is overdue.
#[test]
fn a_target_that_always_answers_late_is_given_up_and_each_of_its_answers_is_told() {
    let shared = Shared::new(None, std::thread::current());
    let plan = ThreadPlan { timeout: Nanos::from_millis(20), ..plan(1, 1, SizeDistribution::All(64)) };
    let mut driver = driver(&plan, Sim::new(&plan, 20_000_001, 0), &shared);
    for try_number in 1..=u64::from(ADMISSION_TRIES) {
        assert!(!shared.abandoned());
        let now = driver.engine.now;
        driver.advance(now);
        let now = driver.engine.next_event().expect("it was asked");
        driver.engine.now = now;
        driver.begin_tick(now);
        driver.take_in(Clock::start());
        driver.check_deadlines(now);
        assert_eq!(driver.pool.stats.overdue, try_number);
    }
    assert!(matches!(shared.take_failure(), Some(StartFailure::Answer)));
}

//! The swarm on an engine without a kernel, on virtual time: an echo that takes its time for each datagram.

use super::*;
use crate::load::datagram::engine::{Refused, Setup, Traffic};
use crate::load::engine::{EngineError, Wait};
use crate::load::measures::{Measures, Paced};
use crate::load::pacer::{Pace, Plan};
use crate::load::timeline::Timeline;
use crate::protocol::echo::client::EchoDatagrams;
use crate::protocol::pattern::Pattern;
use crate::protocol::size_distribution::SizeDistribution;
use crate::units::SizeMix;
use proptest::prelude::*;
use socket2::Socket;
use std::net::UdpSocket;
use std::sync::LazyLock;

static PATTERN: LazyLock<Pattern> = LazyLock::new(|| Pattern::leak(5));
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
    fn new(orders: &Orders, least: u64, spread: u64) -> Sim {
        let random = crate::stats::Random::new(spread);
        let largest = orders.client.sizes.largest() as usize;
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

impl Engine for Sim {
    const RECEIVES_WHILE_TELLING: bool = false;

    fn new(_: &Setup) -> Result<Sim, EngineError> {
        unreachable!("made by the test")
    }

    fn open(&mut self, _: usize, _: Socket) -> io::Result<()> {
        Ok(())
    }

    fn send(
        &mut self,
        number: usize,
        count: usize,
        mut write: impl FnMut(usize, &mut [u8]) -> usize,
    ) -> Result<usize, Refused> {
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

    fn wait(&mut self, _: Wait) -> io::Result<bool> {
        Ok(true)
    }

    fn events(&mut self, mut tell: impl FnMut(usize, Event<'_>)) {
        self.answers.sort_by_key(|(at, ..)| *at);
        let due = self.answers.partition_point(|(at, ..)| *at <= self.now);
        for (_, number, datagram) in self.answers.drain(..due) {
            tell(number, Event::Datagram(&datagram));
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

fn orders(sockets: usize, depth: u64, sizes: SizeDistribution) -> Orders {
    Orders {
        target: Address::udp(TARGET.local_addr().unwrap()),
        sockets,
        first: 0,
        depth,
        timeout: Nanos::from_secs(5),
        admit_at_once: 3,
        client: ClientConfig { pattern: *PATTERN, sizes, seed: 9 },
        pacer: Pacer::ClosedLoop,
    }
}

fn at_rate(rate: &str) -> Pacer {
    let pace = Pace { arrival: "constant".parse().unwrap(), rate: rate.parse().unwrap() };
    Pacer::Open(Plan { pace, thread: 0, threads: 1, planned: Nanos::from_secs(10), seed: 3 })
}

/// Drives a swarm to its end as a worker would; for the first `frozen` of every second the thread does nothing.
fn drive(orders: Orders, shared: &Shared, sim: &mut Sim, window: Nanos, frozen: Nanos) -> Haul {
    let sockets = orders.sockets;
    let mut swarm = Swarm::<EchoDatagrams>::new(orders, shared);
    let mut now = Nanos(1);
    loop {
        if swarm.next_deadline().is_some_and(|deadline| now >= deadline) {
            swarm.check_deadlines(now);
        }
        swarm.advance(sim, now);
        if swarm.finished() {
            return swarm.into_haul(sim);
        }
        let next = swarm.next_send().into_iter().chain(sim.next_event()).fold(now + TICK, Nanos::min);
        now = next.max(now + Nanos(1));
        now = now + Nanos(frozen.0.saturating_sub(now.0 % SECOND.0));
        if shared.admitted() == sockets && shared.start() == Nanos(u64::MAX) {
            shared.open_window(sim.first, sim.first + window);
        }
        sim.now = now;
        swarm.begin_turn(now);
        sim.events(|number, event| swarm.on_event(number, event));
    }
}

fn measures(haul: &Haul, shared: &Shared, window: Nanos) -> Measures {
    let mut timeline = Timeline::new();
    timeline.collect(shared.handover());
    timeline.finish(std::iter::once(&haul.recorder), window).0
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
        let orders = Orders { pacer, ..orders(sockets, depth, sizes) };
        let mut sim = Sim::new(&orders, 5_000, spread);
        let haul = drive(orders, &shared, &mut sim, Nanos::from_secs(60), Nanos::ZERO);
        let tally = haul.datagrams.unwrap();
        prop_assert_eq!((haul.recorder.requests(), haul.recorder.error_count()), (requests, 0));
        prop_assert_eq!((tally.counts.lost(), tally.counts.late, tally.counts.duplicated, tally.corrupt), (0, 0, 0, 0));
        prop_assert_eq!(tally.requests, sim.lengths.len() as u64);
        if let SizeDistribution::All(size) = sizes {
            prop_assert!(sim.lengths.iter().all(|len| *len as u64 == size));
        }
    }

    #[test]
    fn an_answer_of_another_length_is_corrupt_and_its_request_lost(sizes in sizes(), sockets in 1usize..4, depth in 1u64..5) {
        let shared = Shared::new(Some(400), std::thread::current());
        let orders = Orders { timeout: Nanos::from_millis(20), ..orders(sockets, depth, sizes) };
        let mut sim = Sim { cut: 40, ..Sim::new(&orders, 5_000, 20_000) };
        let haul = drive(orders, &shared, &mut sim, Nanos::from_secs(60), Nanos::ZERO);
        let tally = haul.datagrams.unwrap();
        prop_assert_eq!(tally.corrupt, sim.cuts);
        prop_assert!(tally.counts.lost() <= sim.cuts && tally.overdue == sim.cuts);
    }
}

/// As a fleet: what is due while the thread does nothing is late, though the first of it takes each socket's only place.
#[test]
fn a_generator_that_was_away_is_late_whatever_the_sockets_state() {
    let window = Nanos::from_secs(10);
    for depth in [1, 64] {
        let shared = Shared::new(None, std::thread::current());
        let orders = Orders { pacer: at_rate("1k"), ..orders(2, depth, SizeDistribution::All(64)) };
        let mut sim = Sim { first: SECOND, ..Sim::new(&orders, 10_000, 0) };
        let haul = drive(orders, &shared, &mut sim, window, Nanos::from_millis(100));
        let measures = measures(&haul, &shared, window);
        let Paced { response, timer_error, .. } = measures.paced.as_deref().expect("an open loop");
        assert!(response.len().abs_diff(timer_error.len()) <= 20, "{} {}", response.len(), timer_error.len());
        for (quantile, expected) in [(0.95, 50e6), (0.99, 90e6)] {
            let is = timer_error.value_at_quantile(quantile) as f64;
            assert!((is - expected).abs() < 0.03 * expected, "depth {depth}: {quantile} of the timer errors is {is}");
        }
        assert!(measures.service.max() <= 11_000, "{}", measures.service.max());
    }
}

/// Timeouts are kept less exactly than so short a pause.
#[test]
fn a_socket_that_rests_goes_on_when_its_own_pause_is_over() {
    let at = |micros: u64| Nanos(micros * 1_000);
    let shared = Shared::new(None, std::thread::current());
    shared.open_window(Nanos(1), SECOND);
    let orders = orders(2, 1, SizeDistribution::All(64));
    let mut sim = Sim::new(&orders, 5_000, 0);
    let mut swarm = Swarm::<EchoDatagrams>::new(orders, &shared);
    swarm.begin_turn(at(100));
    swarm.advance(&mut sim, at(100));
    swarm.check_deadlines(at(100));
    for (number, now) in [(0, 1_000), (1, 1_500)] {
        swarm.begin_turn(at(now));
        swarm.on_event(number, Event::Failed(io::Error::from_raw_os_error(libc::ENOBUFS)));
    }
    for (now, rest) in [(1_999, [true, true]), (2_000, [false, true]), (2_500, [false, false])] {
        swarm.begin_turn(at(now));
        if swarm.next_deadline().is_some_and(|deadline| at(now) >= deadline) {
            swarm.check_deadlines(at(now));
        }
        assert_eq!([0, 1].map(|number: usize| swarm.seats[number].obstacle != Obstacle::None), rest, "at {now} us");
    }
}

/// Each answer comes when its time is over, but before anyone looked for what is overdue.
#[test]
fn a_target_that_always_answers_late_is_given_up_and_each_of_its_answers_is_told() {
    let shared = Shared::new(None, std::thread::current());
    let orders = Orders { timeout: Nanos::from_millis(20), ..orders(1, 1, SizeDistribution::All(64)) };
    let mut sim = Sim::new(&orders, 20_000_001, 0);
    let mut swarm = Swarm::<EchoDatagrams>::new(orders, &shared);
    for try_number in 1..=u64::from(ADMISSION_TRIES) {
        assert!(!shared.abandoned());
        let now = sim.now;
        swarm.advance(&mut sim, now);
        sim.now = sim.next_event().expect("it was asked");
        swarm.begin_turn(sim.now);
        sim.events(|number, event| swarm.on_event(number, event));
        swarm.check_deadlines(sim.now);
        assert_eq!(swarm.tally.overdue, try_number);
    }
    assert!(matches!(shared.take_failure(), Some(StartFailure::Answer)));
}

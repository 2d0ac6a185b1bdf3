//! One generator thread: turns of wait, take in, send. The loop is the same for streams and datagrams and for every
//! engine; what is measured and moved is the [`Driver`]'s.

use super::driver::{Driver, Pool};
use super::engine::{Engine, EngineError};
use super::shared::Shared;
use super::thread_result::ThreadResult;
use crate::clock::Clock;
use crate::sys::accounting;
use crate::sys::affinity::{self, AffinityError};
use crate::sys::timer;
use crate::sys::wait::Wait;
use crate::units::Nanos;
use std::io;

/// Longest sleep: phases change without anything arriving.
const MAX_SLEEP: Nanos = Nanos::from_millis(10);
/// How long before a request's instant the hybrid timer stops sleeping: wake-ups of an idle core, above all of a
/// virtual one, come so late.
const HYBRID_MARGIN: Nanos = Nanos(50_000);
/// How often timeouts are looked for.
const DEADLINE_CHECK: Nanos = Nanos::from_millis(100);

/// A generator thread could not go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(transparent)]
    Affinity(#[from] AffinityError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("waiting for the kernel failed in a generator thread: {0}")]
    Wait(io::Error),
    #[error("a generator thread panicked; this is a bug in ringload")]
    Panicked,
}

/// How a thread waits for the instant of a request that is to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WaitMode {
    /// Sleep until shortly before, then look at the clock: exact, and idle at low rates.
    #[default]
    Hybrid,
    /// Sleep: the core is free meanwhile, but wake-ups come late.
    Sleep,
    /// Look at the clock all the time: the most exact, on a core of its own.
    Spin,
}

impl WaitMode {
    pub fn name(self) -> &'static str {
        match self {
            WaitMode::Hybrid => "hybrid",
            WaitMode::Sleep => "sleep",
            WaitMode::Spin => "spin",
        }
    }

    /// How long before the instant sleeping ends.
    fn margin(self) -> Nanos {
        match self {
            WaitMode::Hybrid => HYBRID_MARGIN,
            WaitMode::Sleep => Nanos::ZERO,
            WaitMode::Spin => Nanos(u64::MAX),
        }
    }
}

/// How one thread runs.
#[derive(Clone, Copy, Debug)]
pub struct ThreadOptions {
    /// Core to run on.
    pub core: Option<usize>,
    /// How long to look for completions before sleeping.
    pub spin: Nanos,
    pub wait: WaitMode,
}

/// Runs a thread's part from connecting to the last answer. An error stops the other threads too.
pub fn run<'a, P: Pool<E>, E: Engine>(
    options: ThreadOptions,
    make: impl FnOnce() -> Result<Driver<'a, P, E>, EngineError>,
    shared: &Shared,
    clock: Clock,
) -> Result<ThreadResult, WorkerError> {
    let result = prepare(options, make).and_then(|driver| turns(driver, options, clock));
    if result.is_err() {
        shared.abandon();
    }
    result
}

fn prepare<D>(options: ThreadOptions, make: impl FnOnce() -> Result<D, EngineError>) -> Result<D, WorkerError> {
    if let Some(core) = options.core {
        affinity::pin_current_thread(core)?;
    }
    // Where it is refused wake-ups come later; the timer's error, which is reported, shows it.
    let _ = timer::set_timer_slack();
    Ok(make()?)
}

fn turns<P: Pool<E>, E: Engine>(
    mut driver: Driver<'_, P, E>,
    options: ThreadOptions,
    clock: Clock,
) -> Result<ThreadResult, WorkerError> {
    let mut usage = Usage::default();
    let mut next_check = Nanos::ZERO;
    loop {
        let now = clock.now();
        if now >= next_check || driver.next_deadline().is_some_and(|deadline| now >= deadline) {
            driver.check_deadlines(now);
            next_check = now + DEADLINE_CHECK;
        }
        driver.advance(now);
        if driver.finished() {
            let (result, _) = driver.finish();
            return Ok(ThreadResult { busy: usage.share(), ..result });
        }
        if driver.is_resting() {
            driver.rest();
            driver.begin_tick(clock.now());
            continue;
        }
        wait(&mut driver, options, clock, now).map_err(WorkerError::Wait)?;
        let done = clock.now();
        driver.begin_tick(done);
        usage.note(driver.counting(), done);
        driver.take_in(clock);
    }
}

/// A reading of the thread's CPU clock, and when that was.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Nanos,
    cpu: Nanos,
}

impl Reading {
    fn take(at: Nanos) -> Option<Reading> {
        accounting::thread_cpu().ok().map(|cpu| Reading { at, cpu })
    }
}

/// The thread's CPU time in the counted window, read with its first turn in it and its first turn after it.
#[derive(Debug, Default)]
struct Usage {
    counting: bool,
    begin: Option<Reading>,
    end: Option<Reading>,
}

impl Usage {
    #[inline]
    fn note(&mut self, counting: bool, now: Nanos) {
        if counting != self.counting {
            self.counting = counting;
            let reading = if counting { &mut self.begin } else { &mut self.end };
            *reading = Reading::take(now);
        }
    }

    /// The part of the time between the readings; `None` when the window was not seen as a whole.
    fn share(&self) -> Option<f64> {
        let (begin, end) = (self.begin?, self.end?);
        let time = end.at.since(begin.at).0;
        (time > 0).then(|| end.cpu.since(begin.cpu).0 as f64 / time as f64)
    }
}

/// Waits for events, the next request or the next deadline; `now` was read in this turn.
#[inline]
fn wait<P: Pool<E>, E: Engine>(
    driver: &mut Driver<'_, P, E>,
    options: ThreadOptions,
    clock: Clock,
    now: Nanos,
) -> io::Result<()> {
    let (deadline, next_send) = (driver.next_deadline(), driver.next_send());
    let look = |wait| driver.wait(wait);
    match next_send {
        Some(next) => wait_until(next.min(deadline.unwrap_or(next)), options.wait, look, || clock.now()),
        None => wait_for_events(options.spin, longest_sleep(deadline, now), look, || clock.now()),
    }
}

/// Phases change without anything arriving.
#[inline]
fn longest_sleep(deadline: Option<Nanos>, now: Nanos) -> Nanos {
    deadline.map_or(MAX_SLEEP, |deadline| deadline.since(now).min(MAX_SLEEP))
}

/// Waits for events until `next`: asleep, and from the timer's margin on awake.
#[inline]
fn wait_until(
    next: Nanos,
    mode: WaitMode,
    mut look: impl FnMut(Wait) -> io::Result<bool>,
    now: impl Fn() -> Nanos,
) -> io::Result<()> {
    let begun = now();
    let end = next.min(begun + MAX_SLEEP);
    let asleep = end.since(begun).since(mode.margin());
    if asleep > Nanos::ZERO && (look(Wait::AtMost(asleep))? || now() >= end) {
        return Ok(());
    }
    while !look(Wait::Poll)? && now() < end {}
    Ok(())
}

/// Looks for events for `spin`, then sleeps until there are some, for at most `longest`.
#[inline]
fn wait_for_events(
    spin: Nanos,
    longest: Nanos,
    mut look: impl FnMut(Wait) -> io::Result<bool>,
    now: impl Fn() -> Nanos,
) -> io::Result<()> {
    if spin > Nanos::ZERO {
        let begun = now();
        while now().since(begun) < spin {
            if look(Wait::Poll)? {
                return Ok(());
            }
        }
    }
    look(Wait::AtMost(longest)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::engine::impl_test_engine;
    use crate::load::stream::ConnectionPool;
    use crate::load::stream::engine::{Done, Event, StreamEngine};
    use crate::load::thread_plan::ThreadPlan;
    use crate::protocol::echo::client::EchoStream;
    use crate::protocol::size_distribution::SizeDistribution;
    use std::cell::Cell;

    const RECEIVE_TIME: Nanos = Nanos::from_millis(2);

    /// Echoes, and takes its time to receive.
    struct SlowReceiver {
        /// Events to come, one per connection.
        next: Vec<Option<Next>>,
    }

    #[derive(Clone)]
    enum Next {
        Connected,
        Echo(&'static [u8]),
        Ended,
    }

    impl_test_engine!(SlowReceiver, receives_in_events: true);

    impl StreamEngine for SlowReceiver {
        fn connect(&mut self, connection: usize) -> io::Result<()> {
            self.next[connection] = Some(Next::Connected);
            Ok(())
        }

        fn send(&mut self, connection: usize, bytes: &'static [u8]) -> io::Result<Done<usize>> {
            self.next[connection] = Some(Next::Echo(bytes));
            Ok(Done::Now(bytes.len()))
        }

        fn finish(&mut self, connection: usize) {
            self.next[connection] = Some(Next::Ended);
        }

        fn close(&mut self, _: usize) -> Done<()> {
            Done::Now(())
        }

        fn events(&mut self, mut notify: impl FnMut(usize, Event<'_>)) {
            for (connection, next) in self.next.iter_mut().enumerate() {
                match next.take() {
                    Some(Next::Connected) => notify(connection, Event::Connected),
                    Some(Next::Echo(bytes)) => {
                        std::thread::sleep(RECEIVE_TIME.duration());
                        notify(connection, Event::Received(bytes));
                    }
                    Some(Next::Ended) => notify(connection, Event::Ended),
                    None => {}
                }
            }
        }
    }

    /// Waits for an instant on virtual time, where a sleep ends `late` and a look takes a microsecond. What was slept,
    /// how often was looked, and when it was over.
    fn waited(next: u64, timer: WaitMode, late: u64, event_at: u64) -> (Vec<u64>, u64, u64) {
        let (now, looks) = (Cell::new(1_000_000), Cell::new(0));
        let mut slept = Vec::new();
        let look = |wait| {
            match wait {
                Wait::AtMost(time) => {
                    slept.push(time.0);
                    now.set(event_at.clamp(now.get(), now.get() + time.0 + late));
                }
                Wait::Forever => panic!("an instant is to come"),
                Wait::Poll => {
                    looks.set(looks.get() + 1);
                    now.set(now.get() + 1_000);
                }
            }
            Ok(now.get() >= event_at)
        };
        wait_until(Nanos(next), timer, look, || Nanos(now.get())).unwrap();
        (slept, looks.get(), now.get())
    }

    #[test]
    fn each_timer_waits_its_own_way() {
        const NEVER: u64 = u64::MAX;
        let next = 1_200_000;
        // Late by 30 us: hybrid makes up for it, sleep does not, spin never slept.
        assert_eq!(waited(next, WaitMode::Hybrid, 30_000, NEVER), (vec![150_000], 20, next));
        assert_eq!(waited(next, WaitMode::Sleep, 30_000, NEVER), (vec![200_000], 0, next + 30_000));
        assert_eq!(waited(next, WaitMode::Spin, 30_000, NEVER), (vec![], 200, next));
        // Later than hybrid expects.
        assert_eq!(waited(next, WaitMode::Hybrid, 70_000, NEVER), (vec![150_000], 0, next + 20_000));
        // An event ends it.
        assert_eq!(waited(next, WaitMode::Hybrid, 0, 1_100_000), (vec![150_000], 0, 1_100_000));
        assert_eq!(waited(next, WaitMode::Spin, 0, 1_100_000), (vec![], 100, 1_100_000));
        // What is due already: one look, so that events and what was submitted get their turn.
        for timer in [WaitMode::Hybrid, WaitMode::Sleep, WaitMode::Spin] {
            assert_eq!(waited(900_000, timer, 0, NEVER), (vec![], 1, 1_001_000));
        }
        // Never longer than that: phases change.
        assert_eq!(waited(NEVER, WaitMode::Sleep, 0, NEVER), (vec![MAX_SLEEP.0], 0, 1_000_000 + MAX_SLEEP.0));
    }

    #[test]
    fn nobody_sleeps_beyond_the_next_deadline() {
        let now = Nanos::from_secs(1);
        let ms = Nanos::from_millis;
        for (deadline, longest) in [
            (None, MAX_SLEEP),
            (Some(now + ms(50)), MAX_SLEEP),
            (Some(now + ms(1)), ms(1)),
            (Some(ms(999)), Nanos::ZERO),
        ] {
            assert_eq!(longest_sleep(deadline, now), longest, "{deadline:?}");
        }
    }

    #[test]
    fn usage_is_that_between_the_windows_ends() {
        let mut usage = Usage::default();
        usage.note(false, Nanos(0));
        assert_eq!(usage.share(), None);
        usage.note(true, Nanos(100));
        let begin = usage.begin.map(|reading| reading.cpu);
        usage.note(true, Nanos(150));
        assert_eq!((usage.begin.map(|reading| reading.cpu), usage.share()), (begin, None));
        usage.note(false, Nanos(300));
        usage.note(false, Nanos(400));
        let reading = |at, cpu| Some(Reading { at: Nanos(at), cpu: Nanos(cpu) });
        assert_eq!(usage.end.map(|reading| reading.at), Some(Nanos(300)));
        let known = Usage { counting: false, begin: reading(100, 50), end: reading(300, 200) };
        assert_eq!(known.share(), Some(0.75));
    }

    #[test]
    fn receiving_is_part_of_the_latency() {
        let plan = ThreadPlan::for_test(2, SizeDistribution::All(8), 1);
        let options = ThreadOptions { core: None, spin: Nanos::ZERO, wait: WaitMode::Hybrid };
        let shared = Shared::new(Some(4), std::thread::current());
        shared.open_window(Nanos::ZERO, Nanos::from_secs(60));
        let make = || {
            let pool = ConnectionPool::<EchoStream>::new(plan.clone());
            Ok(Driver::new(&plan, pool, SlowReceiver { next: vec![None, None] }, &shared))
        };
        let result = run(options, make, &shared, Clock::start()).unwrap();
        let service = result.recorder.service();
        assert_eq!(service.len(), 4);
        assert!(result.busy.is_some_and(|busy| busy > 0.0 && busy < 0.9), "mostly asleep: {:?}", result.busy);
        assert!(service.min() >= RECEIVE_TIME.0 * 99 / 100, "{}", service.min());
        assert!(service.max() >= 2 * RECEIVE_TIME.0 * 99 / 100, "the second waits for the first: {}", service.max());
    }
}

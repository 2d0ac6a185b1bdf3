//! One generator thread: turns of wait, take in, send. The loop is the same for streams and datagrams and for every
//! engine; what is measured and moved is in the [`Crew`].

use super::engine::{EngineError, Wait};
use super::fleet::Haul;
use super::shared::Shared;
use crate::clock::Clock;
use crate::sys::accounting;
use crate::sys::affinity::{self, AffinityError};
use crate::sys::timer;
use crate::units::Nanos;
use std::io;

/// Longest sleep: phases change without anything arriving.
const TICK: Nanos = Nanos::from_millis(10);
/// How long before a request's instant the hybrid timer stops sleeping: wake-ups of an idle core, above all of a virtual
/// one, come so late.
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
pub enum Timer {
    /// Sleep until shortly before, then look at the clock: exact, and idle at low rates.
    #[default]
    Hybrid,
    /// Sleep: the core is free meanwhile, but wake-ups come late.
    Sleep,
    /// Look at the clock all the time: the most exact, on a core of its own.
    Spin,
}

impl Timer {
    pub fn name(self) -> &'static str {
        match self {
            Timer::Hybrid => "hybrid",
            Timer::Sleep => "sleep",
            Timer::Spin => "spin",
        }
    }

    /// How long before the instant sleeping ends.
    fn margin(self) -> Nanos {
        match self {
            Timer::Hybrid => HYBRID_MARGIN,
            Timer::Sleep => Nanos::ZERO,
            Timer::Spin => Nanos(u64::MAX),
        }
    }
}

/// How one thread runs.
#[derive(Clone, Copy, Debug)]
pub struct Post {
    /// Core to run on.
    pub core: Option<usize>,
    /// How long to look for completions before sleeping.
    pub spin: Nanos,
    pub timer: Timer,
}

/// What a thread drives, turn by turn: its connections or sockets, and the engine that moves their bytes. It reads no
/// clock but the one that `take_in` is given.
pub trait Crew {
    /// Looks for what is overdue and for pauses that have passed.
    fn check_deadlines(&mut self, now: Nanos);

    /// When deadlines are to be checked sooner than they regularly are: something is overdue then, or a pause over.
    fn next_deadline(&self) -> Option<Nanos>;

    /// The next instant at which a request is due. `None` where only an event lets it go on, as in a closed loop.
    fn next_send(&self) -> Option<Nanos> {
        None
    }

    /// Updates the live line's figures.
    fn publish(&mut self);

    /// Sends what is to be sent; all of it counts as sent at `now`, which was read just before.
    fn advance(&mut self, now: Nanos);

    /// Whether the thread is at its end.
    fn finished(&self) -> bool;

    /// Whether there is something to take in.
    fn wait(&mut self, wait: Wait) -> io::Result<bool>;

    /// A wait is over; `done` was read right after it.
    fn begin_turn(&mut self, done: Nanos);

    /// Takes in what that wait found.
    fn take_in(&mut self, clock: Clock);

    /// Whether answers count now.
    fn counting(&self) -> bool;

    fn into_haul(self) -> Haul;
}

/// Runs a thread's part from connecting to the last answer. An error stops the other threads too.
pub fn run<C: Crew>(
    post: Post,
    make: impl FnOnce() -> Result<C, EngineError>,
    shared: &Shared,
    clock: Clock,
) -> Result<Haul, WorkerError> {
    let haul = prepare(post, make).and_then(|crew| turns(crew, post, clock));
    if haul.is_err() {
        shared.abandon();
    }
    haul
}

fn prepare<C>(post: Post, make: impl FnOnce() -> Result<C, EngineError>) -> Result<C, WorkerError> {
    if let Some(core) = post.core {
        affinity::pin_current_thread(core)?;
    }
    // Where it is refused wake-ups come later; the timer's error, which is reported, then tells.
    let _ = timer::set_timer_slack();
    Ok(make()?)
}

fn turns<C: Crew>(mut crew: C, post: Post, clock: Clock) -> Result<Haul, WorkerError> {
    let mut usage = Usage::default();
    let mut next_check = Nanos::ZERO;
    loop {
        let now = clock.now();
        if now >= next_check || crew.next_deadline().is_some_and(|deadline| now >= deadline) {
            crew.check_deadlines(now);
            crew.publish();
            next_check = now + DEADLINE_CHECK;
        }
        crew.advance(now);
        if crew.finished() {
            return Ok(Haul { busy: usage.share(), ..crew.into_haul() });
        }
        wait(&mut crew, post, clock, now).map_err(WorkerError::Wait)?;
        let done = clock.now();
        crew.begin_turn(done);
        usage.note(crew.counting(), done);
        crew.take_in(clock);
    }
}

/// When the thread read its CPU clock, and what it said.
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
fn wait(crew: &mut impl Crew, post: Post, clock: Clock, now: Nanos) -> io::Result<()> {
    let deadline = crew.next_deadline().unwrap_or(Nanos(u64::MAX));
    match crew.next_send() {
        Some(next) => wait_until(next.min(deadline), post.timer, |wait| crew.wait(wait), || clock.now()),
        None => wait_for_events(crew, post.spin, clock, deadline.since(now).min(TICK)),
    }
}

/// Waits for events until `next`: asleep, and from the timer's margin on awake.
#[inline]
fn wait_until(
    next: Nanos,
    timer: Timer,
    mut look: impl FnMut(Wait) -> io::Result<bool>,
    now: impl Fn() -> Nanos,
) -> io::Result<()> {
    let begun = now();
    let end = next.min(begun + TICK);
    let asleep = end.since(begun).since(timer.margin());
    if asleep > Nanos::ZERO && (look(Wait::AtMost(asleep))? || now() >= end) {
        return Ok(());
    }
    while !look(Wait::Poll)? && now() < end {}
    Ok(())
}

/// Looks for events for `spin`, then sleeps until there are some, for at most `longest`.
#[inline]
fn wait_for_events(crew: &mut impl Crew, spin: Nanos, clock: Clock, longest: Nanos) -> io::Result<()> {
    if spin > Nanos::ZERO {
        let begun = clock.now();
        while clock.now().since(begun) < spin {
            if crew.wait(Wait::Poll)? {
                return Ok(());
            }
        }
    }
    crew.wait(Wait::AtMost(longest)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::engine::{Done, Engine, Event, Setup};
    use crate::load::fleet::Orders;
    use crate::load::pacer::Pacer;
    use crate::load::streams::Streams;
    use crate::load::target::Target;
    use crate::protocol::client::ClientConfig;
    use crate::protocol::echo::client::EchoStream;
    use crate::protocol::pattern::Pattern;
    use crate::protocol::size_distribution::SizeDistribution;
    use std::cell::Cell;

    const RECEIVE_TIME: Nanos = Nanos::from_millis(2);

    /// Echoes, and takes its time to receive.
    #[derive(Default)]
    struct SlowReceiver {
        /// Events to tell, one per connection.
        next: Vec<Option<Next>>,
    }

    enum Next {
        Connected,
        Echo(&'static [u8]),
        Ended,
    }

    impl Engine for SlowReceiver {
        const RECEIVES_WHILE_TELLING: bool = true;

        fn new(setup: &Setup) -> Result<SlowReceiver, EngineError> {
            Ok(SlowReceiver { next: (0..setup.connections).map(|_| None).collect() })
        }

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

        fn wait(&mut self, _: Wait) -> io::Result<bool> {
            Ok(true)
        }

        fn events(&mut self, mut tell: impl FnMut(usize, Event<'_>)) {
            for (connection, next) in self.next.iter_mut().enumerate() {
                match next.take() {
                    Some(Next::Connected) => tell(connection, Event::Connected),
                    Some(Next::Echo(bytes)) => {
                        std::thread::sleep(RECEIVE_TIME.duration());
                        tell(connection, Event::Received(bytes));
                    }
                    Some(Next::Ended) => tell(connection, Event::Ended),
                    None => {}
                }
            }
        }
    }

    /// Waits for an instant on virtual time, where a sleep ends `late` and a look takes a microsecond. What was slept, how
    /// often was looked, and when it was over.
    fn waited(next: u64, timer: Timer, late: u64, event_at: u64) -> (Vec<u64>, u64, u64) {
        let (now, looks) = (Cell::new(1_000_000), Cell::new(0));
        let mut slept = Vec::new();
        let look = |wait| {
            match wait {
                Wait::AtMost(time) => {
                    slept.push(time.0);
                    now.set(event_at.clamp(now.get(), now.get() + time.0 + late));
                }
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
        assert_eq!(waited(next, Timer::Hybrid, 30_000, NEVER), (vec![150_000], 20, next));
        assert_eq!(waited(next, Timer::Sleep, 30_000, NEVER), (vec![200_000], 0, next + 30_000));
        assert_eq!(waited(next, Timer::Spin, 30_000, NEVER), (vec![], 200, next));
        // Later than hybrid expects.
        assert_eq!(waited(next, Timer::Hybrid, 70_000, NEVER), (vec![150_000], 0, next + 20_000));
        // An event ends it.
        assert_eq!(waited(next, Timer::Hybrid, 0, 1_100_000), (vec![150_000], 0, 1_100_000));
        assert_eq!(waited(next, Timer::Spin, 0, 1_100_000), (vec![], 100, 1_100_000));
        // What is due already: one look, so that events and what was submitted get their turn.
        for timer in [Timer::Hybrid, Timer::Sleep, Timer::Spin] {
            assert_eq!(waited(900_000, timer, 0, NEVER), (vec![], 1, 1_001_000));
        }
        // Never longer than a tick: phases change.
        assert_eq!(waited(NEVER, Timer::Sleep, 0, NEVER), (vec![TICK.0], 0, 1_000_000 + TICK.0));
    }

    /// At which nothing ever happens.
    struct Idle {
        deadline: Option<Nanos>,
        longest: Nanos,
    }

    impl Crew for Idle {
        fn check_deadlines(&mut self, _: Nanos) {}

        fn next_deadline(&self) -> Option<Nanos> {
            self.deadline
        }

        fn publish(&mut self) {}

        fn advance(&mut self, _: Nanos) {}

        fn finished(&self) -> bool {
            false
        }

        fn wait(&mut self, wait: Wait) -> io::Result<bool> {
            self.longest = Nanos(wait.timeout().as_nanos() as u64);
            Ok(false)
        }

        fn begin_turn(&mut self, _: Nanos) {}

        fn take_in(&mut self, _: Clock) {}

        fn counting(&self) -> bool {
            false
        }

        fn into_haul(self) -> Haul {
            unreachable!("it never ends")
        }
    }

    #[test]
    fn nobody_sleeps_beyond_the_next_deadline() {
        let post = Post { core: None, spin: Nanos::ZERO, timer: Timer::Hybrid };
        let now = Nanos::from_secs(1);
        let ms = Nanos::from_millis;
        for (deadline, longest) in
            [(None, TICK), (Some(now + ms(50)), TICK), (Some(now + ms(1)), ms(1)), (Some(ms(999)), Nanos::ZERO)]
        {
            let mut crew = Idle { deadline, longest: Nanos(u64::MAX) };
            wait(&mut crew, post, Clock::start(), now).unwrap();
            assert_eq!(crew.longest, longest, "{deadline:?}");
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
        let connections = 2;
        let target = Target::new(&"127.0.0.1:1".parse().unwrap()).unwrap();
        let orders = Orders {
            connections,
            first: 0,
            all: connections,
            active: connections,
            depth: 1,
            connect_per_request: false,
            timeout: Nanos::from_secs(10),
            connect_timeout: Nanos::from_secs(10),
            admit_at_once: connections,
            client: ClientConfig { pattern: Pattern::leak(1), sizes: SizeDistribution::All(8), seed: 1 },
            pacer: Pacer::ClosedLoop,
        };
        let setup = Setup { target, connections, window: 8, spins: false };
        let post = Post { core: None, spin: Nanos::ZERO, timer: Timer::Hybrid };
        let shared = Shared::new(Some(4), std::thread::current());
        shared.open_window(Nanos::ZERO, Nanos::from_secs(60));
        let haul =
            run(post, || Streams::<EchoStream, SlowReceiver>::new(&setup, orders, &shared), &shared, Clock::start())
                .unwrap();
        let service = haul.recorder.service();
        assert_eq!(service.len(), 4);
        assert!(haul.busy.is_some_and(|busy| busy > 0.0 && busy < 0.9), "mostly asleep: {:?}", haul.busy);
        assert!(service.min() >= RECEIVE_TIME.0 * 99 / 100, "{}", service.min());
        assert!(service.max() >= 2 * RECEIVE_TIME.0 * 99 / 100, "the second waits for the first: {}", service.max());
    }
}

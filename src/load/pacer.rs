//! When requests are meant to be sent: a pure function of the plan and of what was sent so far. It reads no clock,
//! never waits and never looks at answers: a request that cannot go out when it is due goes out later, and keeps its
//! instant.
//!
//! Knows nothing of connections, so that streams and datagrams are paced alike.

use crate::record::Workload;
use crate::stats::{Random, derive_seed};
use crate::units::{Arrival, Nanos, ParseUnitError, Rate};
use std::fmt;

const SECOND: f64 = 1e9;

/// An open loop's pace, over all threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub arrival: Arrival,
    /// The mean; of a ramp it is the middle.
    pub rate: Rate,
}

/// The options contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaceError {
    #[error("--arrival {0} needs a rate: add -R, as -R 20k")]
    NoRate(Arrival),
    #[error("a ramp brings its own rates: leave out -R, or choose another --arrival")]
    TwoRates,
    #[error(transparent)]
    Unit(#[from] ParseUnitError),
}

impl Pace {
    /// What was asked for; `None` is a closed loop.
    pub fn new(rate: Option<Rate>, arrival: Option<Arrival>) -> Result<Option<Pace>, PaceError> {
        match (rate, arrival) {
            (None, None) => Ok(None),
            (None, Some(arrival @ Arrival::Ramp { from, to })) => Ok(Some(Pace { arrival, rate: from.midpoint(to) })),
            (Some(_), Some(Arrival::Ramp { .. })) => Err(PaceError::TwoRates),
            (None, Some(arrival)) => Err(PaceError::NoRate(arrival)),
            (Some(rate), arrival) => Ok(Some(Pace { arrival: arrival.unwrap_or(Arrival::Constant), rate })),
        }
    }

    /// That of a workload; `None` is a closed loop.
    ///
    /// # Errors
    /// Rate and arrival contradict each other, or are none.
    pub fn of(workload: &Workload) -> Result<Option<Pace>, PaceError> {
        let rate = workload.generator.rate_per_s.map(Rate::new).transpose()?;
        let arrival: Option<Arrival> = workload.generator.arrival.as_deref().map(str::parse).transpose()?;
        match Pace::new(None, arrival) {
            // Its mean is stored with it.
            Ok(Some(ramp)) if rate.is_none_or(|rate| rate == ramp.rate) => Ok(Some(ramp)),
            _ => Pace::new(rate, arrival),
        }
    }

    pub fn is_ramp(self) -> bool {
        matches!(self.arrival, Arrival::Ramp { .. })
    }

    /// Requests due within the first `elapsed` of a counted time that was to last `planned`.
    pub fn due_within(self, elapsed: Nanos, planned: Nanos) -> f64 {
        match self.arrival {
            Arrival::Ramp { from, to } => Ramp::new(from, to, planned).due_within(elapsed.as_secs_f64()),
            _ => self.rate.per_second() as f64 * elapsed.as_secs_f64(),
        }
    }

    /// How far chance alone may take the number of `count` requests from its mean: three standard deviations of
    /// Poisson's, one burst, or one request.
    pub fn chance(self, count: f64) -> f64 {
        match self.arrival {
            Arrival::Poisson => 3.0 * count.sqrt(),
            Arrival::Burst(size) => size as f64,
            Arrival::Constant | Arrival::Ramp { .. } => 1.0,
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arrival {
            Arrival::Ramp { .. } => write!(f, "{}", self.arrival),
            _ => write!(f, "{} at {}", self.arrival, self.rate),
        }
    }
}

/// How a thread is paced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacer {
    /// A request goes out whenever a slot is free: the answers set the pace.
    ClosedLoop,
    /// Requests go out by the plan.
    Open(Plan),
}

/// One thread's part of an open loop. Poisson's threads each have a rate and random numbers of their own; otherwise
/// they take turns: of one common sequence each has every `threads`-th request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub pace: Pace,
    /// Number of the thread, and how many there are.
    pub thread: u64,
    pub threads: u64,
    /// How long a ramp takes.
    pub planned: Nanos,
    pub seed: u64,
}

impl Plan {
    /// That of a slice by its number, and by how much later its schedule begins than the slice. Chance decides, and the
    /// same for all threads: else the requests of every slice were due at the same places in it.
    pub fn of_slice(self, number: u64) -> (Plan, Nanos) {
        let plan = Plan { seed: derive_seed(self.seed, number), ..self };
        let together = match self.pace.arrival {
            Arrival::Constant => 1,
            Arrival::Burst(size) => size,
            // It has no place of its own, or is none of a slice.
            Arrival::Poisson | Arrival::Ramp { .. } => 0,
        };
        let share = Random::new(derive_seed(plan.seed, u64::MAX)).bits() as f64 / 2f64.powi(64);
        let gap = SECOND / self.pace.rate.per_second() as f64;
        (plan, Nanos((together as f64 * gap * share) as u64))
    }
}

/// A plan under way: the instants at which requests are meant to be sent, one after the other.
#[derive(Clone, Debug)]
pub struct Schedule {
    plan: Plan,
    random: Random,
    /// What instants are counted from.
    start: Nanos,
    /// Number of the next request of all threads' sequence since `start`.
    number: u64,
    /// Poisson: nanoseconds from `start` to the next.
    offset: f64,
    /// A ramp climbs from this instant on; before it stays at its foot.
    window: Option<Nanos>,
    ramp: Option<Ramp>,
    next: Nanos,
}

impl Schedule {
    /// Begins at `start`, which is the same for all threads.
    pub fn new(plan: Plan, start: Nanos) -> Schedule {
        let random = Random::new(derive_seed(plan.seed, plan.thread));
        let mut schedule =
            Schedule { plan, random, start, number: plan.thread, offset: 0.0, window: None, ramp: None, next: start };
        schedule.plan_next();
        schedule
    }

    /// When the next request is meant to be sent.
    #[inline]
    pub fn next(&self) -> Nanos {
        self.next
    }

    /// The next request's instant, if that has come by `now`. Call it until there is none: being late loses none.
    #[inline]
    pub fn due(&mut self, now: Nanos) -> Option<Nanos> {
        let intended = self.next;
        if intended > now {
            return None;
        }
        self.number += self.plan.threads;
        self.plan_next();
        Some(intended)
    }

    /// The counted window begins at `first`: only a ramp cares.
    pub fn open_window(&mut self, first: Nanos) {
        if self.window.is_none() && matches!(self.plan.pace.arrival, Arrival::Ramp { .. }) {
            self.window = Some(first);
            self.climb_when_due();
        }
    }

    fn plan_next(&mut self) {
        let gap = SECOND / self.plan.pace.rate.per_second() as f64;
        let offset = match (self.plan.pace.arrival, self.ramp) {
            (_, Some(ramp)) => ramp.instant_of(self.number) * SECOND,
            (Arrival::Constant, _) => self.number as f64 * gap,
            (Arrival::Burst(size), _) => (self.number / size * size) as f64 * gap,
            (Arrival::Ramp { from, .. }, _) => self.number as f64 * SECOND / from.per_second() as f64,
            (Arrival::Poisson, _) => {
                self.offset += self.random.exponential() * gap * self.plan.threads as f64;
                self.offset
            }
        };
        self.next = self.start + Nanos(offset.round() as u64);
        self.climb_when_due();
    }

    /// The first request beyond the window's begin is the first of the ramp.
    fn climb_when_due(&mut self) {
        let (None, Some(first), Arrival::Ramp { from, to }) = (self.ramp, self.window, self.plan.pace.arrival) else {
            return;
        };
        if self.next >= first {
            self.ramp = Some(Ramp::new(from, to, self.plan.planned));
            (self.start, self.number) = (first, self.plan.thread);
            self.plan_next();
        }
    }
}

/// A rate that goes evenly from one value to another; requests per second and seconds. Afterwards it stays.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    from: f64,
    to: f64,
    time: f64,
}

impl Ramp {
    fn new(from: Rate, to: Rate, time: Nanos) -> Ramp {
        Ramp { from: from.per_second() as f64, to: to.per_second() as f64, time: time.as_secs_f64() }
    }

    /// The integral of the rate.
    fn due_within(self, time: f64) -> f64 {
        let climbing = time.min(self.time);
        let slope = if self.time > 0.0 { (self.to - self.from) / self.time } else { 0.0 };
        self.from * climbing + slope * climbing * climbing / 2.0 + (time - climbing) * self.to
    }

    /// Its inverse: when request `number` is due. The root is written so that it is exact for a flat ramp too.
    fn instant_of(self, number: u64) -> f64 {
        let (number, all) = (number as f64, self.due_within(self.time));
        if number >= all {
            return self.time + (number - all) / self.to;
        }
        let slope = (self.to - self.from) / self.time;
        2.0 * number / (self.from + (self.from * self.from + 2.0 * slope * number).max(0.0).sqrt())
    }
}

#[cfg(test)]
mod tests;

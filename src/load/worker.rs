//! One generator thread: turns of wait, take in, send. The loop is the same for every engine; what is measured is in
//! the fleet, what is moved in the engine.

use super::engine::{Engine, EngineError, Setup, Wait};
use super::fleet::{Fleet, Haul, Orders};
use super::shared::Shared;
use crate::clock::Clock;
use crate::sys::affinity::{self, AffinityError};
use crate::units::Nanos;
use std::io;

/// Longest sleep: phases change without anything arriving.
const TICK: Nanos = Nanos::from_millis(10);
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

/// What one thread is to do.
#[derive(Clone, Debug)]
pub struct Task {
    pub setup: Setup,
    pub orders: Orders,
    /// Core to run on.
    pub core: Option<usize>,
    /// How long to look for completions before sleeping.
    pub spin: Nanos,
}

/// Runs a thread's part from connecting to the last answer. An error stops the other threads too.
pub fn run<E: Engine>(task: &Task, shared: &Shared, clock: Clock) -> Result<Haul, WorkerError> {
    let haul = prepare::<E>(task).and_then(|engine| turns(engine, task, shared, clock));
    if haul.is_err() {
        shared.abandon();
    }
    haul
}

fn prepare<E: Engine>(task: &Task) -> Result<E, WorkerError> {
    if let Some(core) = task.core {
        affinity::pin_current_thread(core)?;
    }
    Ok(E::new(&task.setup)?)
}

fn turns<E: Engine>(mut engine: E, task: &Task, shared: &Shared, clock: Clock) -> Result<Haul, WorkerError> {
    let mut fleet = Fleet::new(task.orders, shared);
    let mut next_check = Nanos::ZERO;
    loop {
        let now = clock.now();
        if now >= next_check || fleet.waiting() {
            fleet.check_deadlines(now);
            fleet.publish();
            next_check = now + DEADLINE_CHECK;
        }
        fleet.advance(&mut engine, now);
        if fleet.finished() {
            return Ok(fleet.into_haul());
        }
        wait(&mut engine, task.spin, clock).map_err(WorkerError::Wait)?;
        fleet.begin_turn(clock.now());
        engine.events(|connection, event| fleet.on_event(connection, event));
    }
}

/// Looks for events for `spin`, then sleeps until there are some.
#[inline]
fn wait(engine: &mut impl Engine, spin: Nanos, clock: Clock) -> io::Result<()> {
    if spin > Nanos::ZERO {
        let begun = clock.now();
        while clock.now().since(begun) < spin {
            if engine.wait(Wait::Poll)? {
                return Ok(());
            }
        }
    }
    engine.wait(Wait::AtMost(TICK)).map(drop)
}

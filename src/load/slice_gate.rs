//! Where the generator's threads wait between slices: asleep until the next, so that they take nothing from whoever's
//! slice it is.

use super::settled::{Settled, SettledPart};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub struct SliceGate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How often it was opened.
    opened: u64,
    /// Threads that have come to it since.
    waiting: usize,
    all: Settled,
}

impl SliceGate {
    /// Called by a thread that has nothing under way: waits until the gate is opened the next time.
    pub fn wait(&self, settled: SettledPart) {
        let mut state = self.state();
        state.waiting += 1;
        state.all = state.all.with(settled);
        self.changed.notify_all();
        let opened = state.opened;
        let woken = self.changed.wait_while(state, |state| state.opened == opened);
        drop(woken.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets all that wait go on.
    pub fn open(&self) {
        let mut state = self.state();
        state.opened += 1;
        state.waiting = 0;
        state.all = Settled::default();
        self.changed.notify_all();
    }

    /// What those had that wait.
    pub fn settled(&self) -> Settled {
        self.state().all
    }

    /// Waits for at most `at_most` until so many threads wait; whether they do.
    pub fn wait_for(&self, threads: usize, at_most: std::time::Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), at_most, |state| state.waiting < threads);
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting >= threads
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Nanos;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[test]
    fn every_thread_passes_once_each_time_the_gate_is_opened() {
        let (gate, passed) = (SliceGate::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    (0..5).for_each(|_| {
                        gate.wait(SettledPart { from: Nanos(0), until: Nanos(1_000), answers: 3 });
                        passed.fetch_add(1, Ordering::SeqCst);
                    });
                });
            }
            for round in 0..5 {
                assert!(gate.wait_for(3, Duration::from_secs(60)));
                assert_eq!(passed.load(Ordering::SeqCst), 3 * round);
                let settled = gate.settled();
                assert_eq!((settled.answers, settled.until), (9, Nanos(1_000)));
                assert!((settled.rate - 9e6).abs() < 1.0, "{settled:?}");
                gate.open();
            }
        });
        assert_eq!(passed.into_inner(), 15);
    }

    #[test]
    fn who_does_not_come_is_not_waited_for_longer() {
        assert!(!SliceGate::default().wait_for(1, Duration::from_millis(1)));
    }
}

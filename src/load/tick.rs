//! What every turn of a generator thread has: its instant and what follows from it, and who is to be looked after
//! before the next wait.

use super::shared::{Phase, Shared};
use crate::units::Nanos;

/// The turn's instant, or that of what was received last, and what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    pub done: Nanos,
    pub phase: Phase,
    /// Whether answers count now.
    pub counting: bool,
}

impl Tick {
    /// Before the first.
    pub const NONE: Tick = Tick { done: Nanos::ZERO, phase: Phase::Admit, counting: false };

    /// A turn begins; `done` was read right after the wait. Whether the phase is a new one.
    #[inline]
    pub fn begin(&mut self, done: Nanos, shared: &Shared) -> bool {
        let phase = shared.phase(done);
        let changed = phase != self.phase;
        *self = Tick { done, phase, counting: shared.counting(done) };
        changed
    }

    /// What comes in from now on was received at `done`, read right after the receive. The phase stays the turn's.
    #[inline]
    pub fn refresh(&mut self, done: Nanos, shared: &Shared) {
        self.done = done;
        self.counting = shared.counting(done);
    }
}

/// Numbers of those to be looked after, each once, in the order in which they came to be. Grows no more once made.
#[derive(Debug)]
pub struct ReadyQueue {
    list: Vec<u32>,
    next: usize,
    queued: Box<[bool]>,
}

impl ReadyQueue {
    /// For numbers below `count`.
    pub fn new(count: usize) -> ReadyQueue {
        ReadyQueue { list: Vec::with_capacity(count), next: 0, queued: vec![false; count].into_boxed_slice() }
    }

    #[inline]
    pub fn wake(&mut self, number: usize) {
        if !std::mem::replace(&mut self.queued[number], true) {
            self.list.push(number as u32);
        }
    }

    /// Takes the next. Those woken meanwhile have a turn too, so call it until there is none.
    #[inline]
    pub fn next(&mut self) -> Option<usize> {
        let Some(&number) = self.list.get(self.next) else {
            self.list.clear();
            self.next = 0;
            return None;
        };
        self.next += 1;
        self.queued[number as usize] = false;
        Some(number as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_woken_has_one_turn_even_while_others_have_theirs() {
        let mut ready = ReadyQueue::new(3);
        [2, 0, 2].into_iter().for_each(|number| ready.wake(number));
        assert_eq!((ready.next(), ready.next()), (Some(2), Some(0)));
        // Again, though it had its tick.
        ready.wake(2);
        ready.wake(2);
        assert_eq!((ready.next(), ready.next(), ready.next()), (Some(2), None, None));
        ready.wake(1);
        assert_eq!((ready.next(), ready.next()), (Some(1), None));
    }

    #[test]
    fn a_turn_tells_a_new_phase_once_and_what_comes_later_in_it_may_count_no_more() {
        let shared = Shared::new(None, std::thread::current());
        let mut tick = Tick::NONE;
        assert!(!tick.begin(Nanos(1), &shared));
        shared.open_window(Nanos(10), Nanos(20));
        assert_eq!([11, 12].map(|done| tick.begin(Nanos(done), &shared)), [true, false]);
        assert!(tick.counting && tick.phase == Phase::Run);
        tick.refresh(Nanos(20), &shared);
        assert_eq!((tick.done, tick.phase, tick.counting), (Nanos(20), Phase::Run, false));
        assert!(tick.begin(Nanos(20), &shared) && tick.phase == Phase::Drain);
    }
}

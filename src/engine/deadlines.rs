//! When connections want to be called.
//!
//! A deadline that moves away, as one does that every message puts off, costs nothing until the old one has come: then it
//! is looked at again.

use crate::units::Nanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The deadlines of a shard's connections, which are named by `K`.
#[derive(Debug)]
pub struct Deadlines<K> {
    heap: BinaryHeap<Reverse<(Nanos, K)>>,
}

/// What a connection keeps of it: the instant at which it is looked at next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Armed(Option<Nanos>);

impl<K: Ord> Default for Deadlines<K> {
    fn default() -> Deadlines<K> {
        Deadlines { heap: BinaryHeap::new() }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Sees to it that the connection is looked at by `deadline`. Call it whenever the deadline may have changed.
    #[inline]
    pub fn arm(&mut self, key: K, deadline: Option<Nanos>, armed: &mut Armed) {
        if let Some(at) = deadline
            && armed.0.is_none_or(|armed| at < armed)
        {
            armed.0 = Some(at);
            self.heap.push(Reverse((at, key)));
        }
    }

    /// The next instant at which a connection is to be looked at.
    #[inline]
    pub fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the connections that are to be looked at by `now`, each with the instant it was armed for: [`Armed::has_come`]
    /// tells whether that still holds. What is armed meanwhile has to wait for the next call, so that a turn ends.
    #[inline]
    pub fn take_due(&mut self, now: Nanos) -> Vec<(Nanos, K)> {
        let mut due = Vec::new();
        while self.next().is_some_and(|at| at <= now) {
            due.extend(self.heap.pop().map(|Reverse(entry)| entry));
        }
        due
    }
}

impl Armed {
    /// The instant it was armed for has come: `true` where it is the connection's own, for which another must be armed now.
    pub fn has_come(&mut self, at: Nanos) -> bool {
        self.0.take_if(|armed| *armed == at).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_moves_away_is_armed_once_and_one_that_comes_closer_again() {
        let (mut deadlines, mut armed) = (Deadlines::default(), Armed::default());
        for at in [100, 200, 300] {
            deadlines.arm(7, Some(Nanos(at)), &mut armed);
        }
        deadlines.arm(7, Some(Nanos(50)), &mut armed);
        deadlines.arm(7, None, &mut armed);
        assert_eq!((deadlines.heap.len(), deadlines.next()), (2, Some(Nanos(50))));
        assert_eq!(deadlines.take_due(Nanos(49)), []);
        assert_eq!(deadlines.take_due(Nanos(50)), [(Nanos(50), 7)]);
        assert!(armed.has_come(Nanos(50)));
        // The one before is no longer the connection's.
        assert_eq!(deadlines.take_due(Nanos(100)), [(Nanos(100), 7)]);
        assert!(!armed.has_come(Nanos(100)));
        assert_eq!(deadlines.next(), None);
    }
}

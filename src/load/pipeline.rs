//! The requests of one connection or datagram socket that are in flight: their numbers and when they were sent. It
//! knows no bytes, no socket and no clock.
//!
//! Requests are numbered from 0. They may be answered in any order; where they are answered in the order in which they
//! were sent, or nearly so, a request costs one entry of a ring. Only what is passed by so many others that the ring
//! has come round is kept in a map.

use crate::units::Nanos;
use std::collections::BTreeMap;

/// Requests in flight for which there is room from the start. Tests go beyond it at every turn.
const FIRST_ROOM: u64 = if cfg!(test) { 2 } else { 16 };

/// When a request was meant to go out and when it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendTimes {
    pub intended: Nanos,
    pub sent: Nanos,
}

/// In the place of a request that is not in flight.
const NONE: SendTimes = SendTimes { intended: Nanos::ZERO, sent: Nanos(u64::MAX) };

impl SendTimes {
    #[inline]
    fn is_none(self) -> bool {
        self.sent == NONE.sent
    }
}

/// Requests in flight, at most so many as its depth.
#[derive(Debug)]
pub struct Pipeline {
    depth: u64,
    /// The number of the next request.
    next: u64,
    in_flight: u64,
    /// No request in the ring with a smaller number is in flight.
    first: u64,
    /// Request `n`, one of the newest `len`, is at `n % len`; the length is a power of two. It grows to what is in
    /// flight at once, so that a deep limit costs nothing until it is used.
    ring: Box<[SendTimes]>,
    /// Those in flight that are older than the ring reaches.
    older: BTreeMap<u64, SendTimes>,
}

impl Pipeline {
    /// `depth`: most requests in flight, at least 1.
    pub fn new(depth: u64) -> Pipeline {
        let depth = depth.max(1);
        let ring = empty_ring(depth.min(FIRST_ROOM));
        Pipeline { depth, next: 0, in_flight: 0, first: 0, ring, older: BTreeMap::new() }
    }

    /// Numbers requests from 0 again; whatever was in flight is forgotten.
    pub fn restart(&mut self) {
        self.ring.fill(NONE);
        self.older.clear();
        (self.next, self.in_flight, self.first) = (0, 0, 0);
    }

    /// The number of the next request: so many were begun.
    #[inline]
    pub fn next(&self) -> u64 {
        self.next
    }

    #[inline]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// How many more requests may be begun now.
    #[inline]
    pub fn room(&self) -> u64 {
        self.depth - self.in_flight
    }

    /// Begins a request and returns its number. `None`, and nothing happens, where there is no room.
    #[inline]
    pub fn begin(&mut self, times: SendTimes) -> Option<u64> {
        if self.room() == 0 {
            return None;
        }
        let id = self.next;
        let mut place = self.place(id);
        // A ring that has grown may have something older in this place.
        while !self.ring[place].is_none() {
            self.make_place();
            place = self.place(id);
        }
        self.ring[place] = times;
        self.next += 1;
        self.in_flight += 1;
        Some(id)
    }

    /// Ends a request: when it was sent. `None` where it is not in flight.
    #[inline]
    pub fn end(&mut self, id: u64) -> Option<SendTimes> {
        if id >= self.next {
            return None;
        }
        let times = if self.next - id > self.ring.len() as u64 {
            self.older.remove(&id)?
        } else {
            let place = self.place(id);
            std::mem::replace(&mut self.ring[place], NONE)
        };
        if times.is_none() {
            return None;
        }
        self.in_flight -= 1;
        Some(times)
    }

    /// The oldest request in flight, and when it was sent.
    pub fn oldest(&mut self) -> Option<(u64, SendTimes)> {
        if let Some((id, times)) = self.older.first_key_value() {
            return Some((*id, *times));
        }
        if self.in_flight == 0 {
            self.first = self.next;
            return None;
        }
        self.first = self.first.max(self.ring_start());
        while self.ring[self.place(self.first)].is_none() {
            self.first += 1;
        }
        Some((self.first, self.ring[self.place(self.first)]))
    }

    /// Requests in flight that the ring does not reach.
    #[cfg(test)]
    pub fn passed_by(&self) -> usize {
        self.older.len()
    }

    /// Frees the place of the next request: the ring grows while many are in flight at once, else what is passed by so
    /// many others goes to the map.
    #[cold]
    fn make_place(&mut self) {
        let len = self.ring.len() as u64;
        if self.in_flight >= len / 2 && len < 2 * self.depth.next_power_of_two() {
            return self.grow();
        }
        let place = self.place(self.next);
        let passed_by = std::mem::replace(&mut self.ring[place], NONE);
        self.older.insert(self.ring_start(), passed_by);
    }

    fn grow(&mut self) {
        let before = std::mem::take(&mut self.ring);
        let start = self.next - before.len() as u64;
        self.ring = empty_ring(2 * before.len() as u64);
        for id in start..self.next {
            let place = self.place(id);
            self.ring[place] = before[id as usize & (before.len() - 1)];
        }
        // It reaches further back now.
        self.first = self.ring_start();
        for (id, times) in self.older.split_off(&self.first) {
            let place = self.place(id);
            self.ring[place] = times;
        }
    }

    /// The oldest request that the ring reaches.
    fn ring_start(&self) -> u64 {
        self.next.saturating_sub(self.ring.len() as u64)
    }

    #[inline]
    fn place(&self, id: u64) -> usize {
        id as usize & (self.ring.len() - 1)
    }
}

fn empty_ring(len: u64) -> Box<[SendTimes]> {
    vec![NONE; len.next_power_of_two() as usize].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times(id: u64) -> SendTimes {
        SendTimes { intended: Nanos(id), sent: Nanos(id + 1_000_000) }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin(u64),
        /// The request so many before the next; beyond the first it is one that was never begun.
        End(u64),
        EndOldest,
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (1u64..8).prop_map(Step::Begin),
            20 => (0u64..20).prop_map(Step::End),
            5 => (0u64..300).prop_map(Step::End),
            10 => Just(Step::EndOldest),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Against the plainest model there is: a map of those in flight.
        #[test]
        fn what_is_in_flight_is_known_whatever_the_order_of_the_answers(
            depth in 1u64..40,
            steps in prop::collection::vec(step(), 1..300),
        ) {
            let (mut pipeline, mut model, mut next) = (Pipeline::new(depth), BTreeMap::new(), 0);
            for step in steps {
                match step {
                    Step::Begin(count) => for _ in 0..count {
                        let expected = ((model.len() as u64) < depth).then_some(next);
                        prop_assert_eq!(pipeline.begin(times(next)), expected);
                        expected.into_iter().for_each(|id| { model.insert(id, times(id)); });
                        next += u64::from(expected.is_some());
                    }
                    Step::End(back) => {
                        let id = u64::wrapping_sub(next, back);
                        prop_assert_eq!(pipeline.end(id), model.remove(&id));
                    }
                    Step::EndOldest => {
                        prop_assert_eq!(pipeline.oldest(), model.first_key_value().map(|(id, times)| (*id, *times)));
                        if let Some((id, times)) = model.pop_first() {
                            prop_assert_eq!(pipeline.end(id), Some(times));
                        }
                    }
                    Step::Restart => {
                        pipeline.restart();
                        model.clear();
                        next = 0;
                    }
                }
                prop_assert_eq!((pipeline.in_flight(), pipeline.next()), (model.len() as u64, next));
                prop_assert_eq!(pipeline.room(), depth - model.len() as u64);
            }
        }
    }

    #[test]
    fn a_ring_that_grows_loses_nothing_that_is_older() {
        let mut pipeline = Pipeline::new(4);
        // 0, 4 and 7 stay in flight while the ring comes round to where 0 was.
        for id in 0..8 {
            assert_eq!(pipeline.begin(times(id)), Some(id));
            if ![0, 4, 7].contains(&id) {
                assert_eq!(pipeline.end(id), Some(times(id)));
            }
        }
        assert_eq!((pipeline.ring.len(), pipeline.passed_by()), (4, 1));
        assert_eq!(pipeline.begin(times(8)), Some(8));
        for id in [0, 4, 7, 8] {
            assert_eq!(pipeline.oldest(), Some((id, times(id))));
            assert_eq!(pipeline.end(id), Some(times(id)));
        }
        assert_eq!(pipeline.oldest(), None);
    }

    #[test]
    fn answers_in_order_need_the_ring_alone_however_deep() {
        let mut pipeline = Pipeline::new(1000);
        for id in 0..100_000 {
            assert_eq!(pipeline.begin(times(id)), Some(id));
            if id >= 999 {
                assert_eq!(pipeline.end(id - 999), Some(times(id - 999)));
            }
            assert_eq!(pipeline.passed_by(), 0);
        }
        assert_eq!(pipeline.ring.len(), 1024);
    }

    #[test]
    fn a_deep_limit_costs_nothing_until_it_is_used() {
        let mut pipeline = Pipeline::new(1 << 40);
        for id in 0..1000 {
            pipeline.begin(times(id));
            pipeline.end(id);
        }
        assert_eq!(pipeline.ring.len() as u64, FIRST_ROOM);
    }
}

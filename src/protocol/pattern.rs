//! The bytes that requests are made of: one pseudo-random table for the process, read by every connection from its own
//! starting point on and around.
//!
//! The table lives as long as the process and never changes, so sending is handing out slices of it (no copy) and
//! checking an answer is one comparison with it. Nothing here knows about requests.

use crate::stats::splitmix64;

/// Length of the random sequence before it repeats. A prime, so that it is in step with no buffer or request size.
pub const PERIOD: usize = 65_521;
/// Longest slice of a stream that lies in the table in one piece.
pub const MAX_SLICE: usize = 64 * 1024;

/// Multiples of it modulo [`PERIOD`] are all different and far apart for neighbours (the golden ratio's share of it).
const STRIDE: u64 = 40_503;

/// The table: one period and as much of the next as a slice that starts at the period's end needs.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    table: &'static [u8],
    base: u64,
}

/// What one connection sends, and what it must get back: an endless sequence of bytes.
#[derive(Clone, Copy, Debug)]
pub struct PatternStream {
    table: &'static [u8],
    start: u64,
}

impl Pattern {
    /// Makes the table from the seed and leaks it (128 KiB): the kernel may read it until the process ends.
    pub fn leak(seed: u64) -> Pattern {
        let mut state = seed;
        let period: Vec<u8> = (0..PERIOD).map(|_| (splitmix64(&mut state) >> 56) as u8).collect();
        let table: Vec<u8> = period.iter().cycle().take(PERIOD + MAX_SLICE).copied().collect();
        Pattern { table: Box::leak(table.into_boxed_slice()), base: splitmix64(&mut state) % PERIOD as u64 }
    }

    /// The stream of the `number`-th connection made in this run. The first [`PERIOD`] numbers start at different
    /// points, so that bytes given to the wrong connection are noticed.
    pub fn stream(&self, number: u64) -> PatternStream {
        let start = (self.base + number % PERIOD as u64 * STRIDE) % PERIOD as u64;
        PatternStream { table: self.table, start }
    }
}

impl PatternStream {
    /// The bytes from `position` on: `len` of them, or [`MAX_SLICE`] when that is less.
    #[inline]
    pub fn slice(&self, position: u64, len: u64) -> &'static [u8] {
        let offset = ((self.start + position) % PERIOD as u64) as usize;
        &self.table[offset..][..len.min(MAX_SLICE as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use std::sync::LazyLock;

    static PATTERN: LazyLock<Pattern> = LazyLock::new(|| Pattern::leak(1));

    proptest! {
        #[test]
        fn a_slice_is_the_same_bytes_as_one_by_one(number: u64, position in 0u64..1 << 50, len in 0u64..70_000) {
            let stream = PATTERN.stream(number);
            let slice = stream.slice(position, len);
            prop_assert_eq!(slice.len() as u64, len.min(MAX_SLICE as u64));
            for (i, byte) in slice.iter().enumerate().step_by(997) {
                prop_assert_eq!(*byte, stream.slice(position + i as u64, 1)[0]);
            }
        }
    }

    #[test]
    fn streams_start_at_different_points() {
        let starts: HashSet<u64> = (0..PERIOD as u64).map(|number| PATTERN.stream(number).start).collect();
        assert_eq!(starts.len(), PERIOD);
    }

    #[test]
    fn the_seed_decides_the_bytes() {
        let bytes = |seed| Pattern::leak(seed).stream(3).slice(5, 32);
        assert_eq!(bytes(9), bytes(9));
        assert_ne!(bytes(9), bytes(10));
    }
}

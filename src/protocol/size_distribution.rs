//! How large each request of a connection is: all the same, or by weight from a mix.

use crate::stats::derive_seed;
use crate::units::{Bytes, SizeMix};

/// What sizes are drawn from. A copy costs nothing: the table of a mix lives as long as the process.
#[derive(Clone, Copy, Debug)]
pub enum SizeDistribution {
    All(u64),
    Mixed(&'static Table),
}

/// SizeDistribution with the sum of the weights up to and including theirs.
#[derive(Debug)]
pub struct Table {
    parts: Vec<(u64, u64)>,
    total: u64,
}

impl SizeDistribution {
    /// Leaks the table of a mix (a few bytes per size).
    pub fn leak(size: Bytes, mix: Option<&SizeMix>) -> SizeDistribution {
        let Some(mix) = mix.filter(|mix| mix.is_mixed()) else { return SizeDistribution::All(size.0.max(1)) };
        let mut total = 0;
        let mut part = |&(size, weight): &(Bytes, u64)| {
            total += weight;
            (size.0, total)
        };
        let parts = mix.parts().iter().map(&mut part).collect();
        SizeDistribution::Mixed(Box::leak(Box::new(Table { parts, total })))
    }

    /// Bytes of request `number` of those that belong to `seed`, at least 1: it needs no others before it, and is the
    /// same whenever it is asked for.
    #[inline]
    pub fn of(self, seed: u64, number: u64) -> u64 {
        match self {
            SizeDistribution::All(size) => size,
            SizeDistribution::Mixed(table) => table.at(share(derive_seed(seed, number), table.total)),
        }
    }

    pub fn largest(self) -> u64 {
        match self {
            SizeDistribution::All(size) => size,
            SizeDistribution::Mixed(table) => table.parts.iter().map(|(size, _)| *size).max().unwrap_or(1),
        }
    }
}

/// From evenly spread bits a number below `bound`, each as often as the others (but for 2^-64 of the bound).
fn share(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

impl Table {
    /// The size at a place in the row of all weights.
    #[inline]
    fn at(&self, place: u64) -> u64 {
        self.parts.iter().find(|(_, until)| place < *until).map_or(1, |(size, _)| *size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed() -> SizeDistribution {
        let mix: SizeMix = "64:90,1400:9,16k:1".parse().unwrap();
        SizeDistribution::leak(mix.mean(), Some(&mix))
    }

    fn assert_by_weight(drawn: &[u64]) {
        let count = |size| drawn.iter().filter(|drawn| **drawn == size).count();
        assert!((89_500..90_500).contains(&count(64)) && (8_700..9_300).contains(&count(1400)));
        assert_eq!((count(64) + count(1400) + count(16384), drawn.len()), (100_000, 100_000));
    }

    #[test]
    fn sizes_by_number_come_up_by_their_weights_for_each_and_for_all() {
        let sizes = mixed();
        assert_by_weight(&(0..100_000).map(|number| sizes.of(7, number)).collect::<Vec<_>>());
        assert_by_weight(&(0..100_000).map(|seed| sizes.of(seed, 7)).collect::<Vec<_>>());
        let sequence = |seed| (0..100).map(|number| sizes.of(seed, number)).collect::<Vec<_>>();
        assert!(sequence(1) == sequence(1) && sequence(1) != sequence(2));
        assert_eq!(sizes.largest(), 16384);
    }

    #[test]
    fn one_size_is_all_there_is() {
        let one: SizeMix = "100:7".parse().unwrap();
        for sizes in [SizeDistribution::leak(Bytes(100), None), SizeDistribution::leak(Bytes(100), Some(&one))] {
            assert!(matches!(sizes, SizeDistribution::All(100)));
            assert_eq!((sizes.of(1, 2), sizes.largest()), (100, 100));
        }
    }
}

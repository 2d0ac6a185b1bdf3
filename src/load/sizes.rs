//! How large each request of a connection is: all the same, or drawn by weight from a mix.

use crate::stats::Random;
use crate::units::{Bytes, SizeMix};

/// What sizes are drawn from. A copy costs nothing: the table of a mix lives as long as the process.
#[derive(Clone, Copy, Debug)]
pub enum Sizes {
    All(u64),
    Mixed(&'static Table),
}

/// Sizes with the sum of the weights up to and including theirs.
#[derive(Debug)]
pub struct Table {
    parts: Vec<(u64, u64)>,
    total: u64,
}

impl Sizes {
    /// Leaks the table of a mix (a few bytes per size).
    pub fn leak(size: Bytes, mix: Option<&SizeMix>) -> Sizes {
        let Some(mix) = mix.filter(|mix| mix.is_mixed()) else { return Sizes::All(size.0.max(1)) };
        let mut total = 0;
        let mut part = |&(size, weight): &(Bytes, u64)| {
            total += weight;
            (size.0, total)
        };
        let parts = mix.parts().iter().map(&mut part).collect();
        Sizes::Mixed(Box::leak(Box::new(Table { parts, total })))
    }

    /// The next request's size, at least 1.
    #[inline]
    pub fn draw(self, random: &mut Random) -> u64 {
        match self {
            Sizes::All(size) => size,
            Sizes::Mixed(table) => table.draw(random),
        }
    }
}

impl Table {
    fn draw(&self, random: &mut Random) -> u64 {
        let at = random.below(self.total as usize) as u64;
        self.parts.iter().find(|(_, until)| at < *until).map_or(1, |(size, _)| *size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_up_by_their_weights() {
        let mix: SizeMix = "64:90,1400:9,16k:1".parse().unwrap();
        let sizes = Sizes::leak(mix.mean(), Some(&mix));
        let mut random = Random::new(3);
        let drawn: Vec<u64> = (0..100_000).map(|_| sizes.draw(&mut random)).collect();
        let count = |size| drawn.iter().filter(|drawn| **drawn == size).count();
        assert!((89_500..90_500).contains(&count(64)) && (8_700..9_300).contains(&count(1400)));
        assert_eq!(count(64) + count(1400) + count(16384), drawn.len());
        let again: Vec<u64> = {
            let mut random = Random::new(3);
            (0..100).map(|_| sizes.draw(&mut random)).collect()
        };
        assert_eq!(again, drawn[..100]);
    }

    #[test]
    fn one_size_is_all_there_is() {
        let one: SizeMix = "100:7".parse().unwrap();
        for sizes in [Sizes::leak(Bytes(100), None), Sizes::leak(Bytes(100), Some(&one))] {
            assert!(matches!(sizes, Sizes::All(100)));
        }
    }
}

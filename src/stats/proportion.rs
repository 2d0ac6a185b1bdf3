//! How far a share that was counted can be trusted.

use super::bootstrap::Interval;
use super::critical_values::Z;

/// The 95 % interval of a proportion, `hits` of `tries`, after Wilson (1927, JASA 22:209). All of 0 to 1 without a try.
pub fn proportion_interval(hits: u64, tries: u64) -> Interval {
    if tries == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let n = tries as f64;
    let share = hits.min(tries) as f64 / n;
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Interval { low: (middle - half).max(0.0), high: (middle + half).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_values_are_met() {
        // Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
        for (hits, tries, low, high) in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)] {
            let interval = proportion_interval(hits, tries);
            assert!((interval.low - low).abs() < 1e-4 && (interval.high - high).abs() < 1e-4, "{interval:?}");
        }
        assert_eq!(proportion_interval(0, 0), Interval { low: 0.0, high: 1.0 });
    }
}

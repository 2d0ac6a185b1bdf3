//! Whether a rate has settled: the least-squares line through it, and its slope.

/// Steady is a slope below this share of the mean per interval, as fio's `steadystate=iops_slope:0.1%` would have it.
const STEADY_SLOPE: f64 = 0.001;

/// The least-squares line through values at equal distances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Arithmetic mean.
    pub mean: f64,
    /// Change per step, as a share of the mean.
    pub slope: f64,
    /// The slope by its standard error, Student's t of n − 2 degrees of freedom: how clearly it is not zero. Infinite
    /// for values on a line.
    pub t: f64,
    /// Number of values.
    pub values: usize,
}

/// `None` for fewer than 3 values, or where their mean is not above 0.
pub fn trend(values: &[f64]) -> Option<Trend> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 3 || mean <= 0.0 || !mean.is_finite() {
        return None;
    }
    let middle = (n - 1.0) / 2.0;
    let steps = values.iter().enumerate().map(|(step, value)| (step as f64 - middle, value - mean));
    let spread = n * (n * n - 1.0) / 12.0;
    let slope = steps.clone().map(|(x, y)| x * y).sum::<f64>() / spread;
    let unexplained: f64 = steps.map(|(x, y)| (y - slope * x).powi(2)).sum();
    let error = (unexplained / (n - 2.0) / spread).sqrt();
    let t = if slope == 0.0 { 0.0 } else { slope / error };
    Some(Trend { mean, slope: slope / mean, t, values: values.len() })
}

impl Trend {
    /// Whether the slope is small enough to count as none.
    pub fn is_steady(&self) -> bool {
        self.slope.abs() < STEADY_SLOPE
    }

    /// From the first value to the last, as a share of the mean.
    pub fn drift(&self) -> f64 {
        self.slope * (self.values - 1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;
    use proptest::prelude::*;

    #[test]
    fn the_line_is_that_of_least_squares() {
        let trend = trend(&[1.0, 3.0, 2.0, 5.0, 4.0]).unwrap();
        // By hand: slope 0.8, residuals squared 3.6, error √(3.6 / 3 / 10).
        assert!((trend.mean - 3.0).abs() < 1e-12 && (trend.slope - 0.8 / 3.0).abs() < 1e-12, "{trend:?}");
        assert!((trend.t - 0.8 / 0.12f64.sqrt()).abs() < 1e-9, "{trend:?}");
        assert!((trend.drift() - 3.2 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn flat_is_steady_and_climbing_is_not() {
        let climb = |slope: f64| (0..10).map(|i| 1000.0 * (1.0 + slope * f64::from(i))).collect::<Vec<_>>();
        assert!(trend(&climb(0.0)).unwrap().is_steady());
        assert!(trend(&climb(0.0005)).unwrap().is_steady());
        for slope in [0.01, -0.01] {
            let trend = trend(&climb(slope)).unwrap();
            assert!(!trend.is_steady() && trend.t.abs() > 1e6, "{trend:?}");
        }
        assert_eq!((trend(&[]), trend(&[1.0, 2.0]), trend(&[0.0; 5])), (None, None, None));
    }

    /// Of pure noise 1 in 1000 slopes is beyond t = 3.9 with 18 degrees of freedom.
    #[test]
    fn noise_has_no_clear_slope() {
        let mut random = Random::new(5);
        let noisy = |random: &mut Random| (0..20).map(|_| 1000.0 + 300.0 * random.unit()).collect::<Vec<_>>();
        let clear = (0..1000).filter(|_| trend(&noisy(&mut random)).unwrap().t.abs() > 3.92).count();
        assert!(clear <= 6, "{clear}");
    }

    proptest! {
        #[test]
        fn scale_and_place_do_not_matter(values in prop::collection::vec(1.0f64..100.0, 3..30), scale in 0.1f64..1e6) {
            let scaled: Vec<f64> = values.iter().map(|value| value * scale).collect();
            let (one, other) = (trend(&values).unwrap(), trend(&scaled).unwrap());
            prop_assert!((one.slope - other.slope).abs() < 1e-9);
            let reversed: Vec<f64> = values.iter().rev().copied().collect();
            prop_assert!((one.slope + trend(&reversed).unwrap().slope).abs() < 1e-9);
        }
    }
}

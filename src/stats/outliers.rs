//! Values that stand apart from the others. They are shown, never dropped: a median is hardly moved by them, and who
//! drops what does not fit finds what was looked for.

use super::median::median;

/// Beyond this a value is called an outlier (Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers").
pub const OUTLIER_SCORE: f64 = 3.5;
/// Makes the median absolute deviation comparable to a standard deviation (ibid.): Φ⁻¹(3/4).
const MAD_TO_SIGMA: f64 = 0.6745;
/// The same for the mean absolute deviation, used where more than half of the values are equal: √(π/2).
const MEAN_DEVIATION_TO_SIGMA: f64 = 1.253_314;

/// The modified Z-score of every value: 0.6745 · (x − median) / MAD. All 0 where the values are all the same.
pub fn modified_z_scores(values: &[f64]) -> Vec<f64> {
    let Some(middle) = median(values) else { return Vec::new() };
    let deviations: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    let scale = match median(&deviations) {
        Some(mad) if mad > 0.0 => mad / MAD_TO_SIGMA,
        _ => MEAN_DEVIATION_TO_SIGMA * deviations.iter().sum::<f64>() / deviations.len() as f64,
    };
    values.iter().map(|value| if scale > 0.0 { (value - middle) / scale } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_that_stands_apart_is_found() {
        // Median 2.45, median absolute deviation 0.15: the last two are outliers.
        let values = [2.1, 2.6, 2.4, 2.5, 2.3, 2.1, 2.3, 2.6, 8.2, 8.3];
        let scores = modified_z_scores(&values);
        let outliers: Vec<f64> = values
            .iter()
            .zip(&scores)
            .filter(|(_, score)| score.abs() > OUTLIER_SCORE)
            .map(|(value, _)| *value)
            .collect();
        assert_eq!(outliers, [8.2, 8.3]);
        assert!((scores[8] - 0.6745 * (8.2 - 2.45) / 0.15).abs() < 0.01, "{scores:?}");
    }

    #[test]
    fn where_most_are_equal_the_odd_one_is_still_found() {
        let scores = modified_z_scores(&[5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 9.0]);
        assert!(scores[6] > OUTLIER_SCORE && scores[0] == 0.0, "{scores:?}");
        assert_eq!(modified_z_scores(&[5.0, 5.0]), [0.0, 0.0]);
        assert_eq!(modified_z_scores(&[]), [0.0; 0]);
    }

    proptest! {
        #[test]
        fn scores_do_not_depend_on_place_or_unit(
            values in prop::collection::vec(1.0f64..1e3, 1..20), shift in 0.0f64..1e3, unit in 0.1f64..10.0,
        ) {
            let moved: Vec<f64> = values.iter().map(|value| value * unit + shift).collect();
            for (one, other) in modified_z_scores(&values).iter().zip(modified_z_scores(&moved)) {
                prop_assert!((one - other).abs() <= 1e-6 * (1.0 + one.abs()), "{one} {other}");
            }
        }
    }
}

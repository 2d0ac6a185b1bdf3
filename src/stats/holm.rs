//! Several claims at once.
//!
//! Five contestants make four comparisons with the baseline, ten cells forty: were each wrong with a chance of 5 %, one of
//! forty would be wrong nearly always. Holm's step-down procedure (1979, Scandinavian Journal of Statistics 6:65) holds the
//! chance of *any* false claim at 5 %, however the comparisons depend on each other; these do, by their common baseline.
//! The procedure of Benjamini and Hochberg (1995) claims more, but bounds the share of false claims only, and a reader of
//! one line of a table cannot know whether that line is in the share.

/// Of each p-value, in the order given, the smallest chance of a false claim among all of them at which it is still one:
/// the claims are those that are at most 0.05. Never below the p-value itself, and the same for one alone.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|one, other| p_values[*one].total_cmp(&p_values[*other]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (place, index) in order.into_iter().enumerate() {
        let hypotheses_left = (p_values.len() - place) as f64;
        largest = largest.max(p_values[index] * hypotheses_left).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By hand: 0.005 · 4, 0.01 · 3, 0.03 · 2, and 0.04 · 1, which is raised to what the one before it has.
    #[test]
    fn the_steps_are_those_of_holm() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (value, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((value - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert_eq!((holm(&[]), holm(&[0.04]), holm(&[0.9, 0.8])), (vec![], vec![0.04], vec![1.0, 1.0]));
    }

    proptest! {
        #[test]
        fn the_order_of_the_claims_is_kept_and_none_gets_easier(p_values in prop::collection::vec(0.0f64..=1.0, 0..30)) {
            let adjusted = holm(&p_values);
            for (one, value) in p_values.iter().zip(&adjusted) {
                prop_assert!(value >= one && *value <= 1.0 && *value <= one * p_values.len() as f64 + 1e-12);
                let larger = p_values.iter().zip(&adjusted).filter(|(other, _)| *other >= one);
                prop_assert!(larger.into_iter().all(|(_, other)| other >= value));
            }
        }
    }
}

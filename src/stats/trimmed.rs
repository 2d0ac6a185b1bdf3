//! A middle that a few wild values do not move, and that uses more of the others than a median does.

/// One value in so many is left out at each end …
const ONE_IN: usize = 5;
/// … but no fewer than these, so that a round may go wrong, and another, without a say in the result.
const AT_LEAST: usize = 2;

/// The mean of a sample without its smallest and its largest fifth, at least two values each where enough are left: of
/// up to 6 values it is the median. `None` for an empty sample.
pub(super) fn trimmed_mean_in_place(values: &mut [f64]) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let cut = (values.len() / ONE_IN).max(AT_LEAST).min(last / 2);
    values.select_nth_unstable_by(cut, f64::total_cmp);
    let rest = &mut values[cut..];
    let kept = last + 1 - 2 * cut;
    rest.select_nth_unstable_by(kept - 1, f64::total_cmp);
    Some(rest[..kept].iter().sum::<f64>() / kept as f64)
}

/// The same of ratios, on their logarithms: a ratio and its inverse are equally far from 1. Values without a logarithm
/// are left out; `None` without any other.
pub fn trimmed_geometric_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut logs: Vec<f64> = values.map(f64::ln).filter(|log| log.is_finite()).collect();
    trimmed_mean_in_place(&mut logs).map(f64::exp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fifth_is_left_out_at_each_end_and_of_few_all_but_the_middle() {
        for (values, middle) in [
            (&mut [][..], None),
            (&mut [7.0], Some(7.0)),
            (&mut [7.0, 1.0], Some(4.0)),
            (&mut [9.0, 1.0, 2.0, 3.0, 0.0, 99.0], Some(2.5)),
            (&mut [9.0, 1.0, 2.0, 3.0, 0.0, 99.0, 4.0, 5.0], Some(3.5)),
        ] {
            assert_eq!(trimmed_mean_in_place(values), middle);
        }
        let mut fifteen: Vec<f64> = (0..15).rev().map(f64::from).collect();
        fifteen[0] = 1e9;
        assert_eq!(trimmed_mean_in_place(&mut fifteen), Some(7.0));
    }

    #[test]
    fn ratios_are_taken_by_their_logarithms() {
        let of = |values: &[f64]| trimmed_geometric_mean(values.iter().copied());
        assert!((of(&[4.0, 1.0]).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(of(&[f64::NAN, f64::INFINITY, 0.0, -1.0]), None);
        assert!((of(&[f64::NAN, 3.0]).unwrap() - 3.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn the_middle_of_inverses_is_the_inverse_of_the_middle(values in prop::collection::vec(0.1f64..10.0, 1..40)) {
            let of = |power: i32| trimmed_geometric_mean(values.iter().map(|value| value.powi(power))).unwrap();
            prop_assert!((of(1) * of(-1) - 1.0).abs() < 1e-9);
            let (least, most) = (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(0.0, f64::max));
            prop_assert!(least * 0.999 <= of(1) && of(1) <= most * 1.001);
        }
    }
}

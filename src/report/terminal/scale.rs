//! One unit and one number of decimals for all figures of a column.

/// Requests per second.
pub const RATES: &[(f64, &str)] = &[(1.0, ""), (1e3, "k"), (1e6, "M")];
/// Nanoseconds.
pub const TIMES: &[(f64, &str)] = &[(1.0, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s")];
/// A figure that is so many times smaller than the largest does not decide.
const SMALL: f64 = 100.0;

/// How the figures of a column are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    divisor: f64,
    pub unit: &'static str,
    decimals: usize,
}

impl Scale {
    /// The largest unit in which all figures have three digits to be seen, as far as that takes no more than two decimals.
    pub fn of(values: impl Iterator<Item = f64> + Clone, units: &[(f64, &'static str)]) -> Scale {
        let largest = values.clone().fold(0.0, f64::max);
        let smallest = values.filter(|value| *value * SMALL >= largest).fold(largest, f64::min);
        let suits = units.iter().rev().find(|(divisor, _)| smallest >= *divisor * 0.9995);
        let (divisor, unit) = suits.or(units.first()).copied().unwrap_or((1.0, ""));
        // Where nothing was measured there is no unit either.
        let unit = if largest > 0.0 { unit } else { "" };
        let of_smallest = digits_after_three(smallest / divisor);
        // A long figure needs no decimals of its own.
        let most = match largest / divisor {
            value if value >= 999.5 => 0,
            value if value >= 99.95 => 1,
            _ => 2,
        };
        let is_whole = divisor == 1.0;
        Scale { divisor, unit, decimals: if is_whole { 0 } else { of_smallest.min(most) } }
    }

    pub fn show(&self, value: f64) -> String {
        format!("{:.*}", self.decimals, value / self.divisor)
    }
}

fn digits_after_three(value: f64) -> usize {
    match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(values: &[f64], units: &[(f64, &'static str)]) -> (Vec<String>, &'static str) {
        let scale = Scale::of(values.iter().copied(), units);
        (values.iter().map(|value| scale.show(*value)).collect(), scale.unit)
    }

    #[test]
    fn a_column_has_one_unit_in_which_all_can_be_told_apart() {
        for (values, units, texts, unit) in [
            (&[161e3, 202.4e3, 104e3][..], RATES, &["161", "202", "104"][..], "k"),
            (&[77.1e3, 186e3], RATES, &["77.1", "186.0"], "k"),
            (&[1.2e6, 0.9e6], RATES, &["1200", "900"], "k"),
            (&[1.2e6, 1.35e6], RATES, &["1.20", "1.35"], "M"),
            (&[312.0, 7.0], RATES, &["312", "7"], ""),
            (&[4_110.0, 8_130.0], TIMES, &["4.11", "8.13"], "us"),
            (&[579e3, 1.25e6], TIMES, &["579", "1250"], "us"),
            (&[7.58e6, 29.9e6], TIMES, &["7.58", "29.90"], "ms"),
            (&[9_800.0, 431e3], TIMES, &["9.8", "431.0"], "us"),
            (&[820.0, 4_100.0], TIMES, &["820", "4100"], "ns"),
            (&[], TIMES, &[], ""),
        ] {
            assert_eq!(shown(values, units), (texts.iter().map(|text| (*text).to_owned()).collect(), unit));
        }
    }
}

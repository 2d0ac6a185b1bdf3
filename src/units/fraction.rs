//! A part of a whole: `2%`, `0.02`; from nothing to all of it.

use super::{ParseUnitError, three_digits};
use std::fmt;
use std::str::FromStr;

/// A share, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Fraction(f64);

impl Fraction {
    /// A fraction of 1; `None` where it is no share.
    pub fn new(fraction: f64) -> Option<Fraction> {
        (0.0..=1.0).contains(&fraction).then_some(Fraction(fraction))
    }

    /// As a fraction of 1.
    pub fn value(self) -> f64 {
        self.0
    }

    /// As one would type it, exact.
    pub fn typed(self) -> String {
        if self.0 == 1.0 { "100%".to_owned() } else { self.0.to_string() }
    }
}

impl FromStr for Fraction {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Fraction, ParseUnitError> {
        let (number, scale) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), 0.01),
            None => (text, 1.0),
        };
        // A bare 1 may be meant as one percent, or as all of it.
        let most = if scale == 1.0 { 1.0_f64.next_down() } else { 1.0 };
        let fraction = number.parse::<f64>().ok().map(|number| number * scale);
        fraction.filter(|fraction| (0.0..=most).contains(fraction)).map(Fraction).ok_or_else(|| {
            ParseUnitError(format!("'{text}' is no share from 0 to 100%; write percent (2%) or a fraction (0.02)"))
        })
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} %", three_digits((self.0 * 1e8).round() / 1e6)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_parse_and_print() {
        for (text, fraction, shown) in [("2%", 0.02, "2 %"), ("0.5 %", 0.005, "0.50 %"), ("0.02", 0.02, "2 %")] {
            let parsed: Fraction = text.parse().unwrap();
            assert!((parsed.value() - fraction).abs() < 1e-12, "{text}");
            assert_eq!(parsed.to_string(), shown);
        }
        for (text, fraction) in [("0", 0.0), ("0%", 0.0), ("100%", 1.0), ("7%", 0.07), ("1e-9", 1e-9)] {
            let parsed: Fraction = text.parse().unwrap();
            assert_eq!(parsed.typed().parse::<Fraction>().unwrap(), parsed, "{text}");
            assert!((parsed.value() - fraction).abs() < 1e-12, "{text}");
        }
        for bad in ["", "%", "-1%", "100.1%", "1", "2", "NaN", "inf%", "x"] {
            assert!(bad.parse::<Fraction>().is_err(), "{bad}");
        }
    }
}

//! A part of a whole: `2%`, `0.02`.

use super::{ParseUnitError, three_digits};
use std::fmt;
use std::str::FromStr;

/// A share, more than 0 and less than 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// As a fraction of 1.
    pub fn fraction(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Share, ParseUnitError> {
        let (number, scale) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), 0.01),
            None => (text, 1.0),
        };
        let share = number.parse::<f64>().ok().map(|number| number * scale);
        share.filter(|share| *share > 0.0 && *share < 1.0).map(Share).ok_or_else(|| {
            ParseUnitError(format!(
                "'{text}' is no share; write percent (2%) or a fraction (0.02), more than 0 and less than all"
            ))
        })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} %", three_digits((self.0 * 1e8).round() / 1e6)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_parse_and_print() {
        for (text, fraction, shown) in [("2%", 0.02, "2 %"), ("0.5 %", 0.005, "0.50 %"), ("0.02", 0.02, "2 %")] {
            let share: Share = text.parse().unwrap();
            assert!((share.fraction() - fraction).abs() < 1e-12, "{text}");
            assert_eq!(share.to_string(), shown);
        }
        for bad in ["", "%", "0", "-1%", "100%", "1", "2", "NaN", "inf%", "x"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }
}

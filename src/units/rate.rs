//! Requests per second, as typed and as shown.

use super::{ParseUnitError, split_number, three_digits, whole};
use std::fmt;
use std::str::FromStr;

/// Requests per second, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// Beyond it the gaps are too short for nanoseconds.
const MAX: u64 = 100_000_000;

impl Rate {
    /// Fails beyond the range that is typed.
    pub fn new(per_second: u64) -> Result<Rate, ParseUnitError> {
        match per_second {
            1..=MAX => Ok(Rate(per_second)),
            _ => Err(ParseUnitError(format!("{per_second} is not from 1 to {MAX} requests per second"))),
        }
    }

    /// Requests per second.
    pub const fn per_second(self) -> u64 {
        self.0
    }

    /// Half way between two rates.
    pub const fn midpoint(self, other: Rate) -> Rate {
        Rate(self.0.midpoint(other.0))
    }
}

impl FromStr for Rate {
    type Err = ParseUnitError;

    /// A number, with `k` or `M` (powers of 1000) and `/s` if one likes: `20000`, `20k`, `1.5M/s`.
    fn from_str(text: &str) -> Result<Rate, ParseUnitError> {
        let (number, unit) = split_number(text)?;
        let scale = match unit.strip_suffix("/s").unwrap_or(unit).trim() {
            "" => 1.0,
            "k" => 1e3,
            "M" => 1e6,
            _ => {
                return Err(ParseUnitError(format!(
                    "'{text}' is not a rate; write requests per second: 500, 20k, 1.5M"
                )));
            }
        };
        match whole(text, number * scale)? {
            rate @ 1..=MAX => Ok(Rate(rate)),
            _ => Err(ParseUnitError(format!("'{text}' is not from 1 to {MAX} requests per second"))),
        }
    }
}

impl fmt::Display for Rate {
    /// `500/s`, `20k/s`, `1.50M/s`; a rate that this would round is spelled out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, unit) = match self.0 {
            rate if rate >= 1_000_000 && rate.is_multiple_of(10_000) => (1e6, "M"),
            rate if rate >= 1_000 && rate.is_multiple_of(100) && rate < 100_000 => (1e3, "k"),
            rate if rate >= 1_000 && rate.is_multiple_of(1_000) => (1e3, "k"),
            _ => (1.0, ""),
        };
        f.pad(&format!("{}{unit}/s", three_digits(self.0 as f64 / scale)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_parse_and_print() {
        for (text, rate) in [("500", 500), ("20k", 20_000), ("1.5M/s", 1_500_000), ("12.5k/s", 12_500), ("1", 1)] {
            assert_eq!(text.parse(), Ok(Rate(rate)), "{text}");
        }
        for (rate, text) in
            [(500, "500/s"), (20_000, "20k/s"), (12_500, "12.5k/s"), (1_500_000, "1.50M/s"), (1234, "1234/s")]
        {
            assert_eq!(Rate(rate).to_string(), text);
        }
        for bad in ["", "0", "-1", "k", "20q", "1G", "0.2", "101M", "20k/m"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}

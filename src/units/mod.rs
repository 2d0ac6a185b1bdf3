//! What people type and what figures mean: newtypes that parse (`64k`, `250us`, `0-3,6`) and print.
//!
//! Everything here is a value: no I/O, no clock, no dependency on the rest of the crate.

mod address;
mod arrival;
mod civil;
mod cores;
mod fraction;
mod rate;
mod sizes;

pub use address::{Address, Endpoint, ParseAddressError, SocketLocation, Transport};
pub use arrival::Arrival;
pub use civil::Civil;
pub use cores::{CoreList, CoreSelection};
pub use fraction::Fraction;
pub use rate::Rate;
pub use sizes::SizeMix;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A span of time in nanoseconds, or an instant in nanoseconds since the clock's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// What was typed is not a value of the unit; the message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseUnitError(pub(crate) String);

impl Nanos {
    /// No time, or the epoch of the clock.
    pub const ZERO: Nanos = Nanos(0);

    /// So many milliseconds, at most 1.8e13.
    pub const fn from_millis(millis: u64) -> Nanos {
        Nanos(millis * 1_000_000)
    }

    /// So many seconds, at most 1.8e10.
    pub const fn from_secs(secs: u64) -> Nanos {
        Nanos(secs * 1_000_000_000)
    }

    /// As it is typed, longer than nothing.
    pub fn parse_positive(text: &str) -> Result<Nanos, ParseUnitError> {
        match text.parse()? {
            Nanos::ZERO => Err(ParseUnitError("must be longer than 0".into())),
            time => Ok(time),
        }
    }

    /// In seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// As the standard library's type.
    pub const fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// `self - earlier`, or zero where `earlier` is the later one.
    pub fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add for Nanos {
    type Output = Nanos;
    fn add(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(other.0))
    }
}

const TIME_UNITS: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

impl FromStr for Nanos {
    type Err = ParseUnitError;

    /// A number with a unit (`ns us ms s m h`); a bare `0` needs none.
    fn from_str(text: &str) -> Result<Nanos, ParseUnitError> {
        let (number, unit) = split_number(text)?;
        if number == 0.0 && unit.is_empty() {
            return Ok(Nanos(0));
        }
        let scale = TIME_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| {
                ParseUnitError(format!("'{text}' is not a duration; write it with a unit: 250us, 1.5ms, 10s, 2m"))
            })?
            .1;
        whole(text, number * scale).map(Nanos)
    }
}

impl FromStr for Bytes {
    type Err = ParseUnitError;

    /// A number of bytes; `k`, `M`, `G` (also `KiB`, `kb` …) are powers of 1024.
    fn from_str(text: &str) -> Result<Bytes, ParseUnitError> {
        let (number, unit) = split_number(text)?;
        let scale = match unit.to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
            "" => 1.0,
            "k" => 1024.0,
            "m" => 1024.0 * 1024.0,
            "g" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(ParseUnitError(format!("'{text}' is not a size; write bytes (64) or k, M, G (16k, 1M)"))),
        };
        whole(text, number * scale).map(Bytes)
    }
}

fn split_number(text: &str) -> Result<(f64, &str), ParseUnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().map_err(|_| ParseUnitError(format!("'{text}' does not start with a number")))?;
    Ok((number, text[end..].trim()))
}

fn whole(text: &str, value: f64) -> Result<u64, ParseUnitError> {
    // 2^53: beyond it a double no longer holds every integer.
    if value > 9_007_199_254_740_992.0 {
        return Err(ParseUnitError(format!("'{text}' is too large")));
    }
    if value.fract() > 1e-6 && value < 1.0 {
        return Err(ParseUnitError(format!("'{text}' is below the smallest step")));
    }
    Ok(value.round() as u64)
}

impl fmt::Display for Nanos {
    /// Three significant digits in the unit that suits: `54.2us`, `1.20ms`, `10s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, unit) = match self.0 {
            0..1_000 => return f.pad(&format!("{}ns", self.0)),
            1_000..1_000_000 => (1e3, "us"),
            1_000_000..1_000_000_000 => (1e6, "ms"),
            _ => (1e9, "s"),
        };
        f.pad(&format!("{}{unit}", three_digits(self.0 as f64 / scale)))
    }
}

impl fmt::Display for Bytes {
    /// The largest unit that divides it: `64`, `16k`, `1M`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, unit) = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")]
            .into_iter()
            .find(|(scale, _)| self.0 > 0 && self.0.is_multiple_of(*scale))
            .unwrap_or((1, ""));
        f.pad(&format!("{}{unit}", self.0 / scale))
    }
}

/// `1.23`, `12.3`, `123`, and whole numbers without a fraction.
pub fn three_digits(value: f64) -> String {
    if value.fract() == 0.0 && value < 1e15 {
        return format!("{value:.0}");
    }
    match value.abs() {
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// As [`three_digits`], but what is small and not nothing does not look like nothing: `<0.01`.
pub fn few(value: f64) -> String {
    if value > 0.0 && value < 0.005 { "<0.01".into() } else { three_digits(value) }
}

/// `1 thread`, `2 threads`, `0 threads`: a count and what is counted, which takes an s for its plural.
pub fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print() {
        for (text, nanos) in [
            ("0", 0),
            ("250us", 250_000),
            ("1.5ms", 1_500_000),
            ("10s", 10_000_000_000),
            ("2m", 120_000_000_000),
            ("17ns", 17),
        ] {
            assert_eq!(text.parse(), Ok(Nanos(nanos)), "{text}");
        }
        assert_eq!(Nanos(54_210).to_string(), "54.2us");
        assert_eq!(Nanos(10_000_000_000).to_string(), "10s");
        for bad in ["", "10", "s", "1.2.3s", "-1s", "5 parsecs", "99999999999h"] {
            assert!(bad.parse::<Nanos>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_parse_and_print() {
        for (text, bytes) in
            [("64", 64), ("64k", 65_536), ("16KiB", 16_384), ("1M", 1 << 20), ("1.5k", 1536), ("2GB", 2 << 30)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        assert_eq!(Bytes(16_384).to_string(), "16k");
        assert_eq!(Bytes(65).to_string(), "65");
        for bad in ["", "k", "10q", "-1", "99999999G"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }
}

//! Sizes of requests, as typed and as shown: one for all, or several by weight.

use super::{Bytes, ParseUnitError};
use std::fmt;
use std::str::FromStr;

/// Sizes, each with its weight; all at least 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeMix(Vec<(Bytes, u64)>);

/// Weights are shares, so that small numbers do.
const MAX_WEIGHT: u64 = 1_000_000;

impl SizeMix {
    /// Never empty.
    pub fn parts(&self) -> &[(Bytes, u64)] {
        &self.0
    }

    /// Whether there is more than one size.
    pub fn is_mixed(&self) -> bool {
        self.0.len() > 1
    }

    /// The largest size that occurs.
    pub fn largest(&self) -> Bytes {
        self.0.iter().map(|(size, _)| *size).fold(Bytes(1), Bytes::max)
    }

    /// The mean by weight, rounded.
    pub fn mean(&self) -> Bytes {
        let total: u128 = self.0.iter().map(|(_, weight)| u128::from(*weight)).sum();
        let bytes: u128 = self.0.iter().map(|(size, weight)| u128::from(size.0) * u128::from(*weight)).sum();
        Bytes(((bytes + total / 2) / total) as u64)
    }
}

impl FromStr for SizeMix {
    type Err = ParseUnitError;

    /// A size, or several with weights: `64`, `64:90,1400:9,16k:1`.
    fn from_str(text: &str) -> Result<SizeMix, ParseUnitError> {
        let parts: Vec<_> = text.split(',').map(|part| part.trim()).collect();
        if let [size] = parts[..]
            && !size.contains(':')
        {
            return Ok(SizeMix(vec![(at_least_one(size)?, 1)]));
        }
        parts.into_iter().map(weighted).collect::<Result<_, _>>().map(SizeMix)
    }
}

fn weighted(part: &str) -> Result<(Bytes, u64), ParseUnitError> {
    let (size, weight) = part.split_once(':').ok_or_else(|| {
        ParseUnitError(format!("'{part}' has no weight; write each size of a mix with one: 64:90,1400:9,16k:1"))
    })?;
    match weight.trim().parse() {
        Ok(weight @ 1..=MAX_WEIGHT) => Ok((at_least_one(size)?, weight)),
        _ => Err(ParseUnitError(format!("'{weight}' is no weight from 1 to {MAX_WEIGHT}"))),
    }
}

fn at_least_one(text: &str) -> Result<Bytes, ParseUnitError> {
    match text.parse()? {
        Bytes(0) => Err(ParseUnitError("a request has at least 1 byte".into())),
        size => Ok(size),
    }
}

impl fmt::Display for SizeMix {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0[..] {
            [(size, _)] => size.fmt(f),
            _ => {
                let parts: Vec<_> = self.0.iter().map(|(size, weight)| format!("{size}:{weight}")).collect();
                f.pad(&parts.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_print() {
        for (text, shown, largest, mean) in [
            ("64", "64", 64, 64),
            ("16k", "16k", 16384, 16384),
            ("64:90, 1400:9,16384:1", "64:90,1400:9,16k:1", 16384, 347),
            ("10:1,20:1", "10:1,20:1", 20, 15),
            ("100:5", "100", 100, 100),
        ] {
            let mix: SizeMix = text.parse().unwrap();
            assert_eq!((mix.to_string().as_str(), mix.largest().0, mix.mean().0), (shown, largest, mean), "{text}");
        }
        for bad in ["", "0", "64,128", "64:0", "64:x", "0:1,2:1", ":1", "64:90,", "64:2000000"] {
            assert!(bad.parse::<SizeMix>().is_err(), "{bad}");
        }
    }
}

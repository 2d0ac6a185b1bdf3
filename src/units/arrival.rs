//! How requests follow each other, as typed and as shown.

use super::{ParseUnitError, Rate};
use std::fmt;
use std::str::FromStr;

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// All gaps the same.
    Constant,
    /// Independent users: gaps exponentially distributed.
    Poisson,
    /// So many at one instant, and then a gap that keeps the rate.
    Burst(u64),
    /// From one rate to another, evenly over the counted time.
    Ramp { from: Rate, to: Rate },
}

const ARRIVALS: &str = "constant, poisson, burst:N (N at once) or ramp:FROM..TO (rates over the counted time)";

impl FromStr for Arrival {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Arrival, ParseUnitError> {
        let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        match (name, rest) {
            ("constant", None) => Ok(Arrival::Constant),
            ("poisson", None) => Ok(Arrival::Poisson),
            ("burst", Some(count)) => match count.parse() {
                Ok(count @ 1..=1_000_000) => Ok(Arrival::Burst(count)),
                _ => Err(ParseUnitError(format!("'{count}' is not a number of requests from 1 to 1000000"))),
            },
            ("ramp", Some(rates)) => {
                let no_ramp = || ParseUnitError("a ramp is written ramp:FROM..TO, as ramp:1k..20k".into());
                let (from, to) = rates.split_once("..").ok_or_else(no_ramp)?;
                Ok(Arrival::Ramp { from: from.parse()?, to: to.parse()? })
            }
            _ => Err(ParseUnitError(format!("'{text}' is none of: {ARRIVALS}"))),
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arrival::Constant => f.pad("constant"),
            Arrival::Poisson => f.pad("poisson"),
            Arrival::Burst(count) => f.pad(&format!("burst:{count}")),
            Arrival::Ramp { from, to } => f.pad(&format!("ramp:{}..{}", from.per_second(), to.per_second())),
        }
    }
}

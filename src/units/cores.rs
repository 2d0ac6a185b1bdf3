//! CPU cores as people name them: a count (`4`) or a list (`0-3,6`).

use super::ParseUnitError;
use std::fmt;
use std::str::FromStr;

/// Highest core number accepted; a typo must not allocate a list of billions.
const MAX_CORE: usize = 8191;

/// What was typed after `--cores`: how many, or which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreSelection {
    /// The first N cores this process may run on.
    Count(usize),
    /// Exactly these. One core alone is written `3-3`, because `3` is a count.
    List(CoreList),
}

/// Core numbers, ascending, each once, never empty. Prints as `0-3,6` (one core as `3-3`), which parses back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(Vec<usize>);

impl CoreList {
    /// `None` where there is no core at all.
    pub fn new(mut cores: Vec<usize>) -> Option<CoreList> {
        cores.sort_unstable();
        cores.dedup();
        (!cores.is_empty()).then_some(CoreList(cores))
    }

    /// Numbers of the cores, as the kernel numbers them.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// Number of cores.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Always false: a list without a core cannot be made.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for CoreSelection {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<CoreSelection, ParseUnitError> {
        match text.parse::<usize>() {
            Ok(0) => Err(ParseUnitError("0 cores cannot run anything; name at least one".into())),
            Ok(count) => Ok(CoreSelection::Count(count)),
            Err(_) => text.parse().map(CoreSelection::List),
        }
    }
}

impl FromStr for CoreList {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<CoreList, ParseUnitError> {
        let mut cores = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (core(text, first)?, core(text, last)?);
            if first > last {
                return Err(ParseUnitError(format!("in '{text}', {first}-{last} runs backwards")));
            }
            cores.extend(first..=last);
        }
        CoreList::new(cores).ok_or_else(|| not_cores(text))
    }
}

fn core(text: &str, part: &str) -> Result<usize, ParseUnitError> {
    part.parse().ok().filter(|core| *core <= MAX_CORE).ok_or_else(|| not_cores(text))
}

fn not_cores(text: &str) -> ParseUnitError {
    ParseUnitError(format!("'{text}' names no cores; write a count (4) or a list (0-3,6; one core alone as 3-3)"))
}

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        let mut parts = Vec::new();
        while let Some(&first) = rest.first() {
            let run = rest.iter().enumerate().take_while(|(i, core)| **core == first + i).count();
            parts.push(if run == 1 && self.0.len() > 1 {
                format!("{first}")
            } else {
                format!("{first}-{}", first + run - 1)
            });
            rest = &rest[run..];
        }
        f.pad(&parts.join(","))
    }
}

impl fmt::Display for CoreSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CoreSelection::Count(count) => write!(f, "{count}"),
            CoreSelection::List(list) => list.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_counts_parse_and_print_back() {
        assert_eq!("4".parse(), Ok(CoreSelection::Count(4)));
        for (text, cores) in [("0-3,6", vec![0, 1, 2, 3, 6]), ("3-3", vec![3]), ("1,0", vec![0, 1])] {
            let list: CoreList = text.parse().unwrap();
            assert_eq!(list.as_slice(), cores);
            assert_eq!(list.to_string().parse(), Ok(CoreSelection::List(list)));
        }
        for bad in ["0", "", "a", "3-1", "0-999999999", ",", "-1"] {
            assert!(bad.parse::<CoreSelection>().is_err(), "{bad}");
        }
    }
}

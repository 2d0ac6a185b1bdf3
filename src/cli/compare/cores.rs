//! Which cores the server gets and which the generator: disjoint ones wherever that is possible.

use crate::sys::affinity::{self, AffinityError};
use crate::units::{CoreList, CoreSelection};

/// Cores of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub server: CoreList,
    pub load: CoreList,
}

impl Split {
    /// They have a core in common, so each takes time from the other.
    pub fn shared(&self) -> bool {
        self.server.as_slice().iter().any(|core| self.load.as_slice().contains(core))
    }
}

/// Half each, the server's first, unless told otherwise. Who is not told gets what the other leaves, and shares its
/// cores where nothing is left.
pub fn split(
    server: Option<&CoreSelection>,
    load: Option<&CoreSelection>,
    available: &CoreList,
) -> Result<Split, AffinityError> {
    let reserved = match load {
        Some(CoreSelection::List(list)) => list.as_slice().to_vec(),
        _ => Vec::new(),
    };
    let for_server = without(available, &reserved);
    let server = match (server, load) {
        (Some(selection), _) => choose(selection, &for_server, available)?,
        (None, Some(CoreSelection::List(_))) => for_server,
        (None, Some(CoreSelection::Count(count))) => first(available, available.len().saturating_sub(*count)),
        (None, None) => first(available, available.len() / 2),
    };
    let for_load = without(available, server.as_slice());
    let load = load.map_or(Ok(for_load.clone()), |selection| choose(selection, &for_load, available))?;
    Ok(Split { server, load })
}

/// A list as it stands, a count out of `from`.
fn choose(selection: &CoreSelection, from: &CoreList, available: &CoreList) -> Result<CoreList, AffinityError> {
    match selection {
        CoreSelection::Count(count) if *count <= from.len() => Ok(first(from, *count)),
        CoreSelection::Count(count) => {
            Err(AffinityError::TooMany { wanted: *count, have: from.len(), available: from.clone() })
        }
        CoreSelection::List(list) => match list.as_slice().iter().find(|core| !available.as_slice().contains(core)) {
            Some(&core) => Err(AffinityError::NotAvailable { core, available: available.clone() }),
            None => Ok(list.clone()),
        },
    }
}

/// At least one core.
fn first(cores: &CoreList, count: usize) -> CoreList {
    CoreList::new(cores.as_slice()[..count.clamp(1, cores.len())].to_vec()).unwrap_or_else(|| cores.clone())
}

/// What is left; all of them where nothing would be.
fn without(cores: &CoreList, taken: &[usize]) -> CoreList {
    let left = cores.as_slice().iter().copied().filter(|core| !taken.contains(core)).collect();
    CoreList::new(left).unwrap_or_else(|| cores.clone())
}

/// The cores of this machine, split.
pub fn split_here(server: Option<&CoreSelection>, load: Option<&CoreSelection>) -> Result<Split, AffinityError> {
    split(server, load, &affinity::available()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_of(server: &str, load: &str, available: &str) -> Result<String, AffinityError> {
        let read = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let split = split(read(server).as_ref(), read(load).as_ref(), &available.parse().unwrap())?;
        Ok(format!("{} / {}{}", split.server, split.load, if split.shared() { " shared" } else { "" }))
    }

    #[test]
    fn the_sides_are_disjoint_where_possible() {
        for (server, load, available, expected) in [
            ("", "", "0-3", "0-1 / 2-3"),
            ("", "", "0-2", "0-0 / 1-2"),
            ("", "", "5-5", "5-5 / 5-5 shared"),
            ("1", "", "0-3", "0-0 / 1-3"),
            ("", "1", "0-3", "0-2 / 3-3"),
            ("1", "2", "0-3", "0-0 / 1-2"),
            ("2", "0-1", "0-3", "2-3 / 0-1"),
            ("", "0-0", "0-3", "1-3 / 0-0"),
            ("0-3", "", "0-3", "0-3 / 0-3 shared"),
            ("0-1", "1-2", "0-3", "0-1 / 1-2 shared"),
        ] {
            assert_eq!(split_of(server, load, available).unwrap(), expected, "{server} {load} of {available}");
        }
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for (server, load) in [("3", "2"), ("9", ""), ("7-8", ""), ("", "9-9")] {
            assert!(split_of(server, load, "0-3").is_err(), "{server} {load}");
        }
    }
}

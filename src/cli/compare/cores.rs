//! Which cores the server gets and which the generator: disjoint ones, and no threads of one physical core on both sides,
//! wherever that is possible.

use crate::sys::affinity::{self, AffinityError};
use crate::units::{CoreList, CoreSelection};

/// Cores of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub server: CoreList,
    pub load: CoreList,
    /// Both sides run on different hardware threads of one physical core.
    pub siblings_shared: bool,
}

impl Split {
    fn new(server: CoreList, load: CoreList, physical: &[CoreList]) -> Split {
        let on = |side: &CoreList, group: &CoreList| meet(side, group.as_slice());
        let both = |group: &&CoreList| {
            let (servers, loads) = (on(&server, group), on(&load, group));
            servers.iter().any(|server| loads.iter().any(|load| load != server))
        };
        let siblings_shared = physical.iter().find(both).is_some();
        Split { server, load, siblings_shared }
    }

    /// They have a core in common, so each takes time from the other.
    pub fn shared(&self) -> bool {
        !meet(&self.server, self.load.as_slice()).is_empty()
    }
}

/// Half of the physical cores each, the server's first, unless asked otherwise. Where only one was named, the other gets
/// what that leaves: whole physical cores where there are some, else its siblings, else the same cores.
///
/// `physical` are the cores available, in groups of those that are threads of one physical core.
pub fn split(
    server: Option<&CoreSelection>,
    load: Option<&CoreSelection>,
    physical: &[CoreList],
) -> Result<Split, AffinityError> {
    let available = CoreList::new(left(physical, &[]).concat()).ok_or(AffinityError::Unknown)?;
    let server = match (server, load) {
        (Some(selection), Some(CoreSelection::List(list))) => {
            choose(selection, &without(physical, list.as_slice()), &available)?
        }
        (Some(selection), _) => choose(selection, &without(physical, &[]), &available)?,
        (None, Some(CoreSelection::List(list))) => best_without(physical, list.as_slice(), &available),
        (None, Some(CoreSelection::Count(count))) => beside(*count, physical, &available),
        (None, None) if physical.len() == 1 => first(&left(physical, &[]).concat(), available.len() / 2, &available),
        (None, None) => whole(&physical[..physical.len() / 2], &available),
    };
    let load = match load {
        Some(selection) => choose(selection, &without(physical, server.as_slice()), &available)?,
        None => best_without(physical, server.as_slice(), &available),
    };
    Ok(Split::new(server, load, physical))
}

/// What a server gets that is to leave `count` cores to the generator.
fn beside(count: usize, physical: &[CoreList], available: &CoreList) -> CoreList {
    let mut kept = physical.len();
    let mut reserved = 0;
    while kept > 0 && reserved < count {
        kept -= 1;
        reserved += physical[kept].len();
    }
    match kept {
        0 => first(&left(physical, &[]).concat(), available.len().saturating_sub(count), available),
        _ => whole(&physical[..kept], available),
    }
}

/// A list as it stands, a count out of `from`, the first of which are the best.
fn choose(selection: &CoreSelection, from: &[usize], available: &CoreList) -> Result<CoreList, AffinityError> {
    match selection {
        CoreSelection::Count(count) if *count <= from.len() => Ok(first(from, *count, available)),
        CoreSelection::Count(count) => {
            let available = CoreList::new(from.to_vec()).unwrap_or_else(|| available.clone());
            Err(AffinityError::TooMany { wanted: *count, have: from.len(), available })
        }
        CoreSelection::List(list) => match list.as_slice().iter().find(|core| !available.as_slice().contains(core)) {
            Some(&core) => Err(AffinityError::NotAvailable { core, available: available.clone() }),
            None => Ok(list.clone()),
        },
    }
}

/// At least one core.
fn first(cores: &[usize], count: usize, available: &CoreList) -> CoreList {
    let count = count.clamp(1, cores.len().max(1));
    CoreList::new(cores.iter().copied().take(count).collect()).unwrap_or_else(|| available.clone())
}

/// All cores of these groups.
fn whole(groups: &[CoreList], available: &CoreList) -> CoreList {
    CoreList::new(groups.iter().flat_map(CoreList::as_slice).copied().collect()).unwrap_or_else(|| available.clone())
}

/// What is left: cores of untouched physical cores, one physical core after the other, and siblings of those taken.
fn left(physical: &[CoreList], taken: &[usize]) -> [Vec<usize>; 2] {
    let (touched, free): (Vec<_>, Vec<_>) = physical.iter().partition(|group| !meet(group, taken).is_empty());
    let cores = |groups: Vec<&CoreList>| -> Vec<usize> {
        let cores = groups.into_iter().flat_map(CoreList::as_slice).copied();
        cores.filter(|core| !taken.contains(core)).collect()
    };
    [cores(free), cores(touched)]
}

/// What is left, the best first; all cores where nothing is.
fn without(physical: &[CoreList], taken: &[usize]) -> Vec<usize> {
    let all = left(physical, taken).concat();
    if all.is_empty() { left(physical, &[]).concat() } else { all }
}

/// The best of what is left: whole physical cores, else siblings, else all cores.
fn best_without(physical: &[CoreList], taken: &[usize], available: &CoreList) -> CoreList {
    left(physical, taken).into_iter().find_map(CoreList::new).unwrap_or_else(|| available.clone())
}

/// Those of `cores` that are in the list.
fn meet(list: &CoreList, cores: &[usize]) -> Vec<usize> {
    list.as_slice().iter().copied().filter(|core| cores.contains(core)).collect()
}

/// The cores of this machine, split.
pub fn split_here(server: Option<&CoreSelection>, load: Option<&CoreSelection>) -> Result<Split, AffinityError> {
    split(server, load, &affinity::physical(&affinity::available()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The groups are separated by blanks.
    fn split_of(server: &str, load: &str, physical: &str) -> Result<String, AffinityError> {
        let read = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let physical: Vec<CoreList> = physical.split(' ').map(|group| group.parse().unwrap()).collect();
        let split = split(read(server).as_ref(), read(load).as_ref(), &physical)?;
        let siblings = if split.siblings_shared { " siblings" } else { "" };
        Ok(format!("{} / {}{}{siblings}", split.server, split.load, if split.shared() { " shared" } else { "" }))
    }

    /// A line a split: what is typed for the server and for the generator (`-` is nothing), the cores, what comes of it.
    fn assert_splits(lines: &str) {
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let mut fields = line.split('|').map(str::trim);
            let mut next = || fields.next().map(|field| if field == "-" { "" } else { field }).unwrap();
            let (server, load, physical, expected) = (next(), next(), next(), next());
            assert_eq!(split_of(server, load, physical).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn the_sides_are_disjoint_where_possible() {
        assert_splits(
            "
            -   | -   | 0 1 2 3         | 0-1 / 2-3
            -   | -   | 0 1 2           | 0-0 / 1-2
            -   | -   | 5               | 5-5 / 5-5 shared
            1   | -   | 0 1 2 3         | 0-0 / 1-3
            -   | 1   | 0 1 2 3         | 0-2 / 3-3
            1   | 2   | 0 1 2 3         | 0-0 / 1-2
            2   | 0-1 | 0 1 2 3         | 2-3 / 0-1
            -   | 0-0 | 0 1 2 3         | 1-3 / 0-0
            0-3 | -   | 0 1 2 3         | 0-3 / 0-3 shared
            0-1 | 1-2 | 0 1 2 3         | 0-1 / 1-2 shared
            ",
        );
    }

    #[test]
    fn siblings_stay_on_one_side_where_possible() {
        assert_splits(
            "
            -   | -   | 0,4 1,5 2,6 3,7 | 0-1,4-5 / 2-3,6-7
            -   | -   | 0,2 1,3         | 0,2 / 1,3
            -   | -   | 0-1 2-3 4-5     | 0-1 / 2-5
            -   | -   | 0-1             | 0-0 / 1-1 siblings
            -   | -   | 0-3             | 0-1 / 2-3 siblings
            1   | -   | 0,4 1,5 2,6 3,7 | 0-0 / 1-3,5-7
            3   | -   | 0,4 1,5 2,6 3,7 | 0-1,4 / 2-3,6-7
            -   | 1   | 0,4 1,5 2,6 3,7 | 0-2,4-6 / 3-3
            -   | 3   | 0,4 1,5 2,6 3,7 | 0-1,4-5 / 2-3,6
            -   | 7   | 0,4 1,5 2,6 3,7 | 0-0 / 1-7 siblings
            -   | 1   | 0-1             | 0-0 / 1-1 siblings
            2   | 2   | 0,4 1,5 2,6 3,7 | 0,4 / 1,5
            1   | 1   | 0-1             | 0-0 / 1-1 siblings
            0-3 | -   | 0,4 1,5 2,6 3,7 | 0-3 / 4-7 siblings
            0-0 | -   | 0-1 2-3 4-5     | 0-0 / 2-5
            -   | 0-0 | 0-1 2-3 4-5     | 2-5 / 0-0
            0-5 | -   | 0-1 2-3 4-5     | 0-5 / 0-5 shared siblings
            0-0 | 1-1 | 0-1 2-3 4-5     | 0-0 / 1-1 siblings
            ",
        );
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for (server, load) in [("3", "2"), ("9", ""), ("7-8", ""), ("", "9-9")] {
            assert!(split_of(server, load, "0 1 2 3").is_err(), "{server} {load}");
        }
    }
}

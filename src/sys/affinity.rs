//! Which cores this process may use, and pinning threads to them.

use super::process::core_mask;
use crate::units::{CoreList, CoreSelection};
use std::fs;

/// The chosen cores are not there.
#[derive(Debug, thiserror::Error)]
pub enum AffinityError {
    #[error("the kernel does not report which cores this process may use")]
    Unknown,
    #[error(
        "core {core} is not one this process may use ({available}); choose among those, or widen the process's affinity with taskset"
    )]
    NotAvailable { core: usize, available: CoreList },
    #[error("{wanted} cores were asked for, but this process may use only {have} ({available})")]
    TooMany { wanted: usize, have: usize, available: CoreList },
    #[error("pinning a thread to core {0} failed; --no-pin runs without")]
    Pin(usize),
}

/// The cores this process may run on (its affinity mask), ascending.
pub fn available() -> Result<CoreList, AffinityError> {
    let ids = core_affinity::get_core_ids().ok_or(AffinityError::Unknown)?;
    CoreList::new(ids.iter().map(|id| id.id).collect()).ok_or(AffinityError::Unknown)
}

/// These cores in groups of those that are hardware threads of one physical core, by their lowest number
/// (thread_siblings_list of Linux's cputopology). Where the kernel does not report them, each is a group of its own.
pub fn physical(cores: &CoreList) -> Vec<CoreList> {
    group(cores, |core| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    })
}

fn group(cores: &CoreList, siblings: impl Fn(usize) -> Option<CoreList>) -> Vec<CoreList> {
    let mut left = cores.as_slice().to_vec();
    let mut groups = Vec::new();
    while let Some(&core) = left.first() {
        let group = siblings(core);
        let together =
            |other: &usize| *other == core || group.as_ref().is_some_and(|group| group.as_slice().contains(other));
        let (group, rest) = left.into_iter().partition(together);
        groups.extend(CoreList::new(group));
        left = rest;
    }
    groups
}

/// The cores that a process may run on, from /proc/PID/status (proc(5)). `None` when it is gone.
pub fn cores_of(pid: u32) -> Option<CoreList> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().parse().ok()
}

/// The cores that a selection names here.
pub fn resolve(selection: &CoreSelection) -> Result<CoreList, AffinityError> {
    let available = available()?;
    let cores = available.as_slice();
    match selection {
        CoreSelection::Count(count) if *count > cores.len() => {
            Err(AffinityError::TooMany { wanted: *count, have: cores.len(), available })
        }
        CoreSelection::Count(count) => Ok(CoreList::new(cores[..*count].to_vec()).expect("a count is at least 1")),
        CoreSelection::List(list) => match list.as_slice().iter().find(|core| !cores.contains(core)) {
            Some(&core) => Err(AffinityError::NotAvailable { core, available }),
            None => Ok(list.clone()),
        },
    }
}

/// Keeps the calling thread, and threads that it starts from now on, on these cores.
pub fn restrict_current_thread(cores: &CoreList) -> Result<(), AffinityError> {
    let mask = core_mask(cores.as_slice());
    // SAFETY: the kernel reads one cpu_set_t, a local.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&mask), &mask) } {
        0 => Ok(()),
        _ => Err(AffinityError::Pin(cores.as_slice()[0])),
    }
}

/// Pins the calling thread to one core.
pub fn pin_current_thread(core: usize) -> Result<(), AffinityError> {
    restrict_current_thread(&CoreList::new(vec![core]).ok_or(AffinityError::Pin(core))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_grouped_by_what_the_kernel_tells() {
        let of = |cores: &str, siblings: fn(usize) -> Option<String>| {
            let groups = group(&cores.parse().unwrap(), |core| siblings(core)?.parse().ok());
            groups.iter().map(CoreList::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("0-3", |core| Some(format!("{},{}", core % 2, core % 2 + 2))), "0,2 1,3");
        assert_eq!(of("0-3", |core| Some(format!("{}-{}", core & !1, core | 1))), "0-1 2-3");
        assert_eq!(of("1-3", |core| Some(format!("{}-{}", core & !1, core | 1))), "1-1 2-3");
        assert_eq!(of("0-2", |_| None), "0-0 1-1 2-2");
        assert_eq!(of("0-1", |_| Some("7".into())), "0-0 1-1");
    }

    #[test]
    fn a_core_that_is_not_there_is_an_error() {
        for core in [4_000, usize::MAX] {
            assert!(matches!(pin_current_thread(core), Err(AffinityError::Pin(failed)) if failed == core));
        }
    }

    #[test]
    fn every_core_of_this_machine_is_in_one_group() {
        let cores = available().unwrap();
        let groups = physical(&cores);
        assert_eq!(groups.iter().map(CoreList::len).sum::<usize>(), cores.len());
        assert_eq!(CoreList::new(groups.iter().flat_map(CoreList::as_slice).copied().collect()), Some(cores));
    }
}

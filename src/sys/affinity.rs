//! Which cores this process may use, and pinning threads to them.

use crate::units::{CoreList, CoreSelection};
use core_affinity::CoreId;
use std::fs;

/// The chosen cores are not there.
#[derive(Debug, thiserror::Error)]
pub enum AffinityError {
    #[error("the kernel does not tell which cores this process may use")]
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

/// How many cores a process may run on, from /proc/PID/status (proc(5)). `None` when it is gone.
pub fn cores_of(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().parse::<CoreList>().ok()?.len())
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

/// Pins the calling thread to one core.
pub fn pin_current_thread(core: usize) -> Result<(), AffinityError> {
    match core_affinity::set_for_current(CoreId { id: core }) {
        true => Ok(()),
        false => Err(AffinityError::Pin(core)),
    }
}

//! Resident memory of processes.

use super::process_tree::descendants;
use crate::units::Bytes;
use std::fs;
use std::io;

/// Memory of a process and its living descendants that is in RAM now (proc_pid_statm(5)). An error when the process
/// itself is gone.
///
/// Pages that several processes share count in each. What the kernel keeps for the process (socket buffers, most of a
/// ring) is not in it. Before Linux 6.16 the figure may be off by some dozen pages per core.
pub fn process_tree_resident(pid: u32) -> io::Result<Bytes> {
    let own = resident(pid)?.0;
    Ok(Bytes(descendants(pid).into_iter().filter_map(|child| resident(child).ok()).fold(own, |sum, more| sum + more.0)))
}

fn resident(pid: u32) -> io::Result<Bytes> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.map(|pages| Bytes(pages * page_size())).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn page_size() -> u64 {
    // SAFETY: asks for a number; there are no pointers.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_touched_is_resident() {
        let own = std::process::id();
        let before = process_tree_resident(own).unwrap();
        let touched = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = process_tree_resident(own).unwrap();
        // Other tests give memory back meanwhile.
        assert!(after.0 > before.0 + (touched.len() as u64) / 2, "{before:?} {after:?}");
        assert!(process_tree_resident(0x7fff_fff0).is_err());
    }
}

//! Which processes and threads belong to a process, from /proc. Those that end during the reading are left out.

use std::fs;

/// A process and its living descendants. Costs a file to read per thread.
pub fn processes(pid: u32) -> Vec<u32> {
    std::iter::once(pid).chain(descendants(pid)).collect()
}

/// Children, their children and so on.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = children(pid);
    let mut next = 0;
    while next < found.len() {
        found.extend(children(found[next]));
        next += 1;
    }
    found
}

fn children(pid: u32) -> Vec<u32> {
    threads(pid)
        .into_iter()
        .filter_map(|thread| fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// The threads of a process; io_uring's worker and SQPOLL threads are among them.
pub fn threads(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// All threads of a process and of its descendants, each with its process.
pub fn process_tree_threads(pid: u32) -> Vec<(u32, u32)> {
    processes(pid).into_iter().flat_map(|pid| threads(pid).into_iter().map(move |thread| (pid, thread))).collect()
}

/// The threads of this process but the calling one.
pub fn other_threads() -> Vec<u32> {
    // SAFETY: takes nothing and cannot fail.
    let own = unsafe { libc::gettid() } as u32;
    threads(std::process::id()).into_iter().filter(|thread| *thread != own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_children_are_found() {
        let (done_tx, done_rx) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let others = other_threads();
            let _ = done_rx.recv();
            others
        });
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let all = process_tree_threads(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        drop(done_tx);
        assert!(all.contains(&(child.id(), child.id())), "{all:?}");
        // SAFETY: takes nothing and cannot fail.
        let own = unsafe { libc::gettid() } as u32;
        assert!(thread.join().unwrap().contains(&own) && !other_threads().contains(&own));
    }
}

//! Context switches of processes.

use super::process_tree::process_tree_threads;
use std::collections::BTreeMap;
use std::fs;
use std::io;

/// How often a core was given to another thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// The thread waited for something.
    pub voluntary: u64,
    /// It would have gone on.
    pub involuntary: u64,
}

impl Switches {
    /// Switches between `earlier` and this.
    pub fn since(self, earlier: Switches) -> Switches {
        Switches {
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

/// Switches so far of each thread of a tree of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessTreeSwitches(BTreeMap<u32, Switches>);

/// Switches of a tree of processes between two instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchesUse {
    /// Of all threads.
    pub switches: Switches,
    /// Threads that ended in between: their switches are missing. One that also began in between is not noticed.
    pub ended: usize,
}

/// Switches so far of all threads of a process and its living descendants (proc_pid_status(5)). An error when the process
/// is gone.
///
/// Costs a file to read per thread, some ten microseconds each.
pub fn process_tree_switches(pid: u32) -> io::Result<ProcessTreeSwitches> {
    let threads = process_tree_threads(pid).into_iter();
    let all: BTreeMap<u32, Switches> = threads.filter_map(|(pid, thread)| Some((thread, of(pid, thread)?))).collect();
    if all.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(ProcessTreeSwitches(all)) }
}

fn of(pid: u32, thread: u32) -> Option<Switches> {
    parse(&fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok()?)
}

fn parse(status: &str) -> Option<Switches> {
    let number = |name: &str| {
        let line = status.lines().rev().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    let [voluntary, involuntary] = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"].map(number);
    Some(Switches { voluntary: voluntary?, involuntary: involuntary? })
}

impl ProcessTreeSwitches {
    /// What happened since an earlier look: of each thread the difference, of a new one everything.
    pub fn since(&self, earlier: &ProcessTreeSwitches) -> SwitchesUse {
        // Figures that went back are those of a new thread with an old number.
        let before = |thread: &u32, now: &Switches| {
            let known = earlier.0.get(thread).copied();
            known.filter(|then| then.voluntary <= now.voluntary && then.involuntary <= now.involuntary)
        };
        let mut switches = Switches::default();
        for (thread, now) in &self.0 {
            let more = now.since(before(thread, now).unwrap_or_default());
            switches.voluntary += more.voluntary;
            switches.involuntary += more.involuntary;
        }
        let is_there = |thread: &u32| self.0.get(thread).is_some_and(|now| before(thread, now).is_some());
        SwitchesUse { switches, ended: earlier.0.keys().filter(|thread| !is_there(thread)).count() }
    }
}

/// Switches so far of this process: all threads, those that ended included (getrusage(2)).
pub fn own_switches() -> io::Result<Switches> {
    // SAFETY: rusage is plain numbers; all zero is valid, and the kernel overwrites it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one rusage to the address given, which is a local of that type.
    match unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) } {
        0 => Ok(Switches { voluntary: usage.ru_nvcsw as u64, involuntary: usage.ru_nivcsw as u64 }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_sleep_is_a_voluntary_switch() {
        let own = std::process::id();
        let before = (own_switches().unwrap(), process_tree_switches(own).unwrap());
        let sleeps = 20;
        (0..sleeps).for_each(|_| std::thread::sleep(Duration::from_millis(1)));
        let (switches, tree) =
            (own_switches().unwrap().since(before.0), process_tree_switches(own).unwrap().since(&before.1));
        assert!(switches.voluntary >= sleeps && tree.switches.voluntary >= sleeps, "{switches:?} {tree:?}");
    }

    #[test]
    fn another_process_is_seen_until_it_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let before = process_tree_switches(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(before.unwrap().0.contains_key(&child.id()));
        assert!(process_tree_switches(child.id()).is_err());
    }

    #[test]
    fn threads_that_come_and_go_do_not_spoil_the_difference() {
        let tree = |all: &[(u32, u64, u64)]| {
            let of = |(thread, voluntary, involuntary): &(u32, u64, u64)| {
                (*thread, Switches { voluntary: *voluntary, involuntary: *involuntary })
            };
            ProcessTreeSwitches(all.iter().map(of).collect())
        };
        let before = tree(&[(1, 100, 1), (2, 50, 9)]);
        for (after, voluntary, involuntary, ended) in [
            (tree(&[(1, 110, 1), (2, 50, 10)]), 10, 1, 0),
            (tree(&[(1, 110, 1)]), 10, 0, 1),
            (tree(&[(1, 110, 1), (2, 50, 9), (3, 7, 7)]), 17, 7, 0),
            (tree(&[(1, 110, 1), (2, 3, 0)]), 13, 0, 1),
        ] {
            let switches = Switches { voluntary, involuntary };
            assert_eq!(after.since(&before), SwitchesUse { switches, ended }, "{after:?}");
        }
    }

    #[test]
    fn both_kinds_are_told_apart() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(parse(status), Some(Switches { voluntary: 12, involuntary: 3 }));
        assert_eq!(parse("Name:\tx\n"), None);
    }
}

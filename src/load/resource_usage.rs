//! What both ends use beyond CPU time, as the main thread reads it: memory, and in counter windows of their own after
//! the counted window context switches and what perf events count.
//!
//! The counted window stays undisturbed: no counter is open in it, and nothing is read in it that takes a file per
//! thread (500 threads take 10 ms, and several times that on a busy core). A counter window has as much load as the
//! counted one, so a figure per request of it holds for both.

use crate::sys::accounting::{
    self, Counters, PerfEvent, ProcessTreeSwitches, Switches, SwitchesUse, Unavailable, other_threads,
    process_tree_threads,
};
use crate::units::{Bytes, Nanos};

/// What is counted in one counter window.
#[derive(Debug)]
pub struct Kind {
    switches: bool,
    events: &'static [PerfEvent],
}

/// System calls come last and alone: counting them adds instructions to each.
pub const COUNTER_WINDOWS: [Kind; 2] = [
    Kind { switches: true, events: &[PerfEvent::Instructions, PerfEvent::Cycles] },
    Kind { switches: false, events: &[PerfEvent::SystemCalls] },
];
/// A counter window is this part of the counted one, but within these bounds.
const WINDOW_PART: u64 = 10;
const SHORTEST_WINDOW: Nanos = Nanos::from_millis(100);
const LONGEST_WINDOW: Nanos = Nanos::from_secs(1);

/// Length of a counter window after a counted window of this length.
pub fn window_length(window: Nanos) -> Nanos {
    Nanos(window.0 / WINDOW_PART).max(SHORTEST_WINDOW).min(LONGEST_WINDOW)
}

/// Everything read during a run.
#[derive(Debug, Default)]
pub struct ResourceUsage {
    pub generator: EndUsage,
    pub server: EndUsage,
    pub unavailable: Vec<Unavailable>,
    server_pid: Option<u32>,
}

/// What is known of one end.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndUsage {
    /// Before the first connection and at the window's end.
    pub resident: [Option<Bytes>; 2],
    pub switches: Option<Count<Switches>>,
    /// By `Counted as usize`.
    pub counts: [Option<Count>; PerfEvent::ALL.len()],
}

/// Events, and the requests answered in the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<E = u64> {
    pub events: E,
    pub requests: u64,
    pub over: Nanos,
}

impl ResourceUsage {
    /// Before the first connection.
    pub fn open(server_pid: Option<u32>) -> ResourceUsage {
        let mut usage = ResourceUsage { server_pid, ..ResourceUsage::default() };
        usage.read_resident(0);
        usage
    }

    /// Right after the window, once what must be read first has been.
    pub fn window_ended(&mut self) {
        self.read_resident(1);
    }

    /// Switches of threads that ended are lost: then what is left says nothing.
    fn whole(&mut self, server: SwitchesUse) -> Option<Switches> {
        if server.ended > 0 {
            self.unavailable.push(Unavailable {
                what: "context switches of the server",
                why: format!("{} of its threads ended meanwhile, and their figures with them", server.ended),
                remedy: "look at its CPU time, which has them all".into(),
            });
        }
        (server.ended == 0).then_some(server.switches)
    }

    fn read_resident(&mut self, when: usize) {
        self.generator.resident[when] = accounting::process_tree_resident(std::process::id()).ok();
        self.server.resident[when] = self.server_pid.and_then(|pid| accounting::process_tree_resident(pid).ok());
    }

    /// Opens counters on all threads of both ends but the calling one, which moves no bytes. `None` where nothing can
    /// be counted.
    pub fn open_window(&mut self, kind: &Kind) -> Option<CounterWindow> {
        let server =
            self.server_pid.map(|pid| process_tree_threads(pid).into_iter().map(|(_, thread)| thread).collect());
        let mut counters = Vec::new();
        for (end, threads) in [(End::Generator, Some(other_threads())), (End::Server, server)] {
            for (counted, threads) in kind.events.iter().zip(threads.iter().cycle()) {
                match Counters::open(*counted, threads) {
                    Ok(opened) => counters.push((end, *counted, opened)),
                    Err(unavailable) if self.unavailable.contains(&unavailable) => {}
                    Err(unavailable) => self.unavailable.push(unavailable),
                }
            }
        }
        let switches_of = kind.switches.then_some(self.server_pid);
        (!counters.is_empty() || kind.switches).then_some(CounterWindow { counters, switches_of })
    }

    /// Enters what a counter window counted between two readings of it.
    pub fn enter(&mut self, window: &CounterWindow, begin: Reading, end: Reading) {
        let (requests, over) = (end.requests.saturating_sub(begin.requests), end.at.since(begin.at));
        for (index, (whose, counted, _)) in window.counters.iter().enumerate() {
            let account = match whose {
                End::Generator => &mut self.generator,
                End::Server => &mut self.server,
            };
            let events = end.values[index].zip(begin.values[index]).map(|(end, begin)| end.saturating_sub(begin));
            account.counts[*counted as usize] = events.map(|events| Count { events, requests, over });
        }
        self.distrust_dead_counters();
        let count = |events| Count { events, requests, over };
        if window.switches_of.is_some() {
            let own = end.own_switches.zip(begin.own_switches).map(|(end, begin)| end.since(begin));
            let server = end.server_switches.zip(begin.server_switches).map(|(end, begin)| end.since(&begin));
            self.generator.switches = own.map(count);
            self.server.switches = server.and_then(|server| self.whole(server)).map(count);
        }
    }

    /// Nobody answers requests without instructions: such a counter is one that the hypervisor only pretends to have.
    fn distrust_dead_counters(&mut self) {
        for counted in [PerfEvent::Instructions, PerfEvent::Cycles] {
            let mut dead = false;
            for account in [&mut self.generator, &mut self.server] {
                let count = &mut account.counts[counted as usize];
                dead |= count.take_if(|count| count.events == 0 && count.requests > 0).is_some();
            }
            if dead {
                let (why, remedy) =
                    ("its counter stands still, as in some virtual machines", "a machine that shows its PMU");
                let missing = Unavailable { what: counted.name(), why: why.into(), remedy: remedy.into() };
                self.unavailable.push(missing);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Generator,
    Server,
}

/// Counters that are open. Closing those of system calls takes tens of milliseconds.
#[derive(Debug)]
pub struct CounterWindow {
    counters: Vec<(End, PerfEvent, Counters)>,
    /// Switches are counted too: this process's, and the server's if there is one.
    switches_of: Option<Option<u32>>,
}

/// The counters' values, and the requests answered until the reading began.
#[derive(Debug)]
pub struct Reading {
    at: Nanos,
    requests: u64,
    values: Vec<Option<u64>>,
    own_switches: Option<Switches>,
    server_switches: Option<ProcessTreeSwitches>,
}

impl CounterWindow {
    /// Reading may take long, but each counter is read as long after the reading's begin as the other time.
    pub fn read(&self, at: Nanos, requests: u64) -> Reading {
        Reading {
            at,
            requests,
            values: self.counters.iter().map(|(_, _, counters)| counters.read().ok()).collect(),
            own_switches: self.switches_of.and_then(|_| accounting::own_switches().ok()),
            server_switches: self.switches_of.flatten().and_then(|pid| accounting::process_tree_switches(pid).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_window_is_a_tenth_within_bounds() {
        for (counted, length) in [(50, 100), (5_000, 500), (60_000, 1_000)] {
            assert_eq!(window_length(Nanos::from_millis(counted)), Nanos::from_millis(length));
        }
    }

    #[test]
    fn switches_of_a_server_whose_threads_end_are_unknown() {
        let mut usage = ResourceUsage::default();
        let switches = Switches { voluntary: 7, involuntary: 1 };
        assert_eq!(usage.whole(SwitchesUse { switches, ended: 0 }), Some(switches));
        assert!(usage.unavailable.is_empty());
        assert_eq!(usage.whole(SwitchesUse { switches, ended: 3 }), None);
        assert!(usage.unavailable[0].why.starts_with("3 of its threads"), "{:?}", usage.unavailable);
    }

    #[test]
    fn a_counter_that_stands_still_is_no_figure() {
        let mut usage = ResourceUsage::default();
        let of = |events, requests| Some(Count { events, requests, over: Nanos(1) });
        usage.generator.counts = [of(0, 9), of(0, 9), of(7, 9)];
        usage.server.counts = [of(0, 9), None, of(0, 0)];
        usage.distrust_dead_counters();
        assert_eq!(usage.generator.counts, [of(0, 9), None, of(7, 9)]);
        assert_eq!(usage.server.counts, [of(0, 9), None, of(0, 0)]);
        let missing: Vec<&str> = usage.unavailable.iter().map(|missing| missing.what).collect();
        assert_eq!(missing, ["instructions"]);
    }

    #[test]
    fn a_process_is_read_from_before_the_connections_to_the_windows_end() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let mut usage = ResourceUsage::open(Some(child.id()));
        let window = usage.open_window(&COUNTER_WINDOWS[0]).unwrap();
        let begin = window.read(Nanos(100), 4);
        usage.window_ended();
        usage.enter(&window, begin, window.read(Nanos(350), 9));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(usage.server.resident.iter().all(|resident| resident.is_some_and(|bytes| bytes.0 > 0)), "{usage:?}");
        let switches = usage.server.switches.map(|switches| (switches.requests, switches.over));
        assert_eq!(switches, Some((5, Nanos(250))), "{usage:?}");
        assert!(usage.generator.switches.is_some() && usage.generator.resident[1].is_some(), "{usage:?}");
    }

    #[test]
    fn a_counter_window_counts_or_gives_the_reason() {
        let mut usage = ResourceUsage::default();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let window = usage.open_window(&COUNTER_WINDOWS[1]);
        if let Some(window) = &window {
            let begin = window.read(Nanos(10), 5);
            std::thread::sleep(std::time::Duration::from_millis(50));
            usage.enter(window, begin, window.read(Nanos(60), 9));
            let count = usage.generator.counts[PerfEvent::SystemCalls as usize].unwrap();
            assert!(count.events > 0 && (count.requests, count.over) == (4, Nanos(50)), "{count:?}");
        } else {
            println!("skipped: {:?}", usage.unavailable);
            assert!(!usage.unavailable.is_empty());
        }
        drop(stop);
        let _ = thread.join();
    }
}

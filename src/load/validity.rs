//! When a run's figures must not be used, and what to know when they may. One small rule each; a rule looks at the
//! facts of a run and changes nothing.

use crate::units::{Nanos, three_digits};
use std::collections::BTreeMap;

/// A generator with a thread busier than this may have been the bottleneck itself.
const BUSY_GENERATOR: f64 = 0.9;
/// … unless the server was at least so busy: then both ends were at their limits.
const BUSY_SERVER: f64 = 0.8;

/// What the rules look at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub connections: u64,
    pub threads: u64,
    /// Connections that were answered at least once.
    pub admitted: u64,
    pub requests: u64,
    pub errors: BTreeMap<String, u64>,
    pub spin: Nanos,
    /// The counted window's length, and its length had nobody interrupted.
    pub duration: Nanos,
    pub planned: Nanos,
    pub interrupted: bool,
    /// The part of the window that the busiest of the generator's threads was running; 0 when unknown.
    pub busiest_thread: f64,
    /// A server process was named, and this is its CPU time, if known.
    pub server_cpu_wanted: bool,
    pub server_cpu: Option<Nanos>,
    /// Processes of the server that ended within the window.
    pub server_processes_ended: usize,
    /// Cores that the server process may use.
    pub server_cores: Option<usize>,
    /// A connection failed for want of a local port.
    pub ports_exhausted: bool,
}

/// Why the figures must not be used; empty when they may.
pub fn invalid(facts: &Facts) -> Vec<String> {
    [not_admitted, failed, empty].iter().filter_map(|rule| rule(facts)).collect()
}

/// What the reader should know though the figures stand.
pub fn warnings(facts: &Facts) -> Vec<String> {
    [interrupted, busy, ports_exhausted, server_cpu_missing, server_cpu_partial]
        .iter()
        .filter_map(|rule| rule(facts))
        .collect()
}

fn not_admitted(facts: &Facts) -> Option<String> {
    (facts.admitted < facts.connections).then(|| {
        format!("only {} of {} connections were admitted and answered once", facts.admitted, facts.connections)
    })
}

fn failed(facts: &Facts) -> Option<String> {
    let kinds: Vec<_> =
        facts.errors.iter().filter(|(_, count)| **count > 0).map(|(kind, count)| format!("{kind} {count}")).collect();
    (!kinds.is_empty()).then(|| format!("errors: {}", kinds.join(", ")))
}

fn empty(facts: &Facts) -> Option<String> {
    (facts.requests == 0).then(|| "no request was answered within the counted time".into())
}

fn interrupted(facts: &Facts) -> Option<String> {
    facts
        .interrupted
        .then(|| format!("stopped early by a signal: {} of {} were counted", facts.duration, facts.planned))
}

fn busy(facts: &Facts) -> Option<String> {
    if facts.busiest_thread <= BUSY_GENERATOR || facts.spin > Nanos::ZERO {
        return None;
    }
    let server = facts.server_cpu.zip(facts.server_cores).map(|(cpu, cores)| share(facts, cpu, cores));
    let server = match server {
        Some(server) if server >= BUSY_SERVER => return None,
        Some(server) => format!("the server's cores only {} %", percent(server)),
        None => "unless the server's cores were too".into(),
    };
    Some(format!(
        "the busiest of the generator's threads ({}) was {} % busy, {server}: the generator was the bottleneck; give it \
         more --threads on other cores",
        facts.threads,
        percent(facts.busiest_thread)
    ))
}

/// The part of so many cores' time that was used.
fn share(facts: &Facts, cpu: Nanos, cores: usize) -> f64 {
    cpu.0 as f64 / (facts.duration.0 as f64 * cores as f64).max(1.0)
}

fn percent(share: f64) -> String {
    three_digits((share * 1000.0).round() / 10.0)
}

fn ports_exhausted(facts: &Facts) -> Option<String> {
    facts.ports_exhausted.then(|| {
        "local ports ran out (EADDRNOTAVAIL), because closed connections keep theirs for 60 s (TIME_WAIT): widen \
         net.ipv4.ip_local_port_range, set net.ipv4.tcp_tw_reuse=1, or connect more rarely"
            .into()
    })
}

fn server_cpu_missing(facts: &Facts) -> Option<String> {
    (facts.server_cpu_wanted && facts.server_cpu.is_none())
        .then(|| "the server's CPU time is unknown: its process ended, or the counted time was never reached".into())
}

fn server_cpu_partial(facts: &Facts) -> Option<String> {
    let ended = facts.server_processes_ended;
    (ended > 0).then(|| {
        format!("{ended} of the server's processes ended within the counted time: its CPU time is told too small")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            connections: 4,
            threads: 2,
            admitted: 4,
            requests: 100,
            errors: [("reset".to_owned(), 0)].into(),
            duration: Nanos(1000),
            planned: Nanos(1000),
            busiest_thread: 0.75,
            ..Facts::default()
        }
    }

    #[test]
    fn a_good_run_is_silent() {
        assert!(invalid(&good()).is_empty());
        assert!(warnings(&good()).is_empty());
    }

    #[test]
    fn each_rule_has_its_reason() {
        for (facts, part) in [
            (Facts { admitted: 3, ..good() }, "3 of 4"),
            (Facts { errors: [("corrupt".to_owned(), 2)].into(), ..good() }, "corrupt 2"),
            (Facts { requests: 0, ..good() }, "no request"),
        ] {
            let reasons = invalid(&facts);
            assert!(reasons.len() == 1 && reasons[0].contains(part), "{reasons:?}");
        }
    }

    #[test]
    fn each_warning_has_its_cause() {
        for (facts, part) in [
            (Facts { interrupted: true, planned: Nanos(2000), ..good() }, "1us of 2us"),
            (Facts { busiest_thread: 0.95, ..good() }, "95 % busy"),
            (Facts { ports_exhausted: true, ..good() }, "ip_local_port_range"),
            (Facts { server_cpu_wanted: true, ..good() }, "server's CPU"),
            (Facts { server_processes_ended: 2, ..good() }, "2 of the server's processes"),
        ] {
            let warnings = warnings(&facts);
            assert!(warnings.len() == 1 && warnings[0].contains(part), "{warnings:?}");
        }
        assert!(warnings(&Facts { busiest_thread: 0.95, spin: Nanos(1), ..good() }).is_empty());
    }

    #[test]
    fn a_busy_generator_is_the_bottleneck_only_where_the_server_is_not_busy_too() {
        let facts = Facts { busiest_thread: 0.95, server_cpu_wanted: true, server_cores: Some(1), ..good() };
        let with = |server_cpu| warnings(&Facts { server_cpu: Some(Nanos(server_cpu)), ..facts.clone() });
        assert!(with(900).is_empty());
        assert!(with(500)[0].contains("only 50 %"), "{:?}", with(500));
    }
}

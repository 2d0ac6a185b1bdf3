//! What both ends of runs used, per request. Figures of several runs are totals by totals.

use crate::record::{CountRecord, EndRecord, UnavailableRecord, UseRecord};

/// One end in one run, and what its figures are divided by.
#[derive(Clone, Copy, Debug)]
pub struct EndOfRun<'a> {
    pub end: &'a EndRecord,
    /// Counted requests.
    pub requests: u64,
    /// The idle ones included.
    pub connections: u64,
}

/// Totals of the runs by totals. A run that does not know a figure is left out of that figure.
pub fn usage(runs: &[EndOfRun]) -> UseRecord {
    let by_requests = |pick: fn(&EndRecord) -> Option<u64>| {
        quotient(runs.iter().filter_map(|run| Some((pick(run.end)? as f64, run.requests))))
    };
    let by_span = |pick: fn(&EndRecord) -> Option<CountRecord>| {
        let counts = runs.iter().filter_map(|run| pick(run.end));
        quotient(counts.map(|counted| (counted.count as f64, counted.requests)))
    };
    let growth = |run: &EndOfRun| Some((run.end.resident_growth_bytes? as f64, run.connections));
    UseRecord {
        user_ns_per_request: by_requests(|end| end.user_ns),
        system_ns_per_request: by_requests(|end| end.system_ns),
        voluntary_switches_per_request: by_span(|end| end.voluntary_switches),
        involuntary_switches_per_request: by_span(|end| end.involuntary_switches),
        syscalls_per_request: by_span(|end| end.syscalls),
        instructions_per_request: by_span(|end| end.instructions),
        cycles_per_request: by_span(|end| end.cycles),
        resident_bytes: quotient(runs.iter().filter_map(|run| Some((run.end.resident_bytes? as f64, 1)))),
        resident_growth_bytes_per_connection: quotient(runs.iter().filter_map(growth)),
    }
}

fn quotient(parts: impl Iterator<Item = (f64, u64)>) -> Option<f64> {
    let (amount, of) = parts.fold((0.0, 0.0), |(amount, of), (more, by)| (amount + more, of + by as f64));
    (of > 0.0).then(|| amount / of)
}

/// What was not counted, why, and the remedy, in one line; `None` when nothing is missing. What several runs say alike
/// is printed once.
pub fn missing<'a>(records: impl Iterator<Item = &'a UnavailableRecord>) -> Option<String> {
    let mut groups: Vec<(&UnavailableRecord, Vec<&str>)> = Vec::new();
    for missing in records {
        match groups.iter_mut().find(|(known, _)| (&known.why, &known.remedy) == (&missing.why, &missing.remedy)) {
            Some((_, whats)) if whats.contains(&missing.what.as_str()) => {}
            Some((_, whats)) => whats.push(&missing.what),
            None => groups.push((missing, vec![&missing.what])),
        }
    }
    let parts: Vec<String> = groups
        .iter()
        .map(|(one, whats)| format!("{} ({}; remedy: {})", whats.join(", "), one.why, one.remedy))
        .collect();
    (!parts.is_empty()).then(|| format!("not counted: {}", parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(user: u64, calls: Option<(u64, u64)>) -> EndRecord {
        let syscalls = calls.map(|(count, requests)| CountRecord { count, requests, duration_ns: 1 });
        EndRecord { user_ns: Some(user), syscalls, resident_growth_bytes: Some(-30), ..EndRecord::default() }
    }

    #[test]
    fn several_runs_are_totals_by_totals() {
        let ends = [end(1_000, Some((10, 1_000))), end(5_000, None), end(0, Some((0, 1)))];
        let runs: Vec<EndOfRun> =
            ends.iter().zip([100, 900, 0]).map(|(end, requests)| EndOfRun { end, requests, connections: 2 }).collect();
        let usage = usage(&runs);
        assert_eq!(usage.user_ns_per_request, Some(6.0));
        assert_eq!(usage.syscalls_per_request, Some(10.0 / 1_001.0));
        assert_eq!(usage.resident_growth_bytes_per_connection, Some(-15.0));
        assert_eq!((usage.cycles_per_request, usage.system_ns_per_request), (None, None));
    }

    #[test]
    fn nothing_is_divided_by_no_requests() {
        let end = end(7, Some((5, 0)));
        assert_eq!(usage(&[EndOfRun { end: &end, requests: 0, connections: 0 }]), UseRecord::default());
        assert_eq!(usage(&[]), UseRecord::default());
    }

    #[test]
    fn what_is_missing_is_said_once() {
        let missing_one = |what: &str, why: &str| UnavailableRecord {
            what: what.into(),
            why: why.into(),
            remedy: format!("no {why}"),
        };
        let all =
            [missing_one("cycles", "VM"), missing_one("system calls", "tracefs"), missing_one("instructions", "VM")];
        assert_eq!(
            missing(all.iter().chain(&all)).unwrap(),
            "not counted: cycles, instructions (VM; remedy: no VM); system calls (tracefs; remedy: no tracefs)"
        );
        assert_eq!(missing([].iter()), None);
    }
}

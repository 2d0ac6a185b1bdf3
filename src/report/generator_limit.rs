//! Whether a contestant was measured at the generator's limit: then its throughput is at least what was seen. The round
//! counts all the same, or else the cheaper a server is, the more of its rounds would be thrown away.

use crate::record::{Bound, LoadReport, Reason, TrialRecord};

/// A generator that used more than this of its threads' time was at its limit …
const BUSY_GENERATOR: f64 = 0.9;
/// … unless the server used as much of its cores' time: then both were.
const BUSY_SERVER: f64 = 0.9;

/// Whether the generator was at its limit in the valid rounds of a contestant, all of them together, while its server, on
/// so many cores, was not. Never of an open loop, where the rate is the one asked for, nor of a generator that polls and so
/// is always busy.
pub fn is_limited(trials: &[TrialRecord], server_cores: usize) -> bool {
    let valid: Vec<&LoadReport> = trials.iter().filter_map(TrialRecord::valid).collect();
    let tells = |load: &&LoadReport| {
        let settings = &load.workload.generator;
        !settings.is_open_loop() && load.response_ns.is_none() && settings.spin_ns == 0
    };
    match valid.first() {
        Some(first) if tells(first) => of_slices(&valid, server_cores).unwrap_or_else(|| of_trials(&valid)),
        _ => false,
    }
}

/// `None` where there are no slices.
fn of_slices(valid: &[&LoadReport], server_cores: usize) -> Option<bool> {
    let slices = || valid.iter().flat_map(|load| &load.slices);
    let length: f64 = slices().map(|slice| slice.length_ns as f64).sum();
    let threads = valid.first()?.workload.generator.threads.max(1) as f64;
    let generator: f64 = slices().map(|slice| slice.generator_cpu_ns as f64).sum();
    let server: Option<f64> = slices().map(|slice| slice.server_cpu_ns.map(|cpu| cpu as f64)).sum();
    let is_busy = |cpu: f64, of: f64, limit: f64| cpu > limit * length * of;
    // Of a server whose CPU time is not known it cannot be told.
    let server_is_busy = server.is_none_or(|server| is_busy(server, server_cores as f64, BUSY_SERVER));
    (length > 0.0).then(|| is_busy(generator, threads, BUSY_GENERATOR) && !server_is_busy)
}

/// Each trial has found out by itself.
fn of_trials(valid: &[&LoadReport]) -> bool {
    let limited = valid.iter().filter(|load| load.invalid.iter().any(Reason::is_limit_of_generator)).count();
    2 * limited > valid.len()
}

/// What it means for their ratio.
pub fn bound(contestant: bool, baseline: bool) -> Option<Bound> {
    match (contestant, baseline) {
        (true, true) => Some(Bound::Either),
        (true, false) => Some(Bound::AtLeast),
        (false, true) => Some(Bound::AtMost),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{steady, trial};
    use super::*;
    use crate::record::SliceRecord;

    /// A trial of two slices in which both ends used so much of one core each.
    fn sliced(generator: u64, server: Option<u64>) -> TrialRecord {
        let mut trial = trial(1, 1e5, &[]);
        let slice = SliceRecord {
            length_ns: 100,
            generator_cpu_ns: generator,
            server_cpu_ns: server,
            ..SliceRecord::default()
        };
        trial.load.as_mut().unwrap().slices = vec![slice; 2];
        trial
    }

    #[test]
    fn the_generator_is_the_limit_where_it_is_busy_and_the_server_is_not() {
        for (generator, server, cores, limited) in [
            (95, Some(67), 1, true),
            (89, Some(67), 1, false),
            (95, Some(95), 1, false),
            (95, Some(95), 2, true),
            (95, None, 1, false),
        ] {
            assert_eq!(is_limited(&[sliced(generator, server)], cores), limited, "{generator} {server:?} {cores}");
        }
        let mut polling = sliced(100, Some(10));
        polling.load.as_mut().unwrap().workload.generator.spin_ns = 1;
        assert!(!is_limited(&[polling], 1));
        let mut open = sliced(100, Some(10));
        open.load.as_mut().unwrap().workload.generator.rate_per_s = Some(1);
        assert!(!is_limited(&[open], 1) && !is_limited(&[], 1));
    }

    #[test]
    fn of_trials_most_must_say_so() {
        let mut trials = steady(1e5);
        let limit = Reason::GeneratorBottleneck { threads: 1, busy: 0.95, server: Some(0.6) };
        for (trial, limited) in trials.clone().iter().zip([false, false, false, false, true, true, true]) {
            assert_eq!(is_limited(&trials, 1), limited);
            trials[trial.round as usize - 1].load.as_mut().unwrap().invalid.push(limit.clone());
        }
        assert!(trials.iter().all(|trial| trial.valid().is_some()), "its rounds count");
    }

    #[test]
    fn the_ratio_is_bounded_on_the_side_of_who_was_limited() {
        assert_eq!(bound(true, false), Some(Bound::AtLeast));
        assert_eq!(bound(false, true), Some(Bound::AtMost));
        assert_eq!((bound(true, true), bound(false, false)), (Some(Bound::Either), None));
    }
}

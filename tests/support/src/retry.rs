//! Runs whose figures other programs or a hypervisor may spoil: repeated only where something says that they did.

use crate::skip::skip;
use ringmark::record::{LoadReport, Reason};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ATTEMPTS: usize = 5;
/// Whether this tells of a run that had not the machine to itself.
fn is_of_the_machine(reason: &Reason) -> bool {
    match reason {
        Reason::GeneratorBottleneck { .. } | Reason::GeneratorLate { .. } | Reason::RateNotReached { .. } => true,
        Reason::OtherPrograms { least: Some(_), .. } | Reason::Hypervisor { .. } => true,
        Reason::NotSteady { .. } | Reason::Drift { .. } => true,
        reason => is_mute(reason),
    }
}

/// What a server that does not answer at all brings about too.
fn is_mute(reason: &Reason) -> bool {
    match reason {
        Reason::NothingAnswered => true,
        Reason::Errors { kinds } => kinds.keys().all(|kind| kind == "timeout"),
        _ => false,
    }
}

/// A quiet machine wakes a thread within a fraction of this: worth another attempt. Busy neighbours of the same suite are
/// enough for it, so it excuses nothing.
const KEPT_WAITING: Duration = Duration::from_millis(4);
/// No neighbour keeps a thread waiting so long. A machine that does it in every attempt is excused.
const STOOD_STILL: Duration = Duration::from_millis(100);

/// Whether a run is as expected. One that is not is repeated as long as its report says that it was disturbed, or a thread
/// that merely sleeps was kept waiting meanwhile.
///
/// `false`, with the reasons printed, where the machine stood still in every one. What a suite asserts of disturbed runs as
/// well, it asserts in `run`.
///
/// # Panics
/// When a run is not as expected, and nothing says that it was disturbed; or so many were, and the machine did not stand
/// still in all of them.
#[track_caller]
pub fn if_disturbed(mut run: impl FnMut() -> LoadReport, expected: impl Fn(&LoadReport) -> bool) -> bool {
    let mut least = Duration::MAX;
    for attempt in 1..=ATTEMPTS {
        let (report, late) = watched(&mut run);
        if expected(&report) {
            return true;
        }
        least = least.min(late);
        let said = disturbances(&report);
        let disturbed = late >= KEPT_WAITING || !said.is_empty();
        assert!(disturbed, "not as expected, and nothing disturbed it: {}", brief(&report));
        println!("attempt {attempt} of {ATTEMPTS} was disturbed (a sleeping thread was {late:?} late): {said:?}");
        println!("{}", brief(&report));
    }
    excuse(least);
    false
}

/// The outcome of what is run again as long as it says why its figures do not count, and all of that is of the machine:
/// how busy it is, or that its servers are faster than its generator. `None`, with the reasons printed, where that stays.
///
/// # Panics
/// When it stays that nothing is answered, though the machine does not stand still.
#[track_caller]
pub fn if_not_counted<T>(mut run: impl FnMut() -> T, reasons: impl Fn(&T) -> Vec<Reason>) -> Option<T> {
    let (mut least, mut mute) = (Duration::MAX, false);
    for attempt in 1..=ATTEMPTS {
        let (outcome, late) = watched(&mut run);
        let reasons = reasons(&outcome);
        if reasons.is_empty() || !reasons.iter().all(is_of_the_machine) {
            return Some(outcome);
        }
        println!("attempt {attempt} of {ATTEMPTS} was disturbed: {reasons:?}");
        least = least.min(late);
        mute = reasons.iter().any(is_mute);
    }
    match mute {
        true => excuse(least),
        false => skip("every attempt was disturbed"),
    }
    None
}

/// Says that every attempt was disturbed. `least`: the shortest that a sleeping thread was kept waiting in one.
#[track_caller]
fn excuse(least: Duration) {
    assert!(
        least >= STOOD_STILL,
        "{ATTEMPTS} attempts were in vain, and in one a sleeping thread was only {least:?} late"
    );
    skip(format_args!("in every attempt the machine stood still for {least:?} or longer"));
}

/// Why trials of a stored comparison do not count, for [`again`].
pub fn reasons_of_trials(report: &Value) -> Vec<Reason> {
    let below = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let contestants = below(report, "cells").into_iter().flat_map(|cell| below(&cell, "contestants"));
    let trials = contestants.flat_map(|contestant| below(&contestant, "trials"));
    trials.flat_map(|trial| below(&trial["load"], "invalid_reasons")).map(read).collect()
}

/// As [`reasons_of_trials`], of a contestant's comparison with itself.
pub fn reasons_of_aa(report: &Value) -> Vec<Reason> {
    let comparisons = report["comparisons"].as_array().into_iter().flatten();
    comparisons.flat_map(|one| one["problem_reasons"].as_array().into_iter().flatten()).cloned().map(read).collect()
}

fn read(reason: Value) -> Reason {
    serde_json::from_value(reason).expect("a reason of this version")
}

/// What the report says about a machine that others used.
pub fn disturbances(report: &LoadReport) -> Vec<&Reason> {
    report.invalid.iter().chain(&report.warnings).filter(|reason| is_of_the_machine(reason)).collect()
}

/// The figures without the histograms.
pub fn brief(report: &LoadReport) -> String {
    format!(
        "{} requests in {} ns, service {:?}, response {:?}, send lag {:?}, timer error {:?}, datagrams {:?}, {:?}; \
         {:?}, {:?}, {:?}",
        report.requests,
        report.duration_ns,
        report.latency_ns,
        report.response_ns,
        report.send_lag_ns,
        report.timer_error_ns,
        report.datagrams,
        report.steady,
        report.errors,
        report.invalid,
        report.warnings
    )
}

/// Runs it, and tells how late a thread was at most that meanwhile does nothing but sleep a millisecond at a time.
fn watched<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    const NAP: Duration = Duration::from_millis(1);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut late = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                thread::sleep(NAP);
                late = late.max(begun.elapsed().saturating_sub(NAP));
            }
            late
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        over.store(true, Ordering::Relaxed);
        let late = watch.join().expect("it only sleeps");
        (outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), late)
    })
}

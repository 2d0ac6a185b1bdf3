//! What the pacer plans, against what the words promise: gaps, counts, and the distribution.

use super::*;
use proptest::prelude::*;

fn pace(arrival: &str, rate: &str) -> Pace {
    Pace { arrival: arrival.parse().unwrap(), rate: rate.parse().unwrap() }
}

fn plan(arrival: &str, rate: &str, thread: u64, threads: u64) -> Plan {
    Plan { pace: pace(arrival, rate), thread, threads, planned: Nanos::from_secs(10), seed: 7 }
}

/// The instants of one thread until `end`, asked for at once: nothing is lost by being late.
fn instants(plan: Plan, start: Nanos, end: Nanos) -> Vec<u64> {
    let mut schedule = Schedule::new(plan, start);
    std::iter::from_fn(|| schedule.due(end).map(|due| due.0)).collect()
}

/// Those of all threads, in order.
fn all_instants(arrival: &str, rate: &str, threads: u64, end: Nanos) -> Vec<u64> {
    let mut all: Vec<u64> =
        (0..threads).flat_map(|thread| instants(plan(arrival, rate, thread, threads), Nanos::ZERO, end)).collect();
    all.sort_unstable();
    all
}

#[test]
fn words_say_what_they_mean() {
    for text in ["constant", "poisson", "burst:16", "ramp:1000..20000"] {
        assert_eq!(text.parse::<Arrival>().unwrap().to_string(), text);
    }
    assert_eq!("ramp:1k..2k".parse::<Arrival>().unwrap().to_string(), "ramp:1000..2000");
    for bad in ["", "burst", "burst:0", "burst:x", "ramp:5", "ramp:0..1", "constant:1", "uniform"] {
        assert!(bad.parse::<Arrival>().is_err(), "{bad}");
    }
}

#[test]
fn a_constant_rate_has_one_gap_however_many_threads_take_turns() {
    for threads in [1, 3, 4] {
        let all = all_instants("constant", "20k", threads, Nanos::from_millis(10));
        assert_eq!(all, (0..=200).map(|i| i * 50_000).collect::<Vec<_>>(), "{threads} threads");
    }
    // No rounding adds up: after a thousand seconds of thirds the count is exact.
    assert_eq!(instants(plan("constant", "3", 0, 1), Nanos::ZERO, Nanos::from_secs(1000)).len(), 3001);
}

#[test]
fn a_burst_is_so_many_at_one_instant() {
    let all = all_instants("burst:5", "1k", 2, Nanos::from_millis(12));
    assert_eq!(all, [[0; 5], [5_000_000; 5], [10_000_000; 5]].concat());
}

#[test]
fn a_ramp_stays_at_its_foot_until_the_window_and_then_climbs() {
    let mut threads: Vec<Schedule> =
        (0..3).map(|thread| Schedule::new(plan("ramp:100..1000", "550", thread, 3), Nanos::ZERO)).collect();
    let first = Nanos::from_secs(2);
    let mut all: Vec<u64> = Vec::new();
    for schedule in &mut threads {
        all.extend(std::iter::from_fn(|| schedule.due(Nanos::from_secs(1))).map(|due| due.0));
        schedule.open_window(first);
        all.extend(std::iter::from_fn(|| schedule.due(Nanos::from_secs(13))).map(|due| due.0));
    }
    let within = |from: u64, to: u64| {
        all.iter().filter(|at| (from * 1_000_000_000..to * 1_000_000_000).contains(*at)).count() as i64
    };
    // 100/s before, the integral of 100 + 90 t within, 1000/s after.
    assert_eq!(within(0, 2), 200);
    for (second, expected) in [(0, 145), (5, 595), (9, 955), (10, 1000)] {
        assert!((within(2 + second, 3 + second) - expected).abs() <= 1, "{second}: {}", within(2 + second, 3 + second));
    }
    let pace = pace("ramp:100..1000", "550");
    assert_eq!(pace.due_within(Nanos::from_secs(10), Nanos::from_secs(10)), 5500.0);
    assert_eq!(pace.due_within(Nanos::from_secs(1), Nanos::from_secs(10)), 145.0);
}

#[test]
fn what_is_asked_for_late_keeps_its_instant() {
    let mut schedule = Schedule::new(plan("constant", "1k", 0, 1), Nanos::ZERO);
    let dues: Vec<Nanos> = std::iter::from_fn(|| schedule.due(Nanos::from_millis(4))).collect();
    assert_eq!(dues, [0, 1, 2, 3, 4].map(Nanos::from_millis));
    assert_eq!((schedule.due(Nanos::from_millis(4)), schedule.next()), (None, Nanos::from_millis(5)));
}

proptest! {
    #[test]
    fn asking_often_or_once_gives_the_same_instants(
        arrival in prop::sample::select(vec!["constant", "poisson", "burst:3", "ramp:500..2k"]),
        thread in 0u64..4, steps in prop::collection::vec(1u64..3_000_000, 1..40),
    ) {
        let plan = plan(arrival, "1k", thread, 4);
        let mut schedule = Schedule::new(plan, Nanos(17));
        let (mut now, mut seen) = (Nanos::ZERO, Vec::new());
        for step in steps {
            now = now + Nanos(step);
            seen.extend(std::iter::from_fn(|| schedule.due(now)).map(|due| due.0));
            prop_assert!(schedule.next() > now);
        }
        prop_assert!(seen.is_sorted());
        prop_assert_eq!(seen, instants(plan, Nanos(17), now));
    }

    #[test]
    fn a_ramps_count_and_its_instants_are_inverse(from in 1u64..10_000, to in 1u64..10_000, number in 0u64..50_000) {
        let rate = |rate: u64| rate.to_string().parse().unwrap();
        let ramp = Ramp::new(rate(from), rate(to), Nanos::from_secs(5));
        let at = ramp.instant_of(number);
        prop_assert!((ramp.due_within(at) - number as f64).abs() < 1e-3 * (1.0 + number as f64), "{at}");
    }
}

/// How far a sample is from an exponential distribution of its own mean: A²·(1 + 0.6/n) of Anderson and Darling, whose
/// 5 % point is 1.321 and 1 % point 1.959 (Stephens 1974, "EDF Statistics for Goodness of Fit", table 4).
fn anderson_darling(gaps: &[f64]) -> f64 {
    let n = gaps.len() as f64;
    let mean = gaps.iter().sum::<f64>() / n;
    let mut below: Vec<f64> = gaps.iter().map(|gap| 1.0 - (-gap / mean).exp()).collect();
    below.sort_unstable_by(f64::total_cmp);
    // A gap of less than a nanosecond is stored as 0: as far from it as a logarithm must be.
    let clamp = |share: f64| share.clamp(1e-12, 1.0 - 1e-12);
    let term = |i: usize| {
        let (low, high) = (clamp(below[i]), clamp(below[below.len() - 1 - i]));
        (2 * i + 1) as f64 * (low.ln() + (1.0 - high).ln())
    };
    let sum: f64 = (0..below.len()).map(term).sum();
    (-n - sum / n) * (1.0 + 0.6 / n)
}

fn gaps(instants: &[u64]) -> Vec<f64> {
    instants.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect()
}

/// Of 40 runs 2 are expected beyond the 5 % point; 7 or more come in 1 of 260 sets of runs of a perfect source.
#[test]
fn poisson_arrivals_are_exponential_for_one_thread_and_for_all_together() {
    for threads in [1, 4] {
        let beyond = (0..40u64)
            .filter(|seed| {
                let thread = |thread| Plan { seed: *seed, ..plan("poisson", "20k", thread, threads) };
                let mut all: Vec<u64> = (0..threads)
                    .flat_map(|number| instants(thread(number), Nanos::ZERO, Nanos::from_millis(100)))
                    .collect();
                all.sort_unstable();
                anderson_darling(&gaps(&all)) > 1.321
            })
            .count();
        assert!(beyond < 7, "{beyond} of 40 with {threads} threads");
    }
    // What is not exponential is found.
    let uniform: Vec<u64> = (0..2000u64)
        .scan(0, |at, i| {
            Some({
                *at += i * 7919 % 1000;
                *at
            })
        })
        .collect();
    assert!(anderson_darling(&gaps(&uniform)) > 10.0);
    assert!(anderson_darling(&gaps(&all_instants("constant", "20k", 1, Nanos::from_millis(100)))) > 10.0);
}

#[test]
fn poisson_keeps_the_rate_within_chance() {
    for threads in [1, 3] {
        let pace = pace("poisson", "20k");
        let count = all_instants("poisson", "20k", threads, Nanos::from_secs(5)).len() as f64;
        assert!((count - 100_000.0).abs() < pace.chance(100_000.0), "{count}");
    }
}

//! When a run's figures must not be used, and what to know when they may. One small rule each; a rule looks at the
//! facts of a run and changes nothing.

use super::pacer::Pace;
use crate::record::{Reason, SteadyRecord};
use crate::stats::Trend;
use crate::units::{Fraction, Nanos};
use std::collections::BTreeMap;

/// A generator with a thread busier than this may have been the bottleneck itself.
const BUSY_GENERATOR: f64 = 0.9;
/// … unless the server was at least so busy: then both ends were at their limits.
const BUSY_SERVER: f64 = 0.8;
/// A server that used less of its cores than this was waiting for the generator. Between the two it cannot be told:
/// a hypervisor takes time from both.
const IDLE_SERVER: f64 = 0.7;
/// At least this part of the rate asked for must be achieved.
const ACHIEVED: f64 = 0.98;
/// The generator's own lag, at its 99th percentile, may be this part of the response time's …
const LAG_SHARE: f64 = 0.05;
/// … or this long: what a wake-up takes at the least, where response times are too short for the share to tell.
const LAG_FLOOR: Nanos = Nanos(20_000);
/// A rate that changes by so much within the counted time is not one figure. Machines drift by a fifth within minutes,
/// so less says nothing …
const DRIFT: f64 = 0.25;
/// … and it must be a climb, so many of its standard errors steep. A single step, as another program makes it that
/// comes or goes, is at most 7.4 in 20 intervals; noise beyond 4 is 1 in 1000.
const CLEAR: f64 = 8.0;
/// Interference may use this share of the cores before it is worth a word.
const TOLERATED_SHARE: f64 = 0.05;
/// Clock sources that are read without a system call, in some 20 ns: of x86, of its hypervisors, and of ARM.
const QUICK_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource"];

/// What the rules look at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub connections: u64,
    pub threads: u64,
    /// Connections that were answered at least once.
    pub admitted: u64,
    pub requests: u64,
    pub errors: BTreeMap<String, u64>,
    /// Errors that are all right, as a share of all requests.
    pub allowed_errors: Option<Fraction>,
    pub spin: Nanos,
    /// An open loop's, and the 99th percentiles of the response time and of the generator's own lag.
    pub pace: Option<Pace>,
    /// Requests that were due in slices: counted, not computed.
    pub due: Option<u64>,
    /// Answers that came in slices, counted or not, and the longest of these.
    pub slice_answers: u64,
    pub longest_slice: Nanos,
    pub response_p99: Nanos,
    pub lag_p99: Nanos,
    /// How the warm-up ended, and how throughput went within the counted time.
    pub steady: Option<SteadyRecord>,
    pub drift: Option<Trend>,
    pub clock_source: Option<String>,
    /// What others took of the cores in use.
    pub others: Option<Interference>,
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

/// Time of the cores in use that went elsewhere, within the counted time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interference {
    /// All the time of these cores.
    pub capacity: Nanos,
    /// Used by other programs than the generator and the server: at least, and at most. They differ where the kernel
    /// does not tell whose time interrupts took.
    pub programs: [Nanos; 2],
    /// Wanted here, but given to others by the hypervisor.
    pub hypervisor: Nanos,
}

type Rule = fn(&Facts) -> Option<Reason>;
const INVALID: &[Rule] = &[not_admitted, failed, empty, too_slow, lagging, bottleneck, unsteady];
const WARNINGS: &[Rule] = &[
    interrupted,
    tolerated,
    perhaps_bottleneck,
    drifting,
    programs,
    hypervisor,
    slow_clock,
    ports_exhausted,
    server_cpu_missing,
    server_cpu_partial,
];

/// Why the figures must not be used; empty when they may.
pub fn invalid(facts: &Facts) -> Vec<Reason> {
    INVALID.iter().filter_map(|rule| rule(facts)).collect()
}

/// What the reader should know though the figures stand.
pub fn warnings(facts: &Facts) -> Vec<Reason> {
    WARNINGS.iter().filter_map(|rule| rule(facts)).collect()
}

fn not_admitted(facts: &Facts) -> Option<Reason> {
    let Facts { admitted, connections, .. } = *facts;
    (admitted < connections).then_some(Reason::NotAdmitted { admitted, connections })
}

/// A byte wrong, missing or twice is never all right; other errors are as far as they were allowed.
fn failed(facts: &Facts) -> Option<Reason> {
    let kinds = errors(facts)?;
    (kinds.contains_key("corrupt") || !errors_allowed(facts)).then_some(Reason::Errors { kinds })
}

fn tolerated(facts: &Facts) -> Option<Reason> {
    let kinds = errors(facts)?;
    failed(facts).is_none().then_some(Reason::ErrorsAllowed { kinds })
}

/// Those that happened, by kind.
fn errors(facts: &Facts) -> Option<BTreeMap<String, u64>> {
    let happened = facts.errors.iter().filter(|(_, count)| **count > 0);
    let kinds: BTreeMap<_, _> = happened.map(|(kind, count)| (kind.clone(), *count)).collect();
    (!kinds.is_empty()).then_some(kinds)
}

fn errors_allowed(facts: &Facts) -> bool {
    let errors: u64 = facts.errors.values().sum();
    let share = errors as f64 / (facts.requests + errors).max(1) as f64;
    share <= facts.allowed_errors.map_or(0.0, Fraction::value)
}

fn empty(facts: &Facts) -> Option<Reason> {
    let too_short = Reason::SlicesTooShort { length_ns: facts.longest_slice.0 };
    let reason = if facts.slice_answers > 0 { too_short } else { Reason::NothingAnswered };
    (facts.requests == 0).then_some(reason)
}

/// The schedule went on; the answers did not follow.
fn too_slow(facts: &Facts) -> Option<Reason> {
    let pace = facts.pace?;
    let (due, chance) = match facts.due {
        Some(due) => (due as f64, 0.0),
        None => {
            let due = pace.due_within(facts.duration, facts.planned);
            (due, pace.chance(due))
        }
    };
    let least = due * ACHIEVED - chance;
    ((facts.requests as f64) < least).then_some(Reason::RateNotReached { answered: facts.requests, due })
}

fn lagging(facts: &Facts) -> Option<Reason> {
    facts.pace?;
    let (lag, response) = (facts.lag_p99, facts.response_p99);
    let allowed = Nanos((response.0 as f64 * LAG_SHARE) as u64).max(LAG_FLOOR);
    (lag > allowed).then_some(Reason::GeneratorLate { lag_ns: lag.0, response_ns: response.0, allowed: LAG_SHARE })
}

/// The longest warm-up was over before throughput was steady, and neither was it then.
fn unsteady(facts: &Facts) -> Option<Reason> {
    let change = clear_drift(facts)?;
    facts.steady.is_some_and(|steady| !steady.reached).then_some(Reason::NotSteady { change })
}

fn drifting(facts: &Facts) -> Option<Reason> {
    let change = clear_drift(facts)?;
    unsteady(facts).is_none().then_some(Reason::Drift { change })
}

/// How much throughput changed, where that is a lot and clear. A ramp is meant to change.
fn clear_drift(facts: &Facts) -> Option<f64> {
    let trend = facts.drift.filter(|_| !facts.pace.is_some_and(Pace::is_ramp))?;
    (trend.drift().abs() >= DRIFT && trend.t.abs() >= CLEAR).then(|| trend.drift())
}

fn programs(facts: &Facts) -> Option<Reason> {
    let most = intolerable(facts, |others| others.programs[1])?;
    Some(Reason::OtherPrograms { least: intolerable(facts, |others| others.programs[0]), most })
}

fn hypervisor(facts: &Facts) -> Option<Reason> {
    Some(Reason::Hypervisor { share: intolerable(facts, |others| others.hypervisor)? })
}

/// The share, where it is worth a word.
fn intolerable(facts: &Facts, pick: fn(&Interference) -> Nanos) -> Option<f64> {
    let others = facts.others.as_ref()?;
    let share = pick(others).0 as f64 / others.capacity.0.max(1) as f64;
    (share > TOLERATED_SHARE).then(|| share.min(1.0))
}

fn slow_clock(facts: &Facts) -> Option<Reason> {
    let source = facts.clock_source.as_ref().filter(|source| !QUICK_CLOCKS.contains(&source.as_str()))?;
    Some(Reason::SlowClock { source: source.clone() })
}

fn interrupted(facts: &Facts) -> Option<Reason> {
    let (counted_ns, planned_ns) = (facts.duration.0, facts.planned.0);
    facts.interrupted.then_some(Reason::Interrupted { counted_ns, planned_ns })
}

/// The server waited for the generator: none of its cores can have been busy.
fn bottleneck(facts: &Facts) -> Option<Reason> {
    let server = server_busy(facts)?;
    (generator_busy(facts) && server.surely_idle()).then(|| busy(facts, Some(server.share)))
}

fn perhaps_bottleneck(facts: &Facts) -> Option<Reason> {
    if !generator_busy(facts) || bottleneck(facts).is_some() {
        return None;
    }
    match server_busy(facts) {
        Some(server) if server.share >= BUSY_SERVER => None,
        server => Some(busy(facts, server.map(|server| server.share))),
    }
}

fn busy(facts: &Facts, server: Option<f64>) -> Reason {
    Reason::GeneratorBottleneck { threads: facts.threads, busy: facts.busiest_thread, server }
}

/// Who polls is always busy; of an open loop the lag tells.
fn generator_busy(facts: &Facts) -> bool {
    facts.busiest_thread > BUSY_GENERATOR && facts.spin == Nanos::ZERO && facts.pace.is_none()
}

/// How much of its cores the server used.
struct ServerBusy {
    /// In cores.
    used: f64,
    share: f64,
}

impl ServerBusy {
    /// What fills one core and no more may be a server with a single thread, at its limit on a machine with several.
    fn surely_idle(&self) -> bool {
        self.share < IDLE_SERVER && !(BUSY_SERVER..=1.05).contains(&self.used)
    }
}

fn server_busy(facts: &Facts) -> Option<ServerBusy> {
    let (cpu, cores) = facts.server_cpu.zip(facts.server_cores)?;
    let used = cpu.0 as f64 / facts.duration.0.max(1) as f64;
    Some(ServerBusy { used, share: used / cores.max(1) as f64 })
}

fn ports_exhausted(facts: &Facts) -> Option<Reason> {
    facts.ports_exhausted.then_some(Reason::PortsExhausted)
}

fn server_cpu_missing(facts: &Facts) -> Option<Reason> {
    (facts.server_cpu_wanted && facts.server_cpu.is_none()).then_some(Reason::ServerCpuUnknown)
}

fn server_cpu_partial(facts: &Facts) -> Option<Reason> {
    let processes = facts.server_processes_ended as u64;
    (processes > 0).then_some(Reason::ServerCpuPartial { processes })
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

    fn kinds(kind: &str, count: u64) -> BTreeMap<String, u64> {
        [(kind.to_owned(), count)].into()
    }

    #[test]
    fn each_rule_has_its_reason() {
        let late = |lag_ns, response_ns| Reason::GeneratorLate { lag_ns, response_ns, allowed: LAG_SHARE };
        let change = drift(0.3, -9.0).unwrap().drift();
        for (facts, reason) in [
            (Facts { admitted: 3, ..good() }, Reason::NotAdmitted { admitted: 3, connections: 4 }),
            (Facts { errors: kinds("corrupt", 2), ..good() }, Reason::Errors { kinds: kinds("corrupt", 2) }),
            (Facts { requests: 0, ..good() }, Reason::NothingAnswered),
            (
                Facts { pace: pace("1M"), requests: 970, ..second() },
                Reason::RateNotReached { answered: 970, due: 1_000_000.0 },
            ),
            (
                Facts { pace: pace("1k"), response_p99: Nanos(100_000), lag_p99: Nanos(20_001), ..second() },
                late(20_001, 100_000),
            ),
            (
                Facts { pace: pace("1k"), response_p99: Nanos(1_000_000), lag_p99: Nanos(50_001), ..second() },
                late(50_001, 1_000_000),
            ),
            (Facts { steady: steady(false), drift: drift(0.3, -9.0), ..good() }, Reason::NotSteady { change }),
            (
                Facts { busiest_thread: 0.95, server_cpu: Some(Nanos(500)), server_cores: Some(1), ..good() },
                Reason::GeneratorBottleneck { threads: 2, busy: 0.95, server: Some(0.5) },
            ),
        ] {
            assert_eq!(invalid(&facts), [reason]);
        }
    }

    #[test]
    fn each_warning_has_its_cause() {
        let programs = |least, most| Reason::OtherPrograms { least, most };
        let change = drift(-0.3, -9.0).unwrap().drift();
        for (facts, reason) in [
            (
                Facts { interrupted: true, planned: Nanos(2000), ..good() },
                Reason::Interrupted { counted_ns: 1000, planned_ns: 2000 },
            ),
            (
                Facts { busiest_thread: 0.95, ..good() },
                Reason::GeneratorBottleneck { threads: 2, busy: 0.95, server: None },
            ),
            (Facts { ports_exhausted: true, ..good() }, Reason::PortsExhausted),
            (Facts { server_cpu_wanted: true, ..good() }, Reason::ServerCpuUnknown),
            (Facts { server_processes_ended: 2, ..good() }, Reason::ServerCpuPartial { processes: 2 }),
            (Facts { drift: drift(-0.3, -9.0), ..good() }, Reason::Drift { change }),
            (Facts { clock_source: Some("hpet".into()), ..good() }, Reason::SlowClock { source: "hpet".into() }),
            (Facts { others: others([40, 40], 0), ..good() }, programs(Some(0.4), 0.4)),
            (Facts { others: others([20, 40], 0), ..good() }, programs(Some(0.2), 0.4)),
            (Facts { others: others([5, 40], 0), ..good() }, programs(None, 0.4)),
            (Facts { others: others([0, 0], 7), ..good() }, Reason::Hypervisor { share: 0.07 }),
        ] {
            assert_eq!(warnings(&facts), [reason]);
        }
        assert!(warnings(&Facts { busiest_thread: 0.95, spin: Nanos(1), ..good() }).is_empty());
    }

    fn second() -> Facts {
        Facts { duration: Nanos::from_secs(1), planned: Nanos::from_secs(1), requests: 1000, ..good() }
    }

    fn pace(rate: &str) -> Option<Pace> {
        Pace::new(rate.parse().ok(), None).unwrap()
    }

    fn steady(reached: bool) -> Option<SteadyRecord> {
        Some(SteadyRecord { reached, ..SteadyRecord::default() })
    }

    /// Throughput that changes by so much over 20 intervals.
    fn drift(drift: f64, t: f64) -> Option<Trend> {
        Some(Trend { mean: 1.0, slope: drift / 19.0, t, values: 20 })
    }

    fn others(programs: [u64; 2], hypervisor: u64) -> Option<Interference> {
        Some(Interference { capacity: Nanos(100), programs: programs.map(Nanos), hypervisor: Nanos(hypervisor) })
    }

    #[test]
    fn what_is_within_bounds_is_silent() {
        for facts in [
            Facts { pace: pace("1k"), requests: 980, response_p99: Nanos(1), lag_p99: Nanos(20_000), ..second() },
            Facts { pace: pace("1k"), response_p99: Nanos(1_000_000), lag_p99: Nanos(50_000), ..second() },
            Facts { steady: steady(false), drift: drift(0.2, 9.0), ..good() },
            Facts { steady: steady(false), drift: drift(0.5, 2.0), ..good() },
            Facts { steady: steady(true), ..good() },
            Facts { clock_source: Some("tsc".into()), others: others([5, 5], 5), ..good() },
            // In an open loop the threads poll.
            Facts { pace: pace("1k"), busiest_thread: 1.0, ..second() },
        ] {
            assert!(
                invalid(&facts).is_empty() && warnings(&facts).is_empty(),
                "{:?}",
                (invalid(&facts), warnings(&facts))
            );
        }
        let ramp = Pace::new(None, "ramp:1..2k".parse().ok()).unwrap();
        assert!(invalid(&Facts { pace: ramp, drift: drift(2.0, 50.0), steady: steady(false), ..second() }).is_empty());
    }

    #[test]
    fn chance_is_no_failure_to_keep_the_rate() {
        let poisson = |requests| {
            let pace = Pace::new("1k".parse().ok(), "poisson".parse().ok()).unwrap();
            invalid(&Facts { pace, requests, ..second() }).is_empty()
        };
        // Three standard deviations of 1000 are 95.
        assert!(poisson(890) && !poisson(880));
    }

    #[test]
    fn errors_are_allowed_as_far_as_asked_for_but_never_wrong_bytes() {
        let with =
            |kind: &str, count| Facts { errors: kinds(kind, count), allowed_errors: "1%".parse().ok(), ..good() };
        let allowed = with("reset", 1);
        assert_eq!(warnings(&allowed), [Reason::ErrorsAllowed { kinds: kinds("reset", 1) }]);
        assert!(invalid(&allowed).is_empty());
        assert_eq!(invalid(&with("reset", 2)), [Reason::Errors { kinds: kinds("reset", 2) }]);
        assert_eq!(invalid(&with("corrupt", 1)), [Reason::Errors { kinds: kinds("corrupt", 1) }]);
    }

    #[test]
    fn a_busy_generator_is_the_bottleneck_only_where_the_server_is_not_busy_too() {
        let facts = Facts { busiest_thread: 0.95, server_cpu_wanted: true, server_cores: Some(1), ..good() };
        let with = |server_cpu, cores| {
            let facts = Facts { server_cpu: Some(Nanos(server_cpu)), server_cores: Some(cores), ..facts.clone() };
            (invalid(&facts).len(), warnings(&facts).len())
        };
        for (server_cpu, cores, expected) in [
            (500, 1, (1, 0)),
            // Not to be told.
            (750, 1, (0, 1)),
            (900, 1, (0, 0)),
            // A single thread at its limit, or four that idle.
            (990, 4, (0, 1)),
            (1200, 4, (1, 0)),
            (3600, 4, (0, 0)),
        ] {
            assert_eq!(with(server_cpu, cores), expected, "{server_cpu} on {cores}");
        }
    }
}

//! When a run's figures must not be used, and what to know when they may. One small rule each; a rule looks at the
//! facts of a run and changes nothing.

use super::pacer::Pace;
use crate::record::SteadyRecord;
use crate::stats::Trend;
use crate::units::{Nanos, Share, three_digits};
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
/// A rate that changes by so much within the counted time is not one figure. Machines drift by a fifth within minutes, so
/// less says nothing …
const DRIFT: f64 = 0.25;
/// … and it must be a climb, so many of its standard errors steep. A single step, as another program makes it that comes
/// or goes, is at most 7.4 in 20 intervals; noise beyond 4 is 1 in 1000.
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
    pub allowed_errors: Option<Share>,
    pub spin: Nanos,
    /// An open loop's, and the 99th percentiles of the response time and of the generator's own lag.
    pub pace: Option<Pace>,
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
    /// Used by other programs than the generator and the server: at least, and at most. They differ where the kernel does
    /// not tell whose time interrupts took.
    pub programs: [Nanos; 2],
    /// Wanted here, but given to others by the hypervisor.
    pub hypervisor: Nanos,
}

type Rule = fn(&Facts) -> Option<String>;
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

/// Why the figures must not be used, and what to do about it; empty when they may.
pub fn invalid(facts: &Facts) -> Vec<String> {
    INVALID.iter().filter_map(|rule| rule(facts)).collect()
}

/// What the reader should know though the figures stand.
pub fn warnings(facts: &Facts) -> Vec<String> {
    WARNINGS.iter().filter_map(|rule| rule(facts)).collect()
}

fn not_admitted(facts: &Facts) -> Option<String> {
    (facts.admitted < facts.connections).then(|| {
        format!(
            "only {} of {} connections were admitted and answered once: raise the server's limits (open files, listen \
             backlog), or ask for fewer --connections",
            facts.admitted, facts.connections
        )
    })
}

/// A byte wrong, missing or twice is never all right; other errors are as far as they were allowed.
fn failed(facts: &Facts) -> Option<String> {
    let errors = errors(facts)?;
    let corrupt = facts.errors.get("corrupt").is_some_and(|count| *count > 0);
    (corrupt || !errors_allowed(facts)).then(|| {
        let advice = match corrupt {
            true => "this is no echo server, or it mixes up bytes",
            false => "see the server's log, raise --timeout, or allow some with --allow-errors",
        };
        format!("errors: {errors}: {advice}")
    })
}

fn tolerated(facts: &Facts) -> Option<String> {
    let errors = errors(facts)?;
    failed(facts).is_none().then(|| format!("errors, as allowed: {errors}"))
}

/// Those that happened, by kind.
fn errors(facts: &Facts) -> Option<String> {
    let kinds: Vec<_> =
        facts.errors.iter().filter(|(_, count)| **count > 0).map(|(kind, count)| format!("{kind} {count}")).collect();
    (!kinds.is_empty()).then(|| kinds.join(", "))
}

fn errors_allowed(facts: &Facts) -> bool {
    let errors: u64 = facts.errors.values().sum();
    let share = errors as f64 / (facts.requests + errors).max(1) as f64;
    share <= facts.allowed_errors.map_or(0.0, Share::fraction)
}

fn empty(facts: &Facts) -> Option<String> {
    (facts.requests == 0).then(|| {
        "no request was answered within the counted time: measure longer, or see why the server is silent".into()
    })
}

/// The schedule went on; the answers did not follow.
fn too_slow(facts: &Facts) -> Option<String> {
    let pace = facts.pace?;
    let due = pace.due_within(facts.duration, facts.planned);
    let least = due * ACHIEVED - pace.chance(due);
    ((facts.requests as f64) < least).then(|| {
        format!(
            "only {} % of the requests asked for were answered in time ({} of {due:.0}): the rate is above what server or \
             generator can do; ask for less, or see whose core is busy",
            percent(facts.requests as f64 / due),
            facts.requests
        )
    })
}

fn lagging(facts: &Facts) -> Option<String> {
    facts.pace?;
    let allowed = Nanos((facts.response_p99.0 as f64 * LAG_SHARE) as u64).max(LAG_FLOOR);
    (facts.lag_p99 > allowed).then(|| {
        format!(
            "the generator sent late: its own lag is {} at p99, more than {} % of the response time's {}: stop other \
             programs, give it cores of its own (--cores), more --threads, or --timer spin",
            facts.lag_p99,
            percent(LAG_SHARE),
            facts.response_p99
        )
    })
}

/// The longest warm-up was over before throughput was steady, and neither was it then.
fn unsteady(facts: &Facts) -> Option<String> {
    let drift = clear_drift(facts)?;
    facts.steady.is_some_and(|steady| !steady.reached).then(|| {
        format!(
            "not steady: throughput was not by the end of the warm-up, and changed by {} % within the counted time: raise \
             --warmup-max",
            percent(drift)
        )
    })
}

fn drifting(facts: &Facts) -> Option<String> {
    let drift = clear_drift(facts)?;
    unsteady(facts).is_none().then(|| {
        format!("throughput changed by {} % within the counted time: the figures are of no one state", percent(drift))
    })
}

/// How much throughput changed, where that is a lot and clear. A ramp is meant to change.
fn clear_drift(facts: &Facts) -> Option<f64> {
    let trend = facts.drift.filter(|_| !facts.pace.is_some_and(Pace::is_ramp))?;
    (trend.drift().abs() >= DRIFT && trend.t.abs() >= CLEAR).then(|| trend.drift())
}

fn programs(facts: &Facts) -> Option<String> {
    let most = intolerable(facts, |others| others.programs[1])?;
    let advice = "stop them, or differences drown in the noise";
    Some(match intolerable(facts, |others| others.programs[0]) {
        Some(least) if format!("{least:.0}") == format!("{most:.0}") => {
            format!("other programs used {most:.0} % of the cores: {advice}")
        }
        Some(least) => format!("other programs used {least:.0} to {most:.0} % of the cores: {advice}"),
        None => format!(
            "interrupts or other programs used up to {most:.0} % of the cores (a kernel with CONFIG_IRQ_TIME_ACCOUNTING \
             tells them apart): if it was programs, {advice}"
        ),
    })
}

fn hypervisor(facts: &Facts) -> Option<String> {
    let percent = intolerable(facts, |others| others.hypervisor)?;
    Some(format!(
        "the hypervisor gave {percent:.0} % of the cores' time to others (steal): measure more often, or at another hour"
    ))
}

/// The share in percent, where it is worth a word.
fn intolerable(facts: &Facts, pick: fn(&Interference) -> Nanos) -> Option<f64> {
    let others = facts.others.as_ref()?;
    let share = pick(others).0 as f64 / others.capacity.0.max(1) as f64;
    (share > TOLERATED_SHARE).then(|| share.min(1.0) * 100.0)
}

fn slow_clock(facts: &Facts) -> Option<String> {
    let source = facts.clock_source.as_ref().filter(|source| !QUICK_CLOCKS.contains(&source.as_str()))?;
    Some(format!(
        "the clock source is {source}, which takes a system call to read: boot with tsc=reliable if the hardware allows, or \
         expect each latency to hold some of it"
    ))
}

fn interrupted(facts: &Facts) -> Option<String> {
    facts
        .interrupted
        .then(|| format!("stopped early by a signal: {} of {} were counted", facts.duration, facts.planned))
}

/// The server waited for the generator: none of its cores can have been busy.
fn bottleneck(facts: &Facts) -> Option<String> {
    let server = server_busy(facts)?;
    (generator_busy(facts) && server.surely_idle()).then(|| busy(facts, &server.text()))
}

fn perhaps_bottleneck(facts: &Facts) -> Option<String> {
    if !generator_busy(facts) || bottleneck(facts).is_some() {
        return None;
    }
    match server_busy(facts) {
        Some(server) if server.share >= BUSY_SERVER => None,
        Some(server) => Some(busy(facts, &server.text())),
        None => Some(busy(facts, "unless the server's cores were too")),
    }
}

fn busy(facts: &Facts, server: &str) -> String {
    format!(
        "the busiest of the generator's threads ({}) was {} % busy, {server}: the generator was the bottleneck; give it \
         more --threads on other cores",
        facts.threads,
        percent(facts.busiest_thread)
    )
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

    fn text(&self) -> String {
        format!("the server's cores only {} %", percent(self.share))
    }
}

fn server_busy(facts: &Facts) -> Option<ServerBusy> {
    let (cpu, cores) = facts.server_cpu.zip(facts.server_cores)?;
    let used = cpu.0 as f64 / facts.duration.0.max(1) as f64;
    Some(ServerBusy { used, share: used / cores.max(1) as f64 })
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
            (Facts { pace: pace("1M"), requests: 970, ..second() }, "only 0.10 % of the requests"),
            (Facts { pace: pace("1k"), response_p99: Nanos(100_000), lag_p99: Nanos(20_001), ..second() }, "sent late"),
            (
                Facts { pace: pace("1k"), response_p99: Nanos(1_000_000), lag_p99: Nanos(50_001), ..second() },
                "--timer spin",
            ),
            (Facts { steady: steady(false), drift: drift(0.3, -9.0), ..good() }, "not steady"),
            (
                Facts { busiest_thread: 0.95, server_cpu: Some(Nanos(500)), server_cores: Some(1), ..good() },
                "only 50 %",
            ),
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
            (Facts { drift: drift(-0.3, -9.0), ..good() }, "changed by -30 %"),
            (Facts { clock_source: Some("hpet".into()), ..good() }, "clock source is hpet"),
            (Facts { others: others([40, 40], 0), ..good() }, "other programs used 40 %"),
            (Facts { others: others([20, 40], 0), ..good() }, "other programs used 20 to 40 %"),
            (Facts { others: others([5, 40], 0), ..good() }, "interrupts or other programs used up to 40 %"),
            (Facts { others: others([0, 0], 7), ..good() }, "hypervisor gave 7 %"),
        ] {
            let warnings = warnings(&facts);
            assert!(warnings.len() == 1 && warnings[0].contains(part), "{warnings:?}");
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
        let with = |kind: &str, count| Facts {
            errors: [(kind.to_owned(), count)].into(),
            allowed_errors: "1%".parse().ok(),
            ..good()
        };
        let allowed = with("reset", 1);
        assert!(invalid(&allowed).is_empty() && warnings(&allowed)[0].contains("as allowed: reset 1"));
        assert!(invalid(&with("reset", 2))[0].contains("--allow-errors"));
        assert!(invalid(&with("corrupt", 1))[0].contains("corrupt 1"));
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

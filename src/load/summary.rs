//! From what a run left behind to the report: pure arithmetic.

use super::Config;
use super::coordinator::Outcome;
use super::cpu_use::CpuUse;
use super::datagram::{self, stats::DatagramStats};
use super::histograms::{RESPONSE, SEND_LAG, TIMER_ERROR};
use super::recorder::{ErrorKind, all_errors};
use super::resource_usage::{Count, EndUsage, ResourceUsage};
use super::validity::{self, Facts, Interference};
use crate::clock;
use crate::record::{
    AccountingRecord, CountRecord, CpuRecord, DatagramRecord, EndRecord, InterruptsRecord, LOAD_SCHEMA, LoadReport,
    Reason, SliceRecord, UnavailableRecord, histogram,
};
use crate::sys::accounting::{CoresTime, Cpu, PerfEvent, Switches, Unavailable};
use crate::sys::affinity;
use crate::units::Nanos;

/// The report of a run.
pub fn report(config: &Config, outcome: &Outcome) -> LoadReport {
    let Outcome { histograms, intervals, .. } = outcome;
    let requests = histograms.service().len();
    let duration = outcome.last.since(outcome.first);
    let cpu = cpu(outcome.cpu, &outcome.slices, duration, requests);
    let accounting = accounting(outcome, &cpu, duration);
    let facts = facts(config, outcome, duration, &cpu);
    let datagrams = datagrams(outcome);
    let max_loss = config.datagrams.max_loss;
    let losses = datagrams.as_ref().and_then(|record| datagram::invalid(record, max_loss));
    let silent = datagrams.and_then(|_| silent(config, &facts));
    let unsegmented = datagram::unsegmented(datagram_stats(outcome));
    let oddities = datagrams.iter().flat_map(|record| datagram::warnings(record, max_loss, unsegmented));
    let figures = |name| histograms.get(name).map(histogram::figures);
    let encoded = |name| histograms.get(name).map(histogram::encode);
    LoadReport {
        schema: LOAD_SCHEMA.into(),
        ringmark: env!("CARGO_PKG_VERSION").into(),
        target: config.target.to_string(),
        workload: config.workload.clone(),
        requests,
        duration_ns: duration.0,
        throughput_per_s: per(requests as f64, duration.as_secs_f64()).unwrap_or(0.0),
        latency_ns: histogram::figures(histograms.service()),
        errors: facts.errors.clone(),
        invalid: silent.into_iter().chain(validity::invalid(&facts)).chain(losses).collect(),
        warnings: validity::warnings(&facts)
            .into_iter()
            .chain(oddities)
            .chain(datagram::too_large_for_gso(config))
            .collect(),
        cpu,
        accounting: Some(accounting),
        histogram: histogram::encode(histograms.service()),
        response_ns: figures(RESPONSE),
        response_histogram: encoded(RESPONSE),
        send_lag_ns: figures(SEND_LAG),
        send_lag_histogram: encoded(SEND_LAG),
        timer_error_ns: figures(TIMER_ERROR),
        series: histograms.own().map(|(name, own)| (name.to_string(), histogram::encode(own))).collect(),
        steady: outcome.steady,
        intervals: intervals.clone(),
        slices: outcome.slices.clone(),
        datagrams,
        ..LoadReport::default()
    }
}

fn datagrams(outcome: &Outcome) -> Option<DatagramRecord> {
    datagram::record(datagram_stats(outcome), outcome.server_drops)
}

fn silent(config: &Config, facts: &Facts) -> Option<Reason> {
    let timeouts = facts.errors.get(ErrorKind::Timeout.name()).copied().unwrap_or(0);
    datagram::silent(&config.target, config.datagrams.protocol, facts.admitted, timeouts)
}

fn datagram_stats(outcome: &Outcome) -> impl Iterator<Item = &DatagramStats> {
    outcome.results.iter().filter_map(|result| result.datagrams.as_ref())
}

fn facts(config: &Config, outcome: &Outcome, duration: Nanos, cpu: &CpuRecord) -> Facts {
    let p99 = |name| {
        let histogram = outcome.histograms.get(name);
        histogram.map_or(Nanos::ZERO, |histogram| Nanos(histogram.value_at_quantile(0.99)))
    };
    Facts {
        connections: config.all_connections() as u64,
        threads: config.threads as u64,
        admitted: outcome.admitted as u64,
        requests: outcome.histograms.service().len(),
        errors: all_errors(outcome.results.iter().map(|result| &result.recorder)),
        allowed_errors: config.allowed_errors,
        spin: config.spin,
        pace: config.pace,
        due: (!outcome.slices.is_empty()).then(|| outcome.results.iter().map(|result| result.recorder.due()).sum()),
        slice_answers: outcome.slices.iter().map(|slice| slice.answers).sum(),
        longest_slice: outcome.slices.iter().map(|slice| Nanos(slice.length_ns)).max().unwrap_or_default(),
        response_p99: p99(RESPONSE),
        lag_p99: p99(TIMER_ERROR),
        steady: outcome.steady,
        drift: outcome.drift,
        clock_source: clock::source(),
        others: others(outcome),
        duration,
        planned: config.duration,
        interrupted: outcome.interrupted,
        busiest_thread: busiest_thread(outcome),
        server_cpu_wanted: config.server_pid.is_some(),
        server_cpu: cpu.server_ns.map(Nanos),
        server_processes_ended: outcome.cpu.and_then(|used| used.server).map_or(0, |server| server.ended),
        server_cores: config.server_pid.and_then(affinity::cores_of).map(|cores| cores.len()),
        ports_exhausted: outcome.results.iter().any(|result| result.ports_exhausted),
    }
}

/// 0 of a load in slices: what its threads used is in the slices, and who compares them judges it.
fn busiest_thread(outcome: &Outcome) -> f64 {
    let known = outcome.results.iter().filter(|_| outcome.slices.is_empty()).filter_map(|result| result.busy);
    known.fold(0.0, f64::max)
}

/// What others took of the watched cores.
fn others(outcome: &Outcome) -> Option<Interference> {
    let used = outcome.cpu.as_ref()?;
    let ours = used.generator?.total + used.server.map_or(Nanos::ZERO, |server| server.cpu.total);
    let capacity = Nanos(used.span.0.saturating_mul(outcome.watched_cores as u64));
    Some(taken(capacity, used.cores?, ours))
}

/// Interrupts are the network's work and no program's. Where the kernel does not keep them apart, those that fell in
/// our time are in `ours`, and how many these are is not known: between none and all.
fn taken(capacity: Nanos, cores: CoresTime, ours: Nanos) -> Interference {
    let CoresTime { programs, interrupts, interrupts_apart, stolen } = cores;
    let least = programs.since(ours);
    let most = if interrupts_apart { least } else { (programs + interrupts).since(ours) };
    Interference { capacity, programs: [least, most], hypervisor: stolen }
}

/// Interrupts of the watched cores, of a piece with the counted time.
fn interrupts(outcome: &Outcome, duration: Nanos) -> Option<InterruptsRecord> {
    let used = outcome.cpu.as_ref()?;
    let cores = used.cores?;
    let scale = per(duration.0 as f64, used.span.0 as f64)?;
    Some(InterruptsRecord { cpu_ns: (cores.interrupts.0 as f64 * scale).round() as u64, apart: cores.interrupts_apart })
}

/// CPU time, scaled from what was read to what was counted: by time, or where slices were read from begin to end by
/// requests.
fn cpu(used: Option<CpuUse>, slices: &[SliceRecord], duration: Nanos, requests: u64) -> CpuRecord {
    let Some(CpuUse { span, generator, server, .. }) = used else { return CpuRecord::default() };
    let answers: u64 = slices.iter().map(|slice| slice.answers).sum();
    let scale = match slices.is_empty() {
        true => per(duration.0 as f64, span.0 as f64),
        false => per(requests as f64, answers as f64),
    };
    let scaled = |cpu: Cpu| (cpu.total.0 as f64 * scale.unwrap_or(0.0)).round() as u64;
    let (generator, server) = (generator.map(scaled), server.map(|server| scaled(server.cpu)));
    CpuRecord {
        generator_ns: generator.unwrap_or(0),
        server_ns: server,
        generator_ns_per_request: generator.and_then(|cpu| per(cpu as f64, requests as f64)),
        server_ns_per_request: server.and_then(|cpu| per(cpu as f64, requests as f64)),
    }
}

fn accounting(outcome: &Outcome, cpu: &CpuRecord, duration: Nanos) -> AccountingRecord {
    let ResourceUsage { generator, server, unavailable, .. } = &outcome.resource_usage;
    let used = outcome.cpu.unwrap_or_default();
    let (own, server_cpu) = (used.generator, used.server.map(|server| server.cpu));
    let server_wanted = server.resident[0].is_some();
    let unsplit = [own, server_cpu].into_iter().flatten().any(|cpu| cpu.user_share().is_none());
    let unsplit = unsplit.then(|| UnavailableRecord {
        what: "user and system time apart".into(),
        why: "the kernel looks only at its ticks, which saw too little of them".into(),
        remedy: "a longer --duration, or a kernel with CONFIG_VIRT_CPU_ACCOUNTING_GEN".into(),
    });
    AccountingRecord {
        generator: end(generator, own.map(|own| (own, cpu.generator_ns))),
        server: server_wanted.then(|| end(server, server_cpu.zip(cpu.server_ns))),
        interrupts: interrupts(outcome, duration),
        unavailable: unavailable.iter().map(unavailable_record).chain(unsplit).collect(),
    }
}

/// One end; `cpu` is what was read and what of it falls in the counted time.
fn end(account: &EndUsage, cpu: Option<(Cpu, u64)>) -> EndRecord {
    let user = cpu.and_then(|(read, counted)| Some((read.user_share()? * counted as f64).round() as u64));
    let record =
        |count: Count| CountRecord { count: count.events, requests: count.requests, duration_ns: count.over.0 };
    let switches = |pick: fn(Switches) -> u64| {
        account
            .switches
            .map(|count| record(Count { events: pick(count.events), requests: count.requests, over: count.over }))
    };
    let count = |counted: PerfEvent| account.counts[counted as usize].map(record);
    let [before, now] = account.resident;
    EndRecord {
        user_ns: user,
        system_ns: user.zip(cpu).map(|(user, (_, counted))| counted.saturating_sub(user)),
        voluntary_switches: switches(|switches| switches.voluntary),
        involuntary_switches: switches(|switches| switches.involuntary),
        syscalls: count(PerfEvent::SystemCalls),
        instructions: count(PerfEvent::Instructions),
        cycles: count(PerfEvent::Cycles),
        resident_bytes: now.map(|now| now.0),
        resident_growth_bytes: now.zip(before).map(|(now, before)| now.0 as i64 - before.0 as i64),
    }
}

fn unavailable_record(missing: &Unavailable) -> UnavailableRecord {
    UnavailableRecord { what: missing.what.into(), why: missing.why.clone(), remedy: missing.remedy.clone() }
}

fn per(amount: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| amount / of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::accounting::ProcessTreeUse;
    use crate::units::Bytes;

    fn total(cpu: u64) -> Cpu {
        Cpu { total: Nanos(cpu), ..Cpu::default() }
    }

    fn used(span: u64, generator: u64, server: u64) -> Option<CpuUse> {
        let server = Some(ProcessTreeUse { cpu: total(server), ended: 0 });
        Some(CpuUse { span: Nanos(span), generator: Some(total(generator)), server, cores: None })
    }

    #[test]
    fn cpu_is_scaled_to_the_counted_time() {
        let expected = CpuRecord {
            generator_ns: 100,
            server_ns: Some(1000),
            generator_ns_per_request: Some(10.0),
            server_ns_per_request: Some(100.0),
        };
        assert_eq!(cpu(used(200, 200, 2000), &[], Nanos(100), 10), expected);
    }

    /// What was done before and after the counted part of a slice was done for requests that are not counted.
    #[test]
    fn cpu_of_slices_is_shared_out_by_requests() {
        let slice = |answers| SliceRecord { answers, ..SliceRecord::default() };
        let record = cpu(used(7_000, 200, 2000), &[slice(12), slice(8)], Nanos(100), 10);
        assert_eq!((record.generator_ns, record.server_ns), (100, Some(1000)));
        assert_eq!((record.generator_ns_per_request, record.server_ns_per_request), (Some(10.0), Some(100.0)));
    }

    #[test]
    fn interrupts_are_not_other_programs() {
        let cores = |programs, interrupts, interrupts_apart| CoresTime {
            programs: Nanos(programs),
            interrupts: Nanos(interrupts),
            interrupts_apart,
            stolen: Nanos(0),
        };
        // Ours used 700; the network's work took 300, on a kernel that measures it in nobody's time …
        let apart = taken(Nanos(2000), cores(720, 300, true), Nanos(700));
        assert_eq!(apart.programs, [Nanos(20), Nanos(20)]);
        // … and on one that sees it at its ticks in ours: 420 at other ticks, 300 at those.
        let within = taken(Nanos(2000), cores(420, 300, false), Nanos(700));
        assert_eq!(within.programs, [Nanos(0), Nanos(20)]);
        let busy = taken(Nanos(2000), cores(1200, 100, false), Nanos(700));
        assert_eq!(busy.programs, [Nanos(500), Nanos(600)]);
    }

    #[test]
    fn the_reports_name_for_system_calls_is_ours() {
        assert_eq!(PerfEvent::SystemCalls.name(), crate::record::SYSTEM_CALLS);
    }

    #[test]
    fn an_end_is_what_was_read_and_no_more() {
        assert_eq!(end(&EndUsage::default(), None), EndRecord::default());
        let switches = Switches { voluntary: 30, involuntary: 3 };
        let mut counts = [None; 3];
        counts[PerfEvent::SystemCalls as usize] = Some(Count { events: 12, requests: 4, over: Nanos(9) });
        let account = EndUsage {
            resident: [Some(Bytes(500)), Some(Bytes(400))],
            switches: Some(Count { events: switches, requests: 5, over: Nanos(9) }),
            counts,
        };
        let [total, user, system] = [1_000, 250, 750].map(Nanos::from_millis);
        let cpu = Cpu { total, user, system };
        let expected = EndRecord {
            user_ns: Some(200),
            system_ns: Some(600),
            voluntary_switches: Some(CountRecord { count: 30, requests: 5, duration_ns: 9 }),
            involuntary_switches: Some(CountRecord { count: 3, requests: 5, duration_ns: 9 }),
            syscalls: Some(CountRecord { count: 12, requests: 4, duration_ns: 9 }),
            resident_bytes: Some(400),
            resident_growth_bytes: Some(-100),
            ..EndRecord::default()
        };
        assert_eq!(end(&account, Some((cpu, 800))), expected);
    }

    #[test]
    fn cpu_that_was_not_read_is_unknown() {
        assert_eq!(cpu(None, &[], Nanos(100), 10), CpuRecord::default());
        let record = cpu(Some(CpuUse { server: None, ..used(9, 9, 9).unwrap() }), &[], Nanos(9), 0);
        assert_eq!((record.server_ns, record.generator_ns_per_request), (None, None));
    }
}

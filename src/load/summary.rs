//! From what a run left behind to the report: pure arithmetic.

use super::Config;
use super::conduct::{CpuSample, Outcome};
use super::recorder::Recorder;
use super::validity::{self, Facts};
use crate::report::histogram;
use crate::report::schema::{CpuRecord, LOAD_SCHEMA, LoadReport, WorkloadRecord};
use crate::sys::accounting::TreeUse;
use crate::sys::affinity;
use crate::units::Nanos;

/// The report of a run.
pub fn report(config: &Config, outcome: &Outcome) -> LoadReport {
    let mut recorder = Recorder::default();
    outcome.hauls.iter().for_each(|haul| recorder.add(&haul.recorder));
    let duration = outcome.last.since(outcome.first);
    let cpu = cpu(outcome.cpu.as_ref(), server_use(outcome), duration, recorder.requests());
    let facts = facts(config, outcome, &recorder, duration, &cpu);
    LoadReport {
        schema: LOAD_SCHEMA.into(),
        ringmark: env!("CARGO_PKG_VERSION").into(),
        target: config.target.to_string(),
        workload: workload(config),
        requests: recorder.requests(),
        duration_ns: duration.0,
        throughput_per_s: per(recorder.requests() as f64, duration.as_secs_f64()).unwrap_or(0.0),
        latency_ns: histogram::figures(recorder.service()),
        errors: recorder.errors_by_kind(),
        invalid: validity::invalid(&facts),
        warnings: validity::warnings(&facts),
        cpu,
        histogram: histogram::encode(recorder.service()),
        ..LoadReport::default()
    }
}

fn facts(config: &Config, outcome: &Outcome, recorder: &Recorder, duration: Nanos, cpu: &CpuRecord) -> Facts {
    Facts {
        connections: config.connections as u64,
        threads: config.threads as u64,
        admitted: outcome.admitted as u64,
        requests: recorder.requests(),
        errors: recorder.errors_by_kind(),
        spin: config.spin,
        duration,
        planned: config.duration,
        interrupted: outcome.interrupted,
        busiest_thread: outcome.hauls.iter().filter_map(|haul| haul.busy).fold(0.0, f64::max),
        server_cpu_wanted: config.server_pid.is_some(),
        server_cpu: cpu.server_ns.map(Nanos),
        server_processes_ended: server_use(outcome).map_or(0, |server| server.ended),
        server_cores: config.server_pid.and_then(affinity::cores_of),
        ports_exhausted: outcome.hauls.iter().any(|haul| haul.ports_exhausted),
    }
}

fn workload(config: &Config) -> WorkloadRecord {
    WorkloadRecord {
        protocol: config.target.protocol().into(),
        connections: config.connections as u64,
        threads: config.threads as u64,
        size: config.size.0,
        depth: config.depth,
        connect_per_request: config.connect_per_request,
        warmup_ns: config.warmup.0,
        timeout_ns: config.timeout.0,
        spin_ns: config.spin.0,
        seed: config.seed,
        engine: config.engine.name().into(),
        cores: config.pin.as_ref().map(ToString::to_string),
        ..WorkloadRecord::default()
    }
}

/// What the server's processes used between the two samples.
fn server_use(outcome: &Outcome) -> Option<TreeUse> {
    let (begin, end) = outcome.cpu.as_ref()?;
    Some(end.server.as_ref()?.since(begin.server.as_ref()?))
}

/// CPU time between two samples, scaled from their distance to the counted duration.
fn cpu(samples: Option<&(CpuSample, CpuSample)>, server: Option<TreeUse>, duration: Nanos, requests: u64) -> CpuRecord {
    let Some((begin, end)) = samples else { return CpuRecord::default() };
    let scale = per(duration.0 as f64, end.at.since(begin.at).0 as f64).unwrap_or(0.0);
    let scaled = |cpu: Nanos| (cpu.0 as f64 * scale).round() as u64;
    let generator = end.generator.zip(begin.generator).map(|(after, before)| scaled(after.since(before)));
    let server = server.map(|server| scaled(server.cpu));
    CpuRecord {
        generator_ns: generator.unwrap_or(0),
        server_ns: server,
        generator_ns_per_request: generator.and_then(|cpu| per(cpu as f64, requests as f64)),
        server_ns_per_request: server.and_then(|cpu| per(cpu as f64, requests as f64)),
    }
}

fn per(amount: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| amount / of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(at: [u64; 2], generator: [u64; 2]) -> (CpuSample, CpuSample) {
        let sample = |i: usize| CpuSample { at: Nanos(at[i]), generator: Some(Nanos(generator[i])), server: None };
        (sample(0), sample(1))
    }

    #[test]
    fn cpu_is_scaled_to_the_counted_time() {
        let server = TreeUse { cpu: Nanos(2000), ended: 0 };
        let record = cpu(Some(&samples([100, 300], [50, 250])), Some(server), Nanos(100), 10);
        let expected = CpuRecord {
            generator_ns: 100,
            server_ns: Some(1000),
            generator_ns_per_request: Some(10.0),
            server_ns_per_request: Some(100.0),
        };
        assert_eq!(record, expected);
    }

    #[test]
    fn cpu_that_was_not_read_is_unknown() {
        assert_eq!(cpu(None, None, Nanos(100), 10), CpuRecord::default());
        let ended = samples([0, 9], [0, 9]);
        let record = cpu(Some(&ended), None, Nanos(9), 0);
        assert_eq!((record.server_ns, record.generator_ns_per_request), (None, None));
    }
}

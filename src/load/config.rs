//! A run's settings out of its workload: names become what they name, numbers become times and sizes.

use super::{Config, DEFAULT_MAX_LOSS, DatagramOptions, Pace, PaceError};
use crate::record::Workload;
use crate::units::{Address, CoreList, Fraction, Nanos, ParseUnitError, SizeMix};
use clap::ValueEnum;

/// Where a run's threads are, and what is watched beside it: what is no part of the workload.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Cores to pin the threads to, at least one per thread; `None` leaves them to the scheduler.
    pub pin: Option<CoreList>,
    /// Process whose CPU time, with its descendants', is to be accounted as the server's.
    pub server_pid: Option<u32>,
    /// Keep the load up after the counted time for what is counted then; else it ends there.
    pub counts: bool,
}

/// A workload that the generator does not know how to run.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Pace(#[from] PaceError),
    #[error(transparent)]
    Sizes(#[from] ParseUnitError),
    #[error("the generator has no {what} named '{name}'; see ringload --help")]
    Unknown { what: &'static str, name: String },
}

impl Config {
    /// The settings of a run of this workload.
    pub fn new(target: Address, mut workload: Workload, around: Surroundings) -> Result<Config, ConfigError> {
        workload.cores = around.pin.as_ref().map(ToString::to_string);
        let (shape, generator) = (&workload.shape, &workload.generator);
        let sizes = shape.mix()?;
        Ok(Config {
            target,
            connections: shape.connections as usize,
            threads: generator.threads as usize,
            pin: around.pin,
            duration: Nanos(generator.duration_ns),
            requests: generator.max_requests,
            size: sizes.mean(),
            mix: Some(sizes).filter(SizeMix::is_mixed),
            idle: generator.idle as usize,
            depth: shape.depth,
            pace: Pace::of(&workload)?,
            timer: generator.timer.as_deref().map(|name| named("timer", name)).transpose()?.unwrap_or_default(),
            allowed_errors: generator.allow_errors.and_then(Fraction::new),
            connect_per_request: shape.connect_per_request,
            warmup: Nanos(generator.warmup_ns),
            warmup_max: Nanos(generator.warmup_max_ns),
            timeout: Nanos(generator.timeout_ns),
            seed: workload.seed,
            spin: Nanos(generator.spin_ns),
            engine: named("engine", &generator.engine)?,
            counts: around.counts,
            datagrams: datagrams(&workload)?,
            server_pid: around.server_pid,
            workload,
        })
    }
}

fn datagrams(workload: &Workload) -> Result<DatagramOptions, ConfigError> {
    let generator = &workload.generator;
    let dialect = Some(generator.dialect.as_str()).filter(|name| !name.is_empty());
    Ok(DatagramOptions {
        gso: generator.gso.max(1),
        protocol: dialect.map(|name| named("dialect", name)).transpose()?.unwrap_or_default(),
        max_loss: generator.max_loss.unwrap_or(DEFAULT_MAX_LOSS),
    })
}

fn named<T: ValueEnum>(what: &'static str, name: &str) -> Result<T, ConfigError> {
    T::from_str(name, false).map_err(|_| ConfigError::Unknown { what, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{DatagramProtocol, EngineKind, WaitMode};
    use crate::record::workload::{Defaults, PROPERTIES, Property, Value};

    fn config(typed: &[(&Property, &str)]) -> Result<Config, ConfigError> {
        let workload = Workload::typed("udp", typed, Defaults::Ringload).unwrap();
        Config::new("udp://127.0.0.1:1".parse().unwrap(), workload, Surroundings::default())
    }

    fn property(option: &str) -> &'static Property {
        PROPERTIES.iter().find(|property| property.option == Some(option)).unwrap()
    }

    fn names<T: ValueEnum>() -> Vec<String> {
        T::value_variants().iter().filter_map(|one| Some(one.to_possible_value()?.get_name().to_owned())).collect()
    }

    #[test]
    fn what_may_be_typed_is_what_there_is() {
        for (option, known) in [("engine", names::<EngineKind>()), ("timer", names::<WaitMode>())] {
            let Value::OneOf(_, words) = property(option).value else { panic!("{option} is one of some words") };
            assert_eq!(words.iter().map(|(word, _)| *word).collect::<Vec<_>>(), known);
        }
        for name in names::<DatagramProtocol>() {
            assert_eq!(config(&[(property("speak"), &name)]).unwrap().datagrams.protocol.name(), name);
        }
        let magic = config(&[(property("engine"), "magic")]).unwrap_err();
        assert!(matches!(magic, ConfigError::Unknown { what: "engine", .. }));
    }
}

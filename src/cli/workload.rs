//! The options that say what the load is, for `ringload` and for `ringmark compare`: made from the one description that
//! each property of a workload has.

use crate::load::{DatagramProtocol, Pace, PaceError, max_datagram_size};
use crate::record::Workload;
use crate::record::workload::{Defaults, InCompare, PROPERTIES, Preset, Property, Value};
use crate::units::{Address, Bytes, Nanos, SocketLocation, Transport};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, ValueEnum};

/// What was typed of a workload. In a comparison (`CELLS`) some properties take several values.
#[derive(Clone, Debug, Default)]
pub struct WorkloadArgs<const CELLS: bool> {
    typed: Vec<(usize, Vec<String>)>,
}

/// Properties that are fine one by one, but not together or not on this transport.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error("{0}")]
    Value(String),
    #[error("{0} is for streams; datagrams have no connections: leave it out")]
    StreamsOnly(String),
    #[error("{0} is for datagrams: write the target as udp://IP:PORT (or unixgram:PATH), or leave it out")]
    OnlyDatagrams(String),
    #[error("{0} is for datagrams: add --udp, or leave it out")]
    OnlyUdpContestants(String),
    #[error("a datagram over {protocol} has from {min} to {max} bytes, not {size}: choose another --size")]
    DatagramSize { protocol: String, size: Bytes, min: Bytes, max: Bytes },
    #[error("{0} is for UDP: a unix socket has no super-packets")]
    OnlyUdp(&'static str),
    #[error(
        "--gso sends datagrams of one size, because a super-packet is cut into equal parts (UDP_SEGMENT): choose one \
         --size, or leave out --gso"
    )]
    MixedSegments,
    #[error("--warmup-max {most} is less than --warmup {least}: raise it, or lower --warmup")]
    Warmup { least: Nanos, most: Nanos },
    #[error(transparent)]
    Pace(#[from] PaceError),
}

const HEADING: &str = "Datagrams (udp://, unixgram:)";

impl<const CELLS: bool> WorkloadArgs<CELLS> {
    const WHOSE: Defaults = if CELLS { Defaults::Compare } else { Defaults::Ringload };

    /// The first option typed that this transport does not have, as it is typed.
    fn foreign_to(&self, transport: Transport) -> Option<String> {
        let foreign = |property: &&Property| property.only.is_some_and(|only| only != transport);
        // A count of none asks for nothing.
        let asks = |values: &[String]| values.iter().any(|value| value != "0");
        let typed = self.typed.iter().filter(|(_, values)| asks(values)).map(|(index, _)| &PROPERTIES[*index]);
        typed.filter(foreign).find_map(|property| Some(format!("--{}", name::<CELLS>(property)?)))
    }

    /// Takes this as typed unless something else was.
    pub fn or(mut self, option: &str, value: &str) -> Self {
        let place = PROPERTIES.iter().position(|property| property.option == Some(option));
        if let Some(index) = place.filter(|index| self.typed.iter().all(|(typed, _)| typed != index)) {
            self.typed.push((index, vec![value.to_owned()]));
        }
        self
    }

    pub fn is_typed(&self, option: &str) -> bool {
        self.typed.iter().any(|(index, _)| PROPERTIES[*index].option == Some(option))
    }

    /// Every combination of the values that were typed, each once, in the order typed: the first property slowest. Never
    /// empty.
    ///
    /// # Errors
    /// A combination makes no sense for a target such as this.
    pub fn workloads(&self, target: &Address) -> Result<Vec<Workload>, WorkloadError> {
        if let Some(option) = self.foreign_to(target.transport) {
            return Err(match target.transport {
                Transport::Datagram => WorkloadError::StreamsOnly(option),
                Transport::Stream if CELLS => WorkloadError::OnlyUdpContestants(option),
                Transport::Stream => WorkloadError::OnlyDatagrams(option),
            });
        }
        let workloads = self.combined(target.protocol()).map_err(WorkloadError::Value)?;
        workloads.iter().try_for_each(|workload| check(workload, target))?;
        Ok(workloads)
    }

    fn combined(&self, protocol: &str) -> Result<Vec<Workload>, String> {
        let mut combinations: Vec<Vec<(&Property, &str)>> = vec![Vec::new()];
        for (index, values) in &self.typed {
            let with = |combination: &Vec<(&'static Property, _)>, value| {
                [combination.as_slice(), &[(&PROPERTIES[*index], value)]].concat()
            };
            combinations = combinations
                .iter()
                .flat_map(|combination| values.iter().map(move |value| with(combination, value.as_str())))
                .collect();
        }
        let mut workloads: Vec<Workload> = Vec::new();
        for combination in combinations {
            let workload = Workload::typed(protocol, &combination, Self::WHOSE)?;
            if !workloads.contains(&workload) {
                workloads.push(workload);
            }
        }
        Ok(workloads)
    }
}

fn check(workload: &Workload, target: &Address) -> Result<(), WorkloadError> {
    let generator = &workload.generator;
    if generator.warmup_max_ns < generator.warmup_ns {
        return Err(WorkloadError::Warmup { least: Nanos(generator.warmup_ns), most: Nanos(generator.warmup_max_ns) });
    }
    Pace::of(workload)?;
    if target.transport == Transport::Datagram { check_datagrams(workload, target) } else { Ok(()) }
}

/// A datagram has to hold its number, and IP has to carry it.
fn check_datagrams(workload: &Workload, target: &Address) -> Result<(), WorkloadError> {
    let dialect = DatagramProtocol::from_str(&workload.generator.dialect, false).unwrap_or_default();
    let (min, max) = (Bytes(dialect.min_size()), Bytes(max_datagram_size(target)));
    let sizes = workload.shape.mix().map_err(|error| WorkloadError::Value(error.to_string()))?;
    let mut each = sizes.parts().iter().map(|(size, _)| *size);
    if let Some(size) = each.find(|size| !(min..=max).contains(size)) {
        return Err(WorkloadError::DatagramSize { protocol: target.protocol().to_owned(), size, min, max });
    }
    match (&target.location, workload.generator.gso) {
        (SocketLocation::Unix(_), 1..) => Err(WorkloadError::OnlyUdp("--gso")),
        (_, 2..) if sizes.is_mixed() => Err(WorkloadError::MixedSegments),
        _ => Ok(()),
    }
}

/// What a command calls a property; `None` where it does not take it.
fn name<const CELLS: bool>(property: &Property) -> Option<&'static str> {
    match (CELLS, property.compare) {
        (true, InCompare::Not) => None,
        (true, InCompare::Named(name)) => Some(name),
        _ => property.option,
    }
}

fn several<const CELLS: bool>(property: &Property) -> Option<&'static str> {
    match property.compare {
        InCompare::Several(words) if CELLS => Some(words),
        _ => None,
    }
}

fn argument<const CELLS: bool>(property: &'static Property) -> Option<Arg> {
    let name = name::<CELLS>(property)?;
    let help = help::<CELLS>(property);
    let argument = Arg::new(name).long(name).help(help.clone());
    let argument = match property.short {
        Some(letter) => argument.short(letter),
        None => argument,
    };
    let argument = match property.details {
        "" => argument,
        details => argument.long_help(format!("{help}\n\n{details}")),
    };
    let argument = match property.only {
        Some(Transport::Datagram) if !CELLS => argument.help_heading(HEADING),
        _ => argument,
    };
    Some(taking::<CELLS>(argument, property).conflicts_with_all(property.excludes))
}

/// The first line of the help: what it is, and what it is by default.
fn help<const CELLS: bool>(property: &Property) -> String {
    let several = several::<CELLS>(property).map(|words| format!("; {words}")).unwrap_or_default();
    let default = match property.default(WorkloadArgs::<CELLS>::WHOSE) {
        Preset::None | Preset::Follows("", _) => String::new(),
        Preset::Is(default) | Preset::Follows(default, _) => format!(" [default: {default}]"),
    };
    format!("{}{several}{default}", property.help)
}

fn taking<const CELLS: bool>(argument: Arg, property: &'static Property) -> Arg {
    match property.value {
        Value::Flag => argument.action(ArgAction::SetTrue),
        Value::OneOf(name, words) => {
            let words = words.iter().map(|(word, help)| PossibleValue::new(*word).help(*help));
            argument.value_name(name).value_parser(PossibleValuesParser::new(words))
        }
        Value::DatagramProtocol(name) => {
            let protocols = DatagramProtocol::value_variants().iter().filter_map(DatagramProtocol::to_possible_value);
            argument.value_name(name).value_parser(PossibleValuesParser::new(protocols))
        }
        Value::Text(name) if several::<CELLS>(property).is_some() => argument
            .value_name(name)
            .action(ArgAction::Append)
            .value_parser(move |typed: &str| checked(property, parts(typed))),
        Value::Text(name) => argument
            .value_name(name)
            .value_parser(move |typed: &str| checked(property, vec![typed]).map(|mut all| all.remove(0))),
    }
}

/// Values between commas; a mix of sizes has commas of its own.
fn parts(typed: &str) -> Vec<&str> {
    if typed.contains(':') { vec![typed] } else { typed.split(',').collect() }
}

fn checked(property: &Property, values: Vec<&str>) -> Result<Vec<String>, String> {
    let mut scratch = Workload::default();
    values.into_iter().map(|value| (property.set)(&mut scratch, value).map(|()| value.to_owned())).collect()
}

impl<const CELLS: bool> Args for WorkloadArgs<CELLS> {
    fn augment_args(command: Command) -> Command {
        command.args(PROPERTIES.iter().filter_map(argument::<CELLS>))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const CELLS: bool> FromArgMatches for WorkloadArgs<CELLS> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let typed = PROPERTIES.iter().enumerate().filter_map(|(index, property)| {
            let values = values::<CELLS>(matches, property)?;
            Some((index, values))
        });
        Ok(WorkloadArgs { typed: typed.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What was typed for a property; `None` where nothing was.
fn values<const CELLS: bool>(matches: &ArgMatches, property: &Property) -> Option<Vec<String>> {
    let name = name::<CELLS>(property)?;
    match property.value {
        Value::Flag => matches.get_flag(name).then(|| vec![String::new()]),
        _ if several::<CELLS>(property).is_some() => {
            Some(matches.get_many::<Vec<String>>(name)?.flatten().cloned().collect())
        }
        _ => Some(vec![matches.get_one::<String>(name)?.clone()]),
    }
}

//! What is served where: an option for each protocol of the registry.

use crate::protocol::Kind;
use crate::units::{Endpoint, SocketLocation, Transport};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

const DEFAULT: &str = "127.0.0.1:7007";

/// Endpoints in the order of the protocols, and within one as they were given.
#[derive(Clone, Debug)]
pub struct Endpoints(Vec<(Kind, Endpoint)>);

impl Endpoints {
    /// What was asked for; an echo at 127.0.0.1:7007 where nothing was.
    ///
    /// # Errors
    /// An address is named twice.
    pub fn or_default(self) -> anyhow::Result<Vec<(Kind, Endpoint)>> {
        reject_duplicates(&self.0)?;
        match self.0.is_empty() {
            true => Ok(vec![(Kind::Echo, DEFAULT.parse()?)]),
            false => Ok(self.0),
        }
    }
}

impl Args for Endpoints {
    fn augment_args(command: Command) -> Command {
        command.args(Kind::ALL.iter().map(|kind| option(*kind)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Endpoints::augment_args(command)
    }
}

fn option(kind: Kind) -> Arg {
    let (short, long) = kind.help().split_once("\n\n").unwrap_or((kind.help(), ""));
    let option = Arg::new(kind.name()).long(kind.name()).value_name("ADDR").action(ArgAction::Append);
    let option = option.value_parser(clap::value_parser!(Endpoint)).hide(kind.is_hidden()).help(short);
    if long.is_empty() { option } else { option.long_help(kind.help()) }
}

impl FromArgMatches for Endpoints {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Endpoints, clap::Error> {
        let mut endpoints = Endpoints(Vec::new());
        endpoints.update_from_arg_matches(matches)?;
        Ok(endpoints)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for kind in Kind::ALL {
            for endpoint in matches.get_many::<Endpoint>(kind.name()).into_iter().flatten() {
                self.0.push((*kind, spoken(*kind, endpoint.clone())?));
            }
        }
        Ok(())
    }
}

/// An endpoint over the transports on which the protocol is spoken.
fn spoken(kind: Kind, mut endpoint: Endpoint) -> Result<Endpoint, clap::Error> {
    if !kind.speaks_datagrams() {
        if endpoint.transport == Some(Transport::Datagram) {
            let problem =
                format!("{kind} is not spoken in datagrams; name a stream socket, as tcp://{}", endpoint.location);
            return Err(clap::Error::raw(ErrorKind::ValueValidation, problem));
        }
        endpoint.transport = Some(Transport::Stream);
    }
    Ok(endpoint)
}

/// Two listeners at one address would fail as if another program had it.
fn reject_duplicates(endpoints: &[(Kind, Endpoint)]) -> anyhow::Result<()> {
    let open = |endpoint: &Endpoint| matches!(endpoint.location, SocketLocation::Ip { port: 0, .. });
    let meet = |one: &Endpoint, other: &Endpoint| {
        let transports = one.transport.zip(other.transport);
        one.location == other.location && transports.is_none_or(|(one, other)| one == other) && !open(one)
    };
    let duplicate = endpoints
        .iter()
        .enumerate()
        .find(|(index, (_, one))| endpoints[..*index].iter().any(|(_, other)| meet(one, other)));
    match duplicate {
        Some((_, (_, twin))) => {
            anyhow::bail!("{} is named twice; leave one out, or choose another port", twin.location)
        }
        None => Ok(()),
    }
}

//! `ringmark serve`: an engine with its options, and what all engines have in common.
//!
//! The same parser reads the contestants of `ringmark compare`, so that each is a command line that can be copied.

mod endpoints;

use crate::engine::Engine;
use crate::for_each_engine;
use crate::protocol::Kind;
use crate::server::{self, Accept, Config, SocketOptions};
use crate::sys::affinity;
use crate::units::{Bytes, CoreSelection, Nanos};
use anyhow::Context;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use endpoints::Endpoints;
use std::io;

/// Options that `compare` sets itself, besides those that say what is served where.
const SET_BY_COMPARE: [&str; 4] = ["cores", "no_pin", "stats", "drain"];

/// Serve echo, discard, chargen and daytime with one of the engines, until SIGINT or SIGTERM
///
/// When ready it prints one line per socket (`listening echo tcp 127.0.0.1:7007`). On SIGINT or SIGTERM it answers what
/// has arrived, closes, prints its counters and exits 0; a second signal ends it at once.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "`ringmark serve ENGINE --help` shows the engine's options, the kernel each needs, and when it hurts.\n\n\
                  Exit codes: 0 it was stopped by a signal; 1 it could not serve; 2 bad options.\n\n\
                  Examples:\n  \
                  ringmark serve uring\n  \
                  ringmark serve epoll --echo 127.0.0.1:7007 --echo unix:/run/echo.sock --cores 0-1\n  \
                  ringmark serve threads --echo tcp://127.0.0.1:7007 --discard tcp://127.0.0.1:9009 --stats 1s"
)]
pub struct ServeArgs {
    #[command(subcommand)]
    engine: EngineCommand,
}

macro_rules! define_engine_command {
    ($($variant:ident, $engine:ty, $about:literal;)*) => {
        #[derive(Clone, Debug, Subcommand)]
        #[command(subcommand_value_name = "ENGINE", subcommand_help_heading = "Engines")]
        enum EngineCommand {
            $(#[doc = $about] $variant(EngineArgs<<$engine as Engine>::Options>),)*
        }

        impl EngineCommand {
            fn run(self) -> anyhow::Result<()> {
                match self {
                    $(EngineCommand::$variant(args) => args.run::<$engine>(),)*
                }
            }
        }
    };
}

for_each_engine!(define_engine_command);

#[derive(Clone, Debug, Args)]
struct EngineArgs<O: Args> {
    #[command(flatten)]
    options: O,
    #[command(flatten)]
    common: CommonArgs,
}

/// What every engine understands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common options")]
struct CommonArgs {
    #[command(flatten)]
    endpoints: Endpoints,

    /// Cores to use: a count (4) or a list (0-3,6; one core alone as 3-3) [default: all this process may use]
    #[arg(long, value_name = "CORES")]
    cores: Option<CoreSelection>,

    /// Do not pin threads to their cores
    #[arg(long)]
    no_pin: bool,

    /// How new connections are spread over the cores
    ///
    /// balanced: one core accepts and hands them round in turn, so that few connections do not land on one core by
    /// hash. reuseport: every core accepts on its own socket, the kernel chooses by hash; faster to connect, TCP only.
    #[arg(long, value_enum, default_value = "balanced")]
    accept: Accept,

    /// Connections that may wait to be accepted, at most 1000000; the kernel caps it at net.core.somaxconn
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    backlog: u32,

    /// Send small segments at once (TCP_NODELAY); the default
    #[arg(long, overrides_with = "no_nodelay")]
    nodelay: bool,

    /// Leave Nagle's algorithm on: fewer segments, up to 40 ms more latency with delayed ACKs
    #[arg(long)]
    no_nodelay: bool,

    /// Socket receive buffer (SO_RCVBUF); turns the kernel's autotuning off
    #[arg(long, value_name = "BYTES")]
    rcvbuf: Option<Bytes>,

    /// Socket send buffer (SO_SNDBUF); turns the kernel's autotuning off
    #[arg(long, value_name = "BYTES")]
    sndbuf: Option<Bytes>,

    /// Print the counters this often; at least 10ms
    #[arg(long, value_name = "TIME", value_parser = parse_interval)]
    stats: Option<Nanos>,

    /// How long to wait for connections to end after SIGINT or SIGTERM
    #[arg(long, value_name = "TIME", default_value = "5s")]
    drain: Nanos,

    /// Busy time added to each message answered: a known slowdown, to test what finds it
    #[arg(long, value_name = "TIME", default_value = "0", hide = true)]
    handicap: Nanos,
}

fn parse_interval(text: &str) -> Result<Nanos, String> {
    let interval: Nanos = text.parse().map_err(|error| format!("{error}"))?;
    if interval < Nanos::from_millis(10) { Err("an interval is at least 10ms".into()) } else { Ok(interval) }
}

impl<O: Args> EngineArgs<O> {
    fn run<E: Engine<Options = O>>(self) -> anyhow::Result<()> {
        let config = self.common.config()?;
        server::run::<E>(&config, &self.options, &mut io::stdout()).with_context(|| format!("serve {}", E::NAME))
    }
}

impl CommonArgs {
    fn config(self) -> anyhow::Result<Config> {
        let endpoints = self.endpoints.or_default()?;
        let cores = match self.cores {
            Some(selection) => affinity::resolve(&selection).context("--cores")?,
            None => affinity::available()?,
        };
        Ok(Config {
            endpoints,
            cores,
            pin: !self.no_pin,
            accept: self.accept,
            socket: SocketOptions {
                backlog: self.backlog,
                nodelay: !self.no_nodelay,
                rcvbuf: self.rcvbuf,
                sndbuf: self.sndbuf,
            },
            stats: self.stats,
            drain_timeout: self.drain,
            handicap: self.handicap,
        })
    }
}

/// The command `ringmark serve`.
pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    args.engine.run()
}

/// Checks the words after `ringmark serve` as a contestant of `compare` and returns its name: the engine and the
/// options that differ from their defaults.
///
/// # Errors
/// clap's, when the words would not be accepted by `serve`, or when they set what `compare` sets itself.
pub fn contestant_name(words: &[String]) -> Result<String, clap::Error> {
    let mut command = ServeArgs::augment_args(Command::new("serve").bin_name("ringmark serve"));
    let matches = command.try_get_matches_from_mut(["serve"].into_iter().chain(words.iter().map(String::as_str)))?;
    ServeArgs::from_arg_matches(&matches)?;
    let (engine, options) = matches.subcommand().expect("an engine is required");
    let engine_command = command.find_subcommand(engine).expect("clap matched it");
    let mut name = engine.to_owned();
    for arg in engine_command.get_arguments().filter(|arg| was_typed(options, arg)) {
        let id = arg.get_id().as_str();
        if SET_BY_COMPARE.contains(&id) || Kind::ALL.iter().any(|kind| kind.name() == id) {
            let problem = format!("compare sets --{} for every contestant; leave it out", arg.get_id());
            return Err(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, problem));
        }
        name += &typed_text(options, arg);
    }
    Ok(name)
}

fn was_typed(options: &ArgMatches, arg: &Arg) -> bool {
    options.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
}

/// ` --option value`, or nothing where the value is the default.
fn typed_text(options: &ArgMatches, arg: &Arg) -> String {
    let long = arg.get_long().unwrap_or(arg.get_id().as_str());
    if !arg.get_action().takes_values() {
        // --nodelay only says what is the default.
        return if long == "nodelay" { String::new() } else { format!(" --{long}") };
    }
    let typed: Vec<_> = options.get_raw(arg.get_id().as_str()).into_iter().flatten().collect();
    if typed.iter().copied().eq(arg.get_default_values().iter().map(|value| value.as_os_str())) {
        return String::new();
    }
    let separator = if arg.is_require_equals_set() { "=" } else { " " };
    let values: Vec<_> = typed.iter().map(|value| value.to_string_lossy()).collect();
    format!(" --{long}{separator}{}", values.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Whole {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn name(words: &str) -> Result<String, String> {
        let words: Vec<String> = words.split_whitespace().map(String::from).collect();
        contestant_name(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Whole::command().debug_assert();
    }

    #[test]
    fn engines_are_called_by_their_names() {
        macro_rules! check {
            ($($variant:ident, $engine:ty, $about:literal;)*) => {
                $(assert_eq!(name(<$engine as Engine>::NAME).as_deref(), Ok(<$engine as Engine>::NAME));)*
            };
        }
        for_each_engine!(check);
    }

    /// The command as it would be with one more line in `for_each_engine`: nothing else is needed for an engine to be
    /// offered with its options.
    #[allow(dead_code, reason = "it is parsed, not run")]
    mod with_one_more {
        use super::*;
        use crate::engine::skeleton::Skeleton;
        define_engine_command! { Skeleton, Skeleton, "the plainest loop"; }

        #[derive(Debug, Parser)]
        struct Whole {
            #[command(subcommand)]
            engine: EngineCommand,
        }

        #[test]
        fn a_new_engine_is_one_file_and_one_line() {
            let words = ["serve", "skeleton", "--buffer-size", "1k", "--echo", "127.0.0.1:7007"];
            let whole = Whole::try_parse_from(words).expect("it is offered");
            let EngineCommand::Skeleton(args) = whole.engine;
            assert_eq!(args.options.buffers.buffer_size, Bytes(1024));
        }
    }

    #[test]
    fn a_contestants_name_shows_what_differs_from_the_defaults() {
        for (words, shown) in [
            ("uring --recv multishot", "uring"),
            ("uring --recv oneshot --buffer-size 32k", "uring --recv oneshot"),
            ("uring --sqpoll", "uring --sqpoll=1ms"),
            ("epoll --spin 50us --no-nodelay", "epoll --spin 50us --no-nodelay"),
            ("epoll --nodelay", "epoll"),
            ("threads --handicap 500ns", "threads --handicap 500ns"),
        ] {
            assert_eq!(name(words).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn a_contestant_that_serve_would_refuse_is_refused() {
        for (words, part) in [
            ("uring --recv never", "never"),
            ("epoll --sqpoll", "--sqpoll"),
            ("nginx", "nginx"),
            ("epoll --echo 127.0.0.1:1", "leave it out"),
            ("uring --buffer-size 1", "64"),
        ] {
            let message = name(words).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}

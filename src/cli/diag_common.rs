//! What the diagnostics' command lines have in common: exit codes, names, a number that differs from run to run, and the
//! signal that ends them early.

use super::output::OutputArgs;
use super::report::{Format, print, render};
use crate::cli::stderr;
use crate::diag::icmp::Family;
use crate::diag::names::{Host, NameError};
use crate::report::result::Stored;
use crate::report::text_style::TextStyle;
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

// Exit codes, those of fping(8). 0: all reachable.
pub const EXIT_SOME_UNREACHABLE: u8 = 1;
pub const EXIT_NAME_NOT_FOUND: u8 = 2;
pub const EXIT_USAGE: u8 = 3;
pub const EXIT_SYSTEM: u8 = 4;
/// What a shell reports for a program that a second Ctrl-C ends: 128 + SIGINT.
const EXIT_INTERRUPTED: i32 = 130;
/// What clap's own convention is, for all other commands.
const USUAL_USAGE: i32 = 2;

/// Which addresses of a name to take.
#[derive(Clone, Copy, Debug, Args)]
pub struct FamilyArgs {
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    v6: bool,
}

/// What ping and trace have in common.
#[derive(Clone, Debug, Args)]
pub struct ProbingArgs {
    #[command(flatten)]
    pub family: FamilyArgs,
    /// Allow an interval that floods other machines: for networks of your own
    #[arg(long)]
    pub flood: bool,
    /// No live view on the terminal; of a ping no line per answer either, as where answers come faster than every 10ms
    #[arg(short, long)]
    pub quiet: bool,
    /// What to print: text, or one JSON object (`ringmark schema` has its form; times in integer nanoseconds)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    #[command(flatten)]
    outcome: OutputArgs,
}

impl ProbingArgs {
    /// Probes and reports, unless the settings were refused. What is measured is a result, and whether all that was probed
    /// answered; `all_found`: whether all names were known.
    pub fn conduct(
        &self,
        command: &str,
        refused: Option<impl Display>,
        all_found: bool,
        measure: impl FnOnce(&AtomicBool) -> anyhow::Result<(Stored, bool)>,
    ) -> ExitCode {
        let problem = refused.map(|error| error.to_string()).or_else(|| self.outcome.needs_comparison());
        if let Some(problem) = problem {
            return fail(command, EXIT_USAGE, &problem);
        }
        match self.measure(measure) {
            Err(error) => fail(command, EXIT_SYSTEM, &stderr::error_chain(&error)),
            Ok(_) if !all_found => EXIT_NAME_NOT_FOUND.into(),
            Ok((_, false)) => EXIT_SOME_UNREACHABLE.into(),
            Ok((result, true)) => self.outcome.verdict(&*result),
        }
    }

    /// Prints what was found, and exports it.
    fn measure(
        &self,
        measure: impl FnOnce(&AtomicBool) -> anyhow::Result<(Stored, bool)>,
    ) -> anyhow::Result<(Stored, bool)> {
        self.outcome.check_places()?;
        let (result, answered) = measure(&*stop_flag()?)?;
        print(&render(&*result, self.format, &TextStyle::default())?)?;
        self.outcome.export(&*result)?;
        Ok((result, answered))
    }
}

impl FamilyArgs {
    pub fn family(self) -> Option<Family> {
        match (self.v4, self.v6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        }
    }
}

/// The exit code for bad options: fping's where its codes are promised.
pub fn usage_code() -> i32 {
    let command = std::env::args_os().nth(1);
    match command.is_some_and(|word| word == "ping" || word == "trace") {
        true => EXIT_USAGE.into(),
        false => USUAL_USAGE,
    }
}

/// Says what is wrong, and becomes the exit code.
pub fn fail(command: &str, code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    stderr::print(format_args!("ringmark {command}: {error}"));
    code.into()
}

/// The hosts that there are, each address once, and why others are not.
pub fn resolve(names: &[String], family: Option<Family>) -> (Vec<Host>, Vec<NameError>) {
    let (mut hosts, mut errors) = (Vec::<Host>::new(), Vec::new());
    for name in names {
        match Host::resolve(name, family) {
            Ok(host) if hosts.iter().any(|other| other.address == host.address) => {
                stderr::print(format_args!("{}: its address is among the targets already", host.label()));
            }
            Ok(host) => hosts.push(host),
            Err(error) => errors.push(error),
        }
    }
    (hosts, errors)
}

/// A number that differs from run to run: the keys of hash maps come from the kernel's randomness.
pub fn nonce() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// A flag that the first SIGINT or SIGTERM raises; the second ends the program.
pub fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down and raises it, the second finds it up and ends us.
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

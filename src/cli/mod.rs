//! What was typed, turned into what was meant: clap structs, one file per command, and the exit code.

pub mod compare;
pub mod contestant;
mod host;
pub mod load;
mod progress;
pub mod report;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What would io_uring buy this server on this machine?
#[derive(Debug, Parser)]
#[command(name = "ringmark", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compare(compare::CompareArgs),
    Report(report::ReportArgs),
    /// The generator, as `compare` starts it
    #[command(hide = true)]
    Load(load::LoadArgs),
}

/// The program `ringmark`.
pub fn ringmark() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Compare(args) => compare::run(args),
        Command::Report(args) => report::run(args),
        Command::Load(args) => Ok(load::run(&args)),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("ringmark: {error:#}");
        ExitCode::FAILURE
    })
}

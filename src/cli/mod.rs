//! What was typed, turned into validated settings: one file per command.

pub mod compare;
pub mod contestant;
mod host;
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
}

/// The program `ringmark`.
pub fn ringmark() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Compare(args) => compare::run(args),
        Command::Report(args) => report::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("ringmark: {error:#}");
        ExitCode::FAILURE
    })
}

//! What was typed, turned into what was meant: clap structs, one file per command, and the exit code.

pub mod compare;
pub mod contestant;
mod diag_common;
pub mod doctor;
mod host;
pub mod load;
mod output;
pub mod ping;
mod progress;
pub mod report;
mod schema;
pub mod serve;
pub mod sniff;
mod status_line;
mod stderr;
mod text_args;
pub mod trace;
mod workload;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// What would io_uring buy this server on this machine, what does it cost, and which settings get it?
///
/// `ringmark compare` answers: it runs echo servers on io_uring, epoll, threads, tokio and tokio-uring against its own
/// load generator, in turn, on this machine, and says which differences are real.
#[derive(Debug, Parser)]
#[command(name = "ringmark", version)]
struct Ringmark {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compare(compare::CompareArgs),
    Serve(serve::ServeArgs),
    Report(report::ReportArgs),
    Doctor(doctor::DoctorArgs),
    Ping(ping::PingArgs),
    Schema(schema::SchemaArgs),
    Sniff(sniff::SniffArgs),
    Trace(trace::TraceArgs),
    /// The load generator, as `ringload`; compare starts it this way
    #[command(hide = true)]
    Load(load::LoadArgs),
}

/// The program `ringmark`.
pub fn ringmark() -> ExitCode {
    let outcome = match parse().command {
        Command::Compare(args) => compare::run(args),
        Command::Serve(args) => serve::run(args).map(|()| ExitCode::SUCCESS),
        Command::Report(args) => report::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Ping(args) => Ok(ping::run(&args)),
        Command::Schema(args) => schema::run(&args),
        Command::Sniff(args) => sniff::run(args),
        Command::Trace(args) => Ok(trace::run(&args)),
        Command::Load(args) => Ok(load::run(&args)),
    };
    outcome.unwrap_or_else(|error| {
        stderr::print(format_args!("ringmark: {}", stderr::error_chain(&error)));
        ExitCode::FAILURE
    })
}

/// What was typed, the words of a scenario among it. Help and errors end the program here.
fn parse() -> Ringmark {
    let words: Vec<OsString> = std::env::args_os().collect();
    let lines = compare::expand(&words).unwrap_or_else(|error| {
        stderr::print(format_args!("ringmark compare: {}", stderr::error_chain(&error)));
        std::process::exit(diag_common::usage_code())
    });
    let mut lines = lines.unwrap_or_else(|| vec![words]).into_iter().map(parse_line);
    let mut first = lines.next().unwrap_or_else(|| parse_line(Vec::new()));
    if let Command::Compare(args) = &mut first.command {
        for line in lines {
            if let Command::Compare(further) = line.command {
                args.add_cells(further);
            }
        }
    }
    first
}

fn parse_line(words: Vec<OsString>) -> Ringmark {
    Ringmark::try_parse_from(words).unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.exit_code() == 0 { 0 } else { diag_common::usage_code() })
    })
}

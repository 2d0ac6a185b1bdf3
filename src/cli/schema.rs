//! `ringmark schema`: what the JSON looks like, for programs.

use super::report::print;
use crate::record::{AaReport, CompareReport, LoadReport, PingReport, TraceReport, WireReport};
use crate::report::against::AgainstReport;
use crate::report::json;
use anyhow::Result;
use clap::{Args, ValueEnum};
use schemars::{Schema, schema_for};
use std::process::ExitCode;

/// Print the JSON Schema of a stored result.
///
/// The form's version is in the result's field `schema`. Within a version fields are added, never renamed or reused.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "Example:\n  ringmark schema load > ringload.schema.json")]
pub struct SchemaArgs {
    /// Of which result.
    #[arg(value_enum, default_value_t = Of::Compare)]
    of: Of,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Of {
    /// What `ringload --format json` prints.
    Load,
    /// What `ringmark compare` saves.
    Compare,
    /// What `ringmark compare --aa` saves.
    Aa,
    /// What `ringmark report FILE --baseline FILE --format json` prints.
    Against,
    /// What `ringmark sniff --latency --format json` prints.
    Wire,
    /// What `ringmark ping --format json` prints.
    Ping,
    /// What `ringmark trace --format json` prints.
    Trace,
}

pub fn run(args: &SchemaArgs) -> Result<ExitCode> {
    print(&json::render(&schema(args.of))?)?;
    Ok(ExitCode::SUCCESS)
}

fn schema(of: Of) -> Schema {
    match of {
        Of::Load => schema_for!(LoadReport),
        Of::Compare => schema_for!(CompareReport),
        Of::Aa => schema_for!(AaReport),
        Of::Against => schema_for!(AgainstReport),
        Of::Wire => schema_for!(WireReport),
        Of::Ping => schema_for!(PingReport),
        Of::Trace => schema_for!(TraceReport),
    }
}

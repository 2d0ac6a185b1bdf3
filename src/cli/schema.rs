//! `ringmark schema`: what the JSON looks like, for programs.

use super::report::print;
use crate::report::baseline_diff::BaselineDiff;
use crate::report::json;
use crate::report::result::KINDS;
use anyhow::Result;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use schemars::{Schema, schema_for};
use std::process::ExitCode;

/// What a report against a baseline is called: it is printed, and read by no command.
const AGAINST: &str = "against";

/// Print the JSON Schema of a stored result.
///
/// The form's version is in the result's field `schema`. Within a version fields are added, never renamed or reused.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "Example:\n  ringmark schema load > ringload.schema.json")]
pub struct SchemaArgs {
    /// Of which result.
    #[arg(default_value = KINDS[0].name, value_parser = names())]
    of: String,
}

fn names() -> PossibleValuesParser {
    let against = (AGAINST, "What `ringmark report FILE --baseline FILE --format json` prints");
    let kinds = KINDS.iter().map(|kind| (kind.name, kind.about)).chain([against]);
    PossibleValuesParser::new(kinds.map(|(name, about)| PossibleValue::new(name).help(about)))
}

pub fn run(args: &SchemaArgs) -> Result<ExitCode> {
    print(&json::render(&schema(&args.of))?)?;
    Ok(ExitCode::SUCCESS)
}

fn schema(of: &str) -> Schema {
    let kind = KINDS.iter().find(|kind| kind.name == of);
    kind.map_or_else(|| schema_for!(BaselineDiff), |kind| (kind.form)())
}

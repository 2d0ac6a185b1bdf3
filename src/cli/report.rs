//! `ringmark report`: a stored result, computed again from its raw trials and rendered.

use crate::cli::load::text as load_text;
use crate::report::file::{Stored, parse};
use crate::report::{aa, json, terminal};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, io};

/// Render a stored result again, every figure computed anew from the raw trials in it.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// What `ringmark compare` saved or `ringload --format json` printed.
    file: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table and a sentence per workload.
    Text,
    /// The stored form, which `ringmark report` reads.
    Json,
}

pub fn run(args: ReportArgs) -> Result<ExitCode> {
    let name = args.file.display();
    let text = fs::read_to_string(&args.file).with_context(|| format!("cannot read {name}"))?;
    let stored = parse(&text).with_context(|| format!("cannot use {name}"))?;
    print(&render(&stored, args.format)?)?;
    Ok(ExitCode::SUCCESS)
}

/// A result in the form asked for.
pub fn render(stored: &Stored, format: Format) -> Result<String> {
    Ok(match (stored, format) {
        (Stored::Compare(report), Format::Text) => terminal::render(report),
        (Stored::Compare(report), Format::Json) => json::render(report)?,
        (Stored::Aa(report), Format::Text) => aa::render(report),
        (Stored::Aa(report), Format::Json) => json::render(report)?,
        (Stored::Load(report), Format::Text) => load_text::render(report),
        (Stored::Load(report), Format::Json) => json::render(report)?,
    })
}

/// To stdout; a reader that has gone away (`| head`) is no error.
pub fn print(text: &str) -> Result<()> {
    match io::Write::write_all(&mut io::stdout(), text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

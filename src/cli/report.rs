//! `ringmark report`: a stored result, computed again from its raw trials and rendered.

use crate::cli::load::text as load_text;
use crate::cli::output::OutputArgs;
use crate::report::file::{Stored, parse};
use crate::report::probes::{ping, trace};
use crate::report::{aa, against, json, terminal, wire};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

/// Render a stored result again, every figure computed anew from the raw trials in it.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// What `ringmark compare` saved, or ringload, ping, trace or sniff --latency printed with --format json.
    file: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Compare it with this stored result
    ///
    /// The two were measured at different times, so nothing is paired: what changed between them is in the ratio.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    #[command(flatten)]
    outcome: OutputArgs,
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
    let stored = read(&args.file)?;
    args.outcome.export(&stored)?;
    let Some(baseline) = &args.baseline else {
        print(&render(&stored, args.format)?)?;
        return Ok(args.outcome.verdict(&stored));
    };
    let name = |path: &Path| path.display().to_string();
    let both = against::against((&name(&args.file), &stored), (&name(baseline), &read(baseline)?));
    let report = both.with_context(|| format!("cannot compare {} with {}", args.file.display(), baseline.display()))?;
    print(&match args.format {
        Format::Text => against::render(&report),
        Format::Json => json::render(&report)?,
    })?;
    Ok(args.outcome.judge(&against::judged(&stored, &report)))
}

fn read(path: &Path) -> Result<Stored> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    parse(&text).with_context(|| format!("cannot use {name}"))
}

/// A result in the form asked for.
pub fn render(stored: &Stored, format: Format) -> Result<String> {
    if format == Format::Json {
        return Ok(json::render(stored)?);
    }
    Ok(match stored {
        Stored::Compare(report) => terminal::render(report),
        Stored::Aa(report) => aa::render(report),
        Stored::Load(report) => load_text::render(report),
        Stored::Wire(report) => wire::render(report),
        Stored::Ping(report) => ping::render(report),
        Stored::Trace(report) => trace::render(report),
    })
}

/// To stdout; a reader that has gone away (`| head`) is no error.
pub fn print(text: &str) -> Result<()> {
    match io::Write::write_all(&mut io::stdout(), text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

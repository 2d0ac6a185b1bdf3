//! `ringmark report`: a stored result, computed again from its raw trials and rendered.

use crate::cli::output::OutputArgs;
use crate::cli::text_args::TextArgs;
use crate::report::baseline_diff;
use crate::report::result::{Stored, StoredResult, parse};
use crate::report::text_style::TextStyle;
use crate::units::Bytes;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// No result is as long as this many bytes.
const LONGEST: u64 = 256 << 20;

/// Render a stored result again, every figure computed anew from the raw trials in it.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct ReportArgs {
    /// What `ringmark compare` saved, or ringload, ping, trace or sniff --latency printed with --format json; - is the standard input.
    file: PathBuf,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Compare it with this stored result
    ///
    /// The two were measured at different times, so nothing is paired: what changed between them is in the ratio.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    #[command(flatten)]
    text: TextArgs,
    #[command(flatten)]
    outcome: OutputArgs,
}

const AFTER_HELP: &str = "\
Exit codes: 0 rendered; 1 a file cannot be read or written; 2 bad options; 99 a --fail-if holds.

Examples:
  ringmark report results/local/2026-01-31T235959Z.json
  ringmark report new.json --baseline old.json --fail-if 'ratio.high<1'
  ringload 127.0.0.1:7007 --format json | ringmark report - --export hgrm=run.hgrm";

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The answer in a sentence, and tables.
    Text,
    /// The stored form, which `ringmark report` reads.
    Json,
}

pub fn run(args: ReportArgs) -> Result<ExitCode> {
    let stored = read(&args.file)?;
    let Some(baseline) = &args.baseline else {
        args.outcome.export(&*stored)?;
        print(&render(&*stored, args.format, &args.text.style())?)?;
        return Ok(args.outcome.verdict(&*stored));
    };
    let name = |path: &Path| path.display().to_string();
    let both = baseline_diff::diff((&name(&args.file), &*stored), (&name(baseline), &*read(baseline)?));
    let report = both.with_context(|| format!("cannot compare {} with {}", args.file.display(), baseline.display()))?;
    args.outcome.export(&report)?;
    print(&render(&report, args.format, &args.text.style())?)?;
    Ok(args.outcome.judge(&baseline_diff::judged(&*stored, &report)))
}

fn read(path: &Path) -> Result<Stored> {
    let name = path.display();
    let text = contents(path).with_context(|| format!("cannot read {name}"))?;
    parse(&text).with_context(|| format!("cannot use {name}"))
}

/// Of a file, or of the standard input where it is called `-`.
fn contents(path: &Path) -> io::Result<String> {
    let source: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(fs::File::open(path)?) };
    let mut text = String::new();
    match source.take(LONGEST + 1).read_to_string(&mut text)? as u64 {
        0..=LONGEST => Ok(text),
        _ => Err(io::Error::other(format!("it has more than {}, so it is no result", Bytes(LONGEST)))),
    }
}

/// A result in the form asked for.
pub fn render(result: &dyn StoredResult, format: Format, style: &TextStyle) -> Result<String> {
    Ok(match format {
        Format::Json => result.json()?,
        Format::Text => result.text(style),
    })
}

/// To stdout; a reader that has gone away (`| head`) is no error.
pub fn print(text: &str) -> Result<()> {
    match io::Write::write_all(&mut io::stdout(), text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

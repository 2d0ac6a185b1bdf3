//! What `ringload`, `compare` and `report` share of what becomes of a result: exports into files, bounds.

use crate::cli::stderr;
use crate::record::file;
use crate::report::export::Part;
use crate::report::formats::ExportFormat;
use crate::report::result::StoredResult;
use crate::report::threshold::{Subject, Threshold};
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

/// A bound was crossed; as k6 has it.
const EXIT_CROSSED: u8 = 99;

/// Options for what becomes of a result.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputArgs {
    /// Also write the result as json, csv, md, hlog or hgrm; may be repeated. Missing folders are made
    ///
    /// csv: a line per trial, or per target, hop or kind of time. md: a table. hlog: the histograms as an HdrHistogram log,
    /// tagged where there are several. hgrm: the percentile distribution; where there are several (contestants, targets,
    /// hops, kinds of times) each goes into a file of its own, its name put before the last dot of FILE.
    #[arg(long, value_name = "FORMAT=FILE")]
    pub export: Vec<Export>,
    /// Exit with 99 if this holds: p99>300us, throughput<50k, ratio.high<0.98, slower, errors>0; may be repeated
    ///
    /// Figures: min mean p50 p90 p99 p999 max (what a client waits), throughput (requests/s), server_cpu and total_cpu
    /// (time per request; total: both ends), errors, lost. Of a comparison also ratios to the baseline: ratio (of the
    /// throughput; in an open loop of 1/p99), throughput.ratio, server_cpu.ratio, total_cpu.ratio, p50.ratio, p99.ratio,
    /// each also as .low and .high, the ends of its 95 % interval: ratio<0.95 may hold by chance, ratio.high<1 hardly. And
    /// the verdicts slower and broken. Every contestant but the baseline is judged, of a ping every target. A figure that is
    /// not there fails.
    #[arg(long, value_name = "BOUND")]
    pub fail_if: Vec<Threshold>,
}

/// One `--export`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    form: ExportFormat,
    path: PathBuf,
}

impl FromStr for Export {
    type Err = String;

    fn from_str(text: &str) -> Result<Export, String> {
        let (form, path) = text.split_once('=').ok_or("it is written FORMAT=FILE, such as csv=run.csv")?;
        match path {
            "" => Err("the file's name is missing".into()),
            path => Ok(Export { form: form.parse()?, path: path.into() }),
        }
    }
}

impl OutputArgs {
    /// A bound that only a comparison could have.
    pub fn needs_comparison(&self) -> Option<String> {
        let bound = self.fail_if.iter().find(|bound| bound.metric.is_of_comparison())?;
        Some(format!(
            "--fail-if {bound}: a single run is compared to nothing; `ringmark compare` and `ringmark report` do that"
        ))
    }

    /// Finds out whether every export can be written, before anything runs.
    pub fn check_places(&self) -> Result<()> {
        self.export.iter().try_for_each(|Export { path, .. }| {
            file::check(path).with_context(|| format!("cannot write {}; choose another place", path.display()))
        })
    }

    /// Writes every export.
    pub fn export(&self, result: &dyn StoredResult) -> Result<()> {
        self.export.iter().try_for_each(|export| {
            let named = || format!("cannot export to {}", export.path.display());
            let parts = export.form.exporter().export(result).with_context(named)?;
            if parts.is_empty() {
                stderr::print(format_args!(
                    "{} is not written: nothing counts, or nothing was measured",
                    export.path.display()
                ));
            }
            parts.iter().try_for_each(|part| write(&export.path, part))
        })
    }

    /// The exit code for a result that is otherwise good; says on stderr which figure crossed which bound.
    pub fn verdict(&self, result: &dyn StoredResult) -> ExitCode {
        self.judge(&result.subjects())
    }

    /// The same for other subjects.
    pub fn judge(&self, subjects: &[Subject]) -> ExitCode {
        let crossed: Vec<String> = self.fail_if.iter().flat_map(|bound| bound.crossed(subjects)).collect();
        crossed.iter().for_each(|line| stderr::print(format_args!("--fail-if {line}")));
        if crossed.is_empty() { ExitCode::SUCCESS } else { EXIT_CROSSED.into() }
    }
}

fn write(path: &Path, part: &Part) -> Result<()> {
    let path = part.name.as_ref().map_or_else(|| path.to_owned(), |name| with_name(path, name));
    file::write(&path, &part.text).with_context(|| format!("cannot write {}", path.display()))
}

/// `run.hgrm` becomes `run.NAME.hgrm`.
fn with_name(path: &Path, name: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}.{name}{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_a_format_and_a_file() {
        let export: Export = "hlog=a=b.hlog".parse().unwrap();
        assert_eq!(export, Export { form: ExportFormat::Hlog, path: "a=b.hlog".into() });
        for (text, part) in [("csv", "FORMAT=FILE"), ("xml=x", "'xml' is no format"), ("csv=", "missing")] {
            assert!(text.parse::<Export>().unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn parts_are_put_before_the_last_dot() {
        for (path, named) in [("run.hgrm", "run.epoll.hgrm"), ("a.b/run", "a.b/run.epoll"), ("x.y.z", "x.y.epoll.z")] {
            assert_eq!(with_name(Path::new(path), "epoll"), Path::new(named));
        }
    }
}

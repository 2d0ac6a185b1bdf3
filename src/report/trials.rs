//! The trials of any result, one after the other, with where they belong: what the exporters of raw data go through.

use super::export::{ExportError, plain};
use super::file::Stored;
use super::verdict::short_name;
use crate::record::{CellRecord, GeneratorRecord, LoadReport, Workload};

/// A trial and where it belongs.
pub struct Row<'a> {
    /// `None` for a single run.
    pub cell: Option<&'a CellRecord>,
    /// What it was to run, whether or not it did. Of a comparison without what the generator alone knows.
    pub workload: Workload,
    /// The contestant's name; for a single run the target.
    pub contestant: &'a str,
    /// 0 for a single run.
    pub round: u64,
    pub position: u64,
    pub load: Option<&'a LoadReport>,
    /// Why its figures do not count, all reasons; empty where they do.
    pub problems: Vec<&'a str>,
}

/// Every trial: cell by cell, contestant by contestant, round by round.
///
/// # Errors
/// Of a comparison of a contestant with itself, which keeps no trials, and of a diagnosis, which has none.
pub fn rows(result: &Stored) -> Result<Vec<Row<'_>>, ExportError> {
    match result {
        Stored::Aa(_) | Stored::Wire(_) | Stored::Ping(_) | Stored::Trace(_) => Err(ExportError::NoTrials),
        Stored::Load(load) => Ok(vec![Row {
            cell: None,
            workload: load.workload.clone(),
            contestant: &load.target,
            round: 0,
            position: 0,
            load: Some(load),
            problems: load.invalid.iter().map(String::as_str).collect(),
        }]),
        Stored::Compare(report) => Ok(report.cells.iter().flat_map(|cell| of_cell(cell, &report.scene.load)).collect()),
    }
}

fn of_cell<'a>(cell: &'a CellRecord, settings: &'a GeneratorRecord) -> impl Iterator<Item = Row<'a>> {
    cell.contestants.iter().flat_map(move |contestant| {
        contestant.trials.iter().map(move |trial| {
            let invalid = trial.load.iter().flat_map(|load| &load.invalid);
            Row {
                cell: Some(cell),
                workload: workload(cell, settings, trial.load.as_ref()),
                contestant: &contestant.name,
                round: trial.round,
                position: trial.position,
                load: trial.load.as_ref(),
                problems: trial.failed.iter().chain(invalid).map(String::as_str).collect(),
            }
        })
    })
}

/// What the comparison asked for; the rest is of the trial itself.
fn workload(cell: &CellRecord, settings: &GeneratorRecord, load: Option<&LoadReport>) -> Workload {
    let trial = load.map(|load| load.workload.clone()).unwrap_or_default();
    let mut generator = settings.clone();
    if generator.dialect.is_empty() {
        generator.dialect.clone_from(&trial.generator.dialect);
    }
    Workload { shape: cell.shape.clone(), generator, ..trial }
}

impl Row<'_> {
    /// The report, if its figures count.
    pub fn valid(&self) -> Option<&LoadReport> {
        self.load.filter(|_| self.problems.is_empty())
    }

    /// Contestant and workload in one word: a tag, a part of a file's name.
    pub fn tag(&self) -> String {
        let cell = self.cell.map(|cell| {
            let way = if cell.shape.connect_per_request {
                "-reconnecting".to_owned()
            } else {
                format!("x{}", cell.shape.depth)
            };
            let sizes = cell.shape.sizes().replace(':', "=").replace(',', "-");
            format!("-{}c-{sizes}B{way}", cell.shape.connections)
        });
        plain(&short_name(self.contestant)) + &cell.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, failed, report};
    use super::*;

    #[test]
    fn a_tag_names_the_mix_of_sizes() {
        let mut report = report(vec![contestant("epoll", vec![failed(1, "x")])]);
        let tag =
            |report: &crate::record::CompareReport| rows(&Stored::Compare(Box::new(report.clone()))).unwrap()[0].tag();
        assert_eq!(tag(&report), "epoll-64c-64Bx1");
        report.cells[0].shape.size_mix = Some("64:90,1k:10".into());
        assert_eq!(tag(&report), "epoll-64c-64=90-1k=10Bx1");
    }
}

//! The trials of any result, one after the other, with where they belong: what the exporters of raw data go through.

use super::export::{ExportError, plain};
use super::file::Stored;
use super::schema::{CellRecord, LoadReport};
use super::verdict::short_name;

/// A trial and where it belongs.
pub struct Row<'a> {
    /// `None` for a single run.
    pub cell: Option<&'a CellRecord>,
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
            contestant: &load.target,
            round: 0,
            position: 0,
            load: Some(load),
            problems: load.invalid.iter().map(String::as_str).collect(),
        }]),
        Stored::Compare(report) => Ok(report.cells.iter().flat_map(of_cell).collect()),
    }
}

fn of_cell(cell: &CellRecord) -> impl Iterator<Item = Row<'_>> {
    cell.contestants.iter().flat_map(move |contestant| {
        contestant.trials.iter().map(move |trial| {
            let invalid = trial.load.iter().flat_map(|load| &load.invalid);
            Row {
                cell: Some(cell),
                contestant: &contestant.name,
                round: trial.round,
                position: trial.position,
                load: trial.load.as_ref(),
                problems: trial.failed.iter().chain(invalid).map(String::as_str).collect(),
            }
        })
    })
}

impl Row<'_> {
    /// The report, if its figures count.
    pub fn valid(&self) -> Option<&LoadReport> {
        self.load.filter(|_| self.problems.is_empty())
    }

    /// Contestant and workload in one word: a tag, a part of a file's name.
    pub fn tag(&self) -> String {
        let cell = self.cell.map(|cell| {
            let way = if cell.connect_per_request { "-reconnecting".to_owned() } else { format!("x{}", cell.depth) };
            format!("-{}c-{}B{way}", cell.connections, cell.size)
        });
        plain(&short_name(self.contestant)) + &cell.unwrap_or_default()
    }
}

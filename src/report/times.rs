//! All kinds of times that a diagnosis has, by name.

use super::export::plain;
use super::file::Stored;
use crate::record::FiguresRecord;

/// What a diagnosis recorded of one kind, from its begin to its end.
#[derive(Clone, Debug)]
pub struct Times<'a> {
    /// In one word: a tag, a part of a file's name; `None` where the result is about nothing else.
    pub name: Option<String>,
    pub length_ns: u64,
    pub figures: &'a FiguresRecord,
}

/// All kinds of which there are samples; `None` of results of the load generator.
pub fn times(result: &Stored) -> Option<Vec<Times<'_>>> {
    let (length_ns, kinds): (u64, Vec<(Option<String>, &FiguresRecord)>) = match result {
        Stored::Compare(_) | Stored::Load(_) | Stored::Aa(_) => return None,
        Stored::Wire(report) => {
            let kinds = report.kinds().into_iter().map(|(name, figures)| (Some(plain(name)), figures));
            (report.duration_ns, kinds.collect())
        }
        Stored::Ping(report) => {
            let several = report.targets.len() > 1;
            let targets = report.targets.iter();
            let name = |address: &str| several.then(|| of_address(address));
            (report.duration_ns, targets.map(|target| (name(&target.address), &target.round_trips_ns)).collect())
        }
        Stored::Trace(report) => {
            let hops = report.hops.iter();
            (report.duration_ns, hops.map(|hop| (Some(format!("hop-{}", hop.hop)), &hop.round_trips_ns)).collect())
        }
    };
    let there = kinds.into_iter().filter(|(_, figures)| figures.samples > 0);
    Some(there.map(|(name, figures)| Times { name, length_ns, figures }).collect())
}

/// An address in one word that no other address has.
fn of_address(address: &str) -> String {
    address.replace(':', "-")
}

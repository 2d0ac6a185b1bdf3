//! What became of the datagrams, in words: the same for a run and for a comparison.

use super::verdict::short_name;
use crate::record::{CellRecord, DatagramRecord};
use crate::units::three_digits;

/// The share of the requests that was lost or late: `0`, `3 ppm`, `1.2 %`.
pub fn missing_share(record: &DatagramRecord) -> String {
    match record.loss() {
        0.0 => "0".into(),
        share if share < 1e-3 => format!("{} ppm", three_digits(share * 1e6)),
        share => format!("{} %", three_digits(share * 100.0)),
    }
}

/// What became of the datagrams, and where lost ones were lost, in one sentence without a full stop.
pub fn describe(record: &DatagramRecord) -> String {
    let DatagramRecord { sent, answered, duplicated, reordered, corrupt, .. } = record;
    let mut parts = vec![format!("{sent} sent, {answered} answered, {}", record.losses())];
    parts.push(format!("{duplicated} duplicated"));
    parts.push(match reordered {
        0 => "0 reordered".into(),
        _ => format!("{reordered} reordered (by up to {})", record.reorder_extent_max),
    });
    parts.push(format!("{corrupt} corrupt"));
    parts.join(", ")
}

/// A line for every contestant whose datagrams did not all come back once, in time and in order; one for all where they
/// did.
pub fn lines(cell: &CellRecord) -> Vec<String> {
    let known = cell.contestants.iter().any(|one| one.datagrams.is_some());
    match losses(cell) {
        none if none.is_empty() && known => vec!["Every datagram was answered once, in time and in order.".into()],
        losses => losses,
    }
}

/// Only those of whom there is something to tell.
pub fn losses(cell: &CellRecord) -> Vec<String> {
    let told = |record: &DatagramRecord| record.answered < record.sent || record.duplicated > 0 || record.reordered > 0;
    let all = cell.contestants.iter().filter_map(|one| Some((one, one.datagrams.filter(told)?)));
    all.map(|(one, record)| format!("{}: {}.", short_name(&one.name), describe(&record))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ContestantRecord;

    fn lossy() -> DatagramRecord {
        DatagramRecord {
            sent: 1000,
            answered: 985,
            late: 3,
            lost: 12,
            duplicated: 1,
            reordered: 5,
            reorder_extent_max: 2,
            corrupt: 0,
            dropped_by_server: Some(10),
            dropped_by_generator: Some(2),
            ..DatagramRecord::default()
        }
    }

    #[test]
    fn a_loss_is_laid_at_a_door() {
        let expected = "1000 sent, 985 answered, 12 lost (10 dropped at the server's sockets, 2 at the generator's, 0 \
                        elsewhere), 3 late, 1 duplicated, 5 reordered (by up to 2), 0 corrupt";
        assert_eq!(describe(&lossy()), expected);
        let elsewhere = DatagramRecord { dropped_by_server: None, dropped_by_generator: Some(0), ..lossy() };
        assert!(describe(&elsewhere).contains("12 lost (0 dropped at the generator's sockets, 12 elsewhere), 3 late"));
        let whole = DatagramRecord { sent: 7, answered: 7, dropped_by_server: Some(9), ..DatagramRecord::default() };
        assert_eq!(describe(&whole), "7 sent, 7 answered, 0 lost, 0 late, 0 duplicated, 0 reordered, 0 corrupt");
    }

    #[test]
    fn shares_have_the_unit_that_shows_them() {
        let of = |lost, sent| missing_share(&DatagramRecord { lost, sent, ..DatagramRecord::default() });
        assert_eq!([of(0, 0), of(0, 5), of(3, 1_000_000), of(12, 1000)], ["0", "0", "3 ppm", "1.20 %"]);
    }

    #[test]
    fn only_who_had_something_happen_gets_a_line() {
        let whole = DatagramRecord { sent: 7, answered: 7, ..DatagramRecord::default() };
        let contestant =
            |name: &str, datagrams| ContestantRecord { name: name.into(), datagrams, ..Default::default() };
        let contestants = vec![contestant("a", None), contestant("b", Some(whole)), contestant("c", Some(lossy()))];
        let of = |contestants| lines(&CellRecord { contestants, ..CellRecord::default() });
        let lines = of(contestants);
        assert!(lines.len() == 1 && lines[0].starts_with("c: 1000 sent"), "{lines:?}");
        assert_eq!(of(vec![contestant("b", Some(whole))]), ["Every datagram was answered once, in time and in order."]);
        assert!(of(vec![contestant("a", None)]).is_empty());
    }
}

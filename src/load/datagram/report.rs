//! What a run with datagrams left behind: the figures of the report, and the rules that judge them. Pure arithmetic.

use super::pool::ADMISSION_TRIES;
use super::stats::DatagramStats;
use crate::load::protocols::DatagramProtocol;
use crate::record::{DatagramRecord, Losses, Reason, TrafficRecord};
use crate::units::Address;

/// The report's figures. `server_drops`: what the kernel dropped at the server's sockets, where that is known.
pub fn record<'a>(stats: impl Iterator<Item = &'a DatagramStats>, server_drops: Option<u64>) -> Option<DatagramRecord> {
    let sum = stats.copied().reduce(DatagramStats::plus)?;
    let DatagramStats { counts, io, .. } = sum;
    Some(DatagramRecord {
        sent: counts.sent,
        answered: counts.answered,
        late: counts.late,
        lost: counts.lost(),
        duplicated: counts.duplicated,
        reordered: counts.reordered,
        reorder_extent_max: counts.max_extent,
        corrupt: sum.corrupt,
        stale: 0,
        dropped_by_server: server_drops,
        dropped_by_generator: sum.dropped,
        traffic: TrafficRecord { requests: sum.requests, sends: io.sends, answers: io.answers, receives: io.receives },
    })
}

/// Why the figures must not be used; `None` when they may. Corrupt answers are among the errors of every run.
pub fn invalid(record: &DatagramRecord, max_loss: f64) -> Option<Reason> {
    let (share, losses) = (record.loss(), Losses::from(record));
    (share > max_loss).then_some(Reason::Loss { share, allowed: max_loss, losses })
}

/// Why nobody was admitted, where requests went unanswered at the start.
pub fn silent(target: &Address, protocol: DatagramProtocol, admitted: u64, timeouts: u64) -> Option<Reason> {
    (admitted == 0 && timeouts > 0).then(|| Reason::NobodyAnswered {
        target: target.to_string(),
        protocol: protocol.name().to_owned(),
        tries: u64::from(ADMISSION_TRIES),
    })
}

/// What the reader should know though the figures stand. `unsegmented`: why super-packets were not sent.
pub fn warnings(record: &DatagramRecord, max_loss: f64, unsegmented: Option<i32>) -> Vec<Reason> {
    let (share, losses) = (record.loss(), Losses::from(record));
    let tolerated = (0.0..=max_loss).contains(&share) && share > 0.0;
    let losses = tolerated.then_some(Reason::LossAllowed { share, losses });
    let duplicates = (record.duplicated > 0).then_some(Reason::Duplicates { count: record.duplicated });
    let reordered = (record.reordered > 0).then_some(Reason::Reordered { count: record.reordered });
    let refused = unsegmented.map(|errno| Reason::GsoRefused { errno });
    losses.into_iter().chain(duplicates).chain(reordered).chain(refused).collect()
}

/// Why super-packets were not sent, where the kernel gave a reason.
pub fn unsegmented<'a>(mut stats: impl Iterator<Item = &'a DatagramStats>) -> Option<i32> {
    stats.find_map(|one| one.io.unsegmented)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::datagram::tracker::Counts;

    fn lossy() -> DatagramRecord {
        DatagramRecord { sent: 1000, answered: 980, lost: 15, late: 5, ..DatagramRecord::default() }
    }

    #[test]
    fn stats_add_up_and_what_is_missing_is_lost() {
        let one = |sent, answered, dropped| DatagramStats {
            counts: Counts { sent, answered, late: 1, max_extent: sent, ..Counts::default() },
            dropped,
            ..DatagramStats::default()
        };
        let record = record([one(10, 7, Some(1)), one(5, 4, Some(2))].iter(), None).unwrap();
        assert_eq!((record.sent, record.answered, record.late, record.lost), (15, 11, 2, 2));
        assert_eq!((record.reorder_extent_max, record.dropped_by_generator), (10, Some(3)));
        assert_eq!(super::record([].iter(), None), None);
    }

    #[test]
    fn a_loss_beyond_what_is_allowed_makes_a_run_invalid() {
        let losses = Losses { lost: 15, late: 5, ..Losses::default() };
        assert_eq!(invalid(&lossy(), 0.01), Some(Reason::Loss { share: 0.02, allowed: 0.01, losses }));
        assert_eq!(invalid(&lossy(), 0.02), None);
    }

    #[test]
    fn what_is_odd_but_no_harm_is_told() {
        let record = DatagramRecord { duplicated: 2, reordered: 3, ..lossy() };
        let losses = Losses { lost: 15, late: 5, ..Losses::default() };
        let expected = [
            Reason::LossAllowed { share: 0.02, losses },
            Reason::Duplicates { count: 2 },
            Reason::Reordered { count: 3 },
            Reason::GsoRefused { errno: libc::EIO },
        ];
        assert_eq!(warnings(&record, 0.5, Some(libc::EIO)), expected);
        let whole = DatagramRecord { sent: 5, answered: 5, ..DatagramRecord::default() };
        assert!(warnings(&whole, 0.0, None).is_empty() && invalid(&whole, 0.0).is_none());
        assert_eq!(warnings(&lossy(), 0.001, None), [], "what makes it invalid is no warning too");
    }
}

//! What a run with datagrams left behind: the figures of the report, and the rules that judge them. Pure arithmetic.

use super::pool::ADMISSION_TRIES;
use super::stats::DatagramStats;
use crate::load::protocols::DatagramProtocol;
use crate::record::{DatagramRecord, TrafficRecord};
use crate::units::{Address, three_digits};
use std::io;

/// The report's figures. `server_drops`: what the kernel dropped at the server's sockets, where it tells.
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
pub fn invalid(record: &DatagramRecord, max_loss: f64) -> Option<String> {
    (record.loss() > max_loss).then(|| {
        format!(
            "{} % of the requests had no answer in time, more than --max-loss {} %: {}; {}",
            percent(record.loss()),
            percent(max_loss),
            record.losses(),
            advice(record)
        )
    })
}

/// Why nobody was admitted, where requests went unanswered at the start.
pub fn silent(target: &Address, dialect: DatagramProtocol, admitted: u64, timeouts: u64) -> Option<String> {
    let remedy = match dialect {
        DatagramProtocol::Echo => "start an echo server there, or say what it is if it is none (--speak)",
        DatagramProtocol::Sockperf => "start sockperf server there, or leave out --speak if it is a plain echo",
    };
    (admitted == 0 && timeouts > 0).then(|| {
        format!("nobody answered at {target} within --timeout, {ADMISSION_TRIES} requests in a row on the same socket: {remedy}")
    })
}

/// What the reader should know though the figures stand. `unsegmented`: why super-packets were not sent.
pub fn warnings(record: &DatagramRecord, max_loss: f64, unsegmented: Option<i32>) -> Vec<String> {
    let tolerated = (0.0..=max_loss).contains(&record.loss()) && record.loss() > 0.0;
    let losses = tolerated
        .then(|| format!("{} % of the requests had no answer in time: {}", percent(record.loss()), record.losses()));
    let strays = [
        (record.duplicated, "answers came though there had been one before"),
        (record.reordered, "answers came out of order"),
    ];
    let strays = strays.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let unsegmented = unsegmented.map(|errno| {
        format!(
            "--gso had no effect: super-packets of this size cannot be sent here ({}); every datagram left on its own",
            io::Error::from_raw_os_error(errno)
        )
    });
    losses.into_iter().chain(strays).chain(unsegmented).collect()
}

/// Why super-packets were not sent, where some thread was told so.
pub fn unsegmented<'a>(mut stats: impl Iterator<Item = &'a DatagramStats>) -> Option<i32> {
    stats.find_map(|one| one.io.unsegmented)
}

/// What to do about the loss: it depends on who lost the most.
fn advice(record: &DatagramRecord) -> &'static str {
    let (server, generator) = (record.dropped_by_server.unwrap_or(0), record.dropped_by_generator.unwrap_or(0));
    if record.late > record.lost {
        "the answers came, but after --timeout: allow more time, or ask for less at once: lower --depth or --connections"
    } else if server.max(generator) < record.lost.div_ceil(2) {
        "neither end's kernel dropped most of them: look for a server that does not answer, or for the network between"
    } else if generator > server {
        "answers came faster than the generator took them: lower --depth, raise net.core.rmem_max, or give it more \
         --threads on other cores"
    } else {
        "requests came faster than the server took them: lower --depth or --connections, or give its sockets larger \
         receive buffers (SO_RCVBUF, net.core.rmem_default, net.core.rmem_max)"
    }
}

fn percent(share: f64) -> String {
    three_digits((share * 1e5).round() / 1e3)
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
    fn a_loss_brings_the_advice_that_fits() {
        for (record, part) in [
            (DatagramRecord { dropped_by_server: Some(14), ..lossy() }, "faster than the server"),
            (DatagramRecord { dropped_by_generator: Some(14), ..lossy() }, "faster than the generator"),
            (DatagramRecord { dropped_by_server: Some(1), ..lossy() }, "neither end"),
            (DatagramRecord { lost: 5, late: 15, ..lossy() }, "--timeout"),
        ] {
            let reason = invalid(&record, 0.01).unwrap();
            assert!(reason.starts_with("2 % of the requests") && reason.contains(part), "{reason}");
        }
        assert_eq!(invalid(&lossy(), 0.02), None);
    }

    #[test]
    fn what_is_odd_but_no_harm_is_told() {
        let record = DatagramRecord { duplicated: 2, reordered: 3, ..lossy() };
        let told = warnings(&record, 0.5, Some(libc::EIO));
        let parts = ["2 % of", "2 answers came though", "3 answers", "--gso had no effect"];
        assert!(told.len() == 4 && told.iter().zip(parts).all(|(told, part)| told.contains(part)), "{told:?}");
        let whole = DatagramRecord { sent: 5, answered: 5, ..DatagramRecord::default() };
        assert!(warnings(&whole, 0.0, None).is_empty() && invalid(&whole, 0.0).is_none());
        assert_eq!(warnings(&lossy(), 0.001, None), [""; 0], "what makes it invalid is no warning too");
    }
}

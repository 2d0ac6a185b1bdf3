//! The part of the stored form that is about datagrams.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of requests that were datagrams. Its cohort is other than that of [`super::LoadReport::requests`], which counts
/// the answers that arrived within the counted time: here it is the requests *sent* within it, whenever they were
/// answered. Each was answered in time, or late, or lost: `sent = answered + late + lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatagramRecord {
    /// Requests sent within the counted time.
    pub sent: u64,
    /// Their first answer came within the timeout.
    pub answered: u64,
    /// It came after the timeout, when another request could have taken their place, but before the end of the run, which
    /// is one more timeout after the last request's.
    pub late: u64,
    /// Never answered right; an answer that came back corrupt is none.
    pub lost: u64,
    /// Answers to the cohort beyond the first.
    pub duplicated: u64,
    /// Answers in time that came, on one socket, after the answer to a later request (RFC 4737, section 3).
    pub reordered: u64,
    /// Most answers that lay between a reordered one and where it belonged, the first of a later request included
    /// (RFC 4737, section 4.2.2). Where it reaches over more than 256 gaps in the sequence, that to the 256th.
    pub reorder_extent_max: u64,
    /// Datagrams, from the first to the last of the run, that are no answer to a request of their socket: a byte is wrong,
    /// or the number was never sent. Each is an error of the kind `corrupt` too.
    pub corrupt: u64,
    /// Answers, from the first to the last of the run, to requests so old that it was not known whether they had been
    /// answered: in files of versions that forgot them. Always 0 since every request is known to the end.
    #[serde(default)]
    pub stale: u64,
    /// Datagrams that the kernel dropped at the server's sockets from the first counted instant to the end of the run,
    /// mostly because their receive buffers were full. `None` where the kernel does not tell: the server is elsewhere, or
    /// no UDP socket.
    pub dropped_by_server: Option<u64>,
    /// The same at the generator's sockets.
    pub dropped_by_generator: Option<u64>,
    /// What went through the kernel, from the first to the last of the run.
    #[serde(default)]
    pub traffic: TrafficRecord,
}

/// How many datagrams the generator handed to the kernel and got from it, and with how many sends and receives, a
/// super-packet (UDP_SEGMENT, UDP_GRO) being one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficRecord {
    pub requests: u64,
    pub sends: u64,
    pub answers: u64,
    pub receives: u64,
}

impl DatagramRecord {
    /// The share of the requests that had no answer in time; 0 where none was sent.
    pub fn loss(&self) -> f64 {
        self.lost.saturating_add(self.late) as f64 / self.sent.max(1) as f64
    }

    /// What was lost and where the kernel dropped it, as far as it is known, and what was late. A drop may have been of a
    /// request or of an answer, and of one sent before the counted time, so the two drop counts need not add up to what was lost.
    pub fn losses(&self) -> String {
        format!("{} lost{}, {} late", self.lost, self.drop_sites(), self.late)
    }

    fn drop_sites(&self) -> String {
        let (server, generator) = (self.dropped_by_server, self.dropped_by_generator);
        let elsewhere = self.lost.saturating_sub(server.unwrap_or(0)).saturating_sub(generator.unwrap_or(0));
        let known = match (server, generator) {
            _ if self.lost == 0 && self.late == 0 => return String::new(),
            (Some(server), Some(generator)) => {
                format!("{server} dropped at the server's sockets, {generator} at the generator's")
            }
            (Some(server), None) => format!("{server} dropped at the server's sockets"),
            (None, Some(generator)) => format!("{generator} dropped at the generator's sockets"),
            (None, None) => return String::new(),
        };
        format!(" ({known}, {elsewhere} elsewhere)")
    }
}

impl std::ops::Add for TrafficRecord {
    type Output = TrafficRecord;

    fn add(self, other: TrafficRecord) -> TrafficRecord {
        TrafficRecord {
            requests: self.requests.saturating_add(other.requests),
            sends: self.sends.saturating_add(other.sends),
            answers: self.answers.saturating_add(other.answers),
            receives: self.receives.saturating_add(other.receives),
        }
    }
}

impl std::ops::Add for DatagramRecord {
    type Output = DatagramRecord;

    fn add(self, other: DatagramRecord) -> DatagramRecord {
        let known = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
        DatagramRecord {
            sent: self.sent.saturating_add(other.sent),
            answered: self.answered.saturating_add(other.answered),
            late: self.late.saturating_add(other.late),
            lost: self.lost.saturating_add(other.lost),
            duplicated: self.duplicated.saturating_add(other.duplicated),
            reordered: self.reordered.saturating_add(other.reordered),
            reorder_extent_max: self.reorder_extent_max.max(other.reorder_extent_max),
            corrupt: self.corrupt.saturating_add(other.corrupt),
            stale: self.stale.saturating_add(other.stale),
            dropped_by_server: known(self.dropped_by_server, other.dropped_by_server),
            dropped_by_generator: known(self.dropped_by_generator, other.dropped_by_generator),
            traffic: self.traffic + other.traffic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_says_where_it_happened() {
        let record = DatagramRecord { sent: 1000, answered: 985, lost: 12, late: 3, ..DatagramRecord::default() };
        assert_eq!((record.losses().as_str(), record.loss()), ("12 lost, 3 late", 0.015));
        let known = DatagramRecord { dropped_by_server: Some(9), dropped_by_generator: Some(2), ..record };
        let expected = "12 lost (9 dropped at the server's sockets, 2 at the generator's, 1 elsewhere), 3 late";
        assert_eq!(known.losses(), expected);
        let more = DatagramRecord { dropped_by_server: Some(20), ..record };
        assert!(more.losses().contains("0 elsewhere"), "what was dropped besides is no negative loss");
    }
}

//! What one thread measured: a latency histogram and errors by kind. Threads' records are added, never averaged.

use crate::units::Nanos;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::io;

/// Longest latency told apart; longer ones are recorded as this. 3 significant digits (HdrHistogram).
const MAX_LATENCY: Nanos = Nanos::from_secs(3600);
const SIGNIFICANT_DIGITS: u8 = 3;

/// One answered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the pacer wanted it sent. A closed loop wants it whenever it is sent, so nothing is derived from it yet.
    pub intended: Nanos,
    pub sent: Nanos,
    pub done: Nanos,
}

/// Why a request or a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No connection could be made.
    Connect,
    /// No whole answer within the time allowed.
    Timeout,
    /// The peer or the network broke the connection (ECONNRESET, EPIPE).
    Reset,
    /// The peer ended the stream before it had answered.
    Closed,
    /// A byte came back wrong, or one too many.
    Corrupt,
    Other,
}

impl ErrorKind {
    pub const ALL: [ErrorKind; 6] = [
        ErrorKind::Connect,
        ErrorKind::Timeout,
        ErrorKind::Reset,
        ErrorKind::Closed,
        ErrorKind::Corrupt,
        ErrorKind::Other,
    ];

    /// The kind of an error on an open connection.
    pub fn of(error: &io::Error) -> ErrorKind {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                ErrorKind::Reset
            }
            io::ErrorKind::TimedOut => ErrorKind::Timeout,
            _ => ErrorKind::Other,
        }
    }

    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Connect => "connect",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Reset => "reset",
            ErrorKind::Closed => "closed",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Other => "other",
        }
    }
}

/// Collects samples and errors.
#[derive(Clone, Debug)]
pub struct Recorder {
    service: Histogram<u64>,
    last_done: Nanos,
    errors: [u64; ErrorKind::ALL.len()],
}

impl Default for Recorder {
    fn default() -> Recorder {
        let service = Histogram::new_with_bounds(1, MAX_LATENCY.0, SIGNIFICANT_DIGITS)
            .expect("bounds and digits are within what HdrHistogram allows");
        Recorder { service, last_done: Nanos::ZERO, errors: [0; ErrorKind::ALL.len()] }
    }
}

impl Recorder {
    #[inline]
    pub fn record(&mut self, sample: Sample) {
        self.service.saturating_record(sample.done.since(sample.sent).0);
        self.last_done = self.last_done.max(sample.done);
    }

    pub fn error(&mut self, kind: ErrorKind) {
        self.errors[kind as usize] += 1;
    }

    /// Adds what another thread measured.
    pub fn add(&mut self, other: &Recorder) {
        self.service.add(&other.service).expect("all recorders have the same bounds");
        self.last_done = self.last_done.max(other.last_done);
        self.errors.iter_mut().zip(other.errors).for_each(|(sum, count)| *sum += count);
    }

    /// Samples recorded.
    pub fn requests(&self) -> u64 {
        self.service.len()
    }

    /// When the latest sample was done.
    pub fn last_done(&self) -> Nanos {
        self.last_done
    }

    /// Service times (sent to done) in nanoseconds.
    pub fn service(&self) -> &Histogram<u64> {
        &self.service
    }

    pub fn error_count(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// Every kind by name, most of them 0.
    pub fn errors_by_kind(&self) -> BTreeMap<String, u64> {
        ErrorKind::ALL.iter().map(|kind| (kind.name().to_owned(), self.errors[*kind as usize])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sent: u64, done: u64) -> Sample {
        Sample { intended: Nanos(sent), sent: Nanos(sent), done: Nanos(done) }
    }

    #[test]
    fn records_add_up() {
        let (mut a, mut b) = (Recorder::default(), Recorder::default());
        a.record(sample(10, 1_010));
        b.record(sample(0, 2_000_000));
        b.record(sample(5, 5));
        b.error(ErrorKind::Corrupt);
        a.add(&b);
        assert_eq!((a.requests(), a.last_done(), a.error_count()), (3, Nanos(2_000_000), 1));
        assert!(a.service().max() >= 2_000_000 && a.service().max() < 2_002_000);
    }

    #[test]
    fn every_error_kind_is_always_there() {
        let mut recorder = Recorder::default();
        recorder.error(ErrorKind::Reset);
        let errors = recorder.errors_by_kind();
        let names: Vec<_> = errors.keys().map(String::as_str).collect();
        assert_eq!(names, ["closed", "connect", "corrupt", "other", "reset", "timeout"]);
        assert_eq!((errors["reset"], errors["closed"]), (1, 0));
    }

    #[test]
    fn kinds_index_their_own_counter() {
        for (i, kind) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, i);
        }
    }

    #[test]
    fn a_latency_beyond_the_scale_is_not_lost() {
        let mut recorder = Recorder::default();
        recorder.record(sample(0, u64::MAX));
        assert_eq!(recorder.requests(), 1);
    }
}

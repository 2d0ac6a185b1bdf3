//! What one thread measured: latencies and errors by kind.

use super::histograms::{Histograms, Sample, Series};
use super::interval_exchange::INTERVAL;
use super::settled::SettledPart;
use super::shared::{Gauge, Shared};
use crate::units::Nanos;
#[cfg(test)]
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::io;

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
#[derive(Debug)]
pub struct Recorder {
    /// Of the interval under way.
    histograms: Histograms,
    interval: u64,
    /// When it ends; 0 before the first sample.
    until: Nanos,
    requests: u64,
    last_done: Nanos,
    errors: [u64; ErrorKind::ALL.len()],
    /// All answers, counted or not.
    answers: u64,
    settled: SettledPart,
    /// Requests of a schedule that were due and count, whether or not they could be sent.
    due: u64,
    gauge: Gauge,
    /// Requests and errors that the live line already knows.
    published: (u64, u64),
}

impl Recorder {
    pub fn new(shared: &Shared, series: Series) -> Recorder {
        Recorder {
            histograms: Histograms::new(series),
            interval: 0,
            until: Nanos::ZERO,
            requests: 0,
            last_done: Nanos::ZERO,
            errors: [0; ErrorKind::ALL.len()],
            answers: 0,
            settled: SettledPart::default(),
            due: 0,
            gauge: shared.gauge(),
            published: (0, 0),
        }
    }

    /// An answer came. It is recorded if it counts: in the counted window, as `counting` says, and in the budget.
    #[inline]
    pub fn answered(&mut self, sample: Sample, counting: bool, shared: &Shared) {
        self.answers += 1;
        self.gauge.set(self.answers);
        if counting && shared.take_one(sample.done) {
            self.record(sample, shared);
        }
    }

    /// An answer of a slice came; `settling`: so early in it that it does not count.
    #[inline]
    pub fn in_slice(&mut self, done: Nanos, settling: bool) {
        self.settled.answered(done, settling);
    }

    /// What the slice that began at `start` was like once it had settled. The next begins afresh.
    pub fn take_settled(&mut self, start: Nanos) -> SettledPart {
        self.settled.take(start)
    }

    #[inline]
    pub fn record(&mut self, sample: Sample, shared: &Shared) {
        if sample.done >= self.until {
            self.next_interval(sample.done, shared);
        }
        self.histograms.record(sample);
        self.requests += 1;
        self.last_done = self.last_done.max(sample.done);
    }

    /// Notes by how much the generator itself was late to look at a request, whether or not that could be sent then.
    #[inline]
    pub fn timer_error(&mut self, late: Nanos, counting: bool) {
        if counting {
            self.due += 1;
            self.histograms.record_timer_error(late);
        }
    }

    /// Notes what took so long in a series of the protocol's own, by its place among them. It is of the interval under
    /// way.
    #[inline]
    pub fn own(&mut self, own: usize, time: Nanos, counting: bool) {
        if counting {
            self.histograms.record_own(own, time);
        }
    }

    #[cold]
    fn next_interval(&mut self, done: Nanos, shared: &Shared) {
        let first = shared.first();
        let interval = done.since(first).0 / INTERVAL.0;
        if interval != self.interval {
            shared.interval_exchange().swap(self.interval, &mut self.histograms);
        }
        self.interval = interval;
        self.until = first + Nanos((interval + 1).saturating_mul(INTERVAL.0));
    }

    pub fn error(&mut self, kind: ErrorKind) {
        self.errors[kind as usize] += 1;
    }

    /// Updates the live line's figures.
    pub fn publish(&mut self, shared: &Shared) {
        let (requests, errors) = (self.requests, self.error_count());
        shared.publish(requests - self.published.0, errors - self.published.1);
        self.published = (requests, errors);
    }

    /// Samples recorded.
    #[cfg(test)]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Requests of a schedule that were due and count.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// When the latest sample was done.
    pub fn last_done(&self) -> Nanos {
        self.last_done
    }

    /// What was not handed in yet, and the interval it belongs to.
    pub fn histograms(&self) -> &Histograms {
        &self.histograms
    }

    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// Service times of the interval under way, in nanoseconds.
    #[cfg(test)]
    pub fn service(&self) -> &Histogram<u64> {
        self.histograms.service()
    }

    pub fn error_count(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// Every kind by name, most of them 0.
    pub fn errors_by_kind(&self) -> BTreeMap<String, u64> {
        ErrorKind::ALL.iter().map(|kind| (kind.name().to_owned(), self.errors[*kind as usize])).collect()
    }
}

/// Errors of all threads, every kind by name.
pub fn all_errors<'a>(recorders: impl Iterator<Item = &'a Recorder>) -> BTreeMap<String, u64> {
    let mut sum: BTreeMap<String, u64> = ErrorKind::ALL.iter().map(|kind| (kind.name().to_owned(), 0)).collect();
    for recorder in recorders {
        for (kind, count) in recorder.errors_by_kind() {
            *sum.entry(kind).or_default() += count;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::histograms::{RESPONSE, SEND_LAG, SERVICE, TIMER_ERROR};

    fn shared() -> Shared {
        let shared = Shared::new(None, std::thread::current());
        shared.open_window(Nanos::ZERO, Nanos(u64::MAX));
        shared
    }

    #[test]
    fn response_is_lag_and_service() {
        let shared = shared();
        let mut recorder = Recorder::new(&shared, Series { paced: true, own: &[] });
        recorder.record(Sample { intended: Nanos(100), sent: Nanos(300), done: Nanos(1_300) }, &shared);
        recorder.timer_error(Nanos(7), true);
        recorder.timer_error(Nanos(8), false);
        let max = |name| recorder.histograms().get(name).map(Histogram::max);
        let maxima = [SERVICE, RESPONSE, SEND_LAG, TIMER_ERROR].map(|name| max(name).unwrap());
        assert_eq!(maxima, [1_000, 1_200, 200, 7]);
        assert_eq!((recorder.requests(), recorder.last_done()), (1, Nanos(1_300)));
    }

    #[test]
    fn a_closed_loop_intends_nothing() {
        let shared = shared();
        let mut recorder = Recorder::new(&shared, Series::default());
        recorder.record(Sample { intended: Nanos(1), sent: Nanos(2), done: Nanos(5) }, &shared);
        recorder.timer_error(Nanos(7), true);
        assert!(recorder.histograms().get(RESPONSE).is_none() && recorder.service().max() == 3);
    }

    #[test]
    fn every_answer_shows_in_the_gauge_but_only_some_count() {
        let shared = Shared::new(Some(2), std::thread::current());
        shared.open_window(Nanos::ZERO, Nanos(100));
        let mut recorder = Recorder::new(&shared, Series::default());
        for (done, counting) in [(1, false), (2, true), (3, true), (4, true)] {
            recorder.answered(Sample { intended: Nanos(0), sent: Nanos(0), done: Nanos(done) }, counting, &shared);
        }
        assert_eq!((shared.answers(), recorder.requests()), (4, 2));
    }

    #[test]
    fn every_error_kind_is_always_there() {
        let shared = shared();
        let mut recorders = [Recorder::new(&shared, Series::default()), Recorder::new(&shared, Series::default())];
        recorders.iter_mut().for_each(|recorder| recorder.error(ErrorKind::Reset));
        let errors = all_errors(recorders.iter());
        let names: Vec<_> = errors.keys().map(String::as_str).collect();
        assert_eq!(names, ["closed", "connect", "corrupt", "other", "reset", "timeout"]);
        assert_eq!((errors["reset"], errors["closed"], recorders[0].error_count()), (2, 0, 1));
    }

    #[test]
    fn kinds_index_their_own_counter() {
        for (i, kind) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, i);
        }
    }

    #[test]
    fn a_latency_beyond_the_scale_is_not_lost() {
        let shared = shared();
        let mut recorder = Recorder::new(&shared, Series::default());
        recorder.record(Sample { intended: Nanos(0), sent: Nanos(0), done: Nanos(u64::MAX - 1) }, &shared);
        assert_eq!(recorder.requests(), 1);
    }
}

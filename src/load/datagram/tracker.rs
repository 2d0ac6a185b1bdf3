//! One socket's requests by sequence number, without a socket and without a clock: what is in flight, what became of
//! those before, and what an answer therefore is.
//!
//! A request is *answered* when its answer comes within the timeout, *late* when it comes after, *lost* when it never
//! comes. Nothing else happens to a request, so of those in the cohort (the requests sent while the counting was on)
//! sent = answered + late + lost, whatever the network does.

use super::reorder::Order;
use crate::load::pipeline::{Pipeline, SendTimes};
use crate::units::Nanos;
use roaring::RoaringTreemap;
use std::ops::Range;

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first answer, and in time.
    Answered(SendTimes),
    /// The first answer, after the timeout. Whether [`Tracker::expire`] has counted its request before.
    Late { expired: bool },
    /// There was an answer before.
    Duplicate,
    /// To a request that was never sent.
    Unknown,
}

/// What became of the cohort so far, and how its answers came. Threads' and sockets' counts are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sent: u64,
    pub answered: u64,
    pub late: u64,
    /// Answers beyond the first.
    pub duplicated: u64,
    /// Answers in time that came after the answer to a later request, and the largest distance (RFC 4737).
    pub reordered: u64,
    pub max_extent: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.late += other.late;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.max_extent = self.max_extent.max(other.max_extent);
    }

    /// Those of which no answer came; before the end of a run these include what is still under way.
    pub fn lost(&self) -> u64 {
        self.sent - self.answered - self.late
    }
}

/// What became of one socket's requests.
///
/// A request's fate is known to the end of the run, at a cost that does not grow with it: what is neither in flight nor
/// overdue was answered, and the overdue are few, a compressed set of bits.
#[derive(Debug)]
pub struct Tracker {
    timeout: Nanos,
    pipeline: Pipeline,
    /// Those whose time was over before an answer came.
    overdue: RoaringTreemap,
    order: Order,
    cohort: Range<u64>,
    counts: Counts,
}

impl Tracker {
    /// `depth`: most requests in flight, at least 1. `timeout`: longest that an answer in time may take.
    pub fn new(depth: u64, timeout: Nanos) -> Tracker {
        Tracker {
            timeout,
            pipeline: Pipeline::new(depth),
            overdue: RoaringTreemap::new(),
            order: Order::default(),
            cohort: u64::MAX..u64::MAX,
            counts: Counts::default(),
        }
    }

    /// The sequence number of the next request.
    pub fn next(&self) -> u64 {
        self.pipeline.next()
    }

    pub fn in_flight(&self) -> u64 {
        self.pipeline.in_flight()
    }

    /// How many requests may be sent now.
    #[inline]
    pub fn room(&self) -> u64 {
        self.pipeline.room()
    }

    /// From the next request on they belong to the cohort.
    pub fn begin_cohort(&mut self) {
        self.cohort = self.next()..u64::MAX;
    }

    /// The next request is the first beyond the cohort, unless that has ended before.
    pub fn end_cohort(&mut self) {
        self.cohort.end = self.cohort.end.min(self.next());
    }

    /// A request was sent. Without room nothing happens.
    #[inline]
    pub fn sent(&mut self, times: SendTimes) {
        if let Some(id) = self.pipeline.begin(times) {
            self.counts.sent += u64::from(self.cohort.contains(&id));
        }
    }

    /// An answer, right in every byte, to request `sequence` was received at `done`.
    #[inline]
    pub fn received(&mut self, sequence: u64, done: Nanos) -> Verdict {
        if sequence >= self.next() {
            return Verdict::Unknown;
        }
        let counted = self.cohort.contains(&sequence);
        let (times, expired) = match self.pipeline.end(sequence) {
            Some(times) => (Some(times).filter(|times| self.in_time(times, done)), false),
            None if self.overdue.remove(sequence) => (None, true),
            None => {
                self.counts.duplicated += u64::from(counted);
                return Verdict::Duplicate;
            }
        };
        let Some(times) = times else {
            self.counts.late += u64::from(counted);
            return Verdict::Late { expired };
        };
        let extent = self.order.arrived(sequence);
        if counted {
            self.counts.answered += 1;
            self.counts.reordered += u64::from(extent > 0);
            self.counts.max_extent = self.counts.max_extent.max(extent);
        }
        Verdict::Answered(times)
    }

    /// Gives up requests whose time is over, and returns how many those were. Costs nothing before one can be.
    pub fn expire(&mut self, now: Nanos) -> u64 {
        let before = self.in_flight();
        while let Some((id, times)) = self.pipeline.oldest()
            && !self.in_time(&times, now)
        {
            self.pipeline.end(id);
            self.overdue.insert(id);
        }
        before - self.in_flight()
    }

    /// Waits for none that is in flight any more, whether or not its time is over; returns how many those were.
    pub fn give_up(&mut self) -> u64 {
        let before = self.in_flight();
        while let Some((id, _)) = self.pipeline.oldest() {
            self.pipeline.end(id);
            self.overdue.insert(id);
        }
        before
    }

    /// When the oldest request in flight was sent.
    pub fn oldest(&mut self) -> Option<Nanos> {
        self.pipeline.oldest().map(|(_, times)| times.sent)
    }

    fn in_time(&self, times: &SendTimes, now: Nanos) -> bool {
        now.since(times.sent) <= self.timeout
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

#[cfg(test)]
mod tests;

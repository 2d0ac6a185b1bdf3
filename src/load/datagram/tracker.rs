//! One socket's requests by sequence number, without a socket and without a clock: what is in flight, what became of
//! those before, and what an answer therefore is.
//!
//! A request is *answered* when its answer comes within the timeout, *late* when it comes after, *lost* when it never
//! comes. Nothing else happens to a request, so of those in the cohort (the requests sent while the counting was on)
//! sent = answered + late + lost, whatever the network does.

use super::reorder::Order;
use crate::load::flow::Stamp;
use crate::units::Nanos;
use roaring::RoaringTreemap;
use std::collections::HashMap;
use std::ops::Range;

/// So many of the newest requests are found without a search, at least. Tests go beyond it at every turn.
const NEWEST: usize = if cfg!(test) { 1 << 5 } else { 1 << 10 };

/// Most requests in flight: a slot's number is never [`OVER`].
pub const MAX_DEPTH: u64 = 4096;

/// In the place of a slot's number: the request is not in flight any more.
const OVER: u16 = u16::MAX;
const _: () = assert!(MAX_DEPTH < OVER as u64);

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first answer, and in time.
    Answered(Stamp),
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

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// `u64::MAX` where it is free.
    sequence: u64,
    stamp: Stamp,
}

const FREE: Slot = Slot { sequence: u64::MAX, stamp: Stamp { intended: Nanos::ZERO, sent: Nanos::ZERO } };

/// See the module's head.
///
/// A request's fate is known to the end of the run, at a cost that does not grow with it: what is neither in flight nor
/// overdue was answered, and the overdue are few, a compressed set of bits.
#[derive(Debug)]
pub struct Tracker {
    timeout: Nanos,
    next: u64,
    slots: Box<[Slot]>,
    free: Vec<u16>,
    /// No request in flight was sent before.
    oldest: Nanos,
    /// Request `n`, one of the newest `len`, has slot `newest[n % len]` or is [`OVER`]; the length is a power of two.
    newest: Box<[u16]>,
    /// The slots of those in flight that are older.
    older: HashMap<u64, u16>,
    /// Those whose time was over before an answer came.
    overdue: RoaringTreemap,
    order: Order,
    cohort: Range<u64>,
    counts: Counts,
}

impl Tracker {
    /// `depth`: most requests in flight, 1 to [`MAX_DEPTH`]. `timeout`: longest that an answer in time may take.
    pub fn new(depth: u64, timeout: Nanos) -> Tracker {
        let depth = depth.clamp(1, MAX_DEPTH) as u16;
        Tracker {
            timeout,
            next: 0,
            slots: vec![FREE; depth.into()].into_boxed_slice(),
            free: (0..depth).rev().collect(),
            oldest: Nanos::ZERO,
            newest: vec![OVER; NEWEST.max(2 * usize::from(depth).next_power_of_two())].into_boxed_slice(),
            older: HashMap::new(),
            overdue: RoaringTreemap::new(),
            order: Order::default(),
            cohort: u64::MAX..u64::MAX,
            counts: Counts::default(),
        }
    }

    /// The sequence number of the next request.
    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn in_flight(&self) -> u64 {
        (self.slots.len() - self.free.len()) as u64
    }

    /// How many requests may be sent now.
    #[inline]
    pub fn room(&self) -> u64 {
        self.free.len() as u64
    }

    /// From the next request on they belong to the cohort.
    pub fn begin_cohort(&mut self) {
        self.cohort = self.next..u64::MAX;
    }

    /// The next request is the first beyond the cohort, unless that has ended before.
    pub fn end_cohort(&mut self) {
        self.cohort.end = self.cohort.end.min(self.next);
    }

    /// A request was sent. Without room nothing happens.
    #[inline]
    pub fn sent(&mut self, stamp: Stamp) {
        let Some(slot) = self.free.pop() else { return };
        if self.in_flight() == 1 {
            self.oldest = stamp.sent;
        }
        self.slots[usize::from(slot)] = Slot { sequence: self.next, stamp };
        let place = self.place(self.next);
        let passed = std::mem::replace(&mut self.newest[place], slot);
        if passed != OVER {
            self.older.insert(self.next - self.newest.len() as u64, passed);
        }
        self.counts.sent += u64::from(self.cohort.contains(&self.next));
        self.next += 1;
    }

    /// An answer, right in every byte, to request `sequence` was received at `done`.
    #[inline]
    pub fn received(&mut self, sequence: u64, done: Nanos) -> Verdict {
        if sequence >= self.next {
            return Verdict::Unknown;
        }
        let counted = self.cohort.contains(&sequence);
        let (stamp, expired) = match self.take(sequence) {
            Some(slot) => (self.release(slot, done), false),
            None if self.overdue.remove(sequence) => (None, true),
            None => {
                self.counts.duplicated += u64::from(counted);
                return Verdict::Duplicate;
            }
        };
        let Some(stamp) = stamp else {
            self.counts.late += u64::from(counted);
            return Verdict::Late { expired };
        };
        let extent = self.order.arrived(sequence);
        if counted {
            self.counts.answered += 1;
            self.counts.reordered += u64::from(extent > 0);
            self.counts.max_extent = self.counts.max_extent.max(extent);
        }
        Verdict::Answered(stamp)
    }

    /// Frees the slots of requests whose time is over and returns how many those were. Costs nothing before one can be.
    pub fn expire(&mut self, now: Nanos) -> u64 {
        if self.in_flight() == 0 || now.since(self.oldest) <= self.timeout {
            return 0;
        }
        let in_flight = self.in_flight();
        self.oldest = now;
        for number in 0..self.slots.len() {
            let Slot { sequence, stamp } = self.slots[number];
            if sequence == FREE.sequence {
                continue;
            }
            if now.since(stamp.sent) > self.timeout {
                self.take(sequence);
                self.overdue.insert(sequence);
                self.slots[number] = FREE;
                self.free.push(number as u16);
            } else {
                self.oldest = self.oldest.min(stamp.sent);
            }
        }
        in_flight - self.in_flight()
    }

    /// An instant before which no request in flight was sent; `None` where there is none.
    pub fn oldest(&self) -> Option<Nanos> {
        (self.in_flight() > 0).then_some(self.oldest)
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Ends a request in flight. Its stamp, if it was in time.
    #[inline]
    fn release(&mut self, slot: u16, done: Nanos) -> Option<Stamp> {
        let Slot { stamp, .. } = std::mem::replace(&mut self.slots[usize::from(slot)], FREE);
        self.free.push(slot);
        (done.since(stamp.sent) <= self.timeout).then_some(stamp)
    }

    /// The slot of a request that was sent, which is over from now on. `None` where it was.
    #[inline]
    fn take(&mut self, sequence: u64) -> Option<u16> {
        if self.next - sequence > self.newest.len() as u64 {
            return self.older.remove(&sequence);
        }
        let place = self.place(sequence);
        Some(std::mem::replace(&mut self.newest[place], OVER)).filter(|slot| *slot != OVER)
    }

    #[inline]
    fn place(&self, sequence: u64) -> usize {
        sequence as usize & (self.newest.len() - 1)
    }
}

#[cfg(test)]
mod tests;

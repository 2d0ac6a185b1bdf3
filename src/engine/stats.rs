//! What a shard has done, readable while it works.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Plain counts, kept by the shard itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections opened here.
    pub opened: u64,
    pub closed: u64,
    /// Of those closed: by an error or by the end of the drain timeout.
    pub failed: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Times a receive found no buffer.
    pub starved: u64,
    /// Datagrams received, whole or not; their bytes are in `bytes_in`.
    pub datagrams_in: u64,
    /// Answers sent as datagrams; their bytes are in `bytes_out`.
    pub datagrams_out: u64,
    /// Datagrams longer than the receive buffer; not answered.
    pub truncated: u64,
    /// Datagrams from a source that is never answered.
    pub refused: u64,
    /// Answers that could not be sent as datagrams.
    pub unsent: u64,
}

const FIELDS: usize = 11;

impl Stats {
    fn to_array(self) -> [u64; FIELDS] {
        let Stats { opened, closed, failed, bytes_in, bytes_out, starved, .. } = self;
        let Stats { datagrams_in, datagrams_out, truncated, refused, unsent, .. } = self;
        [opened, closed, failed, bytes_in, bytes_out, starved, datagrams_in, datagrams_out, truncated, refused, unsent]
    }

    fn from_array(array: [u64; FIELDS]) -> Stats {
        let [opened, closed, failed, bytes_in, bytes_out, starved, rest @ ..] = array;
        let [datagrams_in, datagrams_out, truncated, refused, unsent] = rest;
        Stats {
            opened,
            closed,
            failed,
            bytes_in,
            bytes_out,
            starved,
            datagrams_in,
            datagrams_out,
            truncated,
            refused,
            unsent,
        }
    }
}

impl std::ops::Add for Stats {
    type Output = Stats;
    fn add(self, other: Stats) -> Stats {
        let (mut sum, other) = (self.to_array(), other.to_array());
        sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        Stats::from_array(sum)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { opened, closed, failed, bytes_in, bytes_out, starved, .. } = self;
        let Stats { datagrams_in, datagrams_out, truncated, refused, unsent, .. } = self;
        write!(f, "connections={opened} closed={closed} failed={failed} ")?;
        write!(f, "bytes_in={bytes_in} bytes_out={bytes_out} starved={starved} ")?;
        write!(f, "datagrams_in={datagrams_in} datagrams_out={datagrams_out} ")?;
        write!(f, "truncated={truncated} refused={refused} unsent={unsent}")
    }
}

/// The counts of one shard, shared with those who watch. On its own cache lines, so that shards do not slow each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct SharedStats([AtomicU64; FIELDS]);

impl SharedStats {
    /// Makes the shard's own counts visible; for a shard with a single writer.
    #[inline]
    pub fn publish(&self, stats: &Stats) {
        self.0.iter().zip(stats.to_array()).for_each(|(field, value)| field.store(value, Ordering::Relaxed));
    }

    /// Adds to the counts; for a shard whose tasks share one thread.
    #[inline]
    pub fn add_alone(&self, stats: &Stats) {
        for (field, value) in self.0.iter().zip(stats.to_array()) {
            field.store(field.load(Ordering::Relaxed) + value, Ordering::Relaxed);
        }
    }

    /// Adds to the counts; for shards with several writers.
    pub fn add(&self, stats: &Stats) {
        let changed = self.0.iter().zip(stats.to_array()).filter(|(_, value)| *value > 0);
        changed.for_each(|(field, value)| {
            field.fetch_add(value, Ordering::Relaxed);
        });
    }

    /// The counts as last made visible.
    pub fn read(&self) -> Stats {
        Stats::from_array(std::array::from_fn(|i| self.0[i].load(Ordering::Relaxed)))
    }
}

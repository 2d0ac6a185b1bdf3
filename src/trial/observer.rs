//! Who runs when, and who is notified of what happens.

use crate::record::{FloorSliceRecord, LoadReport, Reason, SlicesRecord, Stopped, TrialRecord};

/// One trial of the schedule: who runs it, when and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialSlot {
    /// Index into the plan's cells.
    pub cell: usize,
    /// Index into the plan's contestants.
    pub contestant: usize,
    /// From 1.
    pub round: u64,
    /// Place in its round, from 1.
    pub position: u64,
}

/// Is notified of what happens, as it happens.
pub trait Observer {
    fn starting(&mut self, trial: TrialSlot);
    /// Of a round in slices: a block begins, by its number from 0, of so many as there are.
    fn block(&mut self, cell: usize, round: u64, block: u64, how: SlicesRecord);
    fn finished(&mut self, trial: TrialSlot, record: TrialRecord);
    /// What the kernel alone took in a block.
    fn floor(&mut self, cell: usize, slice: FloorSliceRecord);
    /// All of a round are through.
    fn round_over(&mut self, cell: usize, round: u64);
    /// Whether the figures of this cell are as precise as was asked for.
    fn is_precise(&self, cell: usize) -> bool;
    /// No further round of this cell is run.
    fn ended(&mut self, cell: usize, why: Stopped);
}

impl TrialSlot {
    /// That of a trial that gave figures.
    pub fn measured(self, load: LoadReport, connections_per_shard: Option<Vec<u64>>) -> TrialRecord {
        let TrialSlot { round, position, .. } = self;
        TrialRecord { round, position, load: Some(load), failed: None, connections_per_shard }
    }

    /// That of one that gave none.
    pub fn failed(self, reason: Reason) -> TrialRecord {
        let TrialSlot { round, position, .. } = self;
        TrialRecord { round, position, load: None, failed: Some(reason), connections_per_shard: None }
    }
}

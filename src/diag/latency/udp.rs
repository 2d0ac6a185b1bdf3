//! Datagrams between two ends: each answer belongs to the oldest request that waits.

use super::{Limits, Record, Toward};
use crate::units::Nanos;
use std::collections::VecDeque;

/// Requests that wait for an answer, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Flow {
    waiting: VecDeque<Nanos>,
}

impl Flow {
    pub fn datagram(&mut self, at: Nanos, toward: Toward, limits: Limits, record: &mut Record) {
        self.expire(at, limits, record);
        match toward {
            Toward::Server => self.request(at, limits, record),
            Toward::Client => match self.waiting.pop_front() {
                Some(asked) => {
                    record.service(at.since(asked));
                    record.total.first_answer.record(at.since(asked));
                }
                None => record.seen.unsolicited += 1,
            },
        }
    }

    /// Forgets what waits; returns how many.
    pub fn give_up(&mut self) -> u64 {
        let count = self.waiting.len() as u64;
        self.waiting.clear();
        count
    }

    fn request(&mut self, at: Nanos, limits: Limits, record: &mut Record) {
        record.seen.queued += u64::from(!self.waiting.is_empty());
        if self.waiting.len() >= limits.datagrams.max(1) {
            self.waiting.pop_front();
            record.seen.unanswered += 1;
        }
        self.waiting.push_back(at);
    }

    fn expire(&mut self, at: Nanos, limits: Limits, record: &mut Record) {
        while self.waiting.front().is_some_and(|asked| at.since(*asked) > limits.patience) {
            self.waiting.pop_front();
            record.seen.unanswered += 1;
        }
    }
}

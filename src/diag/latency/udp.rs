//! Datagrams between two ends: each answer belongs to the oldest request that waits.

use super::{Direction, Limits, SampleSink};
use crate::units::Nanos;
use std::collections::VecDeque;

/// Requests that wait for an answer, the oldest first.
#[derive(Debug, Default)]
pub(super) struct UdpFlow {
    waiting: VecDeque<Nanos>,
}

impl UdpFlow {
    pub fn datagram(&mut self, at: Nanos, direction: Direction, limits: Limits, sink: &mut SampleSink) {
        self.expire(at, limits, sink);
        match direction {
            Direction::Server => self.request(at, limits, sink),
            Direction::Client => match self.waiting.pop_front() {
                Some(asked) => {
                    sink.service(at.since(asked));
                    sink.total.first_answer.record(at.since(asked));
                }
                None => sink.seen.unsolicited += 1,
            },
        }
    }

    /// Forgets what waits; returns how many.
    pub fn give_up(&mut self) -> u64 {
        let count = self.waiting.len() as u64;
        self.waiting.clear();
        count
    }

    fn request(&mut self, at: Nanos, limits: Limits, sink: &mut SampleSink) {
        sink.seen.queued += u64::from(!self.waiting.is_empty());
        if self.waiting.len() >= limits.datagrams.max(1) {
            self.waiting.pop_front();
            sink.seen.unanswered += 1;
        }
        self.waiting.push_back(at);
    }

    fn expire(&mut self, at: Nanos, limits: Limits, sink: &mut SampleSink) {
        while self.waiting.front().is_some_and(|asked| at.since(*asked) > limits.timeout) {
            self.waiting.pop_front();
            sink.seen.unanswered += 1;
        }
    }
}

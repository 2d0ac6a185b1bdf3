//! An engine without a kernel, on virtual time: one server with one queue, that takes so long for each request and may
//! stall. What a pool measures of it can be computed beforehand.

use super::{Done, Event, StreamEngine};
use crate::load::engine::impl_test_engine;
use crate::units::Nanos;
use std::collections::VecDeque;
use std::io;

/// How the server serves.
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    /// Bytes of a request, and the time each takes.
    pub size: usize,
    pub time: Nanos,
    /// It does nothing for the first `stall` of every second.
    pub stall: Nanos,
}

pub struct Sim {
    now: Nanos,
    serving: Serving,
    /// When the server has served all that it was sent.
    free_at: Nanos,
    /// Answers under way, in order of time.
    answers: VecDeque<(Nanos, usize, &'static [u8])>,
    controls: Vec<(usize, Control)>,
}

enum Control {
    Connected,
    Ended,
}

impl Sim {
    pub fn new(serving: Serving) -> Sim {
        Sim { now: Nanos::ZERO, serving, free_at: Nanos::ZERO, answers: VecDeque::new(), controls: Vec::new() }
    }

    /// Time passes.
    pub fn set_now(&mut self, now: Nanos) {
        self.now = now;
    }

    /// When something happens next.
    pub fn next_event(&self) -> Option<Nanos> {
        if self.controls.is_empty() { self.answers.front().map(|(at, ..)| *at) } else { Some(self.now) }
    }

    /// When a request is served that comes to the server at `begin`.
    fn served(&self, begin: Nanos) -> Nanos {
        let into_second = begin.0 % 1_000_000_000;
        begin + Nanos(self.serving.stall.0.saturating_sub(into_second)) + self.serving.time
    }
}

impl_test_engine!(Sim, receives_in_events: false);

impl StreamEngine for Sim {
    fn connect(&mut self, connection: usize) -> io::Result<()> {
        self.controls.push((connection, Control::Connected));
        Ok(())
    }

    fn send(&mut self, connection: usize, bytes: &'static [u8]) -> io::Result<Done<usize>> {
        for request in bytes.chunks(self.serving.size) {
            self.free_at = self.served(self.free_at.max(self.now));
            self.answers.push_back((self.free_at, connection, request));
        }
        Ok(Done::Now(bytes.len()))
    }

    fn finish(&mut self, connection: usize) {
        self.controls.push((connection, Control::Ended));
    }

    fn close(&mut self, _: usize) -> Done<()> {
        Done::Now(())
    }

    fn events(&mut self, mut notify: impl FnMut(usize, Event<'_>)) {
        for (connection, controls) in std::mem::take(&mut self.controls) {
            match controls {
                Control::Connected => notify(connection, Event::Connected),
                Control::Ended => notify(connection, Event::Ended),
            }
        }
        while let Some(&(at, connection, bytes)) = self.answers.front()
            && at <= self.now
        {
            self.answers.pop_front();
            notify(connection, Event::Received(bytes));
        }
    }
}

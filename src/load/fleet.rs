//! One thread's connections: what each does next, given what happened and the phase of the run.
//!
//! No I/O of its own and no clock: events and instants come in, and what is to be done is told to an [`Engine`]. What
//! happened is only noted while events come in (`on_event`); acting on it is left to `advance`, so that all sends of a
//! turn carry one instant and go to the kernel together.

use super::datagram::Tally;
use super::engine::{Done, Engine, Event};
use super::pacer::Pacer;
use super::pipeline::{Pipeline, SendTimes};
use super::recorder::{ErrorKind, Recorder, Sample};
use super::rota::Rota;
use super::shared::{Phase, Shared, StartFailure};
use super::turn::{Ready, Turn};
use crate::protocol::client::{ClientConfig, Received, StreamClient};
use crate::units::Nanos;
use std::io;

/// Pause before a connection that failed is made again.
const RECONNECT_PAUSE: Nanos = Nanos::from_millis(100);
/// Pause before a unix socket's full backlog is tried again.
const BACKLOG_PAUSE: Nanos = Nanos::from_millis(1);
/// How exactly pauses are kept at most.
const RESUME_EXACTNESS: Nanos = Nanos(100_000);
/// How long an idle connection that we ended may take to end its side; surplus bytes show until then.
const FINISH_GRACE: Nanos = Nanos::from_millis(250);

/// What a thread's connections have to do.
#[derive(Clone, Copy, Debug)]
pub struct Orders {
    /// Connections of this thread, and the number of its first among all.
    pub connections: usize,
    pub first: usize,
    /// Connections of all threads.
    pub all: usize,
    /// The first so many carry the load; the others are open and silent.
    pub active: usize,
    pub depth: u64,
    pub connect_per_request: bool,
    /// Longest that an answer may take, and that a connection may take to be made.
    pub timeout: Nanos,
    pub connect_timeout: Nanos,
    /// Connections that may be under way at once before they are admitted: a listen backlog must hold them.
    pub admit_at_once: usize,
    pub client: ClientConfig,
    pub pacer: Pacer,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not connected; may be from this instant on.
    Idle {
        not_before: Nanos,
    },
    Connecting {
        since: Nanos,
    },
    Open,
    /// Everything is answered and our side is ended; nothing more may come.
    Finishing {
        since: Nanos,
    },
    /// To be closed.
    Leaving {
        retry_at: Nanos,
    },
    Closing {
        retry_at: Nanos,
    },
    /// Will not be used again.
    Gone,
}

#[derive(Debug)]
struct Connection<C> {
    client: C,
    pipeline: Pipeline,
    state: State,
    /// A send is under way.
    sending: bool,
    admitted: bool,
    /// Connections made in this place so far.
    made: u64,
}

mod pacing;

#[derive(Debug)]
pub struct Fleet<'a, C> {
    orders: Orders,
    shared: &'a Shared,
    connections: Vec<Connection<C>>,
    /// Connections to advance before the next wait.
    ready: Ready,
    turn: Turn,
    /// Connections begun, and those of them not yet admitted.
    begun: usize,
    admitting: usize,
    /// The first end of a connection's pause; `u64::MAX` where none has one.
    next_resume: Nanos,
    gone: usize,
    ports_exhausted: bool,
    rota: Rota,
    recorder: Recorder,
}

/// What a thread hands back.
#[derive(Debug)]
pub struct Haul {
    pub recorder: Recorder,
    /// A connection failed because no local port was free (EADDRNOTAVAIL).
    pub ports_exhausted: bool,
    /// The part of the counted window that the thread was running, where it saw all of it.
    pub busy: Option<f64>,
    /// What became of its datagrams.
    pub datagrams: Option<Tally>,
}

impl<'a, C: StreamClient> Fleet<'a, C> {
    pub fn new(orders: Orders, shared: &'a Shared) -> Fleet<'a, C> {
        let connections = (0..orders.connections)
            .map(|index| Connection {
                client: open(&orders, index, 0),
                pipeline: Pipeline::new(orders.depth),
                state: State::Idle { not_before: Nanos::ZERO },
                sending: false,
                admitted: false,
                made: 0,
            })
            .collect();
        Fleet {
            orders,
            shared,
            connections,
            ready: Ready::new(orders.connections),
            turn: Turn::NONE,
            begun: 0,
            admitting: 0,
            next_resume: Nanos(u64::MAX),
            gone: 0,
            ports_exhausted: false,
            rota: Rota::new(orders.pacer, orders.active),
            recorder: Recorder::new(shared, orders.pacer != Pacer::ClosedLoop),
        }
    }

    /// A turn begins; `done` was read right after the wait. A new phase concerns every connection.
    #[inline]
    pub fn begin_turn(&mut self, done: Nanos) {
        if self.turn.begin(done, self.shared) {
            self.begun = self.connections.len();
            (0..self.begun).for_each(|index| self.wake(index));
        }
        self.rota.follow(self.turn.phase, self.shared);
    }

    /// What comes in from now on was received at `done`, read right after the receive. The phase stays the turn's.
    #[inline]
    pub fn refresh(&mut self, done: Nanos) {
        self.turn.refresh(done, self.shared);
    }

    /// Whether answers count now.
    pub fn counting(&self) -> bool {
        self.turn.counting
    }

    /// Whether the thread is at its end.
    pub fn finished(&self) -> bool {
        self.turn.phase == Phase::Abandon || self.gone == self.connections.len()
    }

    /// When deadlines are to be checked sooner than they regularly are: a connection's pause is over then.
    #[inline]
    pub fn next_deadline(&self) -> Option<Nanos> {
        Some(self.next_resume).filter(|at| *at < Nanos(u64::MAX))
    }

    pub fn into_haul(mut self) -> Haul {
        self.publish();
        Haul { recorder: self.recorder, ports_exhausted: self.ports_exhausted, busy: None, datagrams: None }
    }

    /// Updates the live line's figures.
    pub fn publish(&mut self) {
        self.recorder.publish(self.shared);
    }

    /// Whatever frees a connection for another request wakes it too.
    fn wake(&mut self, index: usize) {
        self.rota.freed();
        self.ready.wake(index);
    }

    /// Notes what happened on a connection. Late events of one that is given up change nothing.
    #[inline]
    pub fn on_event(&mut self, index: usize, event: Event<'_>) {
        match event {
            Event::Received(bytes) => self.on_received(index, bytes),
            Event::Sent(len) => self.on_sent(index, len),
            Event::Connected => self.on_connected(index),
            Event::Ended => self.on_ended(index),
            Event::Failed(error) => self.on_failed(index, error),
            Event::Closed => self.on_closed(index),
        }
    }

    fn on_received(&mut self, index: usize, bytes: &[u8]) {
        let Fleet { connections, recorder, shared, turn, .. } = self;
        let connection = &mut connections[index];
        match connection.state {
            State::Open => {}
            State::Finishing { .. } => return self.fail(index, ErrorKind::Corrupt),
            _ => return,
        }
        let Connection { client, pipeline, .. } = connection;
        let mut answers = 0;
        let outcome = client.received(bytes, |received| {
            let Received::Answered { id } = received else { return };
            let Some(SendTimes { intended, sent }) = pipeline.end(id) else { return };
            recorder.answered(Sample { intended, sent, done: turn.done }, turn.counting, shared);
            answers += 1;
        });
        match outcome {
            Err(_) => self.fail(index, ErrorKind::Corrupt),
            Ok(()) if answers > 0 => self.on_answered(index),
            Ok(()) => {}
        }
    }

    /// At least one request was answered.
    #[inline]
    fn on_answered(&mut self, index: usize) {
        if !self.connections[index].admitted {
            self.connections[index].admitted = true;
            self.admitting = self.admitting.saturating_sub(1);
            self.shared.admit();
        }
        if self.orders.connect_per_request {
            self.leave(index, Nanos::ZERO);
        }
        self.wake(index);
    }

    fn on_sent(&mut self, index: usize, len: usize) {
        let connection = &mut self.connections[index];
        connection.sending = false;
        if connection.state == State::Open {
            connection.client.sent(len);
            if connection.pipeline.room() > 0 || !connection.client.next_send().is_empty() {
                self.wake(index);
            }
        }
    }

    fn on_connected(&mut self, index: usize) {
        if let State::Connecting { .. } = self.connections[index].state {
            self.connections[index].state = State::Open;
            self.wake(index);
        }
    }

    fn on_ended(&mut self, index: usize) {
        match self.connections[index].state {
            State::Open if self.nothing_owed(index) => self.leave(index, Nanos::ZERO),
            State::Open => self.fail(index, ErrorKind::Closed),
            State::Finishing { .. } => self.leave(index, Nanos::ZERO),
            _ => {}
        }
    }

    fn on_failed(&mut self, index: usize, error: io::Error) {
        match self.connections[index].state {
            State::Connecting { .. } => self.fail_connect(index, error),
            State::Open if self.nothing_owed(index) => self.leave(index, Nanos::ZERO),
            State::Open => self.fail(index, ErrorKind::of(&error)),
            State::Finishing { .. } => self.leave(index, Nanos::ZERO),
            _ => {}
        }
    }

    fn on_closed(&mut self, index: usize) {
        if let State::Closing { retry_at } = self.connections[index].state {
            self.connections[index].state = State::Idle { not_before: retry_at };
            self.wake(index);
        }
    }

    /// At the run's end the peer may end a connection on which everything is answered.
    fn nothing_owed(&self, index: usize) -> bool {
        self.turn.phase == Phase::Drain && self.connections[index].pipeline.in_flight() == 0
    }

    /// Gives a connection up because of an error. Before the run has begun that ends everything.
    #[cold]
    fn fail(&mut self, index: usize, kind: ErrorKind) {
        self.recorder.error(kind);
        if self.turn.phase == Phase::Admit {
            self.shared.fail_start(StartFailure::Answer);
        }
        self.leave(index, self.turn.done + RECONNECT_PAUSE);
    }

    #[cold]
    fn fail_connect(&mut self, index: usize, error: io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            return self.leave_for_retry(index);
        }
        self.ports_exhausted |= error.kind() == io::ErrorKind::AddrNotAvailable;
        self.recorder.error(ErrorKind::Connect);
        if self.turn.phase == Phase::Admit {
            self.shared.fail_start(StartFailure::Connect { connection: self.orders.first + index, source: error });
        }
        self.leave(index, self.turn.done + RECONNECT_PAUSE);
    }

    /// The request that the connection is made for, if any, stays begun: waiting is part of its time.
    fn leave_for_retry(&mut self, index: usize) {
        self.connections[index].state = State::Leaving { retry_at: self.turn.done + BACKLOG_PAUSE };
        self.wake(index);
    }

    fn leave(&mut self, index: usize, retry_at: Nanos) {
        let connection = &mut self.connections[index];
        connection.made += 1;
        connection.client = open(&self.orders, index, connection.made);
        connection.pipeline.restart();
        connection.state = State::Leaving { retry_at };
        self.wake(index);
    }

    /// Looks for what is overdue and for pauses that have passed.
    pub fn check_deadlines(&mut self, now: Nanos) {
        self.next_resume = Nanos(u64::MAX);
        for index in 0..self.begun {
            let oldest = self.connections[index].pipeline.oldest();
            if oldest.is_some_and(|(_, times)| now.since(times.sent) > self.orders.timeout) {
                self.fail(index, ErrorKind::Timeout);
            }
            match self.connections[index].state {
                State::Connecting { since } if now.since(since) > self.orders.connect_timeout => {
                    self.fail_connect(index, io::ErrorKind::TimedOut.into());
                }
                State::Finishing { since } if now.since(since) > FINISH_GRACE => self.leave(index, Nanos::ZERO),
                State::Idle { not_before } if now >= not_before => self.wake(index),
                // Not for each of many by itself: every check looks at all connections.
                State::Idle { not_before } => {
                    self.next_resume = self.next_resume.min(not_before.max(now + RESUME_EXACTNESS));
                }
                _ => {}
            }
        }
    }

    /// Does what is to be done; everything sent counts as sent at `now`, which was read just before.
    pub fn advance(&mut self, engine: &mut impl Engine, now: Nanos) {
        self.begin_more();
        self.assign_due(now);
        self.advance_ready(engine, now);
        if self.orders.connect_per_request {
            // Those that were closed just now can take what waits, and no event will tell.
            self.assign_due(now);
            self.advance_ready(engine, now);
        }
    }

    #[inline]
    fn advance_ready(&mut self, engine: &mut impl Engine, now: Nanos) {
        while let Some(index) = self.ready.next() {
            match self.connections[index].state {
                State::Open => self.advance_open(engine, index, now),
                State::Idle { not_before } => self.advance_idle(engine, index, not_before, now),
                State::Leaving { retry_at } => self.close(engine, index, retry_at),
                State::Connecting { .. } if self.nothing_owed(index) => self.close(engine, index, Nanos::ZERO),
                State::Closing { .. } if self.turn.phase == Phase::Drain => self.go(index),
                _ => {}
            }
        }
    }

    /// Begins connections while fewer than allowed are on their way to admission.
    fn begin_more(&mut self) {
        while self.begun < self.connections.len() && self.admitting < self.orders.admit_at_once {
            self.admitting += 1;
            self.wake(self.begun);
            self.begun += 1;
        }
    }

    #[inline]
    fn advance_open(&mut self, engine: &mut impl Engine, index: usize, now: Nanos) {
        if self.connections[index].sending {
            return;
        }
        self.issue(index, now);
        if self.nothing_owed(index) {
            engine.finish(index);
            self.connections[index].state = State::Finishing { since: now };
            return;
        }
        self.send(engine, index);
    }

    /// Begins as many requests as the phase allows.
    #[inline]
    fn issue(&mut self, index: usize, now: Nanos) {
        let connection = &mut self.connections[index];
        let begun = connection.pipeline.next();
        let allowed = match self.turn.phase {
            // A silent connection must still be alive at the end.
            Phase::Run | Phase::Drain if index >= self.orders.active => {
                u64::from(self.turn.phase == Phase::Drain && begun == 1)
            }
            _ if self.orders.connect_per_request => 0,
            Phase::Admit => 1 - begun.min(1),
            // The schedule gave it what is due.
            Phase::Run if self.rota.paces() => 0,
            Phase::Run => connection.pipeline.room(),
            Phase::Drain | Phase::Abandon => 0,
        };
        for _ in 0..allowed {
            connection.begin(SendTimes { intended: now, sent: now });
        }
    }

    /// Hands to the engine what there is to send, until it has enough.
    #[inline]
    fn send(&mut self, engine: &mut impl Engine, index: usize) {
        loop {
            let connection = &mut self.connections[index];
            let bytes = connection.client.next_send();
            if bytes.is_empty() {
                return;
            }
            match engine.send(index, bytes) {
                Ok(Done::Now(len)) => connection.client.sent(len),
                Ok(Done::Later) => {
                    connection.sending = true;
                    return;
                }
                Err(error) => return self.fail(index, ErrorKind::of(&error)),
            }
        }
    }

    fn advance_idle(&mut self, engine: &mut impl Engine, index: usize, not_before: Nanos, now: Nanos) {
        match self.turn.phase {
            Phase::Drain => return self.go(index),
            Phase::Admit if self.connections[index].admitted => return,
            _ if now < not_before => {
                self.next_resume = self.next_resume.min(not_before);
                return;
            }
            Phase::Run if self.waits_for_schedule(index) => return,
            _ => {}
        }
        let connection = &mut self.connections[index];
        if self.orders.connect_per_request {
            // Without a free slot this is a retry or the schedule's, and the request is begun.
            connection.begin(SendTimes { intended: now, sent: now });
        }
        connection.state = State::Connecting { since: now };
        connection.sending = false;
        if let Err(error) = engine.connect(index) {
            self.fail_connect(index, error);
        }
    }

    fn close(&mut self, engine: &mut impl Engine, index: usize, retry_at: Nanos) {
        let done = engine.close(index);
        let connection = &mut self.connections[index];
        match done {
            Done::Now(()) => {
                connection.state = State::Idle { not_before: retry_at };
                connection.sending = false;
                self.wake(index);
            }
            Done::Later if self.turn.phase == Phase::Drain => self.go(index),
            Done::Later => connection.state = State::Closing { retry_at },
        }
    }

    fn go(&mut self, index: usize) {
        self.connections[index].state = State::Gone;
        self.gone += 1;
    }
}

impl<C: StreamClient> Connection<C> {
    /// Begins a request. Without room nothing happens.
    #[inline]
    fn begin(&mut self, times: SendTimes) {
        if let Some(id) = self.pipeline.begin(times) {
            self.client.request(id, times.sent);
        }
    }
}

/// The client's end of the `made`-th connection in a place.
fn open<C: StreamClient>(orders: &Orders, index: usize, made: u64) -> C {
    C::open(&orders.client, (orders.first + index) as u64 + made * orders.all as u64)
}

#[cfg(test)]
mod open_loop;
#[cfg(test)]
mod tests;

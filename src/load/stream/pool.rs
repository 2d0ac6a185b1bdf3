//! One thread's stream connections: what each does next, given what happened and the phase of the run.

use super::engine::{Done, Event, StreamEngine};
use crate::clock::Clock;
use crate::load::context::Context;
use crate::load::driver::Pool;
use crate::load::pipeline::{Pipeline, SendTimes};
use crate::load::recorder::ErrorKind;
use crate::load::shared::{Phase, StartFailure};
use crate::load::thread_plan::ThreadPlan;
use crate::load::thread_result::ThreadResult;
use crate::protocol::client::{Received, StreamClient};
use crate::units::Nanos;
use std::io;

/// Pause before a connection that failed is made again.
const RECONNECT_PAUSE: Nanos = Nanos::from_millis(100);
/// Pause before a unix socket's full backlog is tried again.
const BACKLOG_PAUSE: Nanos = Nanos::from_millis(1);
/// How exactly pauses are kept at most.
const RESUME_PRECISION: Nanos = Nanos(100_000);
/// How long an idle connection that we ended may take to end its side; surplus bytes show until then.
const FINISH_GRACE: Nanos = Nanos::from_millis(250);

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
    /// Connected; what the protocol says first was not answered yet.
    Greeting {
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
    Retired,
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

/// The stream connections of one thread, each with its client of protocol `C`.
#[derive(Debug)]
pub struct ConnectionPool<C> {
    plan: ThreadPlan,
    connections: Vec<Connection<C>>,
    /// The first end of a connection's pause; `u64::MAX` where none has one.
    next_resume: Nanos,
    retired: usize,
    ports_exhausted: bool,
}

impl<C: StreamClient> ConnectionPool<C> {
    pub fn new(plan: ThreadPlan) -> ConnectionPool<C> {
        let connections = (0..plan.connections)
            .map(|number| Connection {
                client: open(&plan, number, 0),
                pipeline: Pipeline::new(plan.depth),
                state: State::Idle { not_before: Nanos::ZERO },
                sending: false,
                admitted: false,
                made: 0,
            })
            .collect();
        ConnectionPool { plan, connections, next_resume: Nanos(u64::MAX), retired: 0, ports_exhausted: false }
    }

    /// Notes what happened on a connection. Late events of one that is given up change nothing.
    #[inline]
    fn on_event(&mut self, context: &mut Context<'_>, number: usize, event: Event<'_>) {
        match event {
            Event::Received(bytes) => self.on_received(context, number, bytes),
            Event::Sent(len) => self.on_sent(context, number, len),
            Event::Connected => self.on_connected(context, number),
            Event::Ended => self.on_ended(context, number),
            Event::Failed(error) => self.on_failed(context, number, error),
            Event::Closed => self.on_closed(context, number),
        }
    }

    #[inline]
    fn on_received(&mut self, context: &mut Context<'_>, number: usize, bytes: &[u8]) {
        let Connection { client, pipeline, state, admitted, .. } = &mut self.connections[number];
        match state {
            State::Open | State::Greeting { .. } => {}
            State::Finishing { .. } => return self.fail(context, number, ErrorKind::Corrupt),
            _ => return,
        }
        let mut progress = false;
        let outcome = client.received(bytes, |received| match received {
            Received::Answered { id } => {
                if let Some(times) = pipeline.end(id) {
                    context.answered(times);
                    progress = true;
                }
            }
            Received::Ready => {
                *state = State::Open;
                context.wake(number);
            }
            Received::Pushed { sent } => context.pushed(sent),
            // What is no message shows that the peer is there.
            Received::Bytes(_) => progress = true,
        });
        match outcome {
            Err(_) => self.fail(context, number, ErrorKind::Corrupt),
            Ok(()) if progress => {
                if !std::mem::replace(admitted, true) {
                    context.admit();
                }
                if self.plan.connect_per_request {
                    self.leave(context, number, Nanos::ZERO);
                }
                context.wake(number);
            }
            Ok(()) => {}
        }
    }

    fn on_sent(&mut self, context: &mut Context<'_>, number: usize, len: usize) {
        let Connection { client, pipeline, state, sending, .. } = &mut self.connections[number];
        *sending = false;
        if let State::Open | State::Greeting { .. } = state {
            client.sent(len);
            if pipeline.room() > 0 || !client.next_send().is_empty() {
                context.wake(number);
            }
        }
    }

    fn on_connected(&mut self, context: &mut Context<'_>, number: usize) {
        let Connection { client, state, .. } = &mut self.connections[number];
        if let State::Connecting { since } = *state {
            *state = if client.hello() { State::Greeting { since } } else { State::Open };
            context.wake(number);
        }
    }

    fn on_ended(&mut self, context: &mut Context<'_>, number: usize) {
        match self.connections[number].state {
            State::Open if self.nothing_owed(context, number) => self.leave(context, number, Nanos::ZERO),
            State::Open | State::Greeting { .. } => self.fail(context, number, ErrorKind::Closed),
            State::Finishing { .. } => self.leave(context, number, Nanos::ZERO),
            _ => {}
        }
    }

    fn on_failed(&mut self, context: &mut Context<'_>, number: usize, error: io::Error) {
        match self.connections[number].state {
            State::Connecting { .. } => self.fail_connect(context, number, error),
            State::Open if self.nothing_owed(context, number) => self.leave(context, number, Nanos::ZERO),
            State::Open | State::Greeting { .. } => self.fail(context, number, ErrorKind::of(&error)),
            State::Finishing { .. } => self.leave(context, number, Nanos::ZERO),
            _ => {}
        }
    }

    fn on_closed(&mut self, context: &mut Context<'_>, number: usize) {
        if let State::Closing { retry_at } = self.connections[number].state {
            self.connections[number].state = State::Idle { not_before: retry_at };
            context.wake(number);
        }
    }

    /// At the run's end the peer may end a connection on which everything is answered.
    fn nothing_owed(&self, context: &Context<'_>, number: usize) -> bool {
        context.tick.phase == Phase::Drain && self.connections[number].pipeline.in_flight() == 0
    }

    /// Gives a connection up because of an error. Before the run has begun that ends everything.
    #[cold]
    fn fail(&mut self, context: &mut Context<'_>, number: usize, kind: ErrorKind) {
        context.error(kind, || StartFailure::Answer);
        self.leave(context, number, context.tick.done + RECONNECT_PAUSE);
    }

    #[cold]
    fn fail_connect(&mut self, context: &mut Context<'_>, number: usize, error: io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            return self.leave_for_retry(context, number);
        }
        self.ports_exhausted |= error.kind() == io::ErrorKind::AddrNotAvailable;
        let connection = self.plan.first + number;
        context.error(ErrorKind::Connect, || StartFailure::Connect { connection, source: error });
        self.leave(context, number, context.tick.done + RECONNECT_PAUSE);
    }

    /// The request that the connection is made for, if any, stays begun: waiting is part of its time.
    fn leave_for_retry(&mut self, context: &mut Context<'_>, number: usize) {
        self.connections[number].state = State::Leaving { retry_at: context.tick.done + BACKLOG_PAUSE };
        context.wake(number);
    }

    fn leave(&mut self, context: &mut Context<'_>, number: usize, retry_at: Nanos) {
        let connection = &mut self.connections[number];
        connection.made += 1;
        connection.client = open(&self.plan, number, connection.made);
        connection.pipeline.restart();
        connection.state = State::Leaving { retry_at };
        context.wake(number);
    }

    #[inline]
    fn advance_open(&mut self, context: &mut Context<'_>, engine: &mut impl StreamEngine, number: usize, now: Nanos) {
        if self.connections[number].sending {
            return;
        }
        self.begin_requests(context, number, now);
        if self.nothing_owed(context, number) {
            engine.finish(number);
            self.connections[number].state = State::Finishing { since: now };
            return;
        }
        self.send(context, engine, number);
    }

    /// Begins as many requests as the phase allows.
    #[inline]
    fn begin_requests(&mut self, context: &Context<'_>, number: usize, now: Nanos) {
        let connection = &mut self.connections[number];
        let begun = connection.pipeline.next();
        let allowed = match context.tick.phase {
            // A silent connection must still be alive at the end.
            Phase::Run | Phase::Drain if number >= self.plan.active => {
                u64::from(context.tick.phase == Phase::Drain && begun == 1)
            }
            _ if self.plan.connect_per_request => 0,
            Phase::Admit => 1 - begun.min(1),
            // The schedule gave it what is due.
            Phase::Run if context.is_paced() => 0,
            Phase::Run => connection.pipeline.room(),
            Phase::Rest | Phase::Drain | Phase::Abandon => 0,
        };
        for _ in 0..allowed {
            connection.begin(SendTimes { intended: now, sent: now });
        }
    }

    /// Hands to the engine what there is to send, until it has enough.
    #[inline]
    fn send(&mut self, context: &mut Context<'_>, engine: &mut impl StreamEngine, number: usize) {
        let Connection { client, sending, .. } = &mut self.connections[number];
        while !*sending {
            let bytes = client.next_send();
            if bytes.is_empty() {
                return;
            }
            match engine.send(number, bytes) {
                Ok(Done::Now(len)) => client.sent(len),
                Ok(Done::Later) => *sending = true,
                Err(error) => return self.fail(context, number, ErrorKind::of(&error)),
            }
        }
    }

    fn advance_idle(
        &mut self,
        context: &mut Context<'_>,
        engine: &mut impl StreamEngine,
        number: usize,
        not_before: Nanos,
        now: Nanos,
    ) {
        match context.tick.phase {
            Phase::Drain => return self.retire(number),
            Phase::Admit if self.connections[number].admitted => return,
            Phase::Rest if self.connections[number].pipeline.in_flight() == 0 => return,
            _ if now < not_before => {
                self.next_resume = self.next_resume.min(not_before);
                return;
            }
            Phase::Run if self.waits_for_schedule(context, number) => return,
            _ => {}
        }
        let connection = &mut self.connections[number];
        if self.plan.connect_per_request {
            // Without room this is a retry or the schedule's, and the request is begun.
            connection.begin(SendTimes { intended: now, sent: now });
        }
        connection.state = State::Connecting { since: now };
        connection.sending = false;
        if let Err(error) = engine.connect(number) {
            self.fail_connect(context, number, error);
        }
    }

    /// With a connection per request a connection is made when a request is due.
    fn waits_for_schedule(&self, context: &Context<'_>, number: usize) -> bool {
        self.plan.connect_per_request && context.is_paced() && self.connections[number].pipeline.in_flight() == 0
    }

    fn close(&mut self, context: &mut Context<'_>, engine: &mut impl StreamEngine, number: usize, retry_at: Nanos) {
        let done = engine.close(number);
        let connection = &mut self.connections[number];
        match done {
            Done::Now(()) => {
                connection.state = State::Idle { not_before: retry_at };
                connection.sending = false;
                context.wake(number);
            }
            Done::Later if context.tick.phase == Phase::Drain => self.retire(number),
            Done::Later => connection.state = State::Closing { retry_at },
        }
    }

    fn retire(&mut self, number: usize) {
        self.connections[number].state = State::Retired;
        self.retired += 1;
    }
}

impl<C: StreamClient, E: StreamEngine> Pool<E> for ConnectionPool<C> {
    const SERIES: &'static [&'static str] = C::SERIES;

    fn enter_phase(&mut self, context: &mut Context<'_>) {
        context.begin_all();
    }

    fn begin(&mut self, context: &mut Context<'_>, _engine: &mut E, number: usize) -> bool {
        context.wake(number);
        true
    }

    #[inline]
    fn can_take(&self, number: usize, done: Nanos) -> bool {
        let alone = self.plan.connect_per_request;
        let connection = &self.connections[number];
        let ready = match connection.state {
            State::Open => !alone,
            State::Idle { not_before } => alone && done >= not_before,
            _ => false,
        };
        ready && connection.pipeline.room() > 0
    }

    #[inline]
    fn take(&mut self, number: usize, intended: Nanos, now: Nanos) {
        self.connections[number].begin(SendTimes { intended, sent: now });
    }

    #[inline]
    fn advance(&mut self, context: &mut Context<'_>, engine: &mut E, number: usize, now: Nanos) {
        match self.connections[number].state {
            State::Open => self.advance_open(context, engine, number, now),
            State::Connecting { .. } | State::Greeting { .. } if self.nothing_owed(context, number) => {
                self.close(context, engine, number, Nanos::ZERO);
            }
            State::Greeting { .. } => self.send(context, engine, number),
            State::Idle { not_before } => self.advance_idle(context, engine, number, not_before, now),
            State::Leaving { retry_at } => self.close(context, engine, number, retry_at),
            State::Closing { .. } if context.tick.phase == Phase::Drain => self.retire(number),
            _ => {}
        }
    }

    #[inline]
    fn take_in(&mut self, context: &mut Context<'_>, engine: &mut E, clock: Clock) {
        engine.events(|number, event| {
            if E::RECEIVES_IN_EVENTS && matches!(event, Event::Received(_)) {
                context.refresh(clock.now());
            }
            self.on_event(context, number, event);
        });
    }

    fn check_deadlines(&mut self, context: &mut Context<'_>, now: Nanos) {
        self.next_resume = Nanos(u64::MAX);
        for number in 0..context.begun() {
            let oldest = self.connections[number].pipeline.oldest();
            if oldest.is_some_and(|(_, times)| now.since(times.sent) > self.plan.timeout) {
                self.fail(context, number, ErrorKind::Timeout);
            }
            match self.connections[number].state {
                State::Connecting { since } if now.since(since) > self.plan.connect_timeout => {
                    self.fail_connect(context, number, io::ErrorKind::TimedOut.into());
                }
                State::Greeting { since } if now.since(since) > self.plan.timeout => {
                    self.fail(context, number, ErrorKind::Timeout);
                }
                State::Finishing { since } if now.since(since) > FINISH_GRACE => {
                    self.leave(context, number, Nanos::ZERO);
                }
                State::Idle { not_before } if now >= not_before => context.wake(number),
                // Not for each of many by itself: every check looks at all connections.
                State::Idle { not_before } => {
                    self.next_resume = self.next_resume.min(not_before.max(now + RESUME_PRECISION));
                }
                _ => {}
            }
        }
    }

    #[inline]
    fn next_deadline(&self) -> Option<Nanos> {
        Some(self.next_resume).filter(|at| *at < Nanos(u64::MAX))
    }

    fn is_quiet(&mut self, _context: &mut Context<'_>) -> bool {
        self.connections.iter().all(Connection::is_quiet)
    }

    fn is_drained(&self, _context: &Context<'_>) -> bool {
        self.retired == self.connections.len()
    }

    fn finish(self, _engine: &E, result: &mut ThreadResult) {
        result.ports_exhausted = self.ports_exhausted;
    }
}

impl<C: StreamClient> Connection<C> {
    /// Whether nothing is under way on it.
    fn is_quiet(&self) -> bool {
        let at_rest = matches!(self.state, State::Open | State::Idle { .. } | State::Retired);
        at_rest && self.pipeline.in_flight() == 0
    }

    /// Begins a request. Without room nothing happens.
    #[inline]
    fn begin(&mut self, times: SendTimes) {
        if let Some(id) = self.pipeline.begin(times) {
            self.client.request(id, times.sent);
        }
    }
}

/// The client's end of the `made`-th connection in a place.
fn open<C: StreamClient>(plan: &ThreadPlan, number: usize, made: u64) -> C {
    C::open(&plan.client, (plan.first + number) as u64 + made * plan.all as u64)
}

#[cfg(test)]
mod greeting;
#[cfg(test)]
mod open_loop;
#[cfg(test)]
mod tests;

//! One thread's datagram sockets: what each sends next, and what its answers mean.

use super::engine::{DatagramEngine, Event, Refused};
use super::socket;
use super::stats::DatagramStats;
use super::tracker::{Tracker, Verdict};
use crate::clock::Clock;
use crate::load::context::Context;
use crate::load::driver::Pool;
use crate::load::pipeline::SendTimes;
use crate::load::recorder::ErrorKind;
use crate::load::shared::{Phase, Shared, StartFailure};
use crate::load::thread_plan::ThreadPlan;
use crate::load::thread_result::ThreadResult;
use crate::protocol::client::{DatagramClient, Received};
use crate::sys::datagram::drops;
use crate::units::Nanos;
use std::collections::VecDeque;
use std::io;

/// So many requests to a socket may stay without an answer before it is given up at the start.
pub const ADMISSION_TRIES: u32 = 8;
/// Pause of a socket after a send that failed, or a report that no server is at the target.
const PAUSE: Nanos = Nanos::from_millis(100);
/// Pause where the kernel had no memory for a send, or the network card's queue no room: that changes by itself.
const SHORT_PAUSE: Nanos = Nanos::from_millis(1);
/// How long duplicates, which are not waited for, are still taken in when all is answered.
const LINGER: Nanos = Nanos::from_millis(20);
/// How long a slice waits for answers after the last that came: at least so long, and so many times the slowest.
const GRACE: Nanos = Nanos::from_millis(50);
const GRACE_SLOWEST: u64 = 4;
/// How exactly timeouts are kept: to this part of the timeout, within limits. Only the slot waits for it; whether an
/// answer is late is decided by its own instants.
const TIMEOUT_PRECISION: u64 = 32;
const PRECISION_LIMITS: std::ops::RangeInclusive<u64> = 100_000..=10_000_000;

/// Whether a socket sends, or why it does not though it might.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendState {
    Ready,
    /// The kernel takes nothing now; an event follows when it does.
    Full,
    /// A send failed; it is tried again then.
    PausedUntil(Nanos),
}

struct ClientSocket<C> {
    client: C,
    tracker: Tracker,
    send_state: SendState,
    /// When the requests were meant to be sent that an open loop has given to it.
    due: VecDeque<Nanos>,
    admitted: bool,
    tries: u32,
    /// The kernel's count of what it dropped at the socket, when the counting began.
    drops: Option<u32>,
}

/// The datagram sockets of one thread, each with its client of protocol `C`.
pub struct SocketPool<C> {
    plan: ThreadPlan,
    sockets: Vec<ClientSocket<C>>,
    /// Requests that are sent now belong to the cohort.
    in_cohort: bool,
    /// Requests without an answer, overdue ones included.
    unanswered: u64,
    last_sent: Nanos,
    last_received: Nanos,
    /// The longest that an answer in time has taken.
    slowest: Nanos,
    /// When the slice ended that was the last.
    resting_since: Nanos,
    drained_at: Option<Nanos>,
    next_deadline: Nanos,
    stats: DatagramStats,
    /// What the live line already knows of those overdue.
    published: u64,
}

impl<C: DatagramClient> SocketPool<C> {
    pub fn new(plan: ThreadPlan) -> SocketPool<C> {
        let socket = |number: usize| ClientSocket {
            client: C::open(&plan.client, (plan.first + number) as u64),
            tracker: Tracker::new(plan.depth, plan.timeout),
            send_state: SendState::Ready,
            due: VecDeque::new(),
            admitted: false,
            tries: 0,
            drops: None,
        };
        SocketPool {
            sockets: (0..plan.connections).map(socket).collect(),
            plan,
            in_cohort: false,
            unanswered: 0,
            last_sent: Nanos::ZERO,
            last_received: Nanos::ZERO,
            slowest: Nanos::ZERO,
            resting_since: Nanos::ZERO,
            drained_at: None,
            next_deadline: Nanos::ZERO,
            stats: DatagramStats::default(),
            published: 0,
        }
    }

    /// Notes what happened on a socket.
    #[inline]
    fn on_event(&mut self, context: &mut Context<'_>, number: usize, event: Event<'_>) {
        match event {
            Event::Datagram(bytes) => self.on_datagram(context, number, bytes),
            Event::Writable => {
                let send_state = &mut self.sockets[number].send_state;
                if *send_state == SendState::Full {
                    *send_state = SendState::Ready;
                    context.wake(number);
                }
            }
            Event::Failed(error) => {
                self.pause(number, context.tick.done, &error);
                self.on_failed(context, number, error);
            }
            Event::Batch => {}
        }
    }

    #[inline]
    fn on_datagram(&mut self, context: &mut Context<'_>, number: usize, bytes: &[u8]) {
        let ClientSocket { client, tracker, admitted, .. } = &mut self.sockets[number];
        let verdict = match client.received(bytes) {
            Ok(Received::Answered { id }) => tracker.received(id, context.tick.done),
            Ok(Received::Pushed { sent }) => return context.pushed(sent),
            Ok(Received::Ready | Received::Bytes(_)) => return,
            Err(_) => Verdict::Unknown,
        };
        match verdict {
            Verdict::Answered(times) => {
                if !std::mem::replace(admitted, true) {
                    context.admit();
                }
                self.unanswered -= 1;
                self.last_received = context.tick.done;
                self.slowest = self.slowest.max(self.last_received.since(times.sent));
                context.answered(times);
                context.wake(number);
            }
            Verdict::Late { expired } => {
                self.unanswered -= 1;
                if !expired {
                    self.on_overdue(context, number, 1);
                }
            }
            Verdict::Duplicate => {}
            Verdict::Unknown => self.on_corrupt(context),
        }
    }

    #[cold]
    fn on_corrupt(&mut self, context: &mut Context<'_>) {
        self.stats.corrupt += 1;
        context.error(ErrorKind::Corrupt, || StartFailure::Answer);
    }

    /// Nobody answers at the target, or a send was refused. Before the run has begun that ends everything; later the
    /// request stays without an answer.
    #[cold]
    fn on_failed(&mut self, context: &mut Context<'_>, number: usize, error: io::Error) {
        let kind = match error.kind() {
            _ if context.tick.phase == Phase::Admit => ErrorKind::Connect,
            io::ErrorKind::ConnectionRefused => ErrorKind::Reset,
            _ => ErrorKind::of(&error),
        };
        let connection = self.plan.first + number;
        context.error(kind, || StartFailure::Connect { connection, source: error });
    }

    fn begin_cohort(&mut self, engine: &impl DatagramEngine) {
        for (number, socket) in self.sockets.iter_mut().enumerate() {
            socket.tracker.begin_cohort();
            // Of a load in slices from the first on.
            socket.drops = socket.drops.or_else(|| engine.socket(number).and_then(|socket| drops(socket).ok()));
        }
    }

    /// How many requests the phase allows a socket to send.
    #[inline]
    fn allowed(&self, context: &Context<'_>, number: usize) -> u64 {
        let ClientSocket { tracker, send_state, admitted, due, .. } = &self.sockets[number];
        match context.tick.phase {
            _ if *send_state != SendState::Ready => 0,
            Phase::Admit if *admitted => 0,
            Phase::Admit => 1 - tracker.in_flight().min(1),
            Phase::Run if context.is_paced() => due.len() as u64,
            Phase::Run => tracker.room(),
            Phase::Rest | Phase::Drain | Phase::Abandon => 0,
        }
    }

    #[inline]
    fn on_sent(&mut self, number: usize, count: usize, now: Nanos) {
        let ClientSocket { tracker, due, .. } = &mut self.sockets[number];
        for _ in 0..count {
            tracker.sent(SendTimes { intended: due.pop_front().unwrap_or(now), sent: now });
        }
        self.unanswered += count as u64;
        self.stats.requests += count as u64;
        self.last_sent = now;
    }

    /// Trying again at once would be the same once more, as fast as the processor can.
    #[cold]
    fn pause(&mut self, number: usize, now: Nanos, error: &io::Error) {
        let passing = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM));
        let end = now + if passing { SHORT_PAUSE } else { PAUSE };
        self.sockets[number].send_state = SendState::PausedUntil(end);
        self.next_deadline = self.next_deadline.min(end);
    }

    /// Ends a socket's pause if that has passed; otherwise when it will have.
    fn check_pause(&mut self, context: &mut Context<'_>, number: usize, now: Nanos) -> Option<Nanos> {
        let send_state = &mut self.sockets[number].send_state;
        match *send_state {
            SendState::PausedUntil(end) if now < end => return Some(end),
            SendState::PausedUntil(_) => {
                *send_state = SendState::Ready;
                context.wake(number);
            }
            SendState::Ready | SendState::Full => {}
        }
        None
    }

    /// Frees the slots of a socket's requests whose time is over; when that of the next will be.
    fn check_overdue(&mut self, context: &mut Context<'_>, number: usize, now: Nanos) -> Option<Nanos> {
        let tracker = &mut self.sockets[number].tracker;
        let expired = tracker.expire(now);
        let overdue = tracker.oldest().map(|sent| sent + self.plan.timeout);
        if expired > 0 {
            self.on_overdue(context, number, expired);
        }
        overdue
    }

    /// So many requests took longer than the timeout, whether or not they were answered since.
    fn on_overdue(&mut self, context: &mut Context<'_>, number: usize, requests: u64) {
        self.stats.overdue += requests;
        let socket = &mut self.sockets[number];
        if context.tick.phase == Phase::Admit && !socket.admitted {
            socket.tries += 1;
            if socket.tries >= ADMISSION_TRIES {
                context.error(ErrorKind::Timeout, || StartFailure::Answer);
            }
        }
        context.wake(number);
    }

    /// What the kernel dropped at the sockets since the counting began.
    fn dropped(&self, engine: &impl DatagramEngine) -> Option<u64> {
        let since = |(number, socket): (usize, &ClientSocket<C>)| {
            let now = engine.socket(number).and_then(|socket| drops(socket).ok())?;
            Some(u64::from(now.wrapping_sub(socket.drops?)))
        };
        self.sockets.iter().enumerate().map(since).sum()
    }
}

impl<C: DatagramClient, E: DatagramEngine> Pool<E> for SocketPool<C> {
    const SERIES: &'static [&'static str] = C::SERIES;

    fn enter_phase(&mut self, context: &mut Context<'_>) {
        let Context { tick, .. } = context;
        if tick.phase == Phase::Rest {
            self.resting_since = tick.done;
            // What a slice could not send the next does not.
            self.sockets.iter_mut().for_each(|socket| socket.due.clear());
        }
        self.drained_at = (tick.phase == Phase::Drain).then_some(tick.done);
    }

    /// Begins and ends the cohort.
    #[inline]
    fn before_sends(&mut self, context: &Context<'_>, engine: &E, now: Nanos) {
        let counting = context.shared.counting(now);
        if counting != self.in_cohort {
            self.in_cohort = counting;
            match counting {
                true => self.begin_cohort(engine),
                false => self.sockets.iter_mut().for_each(|socket| socket.tracker.end_cohort()),
            }
        }
    }

    fn begin(&mut self, context: &mut Context<'_>, engine: &mut E, number: usize) -> bool {
        let ThreadPlan { target, depth, client, .. } = &self.plan;
        let opened = socket::open(target, *depth as usize, client.sizes.largest() as usize);
        match opened.and_then(|socket| engine.open(number, socket)) {
            Ok(()) => context.wake(number),
            Err(error) => {
                self.on_failed(context, number, error);
                return false;
            }
        }
        true
    }

    #[inline]
    fn can_take(&self, number: usize, _done: Nanos) -> bool {
        let ClientSocket { send_state, due, tracker, .. } = &self.sockets[number];
        *send_state == SendState::Ready && (due.len() as u64) < tracker.room()
    }

    #[inline]
    fn take(&mut self, number: usize, intended: Nanos, _now: Nanos) {
        self.sockets[number].due.push_back(intended);
    }

    /// Sends as many requests as the phase allows.
    #[inline]
    fn advance(&mut self, context: &mut Context<'_>, engine: &mut E, number: usize, now: Nanos) {
        let mut allowed = self.allowed(context, number);
        while allowed > 0 {
            let ClientSocket { client, tracker, send_state, .. } = &mut self.sockets[number];
            let first = tracker.next();
            let write = |index: usize, room: &mut [u8]| client.request(first + index as u64, room);
            match engine.send(number, allowed as usize, write) {
                Ok(0) => {
                    *send_state = SendState::Full;
                    return;
                }
                Ok(count) => {
                    self.on_sent(number, count, now);
                    allowed -= count as u64;
                }
                Err(Refused { datagrams, error }) => {
                    // They stay without an answer.
                    self.on_sent(number, datagrams, now);
                    self.pause(number, now, &error);
                    return self.on_failed(context, number, error);
                }
            }
        }
    }

    #[inline]
    fn take_in(&mut self, context: &mut Context<'_>, engine: &mut E, clock: Clock) {
        engine.events(|number, event| {
            if E::RECEIVES_IN_EVENTS && matches!(event, Event::Batch) {
                context.refresh(clock.now());
            }
            self.on_event(context, number, event);
        });
    }

    fn check_deadlines(&mut self, context: &mut Context<'_>, now: Nanos) {
        let precision =
            (self.plan.timeout.0 / TIMEOUT_PRECISION).clamp(*PRECISION_LIMITS.start(), *PRECISION_LIMITS.end());
        // What is sent from now on is due later.
        self.next_deadline = now + self.plan.timeout.max(Nanos(precision));
        for number in 0..context.begun() {
            let overdue = self.check_overdue(context, number, now).map(|at| at.max(now + Nanos(precision)));
            // A pause may be shorter than timeouts are exact.
            let resumed =
                self.check_pause(context, number, now).map(|at| at.max(now + Nanos(*PRECISION_LIMITS.start())));
            self.next_deadline = overdue.into_iter().chain(resumed).fold(self.next_deadline, Nanos::min);
        }
    }

    #[inline]
    fn next_deadline(&self) -> Option<Nanos> {
        Some(self.next_deadline)
    }

    /// What is lost is not waited for until its time is over: nothing else is loaded meanwhile.
    fn is_quiet(&mut self, context: &mut Context<'_>) -> bool {
        let waits = |socket: &ClientSocket<C>| socket.tracker.in_flight() > 0;
        if !self.sockets.iter().any(waits) {
            return true;
        }
        let grace = Nanos(self.slowest.0.saturating_mul(GRACE_SLOWEST)).max(GRACE).min(self.plan.timeout);
        let over = context.tick.done.since(self.resting_since.max(self.last_received)) > grace;
        if over {
            for number in 0..self.sockets.len() {
                let lost = self.sockets[number].tracker.give_up();
                self.on_overdue(context, number, lost);
            }
        }
        over
    }

    /// Late answers are waited for, for as long as an answer in time may take.
    fn is_drained(&self, context: &Context<'_>) -> bool {
        let Some(since) = self.drained_at else { return false };
        let done = context.tick.done;
        match self.unanswered {
            0 => done >= since.max(self.last_sent) + LINGER,
            _ => done >= self.last_sent + self.plan.timeout + self.plan.timeout,
        }
    }

    fn publish(&mut self, shared: &Shared) {
        let before = std::mem::replace(&mut self.published, self.stats.overdue);
        shared.publish_overdue(self.published - before);
    }

    fn finish(mut self, engine: &E, result: &mut ThreadResult) {
        self.stats.dropped = self.dropped(engine);
        self.stats.io = engine.io_stats();
        self.sockets.iter().for_each(|socket| self.stats.counts.add(socket.tracker.counts()));
        result.datagrams = Some(self.stats);
    }
}

#[cfg(test)]
mod tests;

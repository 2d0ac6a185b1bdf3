//! One thread's datagram sockets: what each sends next, and what its answers mean.
//!
//! No clock and no I/O but opening the sockets: events and instants come in, and what is to be sent is told to an
//! [`Engine`]. As with streams, what happened is only noted while events come in, and acted on in `advance`: all sends of
//! a turn carry one instant and go to the kernel together.

mod pacing;

use super::engine::{Engine, Event, Refused};
use super::outcome::Tally;
use super::socket;
use super::tracker::{Tracker, Verdict};
use crate::load::fleet::Haul;
use crate::load::pacer::Pacer;
use crate::load::pipeline::SendTimes;
use crate::load::recorder::{ErrorKind, Recorder, Sample};
use crate::load::rota::Rota;
use crate::load::shared::{Phase, Shared, StartFailure};
use crate::load::turn::{Ready, Turn};
use crate::protocol::client::{ClientConfig, DatagramClient, Received};
use crate::sys::datagram::drops;
use crate::units::{Address, Nanos};
use std::collections::VecDeque;
use std::io;

/// So many requests to a socket may stay without an answer before it is given up at the start.
pub const ADMISSION_TRIES: u32 = 8;
/// Pause of a socket after a send that failed, or the news that nobody answers at the target.
const PAUSE: Nanos = Nanos::from_millis(100);
/// Pause where the kernel had no memory for a send, or the network card's queue no room: that changes by itself.
const SHORT_PAUSE: Nanos = Nanos::from_millis(1);
/// How long answers that nobody waits for, duplicates, are still taken in when all is answered.
const LINGER: Nanos = Nanos::from_millis(20);
/// How exactly timeouts are kept: to this part of the timeout, within limits. Only the slot waits for it; whether an
/// answer is late is told by the instants of its own.
const EXACTNESS: u64 = 32;
const CHECKS: std::ops::RangeInclusive<u64> = 100_000..=10_000_000;

/// What a thread's sockets have to do.
#[derive(Clone, Debug)]
pub struct Orders {
    pub target: Address,
    /// Sockets of this thread, and the number of its first among all.
    pub sockets: usize,
    pub first: usize,
    pub depth: u64,
    /// Longest that an answer in time may take. An answer after that is late until as much time again has passed at the
    /// end of the run; then it is lost.
    pub timeout: Nanos,
    /// Sockets that may wait for their first answer at once: a server's receive buffer must hold so many requests.
    pub admit_at_once: usize,
    pub client: ClientConfig,
    pub pacer: Pacer,
}

/// Why a socket does not send though it might.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    None,
    /// The kernel takes nothing now; the engine tells when it does.
    Full,
    /// A send failed; it is tried again then.
    Until(Nanos),
}

struct Seat<C> {
    client: C,
    tracker: Tracker,
    obstacle: Obstacle,
    /// When the requests were meant to be sent that an open loop has given to it.
    due: VecDeque<Nanos>,
    admitted: bool,
    tries: u32,
    /// The kernel's count of what it dropped at the socket, when the counting began.
    drops: Option<u32>,
}

/// See the module's head.
pub struct Swarm<'a, C> {
    orders: Orders,
    shared: &'a Shared,
    seats: Vec<Seat<C>>,
    /// Sockets to advance before the next wait.
    ready: Ready,
    turn: Turn,
    /// Requests that are sent now belong to the cohort.
    in_cohort: bool,
    /// Sockets opened, and those of them not yet admitted.
    begun: usize,
    admitting: usize,
    /// Requests without an answer, overdue ones included.
    unanswered: u64,
    last_sent: Nanos,
    drained_at: Option<Nanos>,
    next_deadline: Nanos,
    rota: Rota,
    recorder: Recorder,
    tally: Tally,
    /// What the live line already knows of those overdue.
    published: u64,
}

impl<'a, C: DatagramClient> Swarm<'a, C> {
    pub fn new(orders: Orders, shared: &'a Shared) -> Swarm<'a, C> {
        let seat = |number: usize| Seat {
            client: C::open(&orders.client, (orders.first + number) as u64),
            tracker: Tracker::new(orders.depth, orders.timeout),
            obstacle: Obstacle::None,
            due: VecDeque::new(),
            admitted: false,
            tries: 0,
            drops: None,
        };
        Swarm {
            seats: (0..orders.sockets).map(seat).collect(),
            ready: Ready::new(orders.sockets),
            rota: Rota::new(orders.pacer, orders.sockets),
            recorder: Recorder::new(shared, orders.pacer != Pacer::ClosedLoop),
            orders,
            shared,
            turn: Turn::NONE,
            in_cohort: false,
            begun: 0,
            admitting: 0,
            unanswered: 0,
            last_sent: Nanos::ZERO,
            drained_at: None,
            next_deadline: Nanos::ZERO,
            tally: Tally::default(),
            published: 0,
        }
    }

    /// A turn begins; `done` was read right after the wait. A new phase concerns every socket.
    #[inline]
    pub fn begin_turn(&mut self, done: Nanos) {
        if self.turn.begin(done, self.shared) {
            (0..self.begun).for_each(|number| self.wake(number));
            self.drained_at = (self.turn.phase == Phase::Drain).then_some(done);
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
        self.turn.phase == Phase::Abandon || self.drained()
    }

    /// When deadlines are to be checked: a request may be overdue then, or a pause over.
    #[inline]
    pub fn next_deadline(&self) -> Option<Nanos> {
        Some(self.next_deadline)
    }

    /// Updates the live line's figures.
    pub fn publish(&mut self) {
        self.recorder.publish(self.shared);
        let before = std::mem::replace(&mut self.published, self.tally.overdue);
        self.shared.publish_overdue(self.published - before);
    }

    pub fn into_haul(mut self, engine: &impl Engine) -> Haul {
        self.publish();
        self.tally.dropped = self.dropped(engine);
        self.tally.traffic = engine.traffic();
        self.seats.iter().for_each(|seat| self.tally.counts.add(seat.tracker.counts()));
        Haul { recorder: self.recorder, ports_exhausted: false, busy: None, datagrams: Some(self.tally) }
    }

    /// Whatever frees a socket for another request wakes it too.
    fn wake(&mut self, number: usize) {
        self.rota.freed();
        self.ready.wake(number);
    }

    /// Notes what happened on a socket.
    #[inline]
    pub fn on_event(&mut self, number: usize, event: Event<'_>) {
        match event {
            Event::Datagram(bytes) => self.on_datagram(number, bytes),
            Event::Writable => {
                let obstacle = &mut self.seats[number].obstacle;
                if *obstacle == Obstacle::Full {
                    *obstacle = Obstacle::None;
                    self.wake(number);
                }
            }
            Event::Failed(error) => {
                self.pause(number, self.turn.done, &error);
                self.on_failed(number, error);
            }
            Event::Batch => {}
        }
    }

    #[inline]
    fn on_datagram(&mut self, number: usize, bytes: &[u8]) {
        let Seat { client, tracker, .. } = &mut self.seats[number];
        let verdict = match client.received(bytes) {
            Ok(Received::Answered { id }) => tracker.received(id, self.turn.done),
            Ok(_) => return,
            Err(_) => Verdict::Unknown,
        };
        match verdict {
            Verdict::Answered(times) => self.on_answered(number, times),
            Verdict::Late { expired } => {
                self.unanswered -= 1;
                if !expired {
                    self.on_overdue(number, 1);
                }
            }
            Verdict::Duplicate => {}
            Verdict::Unknown => self.on_corrupt(),
        }
    }

    #[inline]
    fn on_answered(&mut self, number: usize, times: SendTimes) {
        self.unanswered -= 1;
        let SendTimes { intended, sent } = times;
        self.recorder.answered(Sample { intended, sent, done: self.turn.done }, self.turn.counting, self.shared);
        if !self.seats[number].admitted {
            self.seats[number].admitted = true;
            self.admitting -= 1;
            self.shared.admit();
        }
        self.wake(number);
    }

    #[cold]
    fn on_corrupt(&mut self) {
        self.tally.corrupt += 1;
        self.recorder.error(ErrorKind::Corrupt);
        if self.turn.phase == Phase::Admit {
            self.shared.fail_start(StartFailure::Answer);
        }
    }

    /// Nobody answers at the target, or a send was refused. Before the run has begun that ends everything; later the
    /// request stays without an answer.
    #[cold]
    fn on_failed(&mut self, number: usize, error: io::Error) {
        if self.turn.phase == Phase::Admit {
            self.recorder.error(ErrorKind::Connect);
            self.shared.fail_start(StartFailure::Connect { connection: self.orders.first + number, source: error });
            return;
        }
        self.recorder.error(match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorKind::Reset,
            _ => ErrorKind::of(&error),
        });
    }

    /// Does what is to be done; everything sent counts as sent at `now`, which was read just before.
    #[inline]
    pub fn advance(&mut self, engine: &mut impl Engine, now: Nanos) {
        self.mark_cohort(engine, now);
        self.begin_more(engine);
        self.assign_due(now);
        while let Some(number) = self.ready.next() {
            self.send(engine, number, now);
        }
    }

    /// Opens sockets while fewer than allowed wait for their first answer.
    fn begin_more(&mut self, engine: &mut impl Engine) {
        while self.begun < self.seats.len() && self.admitting < self.orders.admit_at_once {
            let number = self.begun;
            self.begun += 1;
            self.admitting += 1;
            let Orders { target, depth, client, .. } = &self.orders;
            let opened = socket::open(target, *depth as usize, client.sizes.largest() as usize);
            match opened.and_then(|socket| engine.open(number, socket)) {
                Ok(()) => self.wake(number),
                Err(error) => return self.on_failed(number, error),
            }
        }
    }

    /// Begins and ends the cohort; what is sent from now on is sent at `now`.
    #[inline]
    fn mark_cohort(&mut self, engine: &impl Engine, now: Nanos) {
        let counting = self.shared.counting(now);
        if counting != self.in_cohort {
            self.in_cohort = counting;
            match counting {
                true => self.begin_cohort(engine),
                false => self.seats.iter_mut().for_each(|seat| seat.tracker.end_cohort()),
            }
        }
    }

    fn begin_cohort(&mut self, engine: &impl Engine) {
        for (number, seat) in self.seats.iter_mut().enumerate() {
            seat.tracker.begin_cohort();
            seat.drops = engine.socket(number).and_then(|socket| drops(socket).ok());
        }
    }

    /// How many requests the phase allows a socket to send.
    #[inline]
    fn allowed(&self, number: usize) -> u64 {
        let Seat { tracker, obstacle, admitted, due, .. } = &self.seats[number];
        match self.turn.phase {
            _ if *obstacle != Obstacle::None => 0,
            Phase::Admit if *admitted => 0,
            Phase::Admit => 1 - tracker.in_flight().min(1),
            Phase::Run if self.rota.paces() => due.len() as u64,
            Phase::Run => tracker.room(),
            Phase::Drain | Phase::Abandon => 0,
        }
    }

    #[inline]
    fn send(&mut self, engine: &mut impl Engine, number: usize, now: Nanos) {
        let mut allowed = self.allowed(number);
        while allowed > 0 {
            let Seat { client, tracker, obstacle, .. } = &mut self.seats[number];
            let first = tracker.next();
            let write = |index: usize, room: &mut [u8]| client.request(first + index as u64, room);
            match engine.send(number, allowed as usize, write) {
                Ok(0) => {
                    *obstacle = Obstacle::Full;
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
                    return self.on_failed(number, error);
                }
            }
        }
    }

    #[inline]
    fn on_sent(&mut self, number: usize, count: usize, now: Nanos) {
        let Seat { tracker, due, .. } = &mut self.seats[number];
        for _ in 0..count {
            tracker.sent(SendTimes { intended: due.pop_front().unwrap_or(now), sent: now });
        }
        self.unanswered += count as u64;
        self.tally.requests += count as u64;
        self.last_sent = now;
    }

    /// Trying again at once would be the same once more, as fast as the processor can.
    #[cold]
    fn pause(&mut self, number: usize, now: Nanos, error: &io::Error) {
        let passing = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM));
        let end = now + if passing { SHORT_PAUSE } else { PAUSE };
        self.seats[number].obstacle = Obstacle::Until(end);
        self.next_deadline = self.next_deadline.min(end);
    }

    /// Looks for what is overdue and for pauses that have passed.
    pub fn check_deadlines(&mut self, now: Nanos) {
        let exactness = (self.orders.timeout.0 / EXACTNESS).clamp(*CHECKS.start(), *CHECKS.end());
        // What is sent from now on is due later.
        self.next_deadline = now + self.orders.timeout.max(Nanos(exactness));
        for number in 0..self.begun {
            let overdue = self.check_overdue(number, now).map(|at| at.max(now + Nanos(exactness)));
            // A pause may be shorter than timeouts are exact.
            let resumed = self.check_pause(number, now).map(|at| at.max(now + Nanos(*CHECKS.start())));
            self.next_deadline = overdue.into_iter().chain(resumed).fold(self.next_deadline, Nanos::min);
        }
    }

    /// Ends a socket's pause if that has passed; otherwise when it will have.
    fn check_pause(&mut self, number: usize, now: Nanos) -> Option<Nanos> {
        let obstacle = &mut self.seats[number].obstacle;
        match *obstacle {
            Obstacle::Until(end) if now < end => return Some(end),
            Obstacle::Until(_) => {
                *obstacle = Obstacle::None;
                self.wake(number);
            }
            Obstacle::None | Obstacle::Full => {}
        }
        None
    }

    /// Frees the slots of a socket's requests whose time is over; when that of the next will be.
    fn check_overdue(&mut self, number: usize, now: Nanos) -> Option<Nanos> {
        let tracker = &mut self.seats[number].tracker;
        let expired = tracker.expire(now);
        let overdue = tracker.oldest().map(|sent| sent + self.orders.timeout);
        if expired > 0 {
            self.on_overdue(number, expired);
        }
        overdue
    }

    /// So many requests took longer than the timeout, whether or not they were answered since.
    fn on_overdue(&mut self, number: usize, requests: u64) {
        self.tally.overdue += requests;
        let seat = &mut self.seats[number];
        if self.turn.phase == Phase::Admit && !seat.admitted {
            seat.tries += 1;
            if seat.tries >= ADMISSION_TRIES {
                self.recorder.error(ErrorKind::Timeout);
                self.shared.fail_start(StartFailure::Answer);
            }
        }
        self.wake(number);
    }

    /// Whether nothing more is to be waited for. Late answers are, for as long as an answer in time may take.
    fn drained(&self) -> bool {
        let Some(since) = self.drained_at else { return false };
        match self.unanswered {
            0 => self.turn.done >= since.max(self.last_sent) + LINGER,
            _ => self.turn.done >= self.last_sent + self.orders.timeout + self.orders.timeout,
        }
    }

    /// What the kernel dropped at the sockets since the counting began.
    fn dropped(&self, engine: &impl Engine) -> Option<u64> {
        let since = |(number, seat): (usize, &Seat<C>)| {
            let now = engine.socket(number).and_then(|socket| drops(socket).ok())?;
            Some(u64::from(now.wrapping_sub(seat.drops?)))
        };
        self.seats.iter().enumerate().map(since).sum()
    }
}

#[cfg(test)]
mod tests;

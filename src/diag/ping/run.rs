//! The loop of ping: requests go out as scheduled, and each packet that arrives is matched with its request.

use super::{Config, Outcome, PingEvent, SendSchedule, Stamps};
use crate::clock::Clock;
use crate::diag::DiagError;
use crate::diag::echo::{Pattern, write_request};
use crate::diag::icmp::{Echo, EchoId, ErrorMessage, Family, Icmp, QuotedHeader};
use crate::diag::probe_io::{ProbeEvent, ProbeId, ProbeIo, ReceivedPacket};
use crate::diag::probe_stats::{ProbeStats, Refusal};
use crate::diag::probe_tracker::{MAX_PROBES, ProbeTracker, Sequence};
use crate::diag::socket::{EchoSocket, OpenError, Parsed, limit_hops};
use crate::stats::derive_seed;
use crate::sys::datagram;
use crate::sys::raw::Access;
use crate::sys::uring::Wait;
use crate::units::Nanos;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sleeping is given up below this: the kernel's timers are that much too late.
const SPIN_BELOW: Nanos = Nanos(150_000);
/// How often a stop is looked for while nothing happens.
const STOP_CHECK_INTERVAL: Nanos = Nanos::from_millis(100);
/// Shortest room for what arrives: errors quote up to 1280 bytes.
const LEAST_ROOM: usize = 2048;
/// What may come before the payload of an answer: headers of IP and ICMP.
const HEADERS: usize = 128;

/// Pings until the count is reached and all is over, or `stop` is set: then what is under way is still waited for.
/// `on_event` learns of every event. `nonce` should differ from run to run.
pub fn run(
    config: &Config,
    nonce: u64,
    stop: &AtomicBool,
    on_event: &mut impl FnMut(PingEvent),
) -> Result<Outcome, DiagError> {
    let clock = Clock::start();
    let room = (config.size.0 as usize + HEADERS).max(LEAST_ROOM);
    let mut probe_io = ProbeIo::new(clock, room)?;
    let mut state = State::open(config, nonce, &mut probe_io)?;
    let mut schedule = SendSchedule::new(clock.now(), config.interval, config.targets.len(), config.count);
    loop {
        if stop.load(Ordering::Relaxed) {
            schedule.stop();
        }
        // One at a time: those of a batch would wait for each other after their clock was read.
        if probe_io.has_room()
            && let Some(target) = schedule.take(clock.now())
        {
            state.send(target, clock.now(), &mut probe_io, on_event);
        }
        let now = clock.now();
        if state.deadline().is_some_and(|deadline| deadline < now) {
            probe_io.catch_up(|event| state.handle(event, on_event))?;
            state.expire(now, on_event);
        }
        let wait = match (schedule.due(), state.deadline()) {
            (None, None) => break,
            (due, deadline) => wait_until(due, deadline, clock.now()),
        };
        probe_io.turn(wait, |event| state.handle(event, on_event))?;
    }
    Ok(state.outcome(&probe_io, clock.now()))
}

/// Until whichever comes first.
fn wait_until(due: Option<Nanos>, deadline: Option<Nanos>, now: Nanos) -> Wait {
    let left = |at: Option<Nanos>| at.map_or(STOP_CHECK_INTERVAL, |at| at.since(now));
    // A probe is given up once its time is over, not at that instant; a bit later is early enough.
    let time = left(due).min(left(deadline).max(Nanos::from_millis(1))).min(STOP_CHECK_INTERVAL);
    if due.is_some() && time < SPIN_BELOW { Wait::Poll } else { Wait::AtMost(time) }
}

/// A family's socket, by its number in [`ProbeIo`].
struct FamilySocket {
    echo: EchoSocket,
    number: usize,
}

struct TargetState {
    address: IpAddr,
    socket: usize,
    tracker: ProbeTracker<()>,
    stats: ProbeStats,
}

struct State<'a> {
    config: &'a Config,
    pattern: Pattern,
    sockets: Vec<FamilySocket>,
    targets: Vec<TargetState>,
    by_address: HashMap<IpAddr, usize>,
    stamps: Stamps,
    strangers: u64,
}

impl<'a> State<'a> {
    fn open(config: &'a Config, nonce: u64, probe_io: &mut ProbeIo) -> Result<State<'a>, DiagError> {
        let mut sockets = Vec::new();
        for family in [Family::V4, Family::V6] {
            if config.targets.iter().any(|host| Family::of(host.address) == family) {
                sockets.push(FamilySocket::open(family, config, nonce, probe_io)?);
            }
        }
        let target = |address: IpAddr| TargetState {
            address,
            socket: sockets.iter().position(|socket| socket.echo.family == Family::of(address)).unwrap_or_default(),
            tracker: ProbeTracker::new(config.timeout, config.remembered()),
            stats: ProbeStats::default(),
        };
        let targets: Vec<TargetState> = config.targets.iter().map(|host| target(host.address)).collect();
        let by_address = targets.iter().enumerate().map(|(index, target)| (target.address, index)).collect();
        let (stamps, pattern) = (Stamps::default(), Pattern::new(nonce));
        Ok(State { config, pattern, sockets, targets, by_address, stamps, strangers: 0 })
    }

    fn send(&mut self, index: usize, now: Nanos, probe_io: &mut ProbeIo, on_event: &mut impl FnMut(PingEvent)) {
        let target = &mut self.targets[index];
        let sequence = target.tracker.next();
        if let Some((forgotten, ())) = target.tracker.sent(now, ()) {
            target.stats.give_up();
            on_event(PingEvent::Lost { target: index, sequence: forgotten });
        }
        target.stats.send();
        let socket = &self.sockets[target.socket];
        let number = sequence.0 as u16;
        let (pattern, size) = (self.pattern, self.config.size.0 as usize);
        let id = ProbeId { owner: index as u32, number };
        probe_io.send(socket.number, target.address, None, id, |to| {
            write_request(socket.echo.family, socket.echo.id, number, to, |to| {
                pattern.write(index as u32, sequence, size, to);
            });
        });
    }

    fn expire(&mut self, now: Nanos, on_event: &mut impl FnMut(PingEvent)) {
        for (index, target) in self.targets.iter_mut().enumerate() {
            while let Some((sequence, ())) = target.tracker.expire(now) {
                target.stats.give_up();
                on_event(PingEvent::Lost { target: index, sequence });
            }
        }
    }

    fn deadline(&mut self) -> Option<Nanos> {
        self.targets.iter_mut().filter_map(|target| target.tracker.deadline()).min()
    }

    fn handle(&mut self, event: ProbeEvent<'_>, on_event: &mut impl FnMut(PingEvent)) {
        match event {
            ProbeEvent::Received(packet) => {
                let Some(socket) = self.sockets.iter().find(|socket| socket.number == packet.socket) else { return };
                let Some(parsed) = socket.echo.interpret(&packet) else { return };
                self.handle_icmp(parsed, &packet, on_event);
            }
            ProbeEvent::Unsent { id, error } => {
                let target = &mut self.targets[id.owner as usize];
                let Some(sequence) = target.tracker.resolve(id.number) else { return };
                if target.tracker.end(sequence) {
                    target.stats.fail(error.to_string());
                    on_event(PingEvent::Unsent { target: id.owner as usize, sequence, error });
                }
            }
        }
    }

    fn handle_icmp(&mut self, parsed: Parsed<'_>, packet: &ReceivedPacket<'_>, on_event: &mut impl FnMut(PingEvent)) {
        let of = match parsed.icmp {
            Icmp::Reply(_) => parsed.from,
            Icmp::Error(error) => error.quoted.destination,
        };
        let Some(&index) = self.by_address.get(&of) else {
            self.strangers += 1;
            return;
        };
        match parsed.icmp {
            Icmp::Reply(echo) => {
                let kind = if packet.stamped { &mut self.stamps.kernel } else { &mut self.stamps.clock };
                *kind += 1;
                self.answered(index, echo, parsed.hop_limit, packet.at, on_event);
            }
            Icmp::Error(error) => self.refused(index, error, parsed.from, on_event),
        }
    }

    fn answered(
        &mut self,
        index: usize,
        echo: Echo<'_>,
        hop_limit: Option<u8>,
        at: Nanos,
        on_event: &mut impl FnMut(PingEvent),
    ) {
        let (pattern, size) = (self.pattern, self.config.size.0 as usize);
        let differs = |sequence| pattern.difference(index as u32, sequence, size, echo.payload);
        let target = &mut self.targets[index];
        let Some(sequence) = target.tracker.resolve(echo.sequence) else { return };
        let mut wrong_at = differs(sequence);
        // An answer so late that its number has come around again.
        let before = sequence.0.checked_sub(MAX_PROBES as u64).map(Sequence);
        let sequence = before.filter(|before| wrong_at.is_some() && differs(*before).is_none()).unwrap_or(sequence);
        if Some(sequence) == before {
            wrong_at = None;
        }
        let kind = target.tracker.answered(sequence, at);
        target.stats.arrived(kind);
        target.stats.corrupt += u64::from(wrong_at.is_some());
        let bytes = echo.payload.len();
        on_event(PingEvent::Answer { target: index, sequence, bytes, hop_limit, kind, wrong_at });
    }

    fn refused(&mut self, index: usize, error: ErrorMessage, from: IpAddr, on_event: &mut impl FnMut(PingEvent)) {
        let QuotedHeader::Echo { sequence, .. } = error.quoted.transport else { return };
        let target = &mut self.targets[index];
        let Some(sequence) = target.tracker.resolve(sequence) else { return };
        let reason = error.reason;
        let ends = reason.is_final() && target.tracker.end(sequence);
        target.stats.refuse(Refusal { from, reason }, ends);
        on_event(PingEvent::Refused { target: index, sequence, from, reason });
    }

    fn outcome(self, probe_io: &ProbeIo, duration: Nanos) -> Outcome {
        let overflowed =
            |socket: &FamilySocket| u64::from(datagram::drops(probe_io.socket(socket.number)).unwrap_or(0));
        Outcome {
            access: self.sockets.iter().map(|socket| (socket.echo.family, socket.echo.access)).collect(),
            stamps: self.stamps,
            overflowed: self.sockets.iter().map(overflowed).sum(),
            targets: self.targets.into_iter().map(|target| target.stats).collect(),
            strangers: self.strangers,
            duration,
        }
    }
}

impl FamilySocket {
    fn open(family: Family, config: &Config, nonce: u64, probe_io: &mut ProbeIo) -> Result<FamilySocket, DiagError> {
        let (socket, echo) = EchoSocket::open(family, EchoId(derive_seed(nonce, 1) as u16))?;
        if let Some(hops) = config.hop_limit {
            limit_hops(&socket, family, hops).map_err(|source| OpenError::SetUp { family, source })?;
        }
        let number = probe_io.add(socket, echo.access == Access::Ping);
        Ok(FamilySocket { echo, number })
    }
}

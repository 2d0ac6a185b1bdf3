//! The loop of ping: what the schedule says goes out, what arrives finds its request.

use super::{Config, Event, Outcome, Schedule, Stamps};
use crate::clock::Clock;
use crate::diag::DiagError;
use crate::diag::echo::{Pattern, write_request};
use crate::diag::icmp::{Echo, EchoId, ErrorMessage, Family, Icmp, Transport};
use crate::diag::post::{Arrival, Label, News, Post};
use crate::diag::socket::{EchoLine, Heard, OpenError, limit_hops};
use crate::diag::tally::{Refusal, Tally};
use crate::diag::window::{MAX_PROBES, Sequence, Window};
use crate::stats::mix;
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
const ATTENTION: Nanos = Nanos::from_millis(100);
/// Shortest room for what arrives: errors quote up to 1280 bytes.
const LEAST_ROOM: usize = 2048;
/// What may come before the payload of an answer: headers of IP and ICMP.
const HEADERS: usize = 128;

/// Pings until the count is reached and all is over, or `stop` says so: then what is under way is still waited for.
/// `watch` learns of every event. `nonce` should differ from run to run.
pub fn run(
    config: &Config,
    nonce: u64,
    stop: &AtomicBool,
    watch: &mut impl FnMut(Event),
) -> Result<Outcome, DiagError> {
    let clock = Clock::start();
    let room = (config.size.0 as usize + HEADERS).max(LEAST_ROOM);
    let mut post = Post::new(clock, room)?;
    let mut state = State::open(config, nonce, &mut post)?;
    let mut schedule = Schedule::new(clock.now(), config.interval, config.targets.len(), config.count);
    loop {
        if stop.load(Ordering::Relaxed) {
            schedule.stop();
        }
        // One at a time: those of a batch would wait for each other after their clock was read.
        if post.has_room()
            && let Some(target) = schedule.take(clock.now())
        {
            state.send(target, clock.now(), &mut post, watch);
        }
        let now = clock.now();
        if state.deadline().is_some_and(|deadline| deadline < now) {
            post.catch_up(|news| state.handle(news, watch))?;
            state.expire(now, watch);
        }
        let wait = match (schedule.due(), state.deadline()) {
            (None, None) => break,
            (due, deadline) => wait_until(due, deadline, clock.now()),
        };
        post.turn(wait, |news| state.handle(news, watch))?;
    }
    Ok(state.outcome(&post, clock.now()))
}

/// Until whichever comes first.
fn wait_until(due: Option<Nanos>, deadline: Option<Nanos>, now: Nanos) -> Wait {
    let left = |at: Option<Nanos>| at.map_or(ATTENTION, |at| at.since(now));
    // A probe is given up once its time is over, not at that instant; a bit later is early enough.
    let time = left(due).min(left(deadline).max(Nanos::from_millis(1))).min(ATTENTION);
    if due.is_some() && time < SPIN_BELOW { Wait::Poll } else { Wait::AtMost(time) }
}

/// A family's socket, by its number in the post.
struct Line {
    echo: EchoLine,
    number: usize,
}

struct Target {
    address: IpAddr,
    line: usize,
    window: Window<()>,
    tally: Tally,
}

struct State<'a> {
    config: &'a Config,
    pattern: Pattern,
    lines: Vec<Line>,
    targets: Vec<Target>,
    by_address: HashMap<IpAddr, usize>,
    stamps: Stamps,
    strangers: u64,
}

impl<'a> State<'a> {
    fn open(config: &'a Config, nonce: u64, post: &mut Post) -> Result<State<'a>, DiagError> {
        let mut lines = Vec::new();
        for family in [Family::V4, Family::V6] {
            if config.targets.iter().any(|host| Family::of(host.address) == family) {
                lines.push(Line::open(family, config, nonce, post)?);
            }
        }
        let target = |address: IpAddr| Target {
            address,
            line: lines.iter().position(|line| line.echo.family == Family::of(address)).unwrap_or_default(),
            window: Window::new(config.timeout, config.remembered()),
            tally: Tally::default(),
        };
        let targets: Vec<Target> = config.targets.iter().map(|host| target(host.address)).collect();
        let by_address = targets.iter().enumerate().map(|(index, target)| (target.address, index)).collect();
        let (stamps, pattern) = (Stamps::default(), Pattern::new(nonce));
        Ok(State { config, pattern, lines, targets, by_address, stamps, strangers: 0 })
    }

    fn send(&mut self, index: usize, now: Nanos, post: &mut Post, watch: &mut impl FnMut(Event)) {
        let target = &mut self.targets[index];
        let sequence = target.window.next();
        if let Some((forgotten, ())) = target.window.sent(now, ()) {
            target.tally.give_up();
            watch(Event::Lost { target: index, sequence: forgotten });
        }
        target.tally.send();
        let line = &self.lines[target.line];
        let number = sequence.0 as u16;
        let (pattern, size) = (self.pattern, self.config.size.0 as usize);
        let label = Label { owner: index as u32, number };
        post.send(line.number, target.address, None, label, |to| {
            write_request(line.echo.family, line.echo.id, number, to, |to| {
                pattern.write(index as u32, sequence, size, to);
            });
        });
    }

    fn expire(&mut self, now: Nanos, watch: &mut impl FnMut(Event)) {
        for (index, target) in self.targets.iter_mut().enumerate() {
            while let Some((sequence, ())) = target.window.expire(now) {
                target.tally.give_up();
                watch(Event::Lost { target: index, sequence });
            }
        }
    }

    fn deadline(&mut self) -> Option<Nanos> {
        self.targets.iter_mut().filter_map(|target| target.window.deadline()).min()
    }

    fn handle(&mut self, news: News<'_>, watch: &mut impl FnMut(Event)) {
        match news {
            News::Arrived(arrival) => {
                let Some(line) = self.lines.iter().find(|line| line.number == arrival.socket) else { return };
                let Some(heard) = line.echo.interpret(&arrival) else { return };
                self.hear(heard, &arrival, watch);
            }
            News::Unsent { label, error } => {
                let target = &mut self.targets[label.owner as usize];
                let Some(sequence) = target.window.resolve(label.number) else { return };
                if target.window.end(sequence) {
                    target.tally.fail(error.to_string());
                    watch(Event::Unsent { target: label.owner as usize, sequence, error });
                }
            }
        }
    }

    fn hear(&mut self, heard: Heard<'_>, arrival: &Arrival<'_>, watch: &mut impl FnMut(Event)) {
        let of = match heard.icmp {
            Icmp::Reply(_) => heard.from,
            Icmp::Error(error) => error.quoted.destination,
        };
        let Some(&index) = self.by_address.get(&of) else {
            self.strangers += 1;
            return;
        };
        match heard.icmp {
            Icmp::Reply(echo) => {
                let kind = if arrival.stamped { &mut self.stamps.kernel } else { &mut self.stamps.clock };
                *kind += 1;
                self.answered(index, echo, heard.hop_limit, arrival.at, watch);
            }
            Icmp::Error(error) => self.refused(index, error, heard.from, watch),
        }
    }

    fn answered(
        &mut self,
        index: usize,
        echo: Echo<'_>,
        hop_limit: Option<u8>,
        at: Nanos,
        watch: &mut impl FnMut(Event),
    ) {
        let (pattern, size) = (self.pattern, self.config.size.0 as usize);
        let differs = |sequence| pattern.difference(index as u32, sequence, size, echo.payload);
        let target = &mut self.targets[index];
        let Some(sequence) = target.window.resolve(echo.sequence) else { return };
        let mut wrong_at = differs(sequence);
        // An answer so late that its number has come around again.
        let before = sequence.0.checked_sub(MAX_PROBES as u64).map(Sequence);
        let sequence = before.filter(|before| wrong_at.is_some() && differs(*before).is_none()).unwrap_or(sequence);
        if Some(sequence) == before {
            wrong_at = None;
        }
        let arrival = target.window.answered(sequence, at);
        target.tally.arrived(arrival);
        target.tally.corrupt += u64::from(wrong_at.is_some());
        let bytes = echo.payload.len();
        watch(Event::Answer { target: index, sequence, bytes, hop_limit, arrival, wrong_at });
    }

    fn refused(&mut self, index: usize, error: ErrorMessage, from: IpAddr, watch: &mut impl FnMut(Event)) {
        let Transport::Echo { sequence, .. } = error.quoted.transport else { return };
        let target = &mut self.targets[index];
        let Some(sequence) = target.window.resolve(sequence) else { return };
        let meaning = error.meaning;
        let ends = meaning.is_final() && target.window.end(sequence);
        target.tally.refuse(Refusal { from, meaning }, ends);
        watch(Event::Refused { target: index, sequence, from, meaning });
    }

    fn outcome(self, post: &Post, duration: Nanos) -> Outcome {
        let overflowed = |line: &Line| u64::from(datagram::drops(post.socket(line.number)).unwrap_or(0));
        Outcome {
            access: self.lines.iter().map(|line| (line.echo.family, line.echo.access)).collect(),
            stamps: self.stamps,
            overflowed: self.lines.iter().map(overflowed).sum(),
            targets: self.targets.into_iter().map(|target| target.tally).collect(),
            strangers: self.strangers,
            duration,
        }
    }
}

impl Line {
    fn open(family: Family, config: &Config, nonce: u64, post: &mut Post) -> Result<Line, DiagError> {
        let (socket, echo) = EchoLine::open(family, EchoId(mix(nonce, 1) as u16))?;
        if let Some(hops) = config.hop_limit {
            limit_hops(&socket, family, hops).map_err(|source| OpenError::SetUp { family, source })?;
        }
        let number = post.add(socket, echo.access == Access::Ping);
        Ok(Line { echo, number })
    }
}

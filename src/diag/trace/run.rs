//! The loop of trace: rounds go out, and what comes back finds its hop.

use super::path::{Path, Said};
use super::probe::Flow;
use super::rounds::Rounds;
use super::{Config, Outcome, Way};
use crate::clock::Clock;
use crate::diag::DiagError;
use crate::diag::icmp::{self, EchoId, ErrorMessage, Family, Icmp};
use crate::diag::post::{Arrival, Label, News, Post};
use crate::diag::socket::{EchoLine, Heard, OpenError, domain, hear, prepare, prepare_raw};
use crate::stats::mix;
use crate::sys::raw::{self, Access};
use crate::sys::uring::Wait;
use crate::units::Nanos;
use socket2::{Protocol, Socket, Type};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a stop is looked for, and `watch` is shown the path.
const ATTENTION: Nanos = Nanos::from_millis(200);
/// Longest message that is received whole: errors quote up to 1280 bytes.
const ROOM: usize = 2048;

/// Traces until the rounds are over, or `stop` says so: then what is under way is still waited for. `watch` is shown the
/// path now and then. `nonce` should differ from run to run.
pub fn run(
    config: &Config,
    nonce: u64,
    stop: &AtomicBool,
    watch: &mut impl FnMut(&Path),
) -> Result<Outcome, DiagError> {
    let clock = Clock::start();
    let mut post = Post::new(clock, ROOM)?;
    let sockets = Sockets::open(config, nonce, &mut post)?;
    let mut path = Path::new(config.max_hops, config.timeout);
    let mut rounds = Rounds::new(clock.now(), config.interval, config.rounds, config.max_hops);
    let mut shown = Nanos::ZERO;
    loop {
        if stop.load(Ordering::Relaxed) {
            rounds.stop();
        }
        while let Some(hop) = rounds.take(clock.now(), path.limit()) {
            sockets.send(hop, &mut path, clock.now(), &mut post);
        }
        let now = clock.now();
        if path.deadline().is_some_and(|deadline| deadline < now) {
            post.catch_up(|news| sockets.handle(news, &mut path))?;
            path.expire(now);
        }
        if clock.now().since(shown) >= ATTENTION {
            shown = clock.now();
            watch(&path);
        }
        let Some(next) = [rounds.due(path.limit()), path.deadline()].into_iter().flatten().min() else { break };
        let wait = next.since(clock.now()).max(Nanos(100_000)).min(ATTENTION);
        post.turn(Wait::AtMost(wait), |news| sockets.handle(news, &mut path))?;
    }
    Ok(Outcome { path, access: sockets.access, flow: sockets.flow, duration: clock.now() })
}

/// What sends probes and hears of them, by their numbers in the post.
struct Sockets {
    flow: Flow,
    family: Family,
    access: Access,
    sender: usize,
    icmp: usize,
    /// The identity of echo requests, where the probes are some.
    echo: Option<EchoLine>,
    /// Holds the source port, so that nobody else is given it.
    _port: Option<Socket>,
}

impl Sockets {
    fn open(config: &Config, nonce: u64, post: &mut Post) -> Result<Sockets, DiagError> {
        let destination = config.host.address;
        let family = Family::of(destination);
        let source = source_towards(destination)?;
        let mut flow = Flow { way: config.way, source, destination, source_port: 0, upper: mix(nonce, 2) as u16 };
        if config.way == Way::Icmp {
            let (socket, echo) = EchoLine::open(family, EchoId(mix(nonce, 1) as u16))?;
            flow.source_port = echo.id.0;
            let number = post.add(socket, echo.access == Access::Ping);
            let access = echo.access;
            return Ok(Sockets { flow, family, access, sender: number, icmp: number, echo: Some(echo), _port: None });
        }
        let hearing = open_icmp(config.way, family)?;
        let port = reserve_port(config.way, source)?;
        flow.source_port = port.local_addr().ok().and_then(|at| at.as_socket()).map_or(0, |at| at.port());
        let sender = post.add(open_sender(&flow, family)?, false);
        let icmp = post.add(hearing, false);
        Ok(Sockets { flow, family, access: Access::Raw, sender, icmp, echo: None, _port: Some(port) })
    }

    fn send(&self, hop: u8, path: &mut Path, now: Nanos, post: &mut Post) {
        let number = path.probe(hop, now).0 as u16;
        let label = Label { owner: u32::from(hop), number };
        post.send(self.sender, self.flow.destination, Some(hop), label, |to| self.flow.write(number, to));
    }

    fn handle(&self, news: News<'_>, path: &mut Path) {
        match news {
            News::Unsent { label, error } => path.unsent(label.number, error.to_string()),
            News::Arrived(arrival) => {
                if let Some((number, from, said)) = self.read(&arrival) {
                    path.answered(number, from, said, arrival.at);
                }
            }
        }
    }

    /// The probe that an arrival answers, who answers, and what.
    fn read(&self, arrival: &Arrival<'_>) -> Option<(u16, IpAddr, Said)> {
        if arrival.socket != self.icmp {
            return self.read_segment(arrival);
        }
        let heard = match &self.echo {
            Some(echo) => echo.interpret(arrival)?,
            None => hear(self.family, Access::Raw, arrival)?,
        };
        let Heard { from, icmp, .. } = heard;
        match icmp {
            Icmp::Reply(echo) => (from == self.flow.destination).then_some((echo.sequence, from, Said::Reached)),
            Icmp::Error(error) => self.read_error(error, from),
        }
    }

    fn read_error(&self, error: ErrorMessage, from: IpAddr) -> Option<(u16, IpAddr, Said)> {
        let ErrorMessage { meaning, quoted } = error;
        let number =
            (quoted.destination == self.flow.destination).then(|| self.flow.number_of(&quoted.transport))??;
        let said = match meaning.is_time_exceeded() {
            true => Said::Passed,
            false if !meaning.is_final() => return None,
            false if from == self.flow.destination => Said::Reached,
            false => Said::Refused(meaning),
        };
        Some((number, from, said))
    }

    fn read_segment(&self, arrival: &Arrival<'_>) -> Option<(u16, IpAddr, Said)> {
        let (from, segment) = match self.family {
            Family::V4 => icmp::within_ipv4(arrival.bytes).map(|(from, _, segment)| (from, segment))?,
            Family::V6 => (arrival.from?, arrival.bytes),
        };
        let number = self.flow.number_acknowledged(segment).filter(|_| from == self.flow.destination)?;
        Some((number, from, Said::Reached))
    }
}

/// The address that packets to this one are sent from.
fn source_towards(destination: IpAddr) -> Result<IpAddr, DiagError> {
    let any: SocketAddr = if destination.is_ipv6() { ([0u16; 8], 0).into() } else { ([0u8; 4], 0).into() };
    let find = || {
        let socket = UdpSocket::bind(any)?;
        // Nothing is sent: a route is looked up.
        socket.connect((destination, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    find().map_err(DiagError::io("looking for a way to the target"))
}

fn open_icmp(way: Way, family: Family) -> Result<Socket, OpenError> {
    let socket = raw::icmp(domain(family), Access::Raw).map_err(|source| needs_raw(way, source))?;
    prepare_raw(&socket, family).map_err(|source| OpenError::SetUp { family, source })?;
    Ok(socket)
}

fn needs_raw(way: Way, source: std::io::Error) -> OpenError {
    let what = if matches!(way, Way::Udp { .. }) { "tracing by UDP" } else { "tracing by TCP" };
    OpenError::NeedsRaw { what, source }
}

/// A raw socket that sends probes. That of TCP also hears what the target answers; that of UDP is deaf.
fn open_sender(flow: &Flow, family: Family) -> Result<Socket, OpenError> {
    let protocol = if matches!(flow.way, Way::Udp { .. }) { Protocol::UDP } else { Protocol::TCP };
    let socket = raw::transport(domain(family), protocol).map_err(|source| needs_raw(flow.way, source))?;
    let set_up = || {
        socket.bind(&SocketAddr::new(flow.source, 0).into())?;
        match flow.way {
            Way::Tcp { port } => {
                raw::admit_segments(&socket, domain(family), port, flow.source_port)?;
                socket.connect(&SocketAddr::new(flow.destination, 0).into())?;
                prepare(&socket, family)
            }
            _ => raw::deafen(&socket),
        }
    };
    set_up().map_err(|source| OpenError::SetUp { family, source })?;
    Ok(socket)
}

/// A socket bound to a free port of the probes' protocol. It does not listen: what the target sends to it the kernel
/// refuses, which ends connections before they are made.
fn reserve_port(way: Way, source: IpAddr) -> Result<Socket, DiagError> {
    let kind = if matches!(way, Way::Udp { .. }) { Type::DGRAM } else { Type::STREAM };
    let reserve = || {
        let socket = Socket::new(domain(Family::of(source)), kind, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        Ok(socket)
    };
    reserve().map_err(DiagError::io("taking a source port"))
}

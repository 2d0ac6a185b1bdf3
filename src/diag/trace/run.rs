//! The loop of trace: rounds go out, and what comes back finds its hop.

use super::path::{HopReply, Path};
use super::probe::Flow;
use super::rounds::Rounds;
use super::{Config, Method, Outcome};
use crate::clock::Clock;
use crate::diag::DiagError;
use crate::diag::icmp::{self, EchoId, ErrorMessage, Family, Icmp};
use crate::diag::probe_io::{ProbeEvent, ProbeId, ProbeIo, ReceivedPacket};
use crate::diag::socket::{EchoSocket, OpenError, Parsed, domain, parse_packet, prepare, prepare_raw};
use crate::stats::derive_seed;
use crate::sys::raw::{self, Access};
use crate::sys::uring::Wait;
use crate::units::Nanos;
use socket2::{Protocol, Socket, Type};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a stop is looked for, and `on_progress` is shown the path.
const STOP_CHECK_INTERVAL: Nanos = Nanos::from_millis(200);
/// Longest message that is received whole: errors quote up to 1280 bytes.
const ROOM: usize = 2048;

/// Traces until the rounds are over, or `stop` is set: then what is under way is still waited for. `on_progress` is shown the
/// path now and then. `nonce` should differ from run to run.
pub fn run(
    config: &Config,
    nonce: u64,
    stop: &AtomicBool,
    on_progress: &mut impl FnMut(&Path),
) -> Result<Outcome, DiagError> {
    let clock = Clock::start();
    let mut probe_io = ProbeIo::new(clock, ROOM)?;
    let sockets = Sockets::open(config, nonce, &mut probe_io)?;
    let mut path = Path::new(config.max_hops, config.timeout);
    let mut rounds = Rounds::new(clock.now(), config.interval, config.rounds, config.max_hops);
    let mut shown = Nanos::ZERO;
    loop {
        if stop.load(Ordering::Relaxed) {
            rounds.stop();
        }
        while let Some(hop) = rounds.take(clock.now(), path.limit()) {
            sockets.send(hop, &mut path, clock.now(), &mut probe_io);
        }
        let now = clock.now();
        if path.deadline().is_some_and(|deadline| deadline < now) {
            probe_io.catch_up(|event| sockets.handle(event, &mut path))?;
            path.expire(now);
        }
        if clock.now().since(shown) >= STOP_CHECK_INTERVAL {
            shown = clock.now();
            on_progress(&path);
        }
        let Some(next) = [rounds.due(path.limit()), path.deadline()].into_iter().flatten().min() else { break };
        let wait = next.since(clock.now()).max(Nanos(100_000)).min(STOP_CHECK_INTERVAL);
        probe_io.turn(Wait::AtMost(wait), |event| sockets.handle(event, &mut path))?;
    }
    Ok(Outcome { path, access: sockets.access, flow: sockets.flow, duration: clock.now() })
}

/// The sockets that send probes and receive answers, by their numbers in [`ProbeIo`].
struct Sockets {
    flow: Flow,
    family: Family,
    access: Access,
    sender: usize,
    icmp: usize,
    /// The identity of echo requests, where the probes are some.
    echo: Option<EchoSocket>,
    /// Holds the source port, so that no other process is given it.
    _port: Option<Socket>,
}

impl Sockets {
    fn open(config: &Config, nonce: u64, probe_io: &mut ProbeIo) -> Result<Sockets, DiagError> {
        let destination = config.host.address;
        let family = Family::of(destination);
        let source = source_towards(destination)?;
        let mut flow =
            Flow { method: config.method, source, destination, source_port: 0, upper: derive_seed(nonce, 2) as u16 };
        if config.method == Method::Icmp {
            let (socket, echo) = EchoSocket::open(family, EchoId(derive_seed(nonce, 1) as u16))?;
            flow.source_port = echo.id.0;
            let number = probe_io.add(socket, echo.access == Access::Ping);
            let access = echo.access;
            return Ok(Sockets { flow, family, access, sender: number, icmp: number, echo: Some(echo), _port: None });
        }
        let receiver = open_icmp(config.method, family)?;
        let port = reserve_port(config.method, source)?;
        flow.source_port = port.local_addr().ok().and_then(|at| at.as_socket()).map_or(0, |at| at.port());
        let sender = probe_io.add(open_sender(&flow, family)?, false);
        let icmp = probe_io.add(receiver, false);
        Ok(Sockets { flow, family, access: Access::Raw, sender, icmp, echo: None, _port: Some(port) })
    }

    fn send(&self, hop: u8, path: &mut Path, now: Nanos, probe_io: &mut ProbeIo) {
        let number = path.probe(hop, now).0 as u16;
        let id = ProbeId { owner: u32::from(hop), number };
        probe_io.send(self.sender, self.flow.destination, Some(hop), id, |to| self.flow.write(number, to));
    }

    fn handle(&self, event: ProbeEvent<'_>, path: &mut Path) {
        match event {
            ProbeEvent::Unsent { id, error } => path.unsent(id.number, error.to_string()),
            ProbeEvent::Received(packet) => {
                if let Some((number, from, reply)) = self.read(&packet) {
                    path.answered(number, from, reply, packet.at);
                }
            }
        }
    }

    /// The probe that a received packet answers, who answers, and what.
    fn read(&self, packet: &ReceivedPacket<'_>) -> Option<(u16, IpAddr, HopReply)> {
        if packet.socket != self.icmp {
            return self.read_segment(packet);
        }
        let parsed = match &self.echo {
            Some(echo) => echo.interpret(packet)?,
            None => parse_packet(self.family, Access::Raw, packet)?,
        };
        let Parsed { from, icmp, .. } = parsed;
        match icmp {
            Icmp::Reply(echo) => (from == self.flow.destination).then_some((echo.sequence, from, HopReply::Reached)),
            Icmp::Error(error) => self.read_error(error, from),
        }
    }

    fn read_error(&self, error: ErrorMessage, from: IpAddr) -> Option<(u16, IpAddr, HopReply)> {
        let ErrorMessage { reason, quoted } = error;
        let number =
            (quoted.destination == self.flow.destination).then(|| self.flow.number_of(&quoted.transport))??;
        let reply = match reason.is_time_exceeded() {
            true => HopReply::Passed,
            false if !reason.is_final() => return None,
            false if from == self.flow.destination => HopReply::Reached,
            false => HopReply::Refused(reason),
        };
        Some((number, from, reply))
    }

    fn read_segment(&self, packet: &ReceivedPacket<'_>) -> Option<(u16, IpAddr, HopReply)> {
        let (from, segment) = match self.family {
            Family::V4 => icmp::within_ipv4(packet.bytes).map(|(from, _, segment)| (from, segment))?,
            Family::V6 => (packet.from?, packet.bytes),
        };
        let number = self.flow.number_acknowledged(segment).filter(|_| from == self.flow.destination)?;
        Some((number, from, HopReply::Reached))
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

fn open_icmp(method: Method, family: Family) -> Result<Socket, OpenError> {
    let socket = raw::icmp(domain(family), Access::Raw).map_err(|source| needs_raw(method, source))?;
    prepare_raw(&socket, family).map_err(|source| OpenError::SetUp { family, source })?;
    Ok(socket)
}

fn needs_raw(method: Method, source: std::io::Error) -> OpenError {
    let what = if matches!(method, Method::Udp { .. }) { "tracing by UDP" } else { "tracing by TCP" };
    OpenError::NeedsRaw { what, source }
}

/// A raw socket that sends probes. That of TCP also receives answers of the target; that of UDP receives nothing.
fn open_sender(flow: &Flow, family: Family) -> Result<Socket, OpenError> {
    let protocol = if matches!(flow.method, Method::Udp { .. }) { Protocol::UDP } else { Protocol::TCP };
    let socket = raw::transport(domain(family), protocol).map_err(|source| needs_raw(flow.method, source))?;
    let set_up = || {
        socket.bind(&SocketAddr::new(flow.source, 0).into())?;
        match flow.method {
            Method::Tcp { port } => {
                raw::filter_tcp(&socket, domain(family), port, flow.source_port)?;
                socket.connect(&SocketAddr::new(flow.destination, 0).into())?;
                prepare(&socket, family)
            }
            _ => raw::drop_all_input(&socket),
        }
    };
    set_up().map_err(|source| OpenError::SetUp { family, source })?;
    Ok(socket)
}

/// A socket bound to a free port of the probes' protocol. It does not listen: what the target sends to it the kernel
/// refuses, which ends connections before they are made.
fn reserve_port(method: Method, source: IpAddr) -> Result<Socket, DiagError> {
    let kind = if matches!(method, Method::Udp { .. }) { Type::DGRAM } else { Type::STREAM };
    let reserve = || {
        let socket = Socket::new(domain(Family::of(source)), kind, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        Ok(socket)
    };
    reserve().map_err(DiagError::io("taking a source port"))
}

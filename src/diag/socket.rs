//! Sockets for probes: which kind may be had here, and what arrives at them.

use super::icmp::{self, EchoId, ErrorMessage, Family, Icmp, IcmpReason, Quoted, QuotedHeader};
use super::probe_io::ReceivedPacket;
use crate::sys::raw::{self, Access};
use crate::sys::recv_meta::Origin;
use socket2::{Domain, Socket};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Receive buffer asked for; what overflows it is counted by the kernel and reported.
const RECEIVE_BUFFER: usize = 4 << 20;

/// ICMP cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("neither a raw socket ({raw}) nor a ping socket ({ping}) may be opened for {family:?}; {}", allow())]
    Refused { family: Family, raw: io::Error, ping: io::Error },
    #[error("{what} needs a raw socket ({source}); {}; or take --icmp, for which a ping socket will do", allow_raw())]
    NeedsRaw { what: &'static str, source: io::Error },
    #[error("setting up a socket for {family:?} failed: {source}")]
    SetUp { family: Family, source: io::Error },
}

/// How to be allowed raw sockets.
pub fn allow_raw() -> String {
    let path = std::env::current_exe().map_or_else(|_| "ringmark".into(), |path| path.display().to_string());
    format!("allow it with: sudo setcap cap_net_raw+ep {path}")
}

/// How to be allowed ping sockets.
pub const ALLOW_PING: &str = "sudo sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"";

/// How to be allowed either.
fn allow() -> String {
    format!("{}, or: {ALLOW_PING}", allow_raw())
}

/// What is known of a socket that sends echo requests and receives replies and errors.
#[derive(Clone, Copy, Debug)]
pub struct EchoSocket {
    /// Version of IP.
    pub family: Family,
    /// Raw socket or ping socket.
    pub access: Access,
    /// Identifier of all its requests.
    pub id: EchoId,
}

/// The socket domain of a family.
pub fn domain(family: Family) -> Domain {
    if family == Family::V6 { Domain::IPV6 } else { Domain::IPV4 }
}

impl EchoSocket {
    /// A raw socket where that is allowed, else a ping socket. `id` is the identifier for a raw one.
    pub fn open(family: Family, id: EchoId) -> Result<(Socket, EchoSocket), OpenError> {
        let set_up = |source| OpenError::SetUp { family, source };
        match raw::icmp(domain(family), Access::Raw) {
            Ok(socket) => {
                prepare_raw(&socket, family).map_err(set_up)?;
                Ok((socket, EchoSocket { family, access: Access::Raw, id }))
            }
            Err(refused) => {
                let socket = raw::icmp(domain(family), Access::Ping).map_err(|ping| OpenError::Refused {
                    family,
                    raw: refused,
                    ping,
                })?;
                let id = prepare_ping(&socket, family).map_err(set_up)?;
                Ok((socket, EchoSocket { family, access: Access::Ping, id }))
            }
        }
    }

    /// Parses a received packet; `None` where it is not about echo requests of this socket, or damaged.
    pub fn interpret<'a>(&self, received: &ReceivedPacket<'a>) -> Option<Parsed<'a>> {
        match received.error {
            Some(error) if error.origin == Origin::Icmp => {
                let reason = IcmpReason { family: self.family, kind: error.kind, code: error.code, mtu: error.info };
                let echo = icmp::parse_echo(received.bytes)?;
                let transport = QuotedHeader::Echo { id: self.id, sequence: echo.sequence };
                let destination = received.from?;
                let quoted = Quoted { source: unspecified(self.family), destination, transport };
                Some(Parsed {
                    from: error.offender?,
                    hop_limit: None,
                    icmp: Icmp::Error(ErrorMessage { reason, quoted }),
                })
            }
            Some(_) => None,
            None => parse_packet(self.family, self.access, received).filter(|parsed| self.is_own(&parsed.icmp)),
        }
    }

    fn is_own(&self, message: &Icmp<'_>) -> bool {
        match message {
            Icmp::Reply(echo) => echo.id == self.id,
            Icmp::Error(error) => matches!(error.quoted.transport, QuotedHeader::Echo { id, .. } if id == self.id),
        }
    }
}

/// A message, and who sent it.
#[derive(Clone, Copy, Debug)]
pub struct Parsed<'a> {
    /// Sender of the message.
    pub from: IpAddr,
    /// TTL or hop limit with which it arrived, where known.
    pub hop_limit: Option<u8>,
    /// The message itself.
    pub icmp: Icmp<'a>,
}

/// Reads what arrived at an ICMP socket: raw ones of IPv4 begin with the IP header.
pub fn parse_packet<'a>(family: Family, access: Access, received: &ReceivedPacket<'a>) -> Option<Parsed<'a>> {
    let (from, hop_limit, message) = match (family, access) {
        (Family::V4, Access::Raw) => {
            let (from, hop_limit, message) = icmp::within_ipv4(received.bytes)?;
            (from, Some(hop_limit), message)
        }
        _ => (received.from?, received.hop_limit, received.bytes),
    };
    Some(Parsed { from, hop_limit, icmp: icmp::parse(family, message).ok()? })
}

/// Has a raw ICMP socket receive only [`Family::relevant_types`], with timestamps.
pub fn prepare_raw(socket: &Socket, family: Family) -> io::Result<()> {
    raw::filter_icmp(socket, domain(family), family.relevant_types())?;
    prepare(socket, family)
}

fn prepare_ping(socket: &Socket, family: Family) -> io::Result<EchoId> {
    raw::queue_errors(socket, domain(family))?;
    prepare(socket, family)?;
    raw::bind_ping_id(socket, domain(family)).map(EchoId)
}

/// Stamps, hop limits, and room for bursts. Without stamps the clock is read after the receive, and the report states it.
pub fn prepare(socket: &Socket, family: Family) -> io::Result<()> {
    let _ = raw::enable_timestamps(socket);
    let _ = raw::grow_receive_buffer(socket, RECEIVE_BUFFER);
    raw::enable_hop_limits(socket, domain(family))
}

/// Sets the hop limit of all that a socket sends.
pub fn limit_hops(socket: &Socket, family: Family, hops: u8) -> io::Result<()> {
    match family {
        Family::V4 => socket.set_ttl_v4(hops.into()),
        Family::V6 => socket.set_unicast_hops_v6(hops.into()),
    }
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

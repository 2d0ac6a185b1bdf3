//! ICMP for IPv4 and IPv6, as it arrives: echo replies, and errors with the packet that they quote.
//!
//! Pure functions of bytes; nothing here panics on any input.

use super::frame;
use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, Ipv4HeaderSlice, LaxIpSlice};
use std::fmt;
use std::net::IpAddr;

/// Length of the ICMP header; the same for both versions.
pub const HEADER: usize = 8;

/// Which version of IP, and so of ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 and ICMP (RFC 792).
    V4,
    /// IPv6 and ICMPv6 (RFC 4443).
    V6,
}

impl Family {
    /// The family of an address; IPv4-mapped IPv6 addresses count as IPv6.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv6() { Family::V6 } else { Family::V4 }
    }

    /// ICMP type of an echo request (RFC 792, RFC 4443).
    pub const fn echo_request(self) -> u8 {
        if matches!(self, Family::V4) { 8 } else { 128 }
    }

    /// ICMP type of an echo reply (RFC 792, RFC 4443).
    pub const fn echo_reply(self) -> u8 {
        if matches!(self, Family::V4) { 0 } else { 129 }
    }

    /// ICMP types that concern a sender of probes: echo replies and errors.
    pub const fn relevant_types(self) -> &'static [u8] {
        match self {
            Family::V4 => &[0, 3, 4, 5, 11, 12],
            Family::V6 => &[129, 1, 2, 3, 4],
        }
    }
}

/// The identifier of an echo request (RFC 792): distinguishes the requests of one sender from those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoId(pub u16);

/// A message of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmp<'a> {
    /// An echo reply.
    Reply(Echo<'a>),
    /// An error, or advice such as a redirect.
    Error(ErrorMessage),
}

/// An echo reply, or a quoted echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    pub id: EchoId,
    /// The lower 16 bits of the sequence number.
    pub sequence: u16,
    /// What follows the ICMP header.
    pub payload: &'a [u8],
}

/// An error, and whose packet met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorMessage {
    /// Why the packet was not delivered.
    pub reason: IcmpReason,
    /// The start of the packet that caused the error.
    pub quoted: Quoted,
}

/// The start of a packet as it came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Sender of the quoted packet.
    pub source: IpAddr,
    /// Destination of the quoted packet.
    pub destination: IpAddr,
    /// The first 8 bytes after its IP header.
    pub transport: QuotedHeader,
}

/// What identifies a quoted packet. Routers must quote no more than 8 bytes behind its IP header (RFC 792).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedHeader {
    Echo {
        id: EchoId,
        sequence: u16,
    },
    Udp {
        source: u16,
        destination: u16,
        checksum: u16,
    },
    Tcp {
        source: u16,
        destination: u16,
        sequence: u32,
    },
    /// Another protocol, or a later fragment.
    Other,
}

/// Why a message is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IcmpError {
    #[error("it is too short")]
    Short,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it quotes no packet that can be read")]
    Quote,
    #[error("it is of another type")]
    Type,
}

/// Type, code and further word of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IcmpReason {
    /// Version of IP, on which the meaning of `kind` and `code` depends.
    pub family: Family,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The MTU of the next link, where the packet was too big for it.
    pub mtu: u32,
}

/// Sender, remaining hops and content of an IPv4 packet.
pub fn within_ipv4(packet: &[u8]) -> Option<(IpAddr, u8, &[u8])> {
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let content = packet.get(header.slice().len()..)?;
    Some((header.source_addr().into(), header.ttl(), content))
}

/// Reads a message, checksum included: raw sockets get to see what the kernel then refuses. ICMPv6 the kernel has checked.
pub fn parse(family: Family, message: &[u8]) -> Result<Icmp<'_>, IcmpError> {
    let (header, body) = message.split_at_checked(HEADER).ok_or(IcmpError::Short)?;
    if family == Family::V4 && Sum16BitWords::new().add_slice(message).ones_complement() != 0 {
        return Err(IcmpError::Checksum);
    }
    if header[0] == family.echo_reply() {
        return Ok(Icmp::Reply(echo(header, body)));
    }
    let reason = IcmpReason { family, kind: header[0], code: header[1], mtu: mtu(family, header) };
    match family.relevant_types().contains(&header[0]) {
        true => Ok(Icmp::Error(ErrorMessage { reason, quoted: quoted(body).ok_or(IcmpError::Quote)? })),
        false => Err(IcmpError::Type),
    }
}

/// Reads an echo request or reply without looking at its type or checksum.
pub fn parse_echo(message: &[u8]) -> Option<Echo<'_>> {
    let (header, body) = message.split_at_checked(HEADER)?;
    Some(echo(header, body))
}

fn echo<'a>(header: &[u8], payload: &'a [u8]) -> Echo<'a> {
    Echo { id: EchoId(word(header, 4)), sequence: word(header, 6), payload }
}

/// ICMPv4 has it in the second half of the word (RFC 1191), ICMPv6 in all of it (RFC 4443).
fn mtu(family: Family, header: &[u8]) -> u32 {
    match (family, header[0], header[1]) {
        (Family::V4, 3, 4) => word(header, 6).into(),
        (Family::V6, 2, _) => (u32::from(word(header, 4)) << 16) | u32::from(word(header, 6)),
        _ => 0,
    }
}

/// Reads as much of a packet as was quoted.
fn quoted(packet: &[u8]) -> Option<Quoted> {
    let (ip, _) = LaxIpSlice::from_slice(packet).ok()?;
    let payload = ip.payload();
    let transport = match payload.payload.get(..8) {
        Some(start) if !is_later_fragment(&ip) => transport(payload.ip_number, start),
        _ => QuotedHeader::Other,
    };
    Some(Quoted { source: ip.source_addr(), destination: ip.destination_addr(), transport })
}

/// Only the first fragment of a packet has its transport's header. The kernel sends our packets in fragments where they
/// are too long, and errors are reported for the first.
fn is_later_fragment(ip: &LaxIpSlice<'_>) -> bool {
    match ip {
        LaxIpSlice::Ipv4(v4) => v4.header().fragments_offset().value() > 0,
        LaxIpSlice::Ipv6(v6) => frame::is_later_fragment(v6.header().next_header().0, v6.extensions().slice()),
    }
}

fn transport(protocol: IpNumber, start: &[u8]) -> QuotedHeader {
    let (source, destination) = (word(start, 0), word(start, 2));
    match protocol {
        IpNumber::ICMP | IpNumber::IPV6_ICMP => {
            QuotedHeader::Echo { id: EchoId(word(start, 4)), sequence: word(start, 6) }
        }
        IpNumber::UDP => QuotedHeader::Udp { source, destination, checksum: word(start, 6) },
        IpNumber::TCP => {
            let sequence = (u32::from(word(start, 4)) << 16) | u32::from(word(start, 6));
            QuotedHeader::Tcp { source, destination, sequence }
        }
        _ => QuotedHeader::Other,
    }
}

/// The 16 bits at an offset that is within.
fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

impl IcmpReason {
    /// Whether the packet goes no further; redirects and source quenches are only advice.
    pub fn is_final(self) -> bool {
        !(self.family == Family::V4 && matches!(self.kind, 4 | 5))
    }

    /// A router found no hops left.
    pub fn is_time_exceeded(self) -> bool {
        matches!((self.family, self.kind, self.code), (Family::V4, 11, 0) | (Family::V6, 3, 0))
    }

    /// No socket is bound to the port.
    pub fn is_port_unreachable(self) -> bool {
        matches!((self.family, self.kind, self.code), (Family::V4, 3, 3) | (Family::V6, 1, 4))
    }

    /// In words, where the registries of IANA have some.
    fn words(self) -> Option<&'static str> {
        match (self.family, self.kind) {
            (Family::V4, 3) => UNREACHABLE_V4.get(usize::from(self.code)).copied(),
            (Family::V6, 1) => UNREACHABLE_V6.get(usize::from(self.code)).copied(),
            (Family::V4, 4) => Some("source quench: send slower"),
            (Family::V4, 5) => Some("redirect: a better first hop is known"),
            (Family::V4, 11) | (Family::V6, 3) => match self.code {
                0 => Some("no hops left on the way (time exceeded)"),
                1 => Some("fragments missing at the destination (reassembly time exceeded)"),
                _ => None,
            },
            (Family::V6, 2) => Some("packet too big"),
            (Family::V4, 12) | (Family::V6, 4) => Some("a header field makes no sense (parameter problem)"),
            _ => None,
        }
    }
}

/// By code: RFC 792, RFC 1122, RFC 1812.
const UNREACHABLE_V4: [&str; 16] = [
    "network unreachable",
    "host unreachable",
    "protocol unreachable",
    "port unreachable",
    "packet too big, and it must not be fragmented",
    "source route failed",
    "network unknown",
    "host unknown",
    "source host isolated",
    "network prohibited",
    "host prohibited",
    "network unreachable for this type of service",
    "host unreachable for this type of service",
    "filtered (communication administratively prohibited)",
    "host precedence violation",
    "precedence cutoff",
];

/// By code: RFC 4443.
const UNREACHABLE_V6: [&str; 8] = [
    "no route",
    "filtered (communication administratively prohibited)",
    "beyond the scope of the source address",
    "address unreachable",
    "port unreachable",
    "source address failed the policy",
    "route rejected",
    "error in a source route",
];

impl fmt::Display for IcmpReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.words(), self.mtu) {
            (Some(words), 0) => f.write_str(words),
            (Some(words), mtu) => write!(f, "{words}: the next link takes {mtu} bytes"),
            (None, _) => write!(f, "ICMP type {} code {}", self.kind, self.code),
        }
    }
}

#[cfg(test)]
mod tests;

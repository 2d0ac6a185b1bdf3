//! ICMP messages in tcpdump's words.

use etherparse::{Icmpv4Slice, Icmpv6Slice, IpNumber};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr};

/// A message of ICMP that claims this many bytes.
pub(super) fn print_v4(message: &Icmpv4Slice, claimed: usize, out: &mut impl Write) -> io::Result<()> {
    write!(out, "ICMP ")?;
    match (message.type_u8(), message.code_u8()) {
        (0, _) => print_echo("echo reply", message.bytes5to8(), out)?,
        (8, _) => print_echo("echo request", message.bytes5to8(), out)?,
        (3, code) => print_unreachable(code, message, out)?,
        (5, _) => write!(out, "redirect")?,
        (11, 0) => write!(out, "time exceeded in-transit")?,
        (11, 1) => write!(out, "ip reassembly time exceeded")?,
        (11, code) => write!(out, "time exceeded-#{code}")?,
        (12, _) => write!(out, "parameter problem")?,
        (kind, _) => write!(out, "type-#{kind}")?,
    }
    write!(out, ", length {claimed}")
}

fn print_echo(what: &str, [a, b, c, d]: [u8; 4], out: &mut impl Write) -> io::Result<()> {
    write!(out, "{what}, id {}, seq {}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

fn print_unreachable(code: u8, message: &Icmpv4Slice, out: &mut impl Write) -> io::Result<()> {
    let Some((host, number, port)) = quoted_v4(message.payload()) else { return write!(out, "unreachable-#{code}") };
    match (code, number) {
        (0, _) => write!(out, "net {host} unreachable"),
        (1, _) => write!(out, "host {host} unreachable"),
        (2, IpNumber(number)) => write!(out, "{host} protocol {number} unreachable"),
        (3, IpNumber::TCP) => write!(out, "{host} tcp port {port} unreachable"),
        (3, IpNumber::UDP) => write!(out, "{host} udp port {port} unreachable"),
        (3, IpNumber(number)) => write!(out, "{host} protocol {number} port {port} unreachable"),
        (4, _) => {
            let [_, _, high, low] = message.bytes5to8();
            write!(out, "{host} unreachable - need to frag (mtu {})", u16::from_be_bytes([high, low]))
        }
        (9 | 10 | 13, _) => write!(out, "host {host} unreachable - admin prohibited"),
        (code, _) => write!(out, "{host} unreachable - #{code}"),
    }
}

/// A message of ICMPv6 that claims this many bytes.
pub(super) fn print_v6(message: &Icmpv6Slice, claimed: usize, out: &mut impl Write) -> io::Result<()> {
    write!(out, "ICMP6, ")?;
    match (message.type_u8(), message.code_u8()) {
        (1, code) => print_unreachable_v6(code, message, out)?,
        (2, _) => write!(out, "packet too big, mtu {}", u32::from_be_bytes(message.bytes5to8()))?,
        (3, _) => write!(out, "time exceeded in-transit")?,
        (4, _) => write!(out, "parameter problem")?,
        (128, _) => print_echo("echo request", message.bytes5to8(), out)?,
        (129, _) => print_echo("echo reply", message.bytes5to8(), out)?,
        (130, _) => write!(out, "multicast listener query")?,
        (131, _) => write!(out, "multicast listener report")?,
        (133, _) => write!(out, "router solicitation")?,
        (134, _) => write!(out, "router advertisement")?,
        (135, _) => print_target("neighbor solicitation, who has", message, out)?,
        (136, _) => print_target("neighbor advertisement, tgt is", message, out)?,
        (143, _) => {
            let [_, _, high, low] = message.bytes5to8();
            let records = u16::from_be_bytes([high, low]);
            write!(out, "multicast listener report v2, {records} group record(s)")?;
        }
        (kind, _) => write!(out, "type-#{kind}")?,
    }
    write!(out, ", length {claimed}")
}

fn print_target(what: &str, message: &Icmpv6Slice, out: &mut impl Write) -> io::Result<()> {
    match message.payload().first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes)) {
        Some(target) => write!(out, "{what} {target}"),
        None => write!(out, "{what} [|icmp6]"),
    }
}

fn print_unreachable_v6(code: u8, message: &Icmpv6Slice, out: &mut impl Write) -> io::Result<()> {
    let quoted = message.payload();
    let host = quoted.get(24..40).and_then(<[u8]>::first_chunk::<16>).map(|bytes| Ipv6Addr::from(*bytes));
    let port = quoted.get(42..44).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
    write!(out, "destination unreachable, ")?;
    match (code, host, quoted.get(6)) {
        (0, Some(host), _) => write!(out, "unreachable route {host}"),
        (1, Some(host), _) => write!(out, "unreachable prohibited {host}"),
        (3, Some(host), _) => write!(out, "unreachable address {host}"),
        (4, Some(host), Some(6)) => write!(out, "unreachable port, {host} tcp port {port}"),
        (4, Some(host), Some(17)) => write!(out, "unreachable port, {host} udp port {port}"),
        (4, Some(host), _) => write!(out, "unreachable port, {host}"),
        (code, ..) => write!(out, "unreachable code-#{code}"),
    }
}

/// The address and port of a quoted packet, where it is UDP's or TCP's over IPv4.
fn quoted_v4(bytes: &[u8]) -> Option<(IpAddr, IpNumber, u16)> {
    let (ip, _) = etherparse::LaxIpv4Slice::from_slice(bytes).ok()?;
    let payload = ip.payload();
    let port = payload.payload.get(2..4).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
    Some((ip.header().destination_addr().into(), payload.ip_number, port))
}

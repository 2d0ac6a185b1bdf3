//! A packet as a line to read, worded as tcpdump's with `-n`.
//!
//! Addresses, ports and the layers up to TCP, UDP, ICMP and ARP; no application's protocol is decoded.

use super::icmp;
use super::sequence::{Sequences, Shown};
use crate::diag::frame::{AddrPair, Frame};
use crate::sys::local_time::time_of_day;
use crate::sys::packet::{Direction, LinkType, Packet, interface_name};
use crate::units::Nanos;
use etherparse::{
    ArpOperation, ArpPacketSlice, IpNumber, LaxNetSlice, TcpOptionElement, TcpSlice, TransportSlice, UdpSlice,
};
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::Ipv4Addr;

/// What prints packets: it remembers where connections began, as sequence numbers are shown from there.
#[derive(Debug)]
pub struct Printer {
    link_type: LinkType,
    /// Names of devices by index, where each line begins with one.
    devices: Option<HashMap<u32, String>>,
    sequences: Sequences,
    second: (u64, String),
}

impl Printer {
    /// `many_devices`: each line begins with the device and the direction.
    pub fn new(link_type: LinkType, many_devices: bool) -> Printer {
        Printer {
            link_type,
            devices: many_devices.then(HashMap::new),
            sequences: Sequences::default(),
            second: (u64::MAX, String::new()),
        }
    }

    /// Writes the packet's line.
    pub fn print(&mut self, packet: &Packet, out: &mut impl Write) -> io::Result<()> {
        self.time(packet.meta.at, out)?;
        if let Some(devices) = &mut self.devices {
            let index = packet.meta.interface;
            let name =
                devices.entry(index).or_insert_with(|| interface_name(index).unwrap_or_else(|| format!("if{index}")));
            write!(out, "{name:<5} {:<3} ", direction(packet.meta.direction))?;
        }
        self.frame(packet, out)?;
        out.write_all(b"\n")
    }

    /// The time of day to the microsecond.
    fn time(&mut self, at: Nanos, out: &mut impl Write) -> io::Result<()> {
        let (second, nanos) = (at.0 / 1_000_000_000, at.0 % 1_000_000_000);
        if self.second.0 != second {
            let (hour, minute, part) = time_of_day(second);
            self.second = (second, format!("{hour:02}:{minute:02}:{part:02}"));
        }
        write!(out, "{}.{:06} ", self.second.1, nanos / 1000)
    }

    fn frame(&mut self, packet: &Packet, out: &mut impl Write) -> io::Result<()> {
        let Some(frame) = Frame::parse(self.link_type, packet) else {
            return write!(out, "[|ether], length {}", packet.meta.wire_len);
        };
        match &frame.net {
            Some(LaxNetSlice::Arp(arp)) => print_arp(arp, &frame, packet, out),
            Some(ip) => {
                let version = if matches!(ip, LaxNetSlice::Ipv6(_)) { "IP6" } else { "IP" };
                write!(out, "{version} ")?;
                self.ip(&frame, out)
            }
            None => print_other(&frame, packet, out),
        }
    }

    fn ip(&mut self, frame: &Frame, out: &mut impl Write) -> io::Result<()> {
        let (Some(pair), Some(number)) = (frame.addr_pair(), frame.ip_number()) else { return Ok(()) };
        let AddrPair { source, destination } = pair;
        match &frame.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                let (from, to) = (tcp.source_port(), tcp.destination_port());
                write!(out, "{source}.{from} > {destination}.{to}: ")?;
                self.tcp(pair, frame.tcp_payload(tcp), tcp, out)
            }
            Some(TransportSlice::Udp(udp)) => print_udp(pair, frame, udp, out),
            transport => {
                let options = if frame.hop_by_hop() { "HBH " } else { "" };
                write!(out, "{source} > {destination}: {options}")?;
                match transport {
                    Some(TransportSlice::Icmpv4(message)) => icmp::print_v4(message, frame.claimed, out),
                    Some(TransportSlice::Icmpv6(message)) => icmp::print_v6(message, frame.claimed, out),
                    _ => print_unparsed(number, frame, out),
                }
            }
        }
    }

    fn tcp(&mut self, pair: AddrPair, payload: usize, tcp: &TcpSlice, out: &mut impl Write) -> io::Result<()> {
        let Shown { sequence, acknowledged, other_start } = self.sequences.shown(pair, tcp);
        write!(out, "Flags [")?;
        print_flags(tcp, out)?;
        write!(out, "]")?;
        if payload > 0 || tcp.syn() || tcp.fin() || tcp.rst() {
            write!(out, ", seq {sequence}")?;
            if payload > 0 {
                write!(out, ":{}", sequence.wrapping_add(payload as u32))?;
            }
        }
        if tcp.ack() {
            write!(out, ", ack {acknowledged}")?;
        }
        write!(out, ", win {}", tcp.window_size())?;
        if tcp.urg() {
            write!(out, ", urg {}", tcp.urgent_pointer())?;
        }
        print_options(tcp, other_start, out)?;
        write!(out, ", length {payload}")
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Host => "In",
        Direction::Broadcast => "B",
        Direction::Multicast => "M",
        Direction::OtherHost => "P",
        Direction::Outgoing => "Out",
    }
}

fn print_udp(pair: AddrPair, frame: &Frame, udp: &UdpSlice, out: &mut impl Write) -> io::Result<()> {
    let (source, destination) = (pair.source, pair.destination);
    let length = frame.udp_payload(udp);
    write!(out, "{source}.{} > {destination}.{}: UDP, ", udp.source_port(), udp.destination_port())?;
    // A first fragment claims all, and has a part.
    match frame.claimed.saturating_sub(8) {
        here if here < length => write!(out, "bad length {length} > {here}"),
        _ => write!(out, "length {length}"),
    }
}

/// What is cut within the transport's header, a later fragment, or another protocol.
fn print_unparsed(number: IpNumber, frame: &Frame, out: &mut impl Write) -> io::Result<()> {
    let fragmented = frame.net.as_ref().and_then(LaxNetSlice::ip_payload_ref).is_some_and(|payload| payload.fragmented);
    match number {
        IpNumber::TCP if !fragmented => write!(out, "[|tcp]"),
        IpNumber::UDP if !fragmented => write!(out, "[|udp]"),
        IpNumber(number) if fragmented => write!(out, "ip-proto-{number}"),
        IpNumber(number) => write!(out, "ip-proto-{number} {}", frame.claimed),
    }
}

fn print_flags(tcp: &TcpSlice, out: &mut impl Write) -> io::Result<()> {
    let flags = [
        (tcp.fin(), "F"),
        (tcp.syn(), "S"),
        (tcp.rst(), "R"),
        (tcp.psh(), "P"),
        (tcp.ack(), "."),
        (tcp.urg(), "U"),
        (tcp.ece(), "E"),
        (tcp.cwr(), "W"),
    ];
    if flags.iter().all(|(set, _)| !set) {
        return write!(out, "none");
    }
    flags.iter().filter(|(set, _)| *set).try_for_each(|(_, name)| write!(out, "{name}"))
}

fn print_options(tcp: &TcpSlice, other_start: u32, out: &mut impl Write) -> io::Result<()> {
    if tcp.options().is_empty() {
        return Ok(());
    }
    let mut separator = ", options [";
    for option in tcp.options_iterator() {
        write!(out, "{separator}")?;
        separator = ",";
        match option {
            Ok(option) => print_option(&option, other_start, out)?,
            // Unknown or damaged: what follows has no known place.
            Err(_) => write!(out, "unknown")?,
        }
    }
    // An end of options, and what fills the header behind it, is no element of etherparse's.
    if separator == "," { write!(out, "]") } else { write!(out, ", options [eol]") }
}

fn print_option(option: &TcpOptionElement, other_start: u32, out: &mut impl Write) -> io::Result<()> {
    match option {
        TcpOptionElement::Noop => write!(out, "nop"),
        TcpOptionElement::MaximumSegmentSize(size) => write!(out, "mss {size}"),
        TcpOptionElement::WindowScale(scale) => write!(out, "wscale {scale}"),
        TcpOptionElement::SelectiveAcknowledgementPermitted => write!(out, "sackOK"),
        TcpOptionElement::SelectiveAcknowledgement(first, more) => {
            let blocks = || std::iter::once(*first).chain(more.iter().flatten().copied());
            write!(out, "sack {} ", blocks().count())?;
            let shown = |number: u32| number.wrapping_sub(other_start);
            blocks().try_for_each(|(left, right)| write!(out, "{{{}:{}}}", shown(left), shown(right)))
        }
        TcpOptionElement::Timestamp(value, echo) => write!(out, "TS val {value} ecr {echo}"),
    }
}

fn print_arp(arp: &ArpPacketSlice, frame: &Frame, packet: &Packet, out: &mut impl Write) -> io::Result<()> {
    let link = if frame.link.is_some() { 14 } else { 0 };
    let length = (packet.meta.wire_len as usize).saturating_sub(link);
    let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from);
    let (Ok(sender), Ok(target)) = (address(arp.sender_protocol_addr()), address(arp.target_protocol_addr())) else {
        return write!(out, "ARP, operation {}, length {length}", arp.operation().0);
    };
    match arp.operation() {
        ArpOperation::REQUEST => write!(out, "ARP, Request who-has {target} tell {sender}")?,
        ArpOperation::REPLY => {
            write!(out, "ARP, Reply {sender} is-at ")?;
            print_hardware(arp.sender_hw_addr(), out)?;
        }
        ArpOperation(other) => write!(out, "ARP, operation {other}")?,
    }
    write!(out, ", length {length}")
}

fn print_hardware(address: &[u8], out: &mut impl Write) -> io::Result<()> {
    let mut separator = "";
    for byte in address {
        write!(out, "{separator}{byte:02x}")?;
        separator = ":";
    }
    Ok(())
}

/// A frame without IP or ARP in it, or with too little of them.
fn print_other(frame: &Frame, packet: &Packet, out: &mut impl Write) -> io::Result<()> {
    match frame.ether_type {
        0x0800 => return write!(out, "IP [|ip]"),
        0x86dd => return write!(out, "IP6 [|ip6]"),
        0x0806 => return write!(out, "ARP [|arp]"),
        _ => {}
    }
    if let Some((source, destination)) = &frame.link {
        print_hardware(source, out)?;
        write!(out, " > ")?;
        print_hardware(destination, out)?;
        write!(out, ", ")?;
    }
    write!(out, "ethertype 0x{:04x}, length {}", frame.ether_type, packet.meta.wire_len)
}

#[cfg(test)]
mod tests;

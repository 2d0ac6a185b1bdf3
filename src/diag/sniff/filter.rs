//! Which packets are wanted, and the program for the kernel that picks them.
//!
//! Values of one kind are alternatives, kinds must all hold: `--port 80 --port 443 --proto tcp` is (80 or 443) and tcp.
//!
//! What the program looks at: the frame's EtherType behind up to two VLAN tags that are still in it (the kernel has taken
//! the outermost out already where it came with the packet's metadata); of IPv4 the protocol, the addresses, and behind
//! options of any length the ports; of IPv6 the same if the first header after the fixed one is the protocol in question.
//! It does not look through IPv6 extension headers (a fragment's neither), nor into tunnels, nor at what an ICMP error
//! quotes; later fragments of IPv4 have no ports and are no match for one.

mod assembler;

use crate::sys::packet::LinkType;
use crate::units::Bytes;
use assembler::{Label, Program, Test};
use socket2::SockFilter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

const ETHERTYPE_OFFSET: u32 = 12;
const ETHERNET_HEADER: u32 = 14;
const VLAN_TAG: u32 = 4;
const VLAN_TYPES: [u32; 3] = [0x8100, 0x88a8, 0x9100];
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const ARP: u32 = 0x0806;
/// With ports in their first four bytes: TCP, UDP, SCTP.
const WITH_PORTS: [u32; 3] = [6, 17, 132];
const IPV6_HEADER: u32 = 40;
const FRAGMENT_OFFSET: u32 = 0x1fff;

/// What packets must carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
    /// A number of IP's; the same in both versions, but for ICMP.
    Number(u8),
    /// ICMP of IPv4.
    Icmp,
    /// ICMPv6.
    Icmp6,
}

/// An address, or all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// The address, whose bits beyond `prefix` do not count.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

/// What was typed names no such thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseFilterError(String);

/// More values than a program can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the filter is too long for the kernel (4096 instructions): name fewer hosts and ports, or a prefix such as 10.0.0.0/8"
)]
pub struct FilterTooLong;

/// Which packets are wanted; an empty list asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Source or destination ports of TCP, UDP or SCTP.
    pub ports: Vec<u16>,
    /// Source or destination addresses.
    pub hosts: Vec<Hosts>,
    /// Protocols, of the link or of IP.
    pub protocols: Vec<Protocol>,
}

/// What the program depends on beside the filter.
#[derive(Clone, Copy, Debug)]
pub struct FilterContext {
    /// What frames begin with.
    pub link_type: LinkType,
    /// A loopback device among others, on which what goes out comes in again and is left out once.
    pub loopback: Option<u32>,
    /// Bytes that are captured of a packet.
    pub snap: Bytes,
}

impl FromStr for Protocol {
    type Err = ParseFilterError;

    fn from_str(text: &str) -> Result<Protocol, ParseFilterError> {
        match text {
            "ip" => Ok(Protocol::Ip),
            "ip6" => Ok(Protocol::Ip6),
            "arp" => Ok(Protocol::Arp),
            "icmp" => Ok(Protocol::Icmp),
            "icmp6" => Ok(Protocol::Icmp6),
            "tcp" => Ok(Protocol::Number(6)),
            "udp" => Ok(Protocol::Number(17)),
            "sctp" => Ok(Protocol::Number(132)),
            _ => text.parse().map(Protocol::Number).map_err(|_| {
                ParseFilterError(format!(
                    "'{text}' is no protocol here; there are tcp, udp, icmp, icmp6, sctp, arp, ip, ip6, and IP's numbers 0-255"
                ))
            }),
        }
    }
}

impl FromStr for Hosts {
    type Err = ParseFilterError;

    /// `10.0.0.1`, `fe80::1`, `10.0.0.0/8`.
    fn from_str(text: &str) -> Result<Hosts, ParseFilterError> {
        let wrong = || {
            ParseFilterError(format!(
                "'{text}' is no address; write one as 10.0.0.1, fe80::1 or 10.0.0.0/8 (names are not looked up)"
            ))
        };
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if prefix > most { Err(wrong()) } else { Ok(Hosts { address, prefix }) }
    }
}

impl Filter {
    /// All packets pass.
    pub fn is_empty(&self) -> bool {
        self == &Filter::default()
    }

    /// The program that accepts what is wanted.
    pub fn compile(&self, context: FilterContext) -> Result<Vec<SockFilter>, FilterTooLong> {
        let mut program = Program::default();
        let (accept, reject) = (program.label(), program.label());
        let mut compiler = Compiler { filter: self, program, accept, reject };
        compiler.leave_out_twice_seen(context.loopback);
        if !self.is_empty() {
            compiler.find_network_header(context.link_type);
            compiler.network();
        }
        let mut program = compiler.program;
        program.here(accept);
        // A snap length of 0 would reject.
        program.give(context.snap.0.clamp(1, u64::from(u32::MAX)) as u32);
        program.here(reject);
        program.give(0);
        program.assemble().ok_or(FilterTooLong)
    }

    fn v4_hosts(&self) -> impl Iterator<Item = (Ipv4Addr, u32)> {
        let mask = |prefix: u8| u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        self.hosts.iter().filter_map(move |hosts| match hosts.address {
            IpAddr::V4(address) => Some((address, mask(hosts.prefix))),
            IpAddr::V6(_) => None,
        })
    }

    fn v6_hosts(&self) -> impl Iterator<Item = (Ipv6Addr, u128)> {
        let mask = |prefix: u8| u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        self.hosts.iter().filter_map(move |hosts| match hosts.address {
            IpAddr::V6(address) => Some((address, mask(hosts.prefix))),
            IpAddr::V4(_) => None,
        })
    }
}

/// A program under construction, with the two ends that it jumps to.
struct Compiler<'a> {
    filter: &'a Filter,
    program: Program,
    accept: Label,
    reject: Label,
}

impl Compiler<'_> {
    fn leave_out_twice_seen(&mut self, loopback: Option<u32>) {
        let Some(loopback) = loopback else { return };
        let (outgoing, once) = (self.program.label(), self.program.label());
        self.program.load_ancillary(libc::SKF_AD_PKTTYPE);
        self.program.jump_if(Test::Equal(u32::from(libc::PACKET_OUTGOING)), outgoing);
        self.program.jump(once);
        self.program.here(outgoing);
        self.program.load_ancillary(libc::SKF_AD_IFINDEX);
        self.program.jump_if(Test::Equal(loopback), self.reject);
        self.program.here(once);
    }

    /// A = the EtherType, X = where its header begins.
    fn find_network_header(&mut self, link_type: LinkType) {
        let (found, mut at) = (self.program.label(), 0);
        match link_type {
            LinkType::Ethernet => {
                self.program.load_half(ETHERTYPE_OFFSET);
                at += ETHERNET_HEADER;
            }
            LinkType::Cooked => self.program.load_ancillary(libc::SKF_AD_PROTOCOL),
        }
        self.program.set_x(at);
        for _ in 0..2 {
            let tagged = self.program.label();
            VLAN_TYPES.iter().for_each(|kind| self.program.jump_if(Test::Equal(*kind), tagged));
            self.program.jump(found);
            self.program.here(tagged);
            self.program.load_half(at + VLAN_TAG / 2);
            at += VLAN_TAG;
            self.program.set_x(at);
        }
        self.program.here(found);
    }

    fn network(&mut self) {
        let (four, six, arp) = (self.program.label(), self.program.label(), self.program.label());
        self.program.jump_if(Test::Equal(IPV4), four);
        self.program.jump_if(Test::Equal(IPV6), six);
        self.program.jump_if(Test::Equal(ARP), arp);
        self.program.jump(self.reject);
        self.program.here(four);
        self.ipv4();
        self.program.here(six);
        self.ipv6();
        self.program.here(arp);
        self.arp();
    }

    fn ipv4(&mut self) {
        let numbers = |protocol: &Protocol| match protocol {
            Protocol::Number(number) => Some(u32::from(*number)),
            Protocol::Icmp => Some(1),
            _ => None,
        };
        self.protocol(9, Protocol::Ip, numbers);
        if !self.filter.hosts.is_empty() {
            let matched = self.program.label();
            for (address, mask) in self.filter.v4_hosts() {
                [12, 16].iter().for_each(|offset| self.masked(*offset, u32::from(address), mask, matched));
            }
            self.program.jump(self.reject);
            self.program.here(matched);
        }
        if !self.filter.ports.is_empty() {
            self.carries_ports(9);
            self.program.load_half_x(6);
            self.program.jump_if(Test::AnyBit(FRAGMENT_OFFSET), self.reject);
            self.program.load_byte_x(0);
            self.program.skip_ipv4_header();
            self.ports(0);
        }
        self.program.jump(self.accept);
    }

    fn ipv6(&mut self) {
        let numbers = |protocol: &Protocol| match protocol {
            Protocol::Number(number) => Some(u32::from(*number)),
            Protocol::Icmp6 => Some(58),
            _ => None,
        };
        self.protocol(6, Protocol::Ip6, numbers);
        if !self.filter.hosts.is_empty() {
            let matched = self.program.label();
            for (address, mask) in self.filter.v6_hosts() {
                [8, 24].iter().for_each(|offset| self.v6_address(*offset, address, mask, matched));
            }
            self.program.jump(self.reject);
            self.program.here(matched);
        }
        if !self.filter.ports.is_empty() {
            self.carries_ports(6);
            self.ports(IPV6_HEADER);
        }
        self.program.jump(self.accept);
    }

    /// A host's questions and answers are of the host; ports it has none.
    fn arp(&mut self) {
        let wanted = self.filter.protocols.is_empty() || self.filter.protocols.contains(&Protocol::Arp);
        if !wanted || !self.filter.ports.is_empty() {
            return self.program.jump(self.reject);
        }
        if self.filter.hosts.is_empty() {
            return self.program.jump(self.accept);
        }
        for (address, mask) in self.filter.v4_hosts() {
            [14, 24].iter().for_each(|offset| self.masked(*offset, u32::from(address), mask, self.accept));
        }
        self.program.jump(self.reject);
    }

    /// Goes on if the protocol, at this offset of the header, is wanted.
    fn protocol(&mut self, offset: u32, whole: Protocol, number: fn(&Protocol) -> Option<u32>) {
        if self.filter.protocols.is_empty() || self.filter.protocols.contains(&whole) {
            return;
        }
        let matched = self.program.label();
        self.program.load_byte_x(offset);
        self.filter
            .protocols
            .iter()
            .filter_map(number)
            .for_each(|number| self.program.jump_if(Test::Equal(number), matched));
        self.program.jump(self.reject);
        self.program.here(matched);
    }

    fn carries_ports(&mut self, offset: u32) {
        let matched = self.program.label();
        self.program.load_byte_x(offset);
        WITH_PORTS.iter().for_each(|number| self.program.jump_if(Test::Equal(*number), matched));
        self.program.jump(self.reject);
        self.program.here(matched);
    }

    /// Goes on if one of the two ports, the first at this offset, is wanted.
    fn ports(&mut self, offset: u32) {
        let matched = self.program.label();
        for side in [offset, offset + 2] {
            self.program.load_half_x(side);
            for port in &self.filter.ports {
                self.program.jump_if(Test::Equal(u32::from(*port)), matched);
            }
        }
        self.program.jump(self.reject);
        self.program.here(matched);
    }

    /// Jumps where the word at the offset and the value agree in the mask's bits.
    fn masked(&mut self, offset: u32, value: u32, mask: u32, matched: Label) {
        self.program.load_word_x(offset);
        self.program.and(mask);
        self.program.jump_if(Test::Equal(value & mask), matched);
    }

    fn v6_address(&mut self, offset: u32, address: Ipv6Addr, mask: u128, matched: Label) {
        let (bits, differs) = (u128::from(address), self.program.label());
        for word in 0..4 {
            let part = |all: u128| (all >> (96 - 32 * word)) as u32;
            let same = self.program.label();
            self.masked(offset + 4 * word, part(bits), part(mask), same);
            self.program.jump(differs);
            self.program.here(same);
        }
        self.program.jump(matched);
        self.program.here(differs);
    }
}

#[cfg(test)]
mod tests;

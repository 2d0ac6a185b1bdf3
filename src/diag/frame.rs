//! A captured frame taken apart, as far as it goes: cut, damaged and made-up bytes end the parsing early and never worse.

use crate::sys::packet::{LinkType, Meta, Packet, VlanTag};
use etherparse::{EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice, TransportSlice, UdpSlice};
use std::net::IpAddr;

const VLAN_TAG: usize = 4;
const ETHERNET_ADDRESSES: usize = 12;
const UDP_HEADER: usize = 8;
/// Kinds of IPv6 extension headers.
const HOP_BY_HOP: u8 = 0;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;

/// The layers of a frame.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Ethernet's addresses, source first.
    pub link: Option<([u8; 6], [u8; 6])>,
    /// What follows the link's headers.
    pub ether_type: u16,
    /// IP or ARP; `None` for anything else, and where it is cut.
    pub net: Option<LaxNetSlice<'a>>,
    /// TCP, UDP or ICMP, where its header is whole.
    pub transport: Option<TransportSlice<'a>>,
    /// Bytes that the IP header claims for the transport's header and payload, cut or not.
    pub claimed: usize,
}

/// The addresses of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrPair {
    pub source: IpAddr,
    pub destination: IpAddr,
}

impl<'a> Frame<'a> {
    /// Takes a packet apart; `None` where not even the link's header is whole.
    pub fn parse(link_type: LinkType, packet: &Packet<'a>) -> Option<Frame<'a>> {
        let mut sliced = match link_type {
            LinkType::Ethernet => LaxSlicedPacket::from_ethernet(packet.data).ok()?,
            LinkType::Cooked => LaxSlicedPacket::from_ether_type(EtherType(packet.meta.protocol), packet.data),
        };
        let link = match &sliced.link {
            Some(LinkSlice::Ethernet2(header)) => Some((header.source(), header.destination())),
            _ => None,
        };
        let net = sliced.net.take();
        let link_length = link.map_or(0, |_| 14) + VLAN_TAG * sliced.link_exts.len();
        let on_wire = (packet.meta.wire_len as usize).saturating_sub(link_length);
        let transport = sliced.transport.take().or_else(|| net.as_ref().and_then(first_fragment));
        let claimed = net.as_ref().map_or(0, |net| claimed(net, on_wire));
        Some(Frame { link, ether_type: ether_type(&sliced, packet), net, transport, claimed })
    }

    /// The addresses of IP.
    pub fn addr_pair(&self) -> Option<AddrPair> {
        match self.net.as_ref()? {
            LaxNetSlice::Ipv4(ip) => Some(AddrPair {
                source: ip.header().source_addr().into(),
                destination: ip.header().destination_addr().into(),
            }),
            LaxNetSlice::Ipv6(ip) => Some(AddrPair {
                source: ip.header().source_addr().into(),
                destination: ip.header().destination_addr().into(),
            }),
            LaxNetSlice::Arp(_) => None,
        }
    }

    /// The protocol within IP, behind the extension headers that are known.
    pub fn ip_number(&self) -> Option<IpNumber> {
        Some(self.net.as_ref()?.ip_payload_ref()?.ip_number)
    }

    /// Whether hop-by-hop options come first.
    pub fn hop_by_hop(&self) -> bool {
        matches!(&self.net, Some(LaxNetSlice::Ipv6(ip)) if ip.header().next_header().0 == HOP_BY_HOP)
    }

    /// Bytes of TCP's payload that the headers claim.
    pub fn tcp_payload(&self, tcp: &TcpSlice) -> usize {
        self.claimed.saturating_sub(usize::from(tcp.data_offset()) * 4)
    }

    /// Bytes of UDP's payload that its header claims, or IP's where it claims none (a jumbogram).
    pub fn udp_payload(&self, udp: &UdpSlice) -> usize {
        match usize::from(udp.length()) {
            0 => self.claimed.saturating_sub(UDP_HEADER),
            length => length.saturating_sub(UDP_HEADER),
        }
    }
}

/// The EtherType behind all tags.
fn ether_type(sliced: &LaxSlicedPacket, packet: &Packet) -> u16 {
    let payload = sliced.link_exts.last().and_then(|last| last.payload());
    match (payload, &sliced.link) {
        (Some(payload), _) => payload.ether_type.0,
        (None, Some(LinkSlice::Ethernet2(header))) => header.ether_type().0,
        _ => packet.meta.protocol,
    }
}

/// What a first fragment begins with: etherparse leaves fragments alone, but this one has the ports.
fn first_fragment<'a>(net: &LaxNetSlice<'a>) -> Option<TransportSlice<'a>> {
    let (payload, first) = match net {
        LaxNetSlice::Ipv4(ip) => (ip.payload(), ip.header().fragments_offset().value() == 0),
        LaxNetSlice::Ipv6(ip) => {
            let extensions = ip.extensions().slice();
            (ip.payload(), !is_later_fragment(ip.header().next_header().0, extensions))
        }
        LaxNetSlice::Arp(_) => return None,
    };
    if !payload.fragmented || !first {
        return None;
    }
    match payload.ip_number {
        IpNumber::UDP => UdpSlice::from_slice_lax(payload.payload).ok().map(TransportSlice::Udp),
        IpNumber::TCP => TcpSlice::from_slice(payload.payload).ok().map(TransportSlice::Tcp),
        _ => None,
    }
}

/// Whether a chain of IPv6 extension headers belongs to a later fragment. Walked here, by checked steps only: the iterator of etherparse 0.21
/// reads beyond a chain that ended in an error.
pub(super) fn is_later_fragment(first: u8, chain: &[u8]) -> bool {
    let (mut kind, mut rest) = (first, chain);
    while let [next, length, ..] = *rest {
        let length = match kind {
            FRAGMENT => {
                let offset = rest.get(2..4).map_or(0, |field| u16::from_be_bytes([field[0], field[1]]) >> 3);
                if offset != 0 {
                    return true;
                }
                8
            }
            AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        (kind, rest) = (next, rest.get(length..).unwrap_or_default());
    }
    false
}

/// Bytes behind the IP headers, by what the header says; where it says 0 (segments that are larger than its field can
/// say), by the length on the wire.
fn claimed(net: &LaxNetSlice, on_wire: usize) -> usize {
    let (total, headers) = match net {
        LaxNetSlice::Ipv4(ip) => {
            let extensions = ip.extensions().auth.map_or(0, |auth| auth.slice().len());
            (usize::from(ip.header().total_len()), ip.header().slice().len() + extensions)
        }
        LaxNetSlice::Ipv6(ip) => {
            let fixed = ip.header().slice().len();
            let payload = usize::from(ip.header().payload_length());
            let total = if payload == 0 { 0 } else { payload + fixed };
            (total, fixed + ip.extensions().slice().len())
        }
        LaxNetSlice::Arp(_) => return 0,
    };
    let total = if total == 0 { on_wire } else { total };
    total.saturating_sub(headers)
}

/// The frame as it was on the wire: with the VLAN tag back that the kernel took out. Returns what was added to its
/// length.
pub fn with_vlan<'a>(packet: &Packet<'a>, link_type: LinkType, room: &'a mut Vec<u8>) -> (Packet<'a>, u32) {
    let Some(tag) = packet.meta.vlan.filter(|_| link_type == LinkType::Ethernet) else { return (*packet, 0) };
    let Some((addresses, rest)) = packet.data.split_at_checked(ETHERNET_ADDRESSES) else { return (*packet, 0) };
    let VlanTag { ethertype, control } = tag;
    room.clear();
    room.extend_from_slice(addresses);
    room.extend_from_slice(&ethertype.to_be_bytes());
    room.extend_from_slice(&control.to_be_bytes());
    room.extend_from_slice(rest);
    let added = VLAN_TAG as u32;
    let meta = Meta { wire_len: packet.meta.wire_len.saturating_add(added), vlan: None, ..packet.meta };
    (Packet { meta, data: room }, added)
}

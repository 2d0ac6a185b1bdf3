//! Probes as bytes: all of one flow, each with a number that comes back with whatever answers it.
//!
//! The number of a UDP probe is its checksum, which a word of the payload makes come out as wanted; that of a TCP probe is
//! the lower half of its sequence number; that of an ICMP probe the sequence number, and a word of the payload keeps the
//! checksum, which some routers count to the flow, the same.

use super::Method;
use crate::diag::echo::write_request;
use crate::diag::icmp::{EchoId, Family, QuotedHeader};
use etherparse::{TcpHeader, TcpHeaderSlice, TcpOptionElement, UdpHeader};
use std::net::IpAddr;

/// Bytes of payload of UDP and ICMP probes.
const SIZE: usize = 32;
const WINDOW: u16 = 65_535;
/// What fits an Ethernet frame.
const SEGMENT_SIZE: u16 = 1_460;

/// What all probes have in common.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// What the probes are.
    pub method: Method,
    /// Address that probes are sent from.
    pub source: IpAddr,
    /// The host that is traced.
    pub destination: IpAddr,
    /// The echo identifier of ICMP probes.
    pub source_port: u16,
    /// The upper half of the sequence numbers of TCP probes.
    pub upper: u16,
}

impl Flow {
    /// Writes the probe with this number into an empty vector: all that follows the IP header. The number is neither 0 nor
    /// 65535.
    pub fn write(&self, number: u16, to: &mut Vec<u8>) {
        match self.method {
            Method::Udp { port } => self.write_udp(port, number, to),
            Method::Tcp { port } => self.write_syn(port, number, to),
            Method::Icmp => write_request(Family::of(self.destination), EchoId(self.source_port), number, to, |to| {
                to.extend_from_slice(&(!number).to_be_bytes());
                to.resize(to.len() + SIZE - 2, 0);
            }),
        }
    }

    fn write_udp(&self, port: u16, number: u16, to: &mut Vec<u8>) {
        let length = (UdpHeader::LEN + SIZE) as u16;
        let mut header = UdpHeader { source_port: self.source_port, destination_port: port, length, checksum: 0 };
        let mut payload = [0u8; SIZE];
        let sum = !self.udp_checksum(&header, &payload);
        // In ones' complement arithmetic, where 65535 is 0: the word that is missing to the sum which the number is the
        // complement of.
        let word = (u32::from(!number) + 0xffff - u32::from(sum)) % 0xffff;
        payload[..2].copy_from_slice(&(word as u16).to_be_bytes());
        header.checksum = self.udp_checksum(&header, &payload);
        debug_assert_eq!(header.checksum, number);
        to.extend_from_slice(&header.to_bytes());
        to.extend_from_slice(&payload);
    }

    fn udp_checksum(&self, header: &UdpHeader, payload: &[u8]) -> u16 {
        let checksum = match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload),
            (from, to) => header.calc_checksum_ipv6_raw(v6(from), v6(to), payload),
        };
        checksum.expect("a short payload")
    }

    fn write_syn(&self, port: u16, number: u16, to: &mut Vec<u8>) {
        let mut header = TcpHeader::new(self.source_port, port, self.tcp_sequence(number), WINDOW);
        header.syn = true;
        header.set_options(&[TcpOptionElement::MaximumSegmentSize(SEGMENT_SIZE)]).expect("one short option");
        let checksum = match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &[]),
            (from, to) => header.calc_checksum_ipv6_raw(v6(from), v6(to), &[]),
        };
        header.checksum = checksum.expect("no payload");
        to.extend_from_slice(&header.to_bytes());
    }

    fn tcp_sequence(&self, number: u16) -> u32 {
        u32::from(self.upper) << 16 | u32::from(number)
    }

    /// The number of the probe that was quoted; `None` where it is not of this flow.
    pub fn number_of(&self, quoted: &QuotedHeader) -> Option<u16> {
        let own = |source: u16, destination: u16, port: u16| (source, destination) == (self.source_port, port);
        match (self.method, *quoted) {
            (Method::Udp { port }, QuotedHeader::Udp { source, destination, checksum }) => {
                own(source, destination, port).then_some(checksum)
            }
            (Method::Icmp, QuotedHeader::Echo { id, sequence }) => (id.0 == self.source_port).then_some(sequence),
            (Method::Tcp { port }, QuotedHeader::Tcp { source, destination, sequence }) => {
                own(source, destination, port).then(|| self.lower(sequence)).flatten()
            }
            _ => None,
        }
    }

    /// The number of the SYN that a TCP segment of the target answers: with an acknowledgement or a refusal.
    pub fn number_acknowledged(&self, segment: &[u8]) -> Option<u16> {
        let Method::Tcp { port } = self.method else { return None };
        let header = TcpHeaderSlice::from_slice(segment).ok()?;
        let own = (header.source_port(), header.destination_port()) == (port, self.source_port);
        let answers = own && header.ack() && (header.syn() || header.rst());
        answers.then(|| self.lower(header.acknowledgment_number().wrapping_sub(1))).flatten()
    }

    fn lower(&self, sequence: u32) -> Option<u16> {
        ((sequence >> 16) as u16 == self.upper).then_some(sequence as u16)
    }
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::icmp::{ErrorMessage, Icmp, parse};
    use proptest::prelude::*;

    fn flow(method: Method, v6: bool, source_port: u16, upper: u16) -> Flow {
        let [source, destination] = match v6 {
            true => ["fd00::1", "fd00::2"],
            false => ["10.0.0.1", "10.9.9.9"],
        }
        .map(|text| text.parse().unwrap());
        Flow { method, source, destination, source_port, upper }
    }

    fn methods() -> impl Strategy<Value = Method> {
        prop_oneof![
            any::<u16>().prop_map(|port| Method::Udp { port }),
            Just(Method::Icmp),
            any::<u16>().prop_map(|port| Method::Tcp { port }),
        ]
    }

    /// An error as a router sends it that quotes the first 8 bytes after the IP header.
    fn quoting(flow: &Flow, probe: &[u8]) -> Vec<u8> {
        let protocol = match (flow.method, flow.destination.is_ipv6()) {
            (Method::Udp { .. }, _) => 17,
            (Method::Tcp { .. }, _) => 6,
            (Method::Icmp, v6) => {
                if v6 {
                    58
                } else {
                    1
                }
            }
        };
        let ip = match (flow.source, flow.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                [&[0x45, 0, 0, 28, 0, 0, 0, 0, 1, protocol, 0, 0][..], &from.octets(), &to.octets()].concat()
            }
            (from, to) => [&[0x60, 0, 0, 0, 0, 8, protocol, 1][..], &v6(from), &v6(to)].concat(),
        };
        let kind = if flow.destination.is_ipv6() { 3 } else { 11 };
        let mut message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &ip, &probe[..8]].concat();
        let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&message).ones_complement();
        message[2..4].copy_from_slice(&sum.to_ne_bytes());
        message
    }

    proptest! {
        #[test]
        fn the_number_comes_back_out_of_an_error(
            method in methods(), v6: bool, port: u16, upper: u16, number in 1..u16::MAX,
        ) {
            let flow = flow(method, v6, port, upper);
            let mut probe = Vec::new();
            flow.write(number, &mut probe);
            let message = quoting(&flow, &probe);
            let Ok(Icmp::Error(ErrorMessage { reason, quoted })) = parse(Family::of(flow.destination), &message) else {
                return Err(TestCaseError::fail("it is an error"));
            };
            prop_assert!(reason.is_time_exceeded());
            prop_assert_eq!(quoted.destination, flow.destination);
            prop_assert_eq!(flow.number_of(&quoted.transport), Some(number));
            let other = Flow { source_port: port ^ 1, ..flow };
            prop_assert_eq!(other.number_of(&quoted.transport), None);
        }

        /// Routers that spread load look at the first four bytes of what follows the IP header.
        #[test]
        fn all_probes_are_of_one_flow(method in methods(), v6: bool, numbers in any::<[u16; 2]>()) {
            let flow = flow(method, v6, 7777, 1);
            let [one, other] = numbers.map(|number| {
                let mut probe = Vec::new();
                flow.write(number.clamp(1, u16::MAX - 1), &mut probe);
                probe
            });
            prop_assert_eq!(one.len(), other.len());
            prop_assert_eq!(&one[..4], &other[..4]);
        }

        #[test]
        fn the_number_comes_back_out_of_a_handshake(v6: bool, upper: u16, number in 1..u16::MAX, refused: bool) {
            let flow = flow(Method::Tcp { port: 443 }, v6, 7777, upper);
            let mut answer = TcpHeader::new(443, 7777, 99, 100);
            (answer.ack, answer.syn, answer.rst) = (true, !refused, refused);
            answer.acknowledgment_number = flow.tcp_sequence(number).wrapping_add(1);
            prop_assert_eq!(flow.number_acknowledged(&answer.to_bytes()), Some(number));
            answer.source_port = 80;
            prop_assert_eq!(flow.number_acknowledged(&answer.to_bytes()), None);
        }

        #[test]
        fn garbage_acknowledges_nothing(bytes: Vec<u8>) {
            let _ = flow(Method::Tcp { port: 1 }, false, 2, 3).number_acknowledged(&bytes);
        }
    }
}

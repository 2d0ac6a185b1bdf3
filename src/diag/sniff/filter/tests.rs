//! Programs run by the kernel: attached to one end of a pair of unix sockets, they see datagrams as if they were frames.

use super::*;
use etherparse::PacketBuilder;
use proptest::prelude::*;
use socket2::{Domain, Socket, Type};
use std::io::Read;

const CONTEXT: FilterContext = FilterContext { link_type: LinkType::Ethernet, loopback: None, snap: Bytes(65_535) };

/// How many bytes of the frame the kernel lets pass.
fn passed(filter: &Filter, context: FilterContext, frame: &[u8]) -> Option<usize> {
    let (sender, mut receiver) = Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
    receiver.set_nonblocking(true).unwrap();
    receiver.attach_filter(&filter.compile(context).unwrap()).unwrap();
    // What the filter refuses is an error to the sender of a unix datagram.
    sender.send(frame).ok()?;
    receiver.read(&mut vec![0; 1 << 16]).ok()
}

fn passes(filter: &Filter, frame: &[u8]) -> bool {
    passed(filter, CONTEXT, frame).is_some()
}

fn filter(ports: &[u16], hosts: &[&str], protocols: &[&str]) -> Filter {
    Filter {
        ports: ports.to_vec(),
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        protocols: protocols.iter().map(|protocol| protocol.parse().unwrap()).collect(),
    }
}

fn build(builder: etherparse::PacketBuilderStep<etherparse::UdpHeader>) -> Vec<u8> {
    let mut frame = Vec::new();
    builder.write(&mut frame, b"payload").unwrap();
    frame
}

fn udp4(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
    build(PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(from.0, to.0, 9).udp(from.1, to.1))
}

fn udp6(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16)) -> Vec<u8> {
    build(PacketBuilder::ethernet2([1; 6], [2; 6]).ipv6(from.0.octets(), to.0.octets(), 9).udp(from.1, to.1))
}

/// Puts a VLAN tag behind the addresses.
fn tagged(frame: &[u8], ethertype: u16) -> Vec<u8> {
    [&frame[..12], &ethertype.to_be_bytes(), &[0, 5], &frame[12..]].concat()
}

fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let head = [&[0xff; 6][..], &[2; 6], &[8, 6], &[0, 1, 8, 0, 6, 4, 0, 1], &[2; 6], &sender, &[0; 6]].concat();
    [&head[..], &target].concat()
}

#[test]
fn ports_hosts_and_protocols_pick_their_packets() {
    let four = udp4(([10, 0, 0, 1], 1000), ([10, 9, 9, 2], 53));
    let six = udp6(("fe80::1".parse().unwrap(), 1000), ("2001:db8::2".parse().unwrap(), 53));
    let question = arp([10, 0, 0, 1], [10, 0, 0, 7]);
    for (wanted, expected) in [
        (filter(&[], &[], &[]), [true, true, true]),
        (filter(&[53], &[], &[]), [true, true, false]),
        (filter(&[1000, 7], &[], &[]), [true, true, false]),
        (filter(&[54], &[], &[]), [false, false, false]),
        (filter(&[], &["10.0.0.1"], &[]), [true, false, true]),
        (filter(&[], &["10.9.0.0/16"], &[]), [true, false, false]),
        (filter(&[], &["10.0.0.7"], &[]), [false, false, true]),
        (filter(&[], &["0.0.0.0/0"], &[]), [true, false, true]),
        (filter(&[], &["::/0"], &[]), [false, true, false]),
        (filter(&[], &["2001:db8::/32", "1.2.3.4"], &[]), [false, true, false]),
        (filter(&[], &["fe80::1"], &[]), [false, true, false]),
        (filter(&[], &["fe80::2"], &[]), [false, false, false]),
        (filter(&[], &[], &["udp"]), [true, true, false]),
        (filter(&[], &[], &["tcp", "17"]), [true, true, false]),
        (filter(&[], &[], &["tcp"]), [false, false, false]),
        (filter(&[], &[], &["ip"]), [true, false, false]),
        (filter(&[], &[], &["ip6"]), [false, true, false]),
        (filter(&[], &[], &["arp", "icmp"]), [false, false, true]),
        (filter(&[53], &["10.0.0.1"], &["udp"]), [true, false, false]),
        (filter(&[53], &["10.0.0.1"], &["tcp"]), [false, false, false]),
    ] {
        let found = [&four, &six, &question].map(|frame| passes(&wanted, frame));
        assert_eq!(found, expected, "{wanted:?}");
    }
}

#[test]
fn icmp_is_of_its_version() {
    let mut four = Vec::new();
    let base = || PacketBuilder::ethernet2([1; 6], [2; 6]);
    base().ipv4([1; 4], [2; 4], 9).icmpv4_echo_request(1, 2).write(&mut four, &[]).unwrap();
    let mut six = Vec::new();
    base().ipv6([1; 16], [2; 16], 9).icmpv6_echo_request(1, 2).write(&mut six, &[]).unwrap();
    for (name, expected) in
        [("icmp", [true, false]), ("icmp6", [false, true]), ("1", [true, false]), ("58", [false, true])]
    {
        let wanted = filter(&[], &[], &[name]);
        assert_eq!([passes(&wanted, &four), passes(&wanted, &six)], expected, "{name}");
    }
}

#[test]
fn tags_and_options_are_looked_behind() {
    let plain = udp4(([10, 0, 0, 1], 1000), ([10, 9, 9, 2], 53));
    let wanted = filter(&[53], &["10.9.9.2"], &["udp"]);
    let once = tagged(&plain, 0x8100);
    assert!(passes(&wanted, &once) && passes(&wanted, &tagged(&once, 0x88a8)));
    let thrice = tagged(&tagged(&once, 0x8100), 0x8100);
    assert!(!passes(&wanted, &thrice), "two tags are said to be the limit");
    // Header length 6 words: four bytes of options before the ports.
    let mut options = [&plain[..34], &[1, 1, 1, 0], &plain[34..]].concat();
    options[14] = 0x46;
    assert!(passes(&wanted, &options));
}

#[test]
fn later_fragments_have_no_ports() {
    let mut fragment = udp4(([10, 0, 0, 1], 1000), ([10, 9, 9, 2], 53));
    fragment[20] = 0x20;
    assert!(passes(&filter(&[53], &[], &[]), &fragment), "the first has");
    fragment[21] = 1;
    assert!(!passes(&filter(&[53], &[], &[]), &fragment));
    assert!(passes(&filter(&[], &["10.0.0.1"], &["udp"]), &fragment), "addresses and protocol it has");
}

#[test]
fn the_snap_length_cuts() {
    let frame = udp4(([10, 0, 0, 1], 1000), ([10, 9, 9, 2], 53));
    for snap in [1, 20, 49, 4000] {
        let context = FilterContext { snap: Bytes(snap), ..CONTEXT };
        for wanted in [filter(&[], &[], &[]), filter(&[53], &[], &[])] {
            assert_eq!(passed(&wanted, context, &frame), Some(frame.len().min(snap as usize)));
        }
    }
}

#[test]
fn hundreds_of_values_still_make_a_program_and_too_many_an_error() {
    let ports: Vec<u16> = (1..=400).collect();
    let wanted = filter(&ports, &["10.0.0.1"], &[]);
    let to = |port| udp4(([10, 0, 0, 1], 9999), ([10, 9, 9, 2], port));
    assert!(passes(&wanted, &to(1)) && passes(&wanted, &to(400)) && !passes(&wanted, &to(401)));
    let ports: Vec<u16> = (1..=4000).collect();
    assert_eq!(filter(&ports, &[], &[]).compile(CONTEXT).unwrap_err(), FilterTooLong);
}

/// What should pass, from etherparse's view of the frame.
fn should_pass(wanted: &Filter, from: (IpAddr, u16), to: (IpAddr, u16)) -> bool {
    let port = wanted.ports.is_empty() || wanted.ports.iter().any(|port| [from.1, to.1].contains(port));
    let within = |hosts: &Hosts, address: IpAddr| match (hosts.address, address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (u32::from(one) ^ u32::from(other)).leading_zeros() >= u32::from(hosts.prefix)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (u128::from(one) ^ u128::from(other)).leading_zeros() >= u32::from(hosts.prefix)
        }
        _ => false,
    };
    let host = wanted.hosts.is_empty() || wanted.hosts.iter().any(|hosts| within(hosts, from.0) || within(hosts, to.0));
    let protocols = &wanted.protocols;
    let version = if from.0.is_ipv4() { Protocol::Ip } else { Protocol::Ip6 };
    let protocol = protocols.is_empty() || protocols.contains(&Protocol::Number(17)) || protocols.contains(&version);
    port && host && protocol
}

/// Few different bits, so that matches happen.
fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        prop::sample::select(vec![0u32, 0x8000_0000, 0x0a00_0001, 0x0a00_0002, u32::MAX])
            .prop_map(|bits| IpAddr::V4(bits.into())),
        prop::sample::select(vec![0u128, 1, 1 << 127, 1 << 64, 1 << 63, u128::MAX])
            .prop_map(|bits| IpAddr::V6(bits.into())),
    ]
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let hosts = (any_address(), 0..=128u8).prop_map(|(address, prefix)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        Hosts { address, prefix: prefix.min(most) }
    });
    let protocols = prop::sample::select(vec!["tcp", "udp", "icmp", "ip", "ip6", "arp"]);
    let protocols = protocols.prop_map(|name| name.parse().unwrap());
    (prop::collection::vec(1..5u16, 0..3), prop::collection::vec(hosts, 0..3), prop::collection::vec(protocols, 0..3))
        .prop_map(|(ports, hosts, protocols)| Filter { ports, hosts, protocols })
}

proptest! {
    #[test]
    fn the_kernel_and_a_plain_reading_agree(
        wanted in any_filter(), from in any_address(), to in any_address(), ports in (1..5u16, 1..5u16), tags in 0..3usize,
    ) {
        let frame = match (from, to) {
            (IpAddr::V4(one), IpAddr::V4(other)) => udp4((one.octets(), ports.0), (other.octets(), ports.1)),
            (IpAddr::V6(one), IpAddr::V6(other)) => udp6((one, ports.0), (other, ports.1)),
            _ => return Ok(()),
        };
        let frame = (0..tags).fold(frame, |frame, _| tagged(&frame, 0x8100));
        prop_assert_eq!(passes(&wanted, &frame), should_pass(&wanted, (from, ports.0), (to, ports.1)));
    }

    /// Cut anywhere, a frame passes or does not; the program is one that the kernel's checker takes.
    #[test]
    fn any_bytes_are_survived(wanted in any_filter(), bytes in prop::collection::vec(any::<u8>(), 1..80)) {
        passes(&wanted, &bytes);
    }
}

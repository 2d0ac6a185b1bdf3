//! Messages as other code writes them, and garbage.

use super::*;
use etherparse::{Icmpv4Header, Icmpv4Type, PacketBuilder, icmpv4};
use proptest::prelude::*;

const HERE: [u8; 4] = [10, 0, 0, 1];
const THERE: [u8; 4] = [10, 0, 9, 9];

fn packet(build: impl FnOnce(etherparse::PacketBuilderStep<etherparse::IpHeaders>, &mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    build(PacketBuilder::ipv4(HERE, THERE, 7), &mut bytes);
    bytes
}

/// An ICMPv4 error that quotes the first `len` bytes of a packet.
fn error(kind: Icmpv4Type, quoted: &[u8], len: usize) -> Vec<u8> {
    let quoted = &quoted[..len.min(quoted.len())];
    [&Icmpv4Header::with_checksum(kind, quoted).to_bytes(), quoted].concat()
}

fn quote(message: &[u8]) -> ErrorMessage {
    match parse(Family::V4, message) {
        Ok(Icmp::Error(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_error_names_the_packet_that_caused_it() {
    let exceeded = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
    let echo = packet(|ip, to| ip.icmpv4_echo_request(77, 5).write(to, &[1; 40]).unwrap());
    let udp = packet(|ip, to| ip.udp(1234, 33434).write(to, &[1; 40]).unwrap());
    let tcp = packet(|ip, to| ip.tcp(1234, 80, 0xdead_beef, 512).syn().write(to, &[]).unwrap());
    let checksum = u16::from_be_bytes([udp[26], udp[27]]);
    for (bytes, transport) in [
        (echo, QuotedHeader::Echo { id: EchoId(77), sequence: 5 }),
        (udp, QuotedHeader::Udp { source: 1234, destination: 33434, checksum }),
        (tcp, QuotedHeader::Tcp { source: 1234, destination: 80, sequence: 0xdead_beef }),
    ] {
        // The header and 8 bytes, as routers of old; and all of it.
        for len in [28, 68] {
            let parsed = quote(&error(exceeded.clone(), &bytes, len));
            assert!(parsed.reason.is_time_exceeded());
            let expected = Quoted { source: HERE.into(), destination: THERE.into(), transport };
            assert_eq!(parsed.quoted, expected, "{len} bytes quoted");
        }
        assert_eq!(quote(&error(exceeded.clone(), &bytes, 27)).quoted.transport, QuotedHeader::Other);
        assert_eq!(parse(Family::V4, &error(exceeded.clone(), &bytes, 19)), Err(IcmpError::Quote));
    }
}

#[test]
fn extension_headers_of_ipv6_are_passed_over() {
    let udp = [0x04, 0xd2, 0x82, 0x9a, 0, 8, 0xab, 0xcd];
    // Hop-by-hop options, then UDP.
    let content = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp].concat();
    let mut packet = vec![0x60, 0, 0, 0, 0, content.len() as u8, 0, 3];
    packet.extend_from_slice(&[0xfd; 32]);
    packet.extend_from_slice(&content);
    let message = [&[1, 4, 0, 0, 0, 0, 0, 0][..], &packet].concat();
    let Ok(Icmp::Error(parsed)) = parse(Family::V6, &message) else { panic!("an error") };
    assert!(parsed.reason.is_port_unreachable());
    assert_eq!(parsed.quoted.transport, QuotedHeader::Udp { source: 1234, destination: 33434, checksum: 0xabcd });
}

#[test]
fn a_later_fragment_is_of_no_transport() {
    let mut udp = packet(|ip, to| ip.udp(1234, 33434).write(to, &[1; 40]).unwrap());
    udp[7] = 9;
    let kind = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host);
    assert_eq!(quote(&error(kind, &udp, 60)).quoted.transport, QuotedHeader::Other);
    for (offset, expected) in [(0, true), (8, false)] {
        let content = [17, 0, 0, offset, 0, 0, 0, 7, 0x04, 0xd2, 0x82, 0x9a, 0, 8, 0xab, 0xcd];
        let head = [&[0x60, 0, 0, 0, 0, content.len() as u8, 44, 3][..], &[0xfd; 32]].concat();
        let message = [&[1, 4, 0, 0, 0, 0, 0, 0][..], &head, &content].concat();
        let Ok(Icmp::Error(parsed)) = parse(Family::V6, &message) else { panic!("an error") };
        assert_eq!(
            matches!(parsed.quoted.transport, QuotedHeader::Udp { source: 1234, .. }),
            expected,
            "offset {offset}"
        );
    }
}

#[test]
fn a_reply_comes_whole_or_not_at_all() {
    let header = etherparse::IcmpEchoHeader { id: 3, seq: 9 };
    let payload = b"payload";
    let mut message = Icmpv4Header::with_checksum(Icmpv4Type::EchoReply(header), payload).to_bytes().to_vec();
    message.extend_from_slice(payload);
    let expected = Echo { id: EchoId(3), sequence: 9, payload };
    assert_eq!(parse(Family::V4, &message), Ok(Icmp::Reply(expected)));
    message[9] ^= 1;
    assert_eq!(parse(Family::V4, &message), Err(IcmpError::Checksum));
    assert_eq!(parse(Family::V4, &message[..7]), Err(IcmpError::Short));
}

#[test]
fn meanings_read_as_words() {
    let text = |family, kind, code, mtu| IcmpReason { family, kind, code, mtu }.to_string();
    assert_eq!(text(Family::V4, 3, 1, 0), "host unreachable");
    assert_eq!(text(Family::V6, 1, 3, 0), "address unreachable");
    assert_eq!(text(Family::V6, 2, 0, 1280), "packet too big: the next link takes 1280 bytes");
    assert_eq!(text(Family::V4, 3, 99, 0), "ICMP type 3 code 99");
    assert!(!IcmpReason { family: Family::V4, kind: 5, code: 0, mtu: 0 }.is_final());
}

fn families() -> impl Strategy<Value = Family> {
    prop::sample::select(vec![Family::V4, Family::V6])
}

fn header_kinds() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0u8, 43, 44, 51, 60, 135, 58, 17, 6])
}

proptest! {
    #[test]
    fn garbage_is_refused_without_a_panic(family in families(), bytes: Vec<u8>) {
        let _ = (parse(family, &bytes), parse_echo(&bytes), within_ipv4(&bytes), quoted(&bytes));
    }

    #[test]
    fn errors_that_quote_garbage_are_read_without_a_panic(
        family in families(),
        kind in prop::sample::select(vec![1u8, 2, 3, 4, 5, 11, 12]),
        code: u8,
        version in prop::sample::select(vec![0x45u8, 0x4f, 0x60, 0x00]),
        // Over IPv6 the kinds of the first two headers: extensions, fragments, authentication, what we send.
        [first, second] in [header_kinds(), header_kinds()],
        mut body in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        if let Some(byte) = body.first_mut() {
            *byte = version;
        }
        for (at, kind) in [(6, first), (40, second)] {
            body.get_mut(at).into_iter().for_each(|byte| *byte = kind);
        }
        let mut message = [&[kind, code, 0, 0, 1, 2, 3, 4][..], &body].concat();
        let sum = Sum16BitWords::new().add_slice(&message).ones_complement().to_ne_bytes();
        message[2..4].copy_from_slice(&sum);
        prop_assert_ne!(parse(family, &message), Err(IcmpError::Checksum));
    }
}

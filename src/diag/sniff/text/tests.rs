//! Lines for frames that are built, cut, damaged and made up. Whether whole frames read as tcpdump's, the suite
//! tests/sniff.rs asks tcpdump.

use super::*;
use crate::diag::latency::{FlowTable, Limits};
use crate::diag::sniff::sink::feed;
use crate::sys::packet::Meta;
use etherparse::PacketBuilder;
use proptest::prelude::*;

fn packet(data: &[u8], protocol: u16) -> Packet<'_> {
    Packet { meta: Meta::sample(Nanos(1_700_000_000_123_456_789), data.len() as u32, protocol), data }
}

/// Without the time of day, which depends on where one is.
fn line(data: &[u8]) -> String {
    let mut out = Vec::new();
    Printer::new(LinkType::Ethernet, false).print(&packet(data, 0x0800), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let (time, rest) = text.split_once(' ').unwrap();
    assert_eq!((time.len(), &time[8..]), (15, ".123456"), "{text}");
    rest.trim_end().to_owned()
}

fn tcp() -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    let options =
        [TcpOptionElement::MaximumSegmentSize(1460), TcpOptionElement::Noop, TcpOptionElement::WindowScale(7)];
    builder.tcp(1000, 80, 7, 512).syn().options(&options).unwrap().write(&mut frame, &[]).unwrap();
    frame
}

fn udp6() -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv6([0; 16], [0xfe; 16], 64)
        .udp(1, 2)
        .write(&mut frame, &[0; 9])
        .unwrap();
    frame
}

/// Puts extension headers between IPv6 and its payload: (kind, bytes without the next header's number).
fn extended(frame: &[u8], chain: &[(u8, &[u8])]) -> Vec<u8> {
    let (mut next, mut headers) = (frame[20], Vec::new());
    for (kind, rest) in chain.iter().rev() {
        headers = [&[next], *rest, &headers].concat();
        next = *kind;
    }
    let mut all = [&frame[..54], &headers, &frame[54..]].concat();
    all[20] = next;
    let length = (all.len() - 54) as u16;
    all[18..20].copy_from_slice(&length.to_be_bytes());
    all
}

const OPTIONS: &[u8] = &[0, 1, 4, 0, 0, 0, 0];

/// Whole, odd and broken frames.
fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let with = |mut frame: Vec<u8>, at: usize, byte: u8| {
        frame[at] = byte;
        frame
    };
    vec![
        ("whole", tcp()),
        ("whole IPv6", udp6()),
        ("nothing", Vec::new()),
        ("half a link header", vec![1; 13]),
        ("a link header only", [&[1; 12][..], &[8, 0]].concat()),
        ("IPv4 header length 0", with(tcp(), 14, 0x40)),
        ("IPv4 header longer than the frame", with(tcp(), 14, 0x4f)),
        ("IPv4 total length 0", with(with(tcp(), 16, 0), 17, 0)),
        ("IPv4 total length of 3", with(with(tcp(), 16, 0), 17, 3)),
        ("IPv4 total length of 65535", with(with(tcp(), 16, 255), 17, 255)),
        ("IP version 9", with(tcp(), 14, 0x95)),
        ("wrong checksums", with(with(tcp(), 24, 0xff), 50, 0xff)),
        ("TCP header length 0", with(tcp(), 46, 0)),
        ("TCP header longer than the segment", with(tcp(), 46, 0xf0)),
        ("TCP option of length 0", with(tcp(), 55, 0)),
        ("UDP length 0", with(with(udp6(), 58, 0), 59, 0)),
        ("UDP length of 65535", with(with(udp6(), 58, 255), 59, 255)),
        ("a first fragment", with(tcp(), 20, 0x20)),
        ("a later fragment", with(tcp(), 21, 0xb9)),
        ("802.3 with LLC", [&[1; 12][..], &[0, 38], &[0x42; 38]].concat()),
        ("endless VLAN tags", [&[1; 12][..], &[0x81, 0, 0, 1].repeat(20)].concat()),
        ("IPv6 extension chain", extended(&udp6(), &[(0, OPTIONS), (43, OPTIONS), (60, OPTIONS)])),
        ("IPv6 first fragment", extended(&udp6(), &[(44, &[0, 0, 1, 0, 0, 0, 9])])),
        ("IPv6 later fragment", extended(&udp6(), &[(44, &[0, 0, 9, 0, 0, 0, 9])])),
        ("IPv6 extension longer than the packet", extended(&udp6(), &[(0, &[255, 1, 4, 0, 0, 0, 0])])),
        ("IPv6 with twelve extensions", extended(&udp6(), &[(60, OPTIONS); 12])),
        ("ARP of strange sizes", [&[1; 12][..], &[8, 6, 0, 9, 9, 9, 3, 7, 0, 1], &[7; 20]].concat()),
        ("ARP cut", [&[1; 12][..], &[8, 6, 0, 1, 8]].concat()),
        ("ICMP quoting nonsense", icmp_unreachable(&[0xff; 30])),
        ("ICMP quoting nothing", icmp_unreachable(&[])),
    ]
}

fn icmp_unreachable(quoted: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.icmpv4_raw(3, 3, [0; 4]).write(&mut frame, quoted).unwrap();
    frame
}

/// Prints a frame and feeds it to a table, as any device and as the kind it is.
fn survive(bytes: &[u8]) {
    let mut table = FlowTable::new(80, Limits::default());
    for link_type in [LinkType::Ethernet, LinkType::Cooked] {
        for protocol in [0x0800, 0x86dd, 0x0806, 0x8100, 0] {
            let packet = packet(bytes, protocol);
            let mut out = Vec::new();
            Printer::new(link_type, true).print(&packet, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{text:?}");
            feed(&mut table, link_type, &packet);
        }
    }
}

#[test]
fn every_frame_of_the_corpus_cut_anywhere_has_a_line() {
    for (_, frame) in corpus() {
        (0..=frame.len()).for_each(|length| survive(&frame[..length]));
    }
}

#[test]
fn what_is_odd_is_said() {
    let corpus = corpus();
    let of = |name| line(&corpus.iter().find(|(known, _)| *known == name).unwrap().1);
    assert_eq!(
        of("whole"),
        "IP 10.0.0.1.1000 > 10.0.0.2.80: Flags [S], seq 7, win 512, options [mss 1460,nop,wscale 7], length 0"
    );
    assert_eq!(of("whole IPv6"), "IP6 ::.1 > fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe.2: UDP, length 9");
    assert_eq!(of("nothing"), "[|ether], length 0");
    assert_eq!(of("a link header only"), "IP [|ip]");
    assert_eq!(of("IPv4 header longer than the frame"), "IP [|ip]");
    assert_eq!(of("TCP header length 0"), "IP 10.0.0.1 > 10.0.0.2: [|tcp]");
    assert_eq!(of("a later fragment"), "IP 10.0.0.1 > 10.0.0.2: ip-proto-6");
    assert_eq!(of("IPv6 later fragment"), "IP6 :: > fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe: ip-proto-17");
    assert_eq!(of("ARP cut"), "ARP [|arp]");
    assert_eq!(of("802.3 with LLC"), "01:01:01:01:01:01 > 01:01:01:01:01:01, ethertype 0x0026, length 52");
    assert!(of("IPv6 extension chain").ends_with(".2: UDP, length 9"));
}

#[test]
fn sequence_numbers_count_from_where_the_connection_was_first_seen() {
    let mut printer = Printer::new(LinkType::Ethernet, false);
    let mut print = |from: u16, to: u16, sequence: u32, acknowledged: u32| {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 1], 64);
        builder.tcp(from, to, sequence, 9).ack(acknowledged).write(&mut frame, &[1]).unwrap();
        let mut out = Vec::new();
        printer.print(&packet(&frame, 0x0800), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.split(", seq ").nth(1).unwrap().split(", win").next().unwrap().to_owned()
    };
    assert_eq!(print(5, 80, u32::MAX, 1000), "4294967295:0, ack 1000");
    assert_eq!(print(80, 5, 1000, 0), "1:2, ack 1");
    assert_eq!(print(5, 80, 0, 1001), "1:2, ack 2");
}

proptest! {
    #[test]
    fn any_bytes_have_a_line(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survive(&bytes);
    }

    /// Frames of the corpus with bytes changed: closer to what is understood than nonsense is.
    #[test]
    fn damaged_frames_have_a_line(
        which in any::<prop::sample::Index>(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let corpus = corpus();
        let mut frame = which.get(&corpus).1.clone();
        if !frame.is_empty() {
            changes.iter().for_each(|(at, byte)| *at.get_mut(&mut frame) = *byte);
        }
        survive(&frame);
    }
}

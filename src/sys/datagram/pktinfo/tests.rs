//! Bytes that the kernel might write, and sockets that it does write for: answers leave from where the request arrived.

use super::*;
use crate::sys::datagram::{RecvBatch, receive_with_local, send, set_gro};
use crate::sys::socket::Blocking;
use proptest::prelude::*;
use socket2::{Protocol, Type};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

fn read(all: &[(c_int, c_int, &[u8])]) -> PktInfo {
    let mut control = PktInfoBuffer::EMPTY;
    all.iter().for_each(|(level, kind, data)| control.push(*level, *kind, data));
    PktInfo::read(control.written())
}

fn v6(address: &str, interface: u32) -> Vec<u8> {
    [&address.parse::<Ipv6Addr>().unwrap().octets()[..], &interface.to_ne_bytes()].concat()
}

#[test]
fn the_size_of_a_batch_is_found_behind_other_things() {
    let size = |value: c_int, other: bool| {
        let before = (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &9u32.to_ne_bytes()[..]);
        let gro = (libc::SOL_UDP, libc::UDP_GRO, &value.to_ne_bytes()[..]);
        read(&[before, gro][usize::from(!other)..]).segment
    };
    assert_eq!((size(64, false), size(64, true), size(0, false), size(-1, false)), (Some(64), Some(64), None, None));
    // That is what goes.
    assert_eq!(read(&[(libc::SOL_UDP, libc::UDP_SEGMENT, &64u32.to_ne_bytes())]).segment, None);
}

#[test]
fn answers_come_from_what_one_can_answer_from() {
    let v4 = |local: [u8; 4]| {
        // Interface, the address to answer from, the one that the header named.
        let info = [&7i32.to_ne_bytes()[..], &local, &[127, 255, 255, 255]].concat();
        read(&[(libc::IPPROTO_IP, libc::IP_PKTINFO, &info)]).local
    };
    assert_eq!(v4([10, 0, 0, 1]), Some(Local::V4(Ipv4Addr::new(10, 0, 0, 1))));
    assert_eq!(v4([0; 4]), None);
    let of_v6 = |address, interface| read(&[(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &v6(address, interface))]).local;
    let local = |address: &str, interface| Some(Local::V6(address.parse().unwrap(), interface));
    assert_eq!(of_v6("2001:db8::1", 7), local("2001:db8::1", 0));
    assert_eq!(of_v6("fe80::1", 7), local("fe80::1", 7));
    assert_eq!((of_v6("ff02::1", 7), of_v6("::", 7), of_v6("::ffff:10.0.0.1", 7)), (None, None, None));
}

#[test]
fn of_ipv4_on_an_ipv6_socket_the_address_to_answer_from_counts() {
    let info = [&[0; 4][..], &[127, 0, 0, 1], &[127, 255, 255, 255]].concat();
    let both = [
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &v6("::ffff:127.255.255.255", 1)[..]),
        (libc::IPPROTO_IP, libc::IP_PKTINFO, &info),
    ];
    let reversed = [both[1], both[0]];
    assert_eq!(read(&both).local, Some(Local::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(read(&reversed).local, Some(Local::V4(Ipv4Addr::LOCALHOST)));
}

proptest! {
    #[test]
    fn garbage_is_nothing_and_no_panic(
        parts in prop::collection::vec((0..3usize, prop::collection::vec(any::<u8>(), 0..24)), 0..2),
    ) {
        let kinds = [
            (libc::SOL_UDP, libc::UDP_GRO),
            (libc::IPPROTO_IP, libc::IP_PKTINFO),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
        ];
        let all: Vec<_> = parts.iter().map(|(kind, data)| (kinds[*kind].0, kinds[*kind].1, &data[..])).collect();
        prop_assert_ne!(read(&all).segment, Some(0));
    }

    /// The control data of all options together fits.
    #[test]
    fn what_is_written_for_an_answer_is_read_where_it_came_from(size in 1u16.., v4: u32, v6_bits: u128) {
        for local in [Local::V4(v4.into()), Local::V6(v6_bits.into(), 3)] {
            let mut control = PktInfoBuffer::EMPTY;
            PktInfo { segment: Some(size.into()), local: Some(local) }.write(&mut control);
            let kinds: Vec<_> = cmsgs(control.written()).map(|cmsg| (cmsg.level, cmsg.kind)).collect();
            let local_kind = match local {
                Local::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
                Local::V6(..) => (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
            };
            prop_assert_eq!(kinds, [(libc::SOL_UDP, libc::UDP_SEGMENT), local_kind]);
        }
    }
}

/// A socket that is bound to every address, with pktinfo enabled.
fn everywhere(domain: Domain) -> (Socket, u16) {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    enable_pktinfo(&socket).unwrap();
    let all: IpAddr = if domain == Domain::IPV6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    socket.bind(&SocketAddr::new(all, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// A client connected to an address of this machine, which is not the one that it has itself.
fn client(ip: &str, port: u16) -> UdpSocket {
    let ip: IpAddr = ip.parse().unwrap();
    let own = if ip.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let client = UdpSocket::bind(own).unwrap();
    client.connect((ip, port)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client
}

const ASKED: [(Domain, &[&str]); 2] =
    [(Domain::IPV4, &["127.0.0.1", "127.0.0.2", "127.0.0.3"]), (Domain::IPV6, &["::1", "127.0.0.1", "127.0.0.2"])];

#[test]
fn connected_clients_get_their_answers_one_by_one_and_by_the_batch() {
    let mut batch = RecvBatch::new(100);
    for (domain, asked) in ASKED {
        let (server, port) = everywhere(domain);
        for ip in asked {
            let client = client(ip, port);
            let mut buffer = [0; 9];
            client.send(b"single").unwrap();
            let arrived = receive_with_local(&server, &mut buffer, Blocking::Yes).unwrap();
            send(&server, &buffer[..arrived.len], &arrived.source, arrived.local).unwrap();
            assert_eq!((client.recv(&mut buffer).unwrap(), &buffer[..6]), (6, &b"single"[..]), "{ip}");
            client.send(b"batch").unwrap();
            batch.receive(&server).unwrap();
            batch.parts().1.push_range(0, 0..5, None);
            assert_eq!(batch.send(&server).datagrams, 1);
            assert_eq!((client.recv(&mut buffer).unwrap(), &buffer[..5]), (5, &b"batch"[..]), "{ip}");
        }
    }
}

#[test]
fn what_came_as_one_leaves_as_one_from_where_it_arrived() {
    for (domain, asked) in ASKED {
        let (server, port) = everywhere(domain);
        set_gro(&server).unwrap();
        for ip in asked {
            let client = Socket::from(client(ip, port));
            crate::sys::datagram::gso::set_gso(&client, 100).unwrap();
            set_gro(&client).unwrap();
            client.send(&[7; 1050]).unwrap();
            let [mut there, mut back] = [(); 2].map(|()| RecvBatch::new(2000));
            assert_eq!(there.receive(&server).unwrap(), 1);
            let (_, answers) = there.parts();
            crate::sys::datagram::segments(1050, Some(100)).for_each(|part| answers.push_range(0, part, Some(100)));
            assert_eq!(there.send(&server).datagrams, 11);
            assert_eq!(back.receive(&client).unwrap(), 1, "{ip}");
            let message = back.parts().0.messages().next().unwrap();
            assert_eq!((message.payload, message.segment), (&[7; 1050][..], Some(100)), "{ip}");
        }
    }
}

#[test]
fn a_broadcast_is_answered_from_an_address_of_the_interface() {
    for domain in [Domain::IPV4, Domain::IPV6] {
        let (server, port) = everywhere(domain);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_broadcast(true).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.send_to(b"who is there?", ("127.255.255.255", port)).unwrap();
        let mut buffer = [0; 20];
        let arrived = receive_with_local(&server, &mut buffer, Blocking::Yes).unwrap();
        send(&server, b"me", &arrived.source, arrived.local).unwrap();
        assert_eq!(client.recv_from(&mut buffer).unwrap(), (2, SocketAddr::from(([127, 0, 0, 1], port))));
    }
}

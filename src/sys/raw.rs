//! Sockets below TCP and UDP: ICMP as itself (raw(7)) or as the unprivileged ping socket (icmp(7)), what the kernel may
//! hand them, and who may have them.

use super::socket::set_option;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The kind of an ICMP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A raw socket: CAP_NET_RAW.
    Raw,
    /// A ping socket (SOCK_DGRAM): a group within net.ipv4.ping_group_range.
    Ping,
}

/// What a filter for ICMP lets in, as types of the protocol.
const ICMP_FILTER: libc::c_int = 1;
const ICMP6_FILTER: libc::c_int = 1;
/// ICMPv6 as a level of options.
const SOL_ICMPV6: libc::c_int = 58;
/// Raw IP as a level of options.
const SOL_RAW: libc::c_int = 255;

/// An ICMP socket of this kind.
pub fn icmp(domain: Domain, access: Access) -> io::Result<Socket> {
    let protocol = if domain == Domain::IPV6 { Protocol::ICMPV6 } else { Protocol::ICMPV4 };
    let kind = if access == Access::Raw { Type::RAW } else { Type::DGRAM };
    Socket::new(domain, kind, Some(protocol))
}

/// A raw socket of a transport protocol: what is sent begins with its header, and all of it that arrives here is received
/// (over IPv4 with the IP header).
pub fn transport(domain: Domain, protocol: Protocol) -> io::Result<Socket> {
    Socket::new(domain, Type::RAW, Some(protocol))
}

/// Lets only these types of ICMP messages through to a raw socket; types of ICMPv4 above 31 cannot be let through.
pub fn filter_icmp(socket: &Socket, domain: Domain, types: &[u8]) -> io::Result<()> {
    // In both masks a set bit keeps a type out.
    if domain == Domain::IPV6 {
        let mut blocked = [u32::MAX; 8];
        types.iter().for_each(|kind| blocked[usize::from(kind >> 5)] &= !(1 << (kind & 31)));
        return set_option(socket, SOL_ICMPV6, ICMP6_FILTER, &blocked);
    }
    let admitted = types.iter().filter(|kind| **kind < 32).fold(0u32, |mask, kind| mask | 1 << kind);
    set_option(socket, SOL_RAW, ICMP_FILTER, &!admitted)
}

/// Lets nothing in: for sockets that only send.
pub fn drop_all_input(socket: &Socket) -> io::Result<()> {
    let nothing = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
    socket.attach_filter(&[nothing])
}

/// Lets only segments from this port to that one in, of all that arrive for the protocol: the rest costs no copy and no
/// room. For raw sockets of TCP and UDP.
pub fn filter_tcp(socket: &Socket, domain: Domain, from: u16, to: u16) -> io::Result<()> {
    // Jumps count the steps they pass over: where the condition holds, and where not.
    let step = |code: u32, holds, fails, value| SockFilter::new(code as u16, holds, fails, value);
    let place = libc::BPF_LD | libc::BPF_H | libc::BPF_IND;
    // Over IPv4 the IP header comes first, whose length is in its first byte; over IPv6 the segment does.
    let length = if domain == Domain::IPV6 { libc::BPF_W | libc::BPF_IMM } else { libc::BPF_B | libc::BPF_MSH };
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let keep = libc::BPF_RET | libc::BPF_K;
    socket.attach_filter(&[
        step(libc::BPF_LDX | length, 0, 0, 0),
        step(place, 0, 0, 0),
        step(equal, 0, 3, from.into()),
        step(place, 0, 0, 2),
        step(equal, 0, 1, to.into()),
        step(keep, 0, 0, u32::MAX),
        step(keep, 0, 0, 0),
    ])
}

/// Has every datagram stamped by the kernel as it arrives (SO_TIMESTAMPNS).
pub fn enable_timestamps(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)
}

/// Has the kernel report the TTL or hop limit of what arrives (IP_RECVTTL, IPV6_RECVHOPLIMIT).
pub fn enable_hop_limits(socket: &Socket, domain: Domain) -> io::Result<()> {
    match domain == Domain::IPV6 {
        true => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, &1i32),
        false => set_option(socket, libc::IPPROTO_IP, libc::IP_RECVTTL, &1i32),
    }
}

/// Gives a socket this much room for what arrives: more than `net.core.rmem_max` where CAP_NET_ADMIN allows it.
pub fn grow_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &wanted).or_else(|_| socket.set_recv_buffer_size(bytes))
}

/// Has ICMP errors queued with the packets that caused them (ip(7), IP_RECVERR).
pub fn queue_errors(socket: &Socket, domain: Domain) -> io::Result<()> {
    match domain == Domain::IPV6 {
        true => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &1i32),
        false => set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, &1i32),
    }
}

/// Takes an echo identifier for a ping socket: the one that the kernel writes into all it sends.
pub fn bind_ping_id(socket: &Socket, domain: Domain) -> io::Result<u16> {
    let any = match domain == Domain::IPV6 {
        true => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        false => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
    };
    socket.bind(&any.into())?;
    let taken = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("a ping socket has no identifier"))?;
    Ok(taken.port())
}

/// A packet socket that receives nothing yet (packet(7)), to see whether one may be had.
pub fn try_packet() -> io::Result<()> {
    Socket::new(Domain::PACKET, Type::RAW, None).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::MaybeUninit;
    use std::time::Duration;

    /// Sends an echo request to loopback over a raw socket, and counts what of it comes in where these types may.
    fn arriving(domain: Domain, types: &[u8]) -> Option<usize> {
        if domain == Domain::IPV6 && !crate::sys::loopbacks().contains(&"[::1]:0") {
            return None;
        }
        let Ok(socket) = icmp(domain, Access::Raw) else {
            eprintln!("skipped: no raw sockets here");
            return None;
        };
        filter_icmp(&socket, domain, types).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        // Types 8 and 128, an identifier that no other process uses, and the checksum where the kernel does not write it.
        let (request, to): (&[u8], SocketAddr) = match domain == Domain::IPV6 {
            true => (&[128, 0, 0, 0, 0xab, 0xcd, 0, 1], "[::1]:0".parse().unwrap()),
            false => (&[8, 0, 0x4c, 0x31, 0xab, 0xcd, 0, 1], "127.0.0.1:0".parse().unwrap()),
        };
        socket.send_to(request, &to.into()).unwrap();
        let mut room = [MaybeUninit::new(0u8); 128];
        let received = std::iter::from_fn(|| socket.recv(&mut room).ok().map(|len| room[..len].to_vec()));
        let own = |bytes: &[MaybeUninit<u8>]| {
            // SAFETY: every byte of the array was initialised at first and by the kernel since.
            let bytes: Vec<u8> = bytes.iter().map(|byte| unsafe { byte.assume_init() }).collect();
            bytes.windows(4).any(|part| part == [0xab, 0xcd, 0, 1])
        };
        Some(received.filter(|bytes| own(bytes)).count())
    }

    #[test]
    fn segments_of_other_ports_stay_out() {
        for at in crate::sys::loopbacks() {
            let domain = if at.starts_with('[') { Domain::IPV6 } else { Domain::IPV4 };
            let Ok(socket) = transport(domain, Protocol::UDP) else { return eprintln!("skipped: no raw sockets here") };
            let [from, to] = [(); 2].map(|()| std::net::UdpSocket::bind(at).unwrap());
            let [from_port, to_port] = [&from, &to].map(|socket| socket.local_addr().unwrap().port());
            filter_tcp(&socket, domain, from_port, to_port).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            from.send_to(b"there", to.local_addr().unwrap()).unwrap();
            to.send_to(b"and back", from.local_addr().unwrap()).unwrap();
            let mut room = [MaybeUninit::new(0u8); 128];
            // A header of 8 bytes and, over IPv4, one of 20.
            let expected = 8 + b"there".len() + if domain == Domain::IPV4 { 20 } else { 0 };
            assert_eq!(socket.recv(&mut room).unwrap(), expected);
            assert!(socket.recv(&mut room).is_err());
        }
    }

    #[test]
    fn a_filter_lets_through_what_it_says() {
        for (domain, request, reply) in [(Domain::IPV4, 8, 0), (Domain::IPV6, 128, 129)] {
            let Some(both) = arriving(domain, &[request, reply]) else { return };
            let replies = arriving(domain, &[reply]).unwrap();
            assert_eq!((both, replies, arriving(domain, &[]).unwrap()), (2, 1, 0), "{domain:?}");
        }
    }
}

//! Answers that no ringmark server answers: two of them that were pointed at each other by a forged source stop at once.
//!
//! What a marked socket sends carries a hop limit that no operating system uses by default (they begin at 64, 128 or
//! 255), and its filter (socket(7), SO_ATTACH_FILTER) drops what arrives with one that it can have become on its way.
//! So the kernel ends the loop, for every engine alike, and no datagram costs the server anything for it.

use socket2::{Domain, SockFilter, Socket};
use std::io;

/// Hop limit of answers …
const MARK: u32 = 200;
/// … which after at most 71 hops is still above where those of others begin.
const LOWEST_MARKED: u32 = 129;

/// Offsets from the network header (linux/filter.h).
const NETWORK: u32 = libc::SKF_NET_OFF as u32;
const IPV4_TTL: u32 = NETWORK + 8;
const IPV6_HOP_LIMIT: u32 = NETWORK + 7;
/// The first byte of a header of IPv4 is 0x4., that of IPv6 0x6..
const BEYOND_IPV4: u32 = 0x50;
const WHOLE: u32 = u32::MAX;
const NOTHING: u32 = 0;

const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const JUMP_IF_GREATER: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const JUMP_IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const KEEP: u32 = libc::BPF_RET | libc::BPF_K;

/// Marks what the socket sends, and lets nothing marked in. A unix socket has no marks and needs none: the source of a
/// datagram cannot be forged there.
pub fn mark_answers(socket: &Socket) -> io::Result<()> {
    match socket.domain()? {
        Domain::IPV4 => socket.set_ttl_v4(MARK)?,
        Domain::IPV6 => {
            socket.set_unicast_hops_v6(MARK)?;
            // For what it sends as IPv4, where it may.
            socket.set_ttl_v4(MARK)?;
        }
        _ => return Ok(()),
    }
    socket.attach_filter(&filter())
}

fn filter() -> [SockFilter; 9] {
    // Jumps count the steps they pass over: where the condition holds, and where not.
    let step = |code: u32, holds, fails, value| SockFilter::new(code as u16, holds, fails, value);
    [
        step(LOAD_BYTE, 0, 0, NETWORK),
        step(JUMP_IF_AT_LEAST, 2, 0, BEYOND_IPV4),
        step(LOAD_BYTE, 0, 0, IPV4_TTL),
        step(JUMP, 0, 0, 1),
        step(LOAD_BYTE, 0, 0, IPV6_HOP_LIMIT),
        step(JUMP_IF_GREATER, 2, 0, MARK),
        step(JUMP_IF_AT_LEAST, 0, 1, LOWEST_MARKED),
        step(KEEP, 0, 0, NOTHING),
        step(KEEP, 0, 0, WHOLE),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, UdpSocket};
    use std::time::Duration;

    /// Which of the datagrams sent with these hop limits arrive at a marked socket.
    fn arriving(at: &str, limits: &[u32]) -> Vec<u32> {
        let receiver = UdpSocket::bind(at).unwrap();
        let address = receiver.local_addr().unwrap();
        let receiver = Socket::from(receiver);
        mark_answers(&receiver).unwrap();
        let sender = Socket::from(UdpSocket::bind(SocketAddr::new(address.ip(), 0)).unwrap());
        for limit in limits {
            match address {
                SocketAddr::V4(_) => sender.set_ttl_v4(*limit).unwrap(),
                SocketAddr::V6(_) => sender.set_unicast_hops_v6(*limit).unwrap(),
            }
            sender.send_to(&[*limit as u8], &address.into()).unwrap();
        }
        let receiver = UdpSocket::from(receiver);
        receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut byte = [0];
        std::iter::from_fn(|| receiver.recv(&mut byte).ok().map(|_| byte[0].into())).collect()
    }

    #[test]
    fn what_a_marked_socket_sent_does_not_get_in() {
        for at in crate::sys::loopbacks() {
            assert_eq!(arriving(at, &[1, 64, 128, 129, 199, 200, 201, 255]), [1, 64, 128, 201, 255], "{at}");
        }
    }

    #[test]
    fn two_marked_sockets_do_not_answer_each_other() {
        let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = b.local_addr().unwrap();
        let (a, b) = (Socket::from(a), Socket::from(b));
        [&a, &b].into_iter().for_each(|socket| mark_answers(socket).unwrap());
        a.send_to(b"answer", &to.into()).unwrap();
        let b = UdpSocket::from(b);
        b.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(b.recv(&mut [0; 9]).is_err());
    }
}

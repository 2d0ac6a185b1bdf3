//! What datagram sockets offer beyond socket2: marks against echo loops, answers from the address that was asked, many
//! datagrams per call or as one, and the kernel's count of what it dropped.

mod gro;
pub mod gso;
mod io;
pub(in crate::sys) mod pktinfo;
mod procfs;
mod recv_batch;
mod recv_buffers;
mod reply_batch;
mod segments;
mod send_batch;
mod stop_ingress;
mod ttl_mark;

pub use gro::set_gro;
pub use io::{Received, is_writable, receive, receive_with_local, send, send_waiting};
pub use pktinfo::{Local, enable_pktinfo, is_bound_to_all};
pub use procfs::{UdpRow, drops_at, is_bound, udp_sockets};
pub use recv_batch::RecvBatch;
pub use recv_buffers::{BATCH, RecvBuffers, RecvMsg};
pub use reply_batch::{ReplyBatch, Sent};
pub use segments::{parts, segments};
pub use send_batch::SendBatch;
pub use stop_ingress::stop_ingress;
pub use ttl_mark::mark_answers;

use socket2::Socket;
use std::os::fd::AsRawFd;

/// Index of the drops in the array of SO_MEMINFO (linux/sock_diag.h).
const SK_MEMINFO_DROPS: usize = 8;
const SK_MEMINFO_VARS: usize = 9;

/// Datagrams that the kernel dropped at this socket since it was made, because its receive buffer was full, a checksum
/// was wrong or a filter refused them (SO_MEMINFO, Linux 4.12). Wraps at 2^32.
pub fn drops(socket: &Socket) -> std::io::Result<u32> {
    let mut info = [0u32; SK_MEMINFO_VARS];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the socket is open; the kernel writes at most `len` bytes to the array, which has as many.
    let outcome = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, info.as_mut_ptr().cast(), &mut len)
    };
    match outcome {
        0 => Ok(info[SK_MEMINFO_DROPS]),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The port in a socket address as the kernel writes it; `None` where it has none.
pub fn port_of(name: &[u8]) -> Option<u16> {
    let family = u16::from_ne_bytes(name.get(..2)?.try_into().ok()?);
    let has_port = matches!(i32::from(family), libc::AF_INET | libc::AF_INET6);
    has_port.then(|| name.get(2..4)).flatten().map(|port| u16::from_be_bytes([port[0], port[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockAddr;
    use std::net::{SocketAddr, UdpSocket};

    fn bytes(address: &SockAddr) -> Vec<u8> {
        let family = address.family().to_ne_bytes();
        let port = address.as_socket().map(|address| address.port().to_be_bytes());
        [&family[..], port.as_ref().map_or(&[], |port| &port[..])].concat()
    }

    #[test]
    fn ports_are_read_from_names() {
        for text in ["127.0.0.1:513", "[::1]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(port_of(&bytes(&address.into())), Some(address.port()));
        }
        assert_eq!(port_of(&bytes(&SockAddr::unix("/x").unwrap())), None);
        assert_eq!((port_of(&[]), port_of(&[2, 0, 1])), (None, None));
    }

    #[test]
    fn what_does_not_fit_the_receive_buffer_is_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let socket = Socket::from(socket);
        socket.set_recv_buffer_size(1).unwrap();
        assert_eq!(drops(&socket).unwrap(), 0);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        (0..100).for_each(|_| drop(sender.send_to(&[0; 1000], address)));
        assert!((80..100).contains(&drops(&socket).unwrap()));
    }
}

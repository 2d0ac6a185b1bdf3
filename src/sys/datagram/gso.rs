//! Many datagrams as one on the way out of a socket: UDP_SEGMENT (udp(7), Linux 4.18).

use crate::sys::socket::set_option;
use socket2::Socket;
use std::io;

/// Most datagrams of one super-packet that every kernel takes (UDP_MAX_SEGMENTS was 64 before Linux 6.11).
pub const MAX_SEGMENTS: usize = 64;
/// Most bytes of one, over IPv4 20 fewer: as the largest datagram's, they must fit IP's length field.
pub const MAX_SUPER_PACKET: usize = 65_527;

/// Whatever is sent on the socket leaves as datagrams of `size` bytes, the last of which may be shorter; 0 ends that.
pub fn set_gso(socket: &Socket, size: u16) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, &libc::c_int::from(size))
}

/// Makes the kernel refuse super-packets on the socket with EINVAL, as on a path that they do not fit: they cannot do
/// without checksums (SO_NO_CHECK, socket(7)).
#[cfg(test)]
pub fn refuse_segments(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, &1i32)
}

/// Leaves an IPv6 socket too little memory for sends that do not fit one packet, of 1280 bytes: they fail with ENOBUFS,
/// and yet it is writable.
#[cfg(test)]
pub fn starve_long_sends(socket: &Socket) -> io::Result<()> {
    socket.set_send_buffer_size(1)?;
    set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU, &1280i32)
}

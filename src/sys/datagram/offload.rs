//! Many datagrams as one on the way out of a socket: UDP_SEGMENT (udp(7), Linux 4.18).

use socket2::Socket;
use std::io;
use std::os::fd::AsRawFd;

/// Most datagrams of one super-packet that every kernel takes (UDP_MAX_SEGMENTS was 64 before Linux 6.11).
pub const MAX_SEGMENTS: usize = 64;
/// Most bytes of one: the largest datagram over IPv4.
pub const MAX_SUPER_PACKET: usize = 65_507;

/// Whatever is sent on the socket leaves as datagrams of `size` bytes, the last of which may be shorter; 0 ends that.
pub fn segment_sends(socket: &Socket, size: u16) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_SEGMENT, size.into())
}

fn set(socket: &Socket, level: i32, option: i32, value: i32) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the socket is open; the kernel reads `len` bytes of a local of that size.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the kernel refuse super-packets on the socket with EINVAL, as on a path that they do not fit: they cannot do
/// without checksums (SO_NO_CHECK, socket(7)).
#[cfg(test)]
pub fn refuse_segments(socket: &Socket) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)
}

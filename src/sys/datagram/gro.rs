//! Batches of datagrams that pass through the kernel as one (udp(7)): UDP_GRO where they arrive.

use crate::sys::socket::set_option;
use socket2::{Domain, Socket};
use std::io;

/// Lets batches of UDP datagrams arrive whole, each with its segment size as ancillary data (UDP_GRO, Linux 5.0). A unix
/// socket has no batches and is left as it is.
///
/// # Errors
/// ENOPROTOOPT: the kernel is older.
pub fn set_gro(socket: &Socket) -> io::Result<()> {
    if !matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6) {
        return Ok(());
    }
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, &1i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;

    fn gro(socket: &Socket) -> libc::c_int {
        let (mut on, mut len) = (-1, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: the socket is open, and the kernel writes at most `len` bytes to an integer of that size.
        unsafe {
            let to = (&raw mut on).cast();
            libc::getsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_GRO, to, &mut len)
        };
        on
    }

    #[test]
    fn is_on_for_udp_and_nothing_for_unix_sockets() {
        for at in crate::sys::loopbacks() {
            let socket = Socket::from(UdpSocket::bind(at).unwrap());
            assert_eq!(gro(&socket), 0);
            set_gro(&socket).unwrap();
            assert_eq!(gro(&socket), 1);
        }
        set_gro(&UnixDatagram::unbound().unwrap().into()).unwrap();
    }
}

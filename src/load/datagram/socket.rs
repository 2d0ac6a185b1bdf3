//! Sockets for datagrams, each connected from an address of its own. Both engines get theirs here.

use crate::units::{Address, SocketLocation};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// What the kernel charges a socket for a small datagram beyond its bytes, about (skb overhead).
const OVERHEAD_BYTES: usize = 1024;

/// A connected, close-on-exec socket with room for `window` datagrams of `size` bytes that wait to be received, as far
/// as net.core.rmem_max allows.
pub fn open(target: &Address, window: usize, size: usize) -> io::Result<Socket> {
    let (socket, peer) = match &target.location {
        SocketLocation::Ip { ip, port, device } => {
            let peer = SocketAddr::new(*ip, *port);
            let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, None)?;
            if let Some(device) = device {
                socket.bind_device(Some(device.as_bytes()))?;
            }
            (socket, peer.into())
        }
        SocketLocation::Unix(path) => {
            let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
            // An address without a name makes the kernel choose one that no other socket has (unix(7), autobind), so
            // that answers find back.
            socket.bind(&SockAddr::unix("")?)?;
            (socket, SockAddr::unix(path)?)
        }
    };
    make_room(&socket, window * (size + OVERHEAD_BYTES))?;
    socket.connect(&peer)?;
    if peer.as_socket().is_some() && socket.local_addr()? == peer {
        // Nobody has the target's port, so the kernel gave it to this very socket, which would answer itself.
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    Ok(socket)
}

fn make_room(socket: &Socket, bytes: usize) -> io::Result<()> {
    // The kernel reports twice what is for data.
    if socket.recv_buffer_size()? / 2 < bytes { socket.set_recv_buffer_size(bytes) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn answers_find_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("echo");
        let server = UnixDatagram::bind(&path).unwrap();
        let target = format!("unixgram:{}", path.display()).parse().unwrap();
        let clients = [(); 2].map(|()| open(&target, 1, 16).unwrap());
        for (number, client) in clients.iter().enumerate() {
            client.send(&[number as u8]).unwrap();
            let mut byte = [9];
            let from = server.recv_from(&mut byte).unwrap().1;
            server.send_to_addr(&byte, &from).unwrap();
        }
        for (number, client) in clients.into_iter().enumerate() {
            let mut byte = [9];
            UnixDatagram::from(client).recv(&mut byte).unwrap();
            assert_eq!(byte, [number as u8]);
        }
    }

    #[test]
    fn there_is_room_for_a_window() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = Address::udp(server.local_addr().unwrap());
        let few = open(&target, 1, 64).unwrap().recv_buffer_size().unwrap();
        assert!(open(&target, 4096, 1400).unwrap().recv_buffer_size().unwrap() >= few);
    }
}

//! One datagram per system call, with what `std` keeps to itself: whether it was cut, the sender's name as it is, so that
//! unix sockets with abstract names can be answered, and the address at which it arrived.

use super::pktinfo::{Local, PktInfo, PktInfoBuffer};
use crate::sys::socket::{Blocking, is_transient};
use socket2::{MsgHdr, SockAddr, Socket};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::AsRawFd;

/// A datagram that stands in the buffer.
#[derive(Debug)]
pub struct Received {
    /// Its bytes in the buffer.
    pub len: usize,
    /// It was longer than the buffer.
    pub truncated: bool,
    /// Where to answer.
    pub source: SockAddr,
    /// Local address to answer from, at a socket with pktinfo enabled ([`super::enable_pktinfo`]).
    pub local: Option<Local>,
}

impl Received {
    /// `None` where the source has none (a unix socket).
    pub fn port(&self) -> Option<u16> {
        self.source.as_socket().map(|source| source.port())
    }

    /// No bytes and no source: how a receive ends that was woken by shutdown(2).
    pub fn is_nothing(&self) -> bool {
        self.len == 0 && self.source.len() == 0
    }
}

/// Receives one datagram, without its address of arrival (recvfrom(2), which costs less than recvmsg(2)).
pub fn receive(socket: &Socket, buffer: &mut [u8], wait: Blocking) -> io::Result<Received> {
    // With MSG_TRUNC the length is the datagram's, whatever fits.
    let flags = libc::MSG_TRUNC | dont_wait(wait);
    let room = buffer.len();
    // SAFETY: the closure fills the storage up to the length that it sets: both are the kernel's own. The kernel writes to
    // the buffer, the storage and its length, which all outlive the call, no more than the lengths it is given.
    let (len, source) = unsafe {
        SockAddr::try_init(|name, name_len| {
            let at = buffer.as_mut_ptr().cast();
            let len = libc::recvfrom(socket.as_raw_fd(), at, room, flags, name.cast(), name_len);
            usize::try_from(len).map_err(|_| io::Error::last_os_error())
        })
    }?;
    Ok(Received { len: len.min(room), truncated: len > room, source, local: None })
}

fn dont_wait(wait: Blocking) -> i32 {
    if wait == Blocking::No { libc::MSG_DONTWAIT } else { 0 }
}

/// Receives one datagram with its local address, where pktinfo is enabled (recvmsg(2)).
pub fn receive_with_local(socket: &Socket, buffer: &mut [u8], wait: Blocking) -> io::Result<Received> {
    let flags = dont_wait(wait);
    let mut control = PktInfoBuffer::EMPTY;
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the closure fills the storage up to the length that it sets: both are the kernel's own. The kernel writes
    // to the buffer, the storage, the control and the header, which all outlive the call, no more than the lengths it is
    // given.
    let ((len, flags, local), source) = unsafe {
        SockAddr::try_init(|name, name_len| {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_name = name.cast();
            header.msg_namelen = *name_len;
            header.msg_iov = &raw mut vector;
            header.msg_iovlen = 1;
            control.offer(&mut header);
            let len = libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags);
            let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
            *name_len = header.msg_namelen;
            Ok((len, header.msg_flags, PktInfo::read(control.received(&header)).local))
        })
    }?;
    Ok(Received { len, truncated: flags & libc::MSG_TRUNC != 0, source, local })
}

/// Sends one datagram without waiting, from this address of the machine or from that which the kernel chooses.
///
/// # Errors
/// `WouldBlock`: the socket takes no more until it is writable. Any other: the datagram cannot be sent at all; ENOBUFS
/// is also the error of a unix socket whose destination has its queue full, and no readiness event reports when that ends.
pub fn send(socket: &Socket, bytes: &[u8], to: &SockAddr, from: Option<Local>) -> io::Result<()> {
    let mut room_seen = false;
    loop {
        match send_once(socket, bytes, to, from) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Err(error) if !is_writable(socket) => return Err(error),
            // There was room again since the attempt: try once more.
            Err(_) if !room_seen => room_seen = true,
            Err(_) => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
            Ok(_) => return Ok(()),
        }
    }
}

fn send_once(socket: &Socket, bytes: &[u8], to: &SockAddr, from: Option<Local>) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    if from.is_none() {
        return socket.send_to_with_flags(bytes, to, flags);
    }
    let mut control = PktInfoBuffer::EMPTY;
    PktInfo { segment: None, local: from }.write(&mut control);
    let slices = [IoSlice::new(bytes)];
    socket.sendmsg(&MsgHdr::new().with_addr(to).with_buffers(&slices).with_control(control.written()), flags)
}

/// Sends one datagram; waits while the socket takes no more.
///
/// # Errors
/// As [`send`], without `WouldBlock`.
pub fn send_waiting(socket: &Socket, bytes: &[u8], to: &SockAddr, from: Option<Local>) -> io::Result<()> {
    loop {
        match send(socket, bytes, to, from) {
            Err(error) if is_transient(&error) => poll_writable(socket, -1),
            outcome => return outcome,
        };
    }
}

/// Whether the socket itself has room to send.
pub fn is_writable(socket: &Socket) -> bool {
    poll_writable(socket, 0)
}

fn poll_writable(socket: &Socket, timeout_millis: i32) -> bool {
    let mut polled = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: the kernel reads and writes one pollfd, a local.
    unsafe { libc::poll(&raw mut polled, 1, timeout_millis) > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Shutdown, UdpSocket};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
    use std::thread;

    fn abstract_name(of: &str) -> UnixAddr {
        let unique = format!("ringmark-{of}-{}-{:?}", std::process::id(), thread::current().id());
        UnixAddr::from_abstract_name(unique).unwrap()
    }

    /// A socket at its own address, to which another sends.
    fn echo_once(server: &Socket, buffer: &mut [u8]) -> io::Result<()> {
        let arrived = receive_with_local(server, buffer, Blocking::Yes)?;
        send(server, &buffer[..arrived.len], &arrived.source, arrived.local)
    }

    #[test]
    fn udp_is_answered_where_it_came_from() {
        for at in crate::sys::loopbacks() {
            let server = UdpSocket::bind(at).unwrap();
            let client = UdpSocket::bind(at).unwrap();
            client.connect(server.local_addr().unwrap()).unwrap();
            client.send(b"abc").unwrap();
            let server = Socket::from(server);
            let mut buffer = [0; 3];
            let arrived = receive(&server, &mut buffer, Blocking::Yes).unwrap();
            assert_eq!(arrived.port(), Some(client.local_addr().unwrap().port()));
            assert!((arrived.len, arrived.truncated) == (3, false) && !arrived.is_nothing());
            send(&server, &buffer, &arrived.source, None).unwrap();
            assert_eq!((client.recv(&mut buffer).unwrap(), &buffer), (3, b"abc"));
        }
    }

    #[test]
    fn unix_sockets_are_answered_by_any_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let server: Socket = UnixDatagram::bind(path("server")).unwrap().into();
        let clients =
            [UnixDatagram::bind(path("client")).unwrap(), UnixDatagram::bind_addr(&abstract_name("client")).unwrap()];
        for client in clients {
            client.connect(path("server")).unwrap();
            for text in [&b"named"[..], b""] {
                client.send(text).unwrap();
                echo_once(&server, &mut [0; 9]).unwrap();
                let mut buffer = [1; 9];
                assert_eq!(client.recv(&mut buffer).unwrap(), text.len());
            }
        }
        let nameless = UnixDatagram::unbound().unwrap();
        nameless.connect(path("server")).unwrap();
        nameless.send(b"x").unwrap();
        assert_eq!(echo_once(&server, &mut [0; 9]).unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
    }

    #[test]
    fn what_is_cut_says_so() {
        let (unix, udp) = (UnixDatagram::pair().unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        udp.connect(udp.local_addr().unwrap()).unwrap();
        let udp = (Socket::from(udp.try_clone().unwrap()), Socket::from(udp));
        for (a, b) in [(Socket::from(unix.0), Socket::from(unix.1)), udp] {
            for receive in [receive, receive_with_local] {
                a.send(&[7; 100]).unwrap();
                a.send(&[7; 99]).unwrap();
                let mut buffer = [0; 99];
                for cut in [true, false] {
                    let arrived = receive(&b, &mut buffer, Blocking::Yes).unwrap();
                    assert_eq!((arrived.len, arrived.truncated), (99, cut));
                }
                assert!(is_transient(&receive(&b, &mut buffer, Blocking::No).unwrap_err()));
            }
        }
    }

    #[test]
    fn shutdown_wakes_a_receive_after_what_had_arrived() {
        let unix = UnixDatagram::bind_addr(&abstract_name("shutdown")).unwrap();
        for socket in [Socket::from(UdpSocket::bind("127.0.0.1:0").unwrap()), unix.into()] {
            let to = socket.local_addr().unwrap();
            socket.send_to(b"abc", &to).unwrap();
            let receiver = socket.try_clone().unwrap();
            let received = thread::spawn(move || {
                let first = receive(&receiver, &mut [0; 9], Blocking::Yes).unwrap();
                let others =
                    [receive, receive_with_local].map(|one| one(&receiver, &mut [0; 9], Blocking::Yes).unwrap());
                [first.is_nothing(), others[0].is_nothing(), others[1].is_nothing()]
            });
            // ENOTCONN over UDP, and yet it wakes.
            let _ = socket.shutdown(Shutdown::Read);
            assert_eq!(received.join().unwrap(), [false, true, true]);
        }
    }

    /// Its queue holds net.unix.max_dgram_qlen of those who did not connect to the sender.
    #[test]
    fn a_destination_that_does_not_read_is_told_apart_from_a_full_socket() {
        let (sender, reader) = (UnixDatagram::unbound().unwrap(), abstract_name("reader"));
        let _reader = UnixDatagram::bind_addr(&reader).unwrap();
        sender.connect_addr(&reader).unwrap();
        let to = Socket::from(sender).peer_addr().unwrap();
        let sender = Socket::from(UnixDatagram::unbound().unwrap());
        let refused = (0..10_000).find_map(|_| send(&sender, b"x", &to, None).err()).unwrap();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOBUFS));
        assert_eq!(send_waiting(&sender, b"x", &to, None).unwrap_err().raw_os_error(), Some(libc::ENOBUFS));
    }

    #[test]
    fn a_full_socket_would_block() {
        let (a, b) = (abstract_name("full-a"), abstract_name("full-b"));
        let sender = UnixDatagram::bind_addr(&a).unwrap();
        let reader = UnixDatagram::bind_addr(&b).unwrap();
        // One that is connected to the sender has no limit to its queue but the sender's buffer.
        reader.connect_addr(&a).unwrap();
        let to = Socket::from(reader.try_clone().unwrap()).local_addr().unwrap();
        let sender = Socket::from(sender);
        let full = (0..10_000).find_map(|_| send(&sender, &[0; 1000], &to, None).err()).unwrap();
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        let waiting = thread::spawn(move || send_waiting(&sender, b"last", &to, None));
        let mut buffer = [0; 1000];
        while reader.recv(&mut buffer).unwrap() == 1000 {}
        assert_eq!(&buffer[..4], b"last");
        waiting.join().unwrap().unwrap();
    }
}

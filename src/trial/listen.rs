//! Where a server is to listen: what it is told, and how it is seen to.

use super::socket_folder::SocketFolder;
use crate::record::Reason;
use crate::sys::datagram;
use crate::units::{Address, Nanos, SocketLocation, Transport};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

const CONNECT_WITHIN: Nanos = Nanos::from_millis(500);
/// Ports for servers that must be given one: below the range the kernel hands out to outgoing connections (32768 up
/// unless changed), so that no connection takes the port first.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 20_000;
/// Name of a unix socket in its folder: short, because a whole path has at most 107 bytes.
const SOCKET: &str = "echo";

/// An address for one server. A unix socket's folder lasts as long as this.
pub struct Listen {
    pub address: Address,
    _folder: Option<SocketFolder>,
}

impl Listen {
    /// For a server that says where it listens: of a port the kernel's choice. `protocol`: `tcp`, `udp`, `unix`, `unixgram`.
    pub fn any(protocol: &str) -> Result<Listen, Reason> {
        Listen::new(protocol, |_| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
    }

    /// For a server that must be told: of a port one that nobody listens on.
    pub fn free(protocol: &str) -> Result<Listen, Reason> {
        Listen::new(protocol, free_address)
    }

    fn new(protocol: &str, ip: impl Fn(Transport) -> Option<SocketAddr>) -> Result<Listen, Reason> {
        if protocol.starts_with("unix") {
            return Listen::unix(protocol);
        }
        let transport = if protocol == "udp" { Transport::Datagram } else { Transport::Stream };
        let location = SocketLocation::ip(ip(transport).ok_or(Reason::NoFreePort)?);
        Ok(Listen { address: Address { transport, location }, _folder: None })
    }

    fn unix(protocol: &str) -> Result<Listen, Reason> {
        let folder = SocketFolder::new()?;
        let path = folder.path(SOCKET).display().to_string();
        match format!("{protocol}:{path}").parse() {
            Ok(address) => Ok(Listen { address, _folder: Some(folder) }),
            Err(error) => Err(Reason::NoSocketFolder { folder: path, problem: format!("{error}") }),
        }
    }

    /// The address as `serve` takes it: with its scheme, so that only what is loaded is served.
    pub fn typed(&self) -> String {
        match &self.address.location {
            SocketLocation::Ip { .. } => format!("{}://{}", self.address.protocol(), self.address.location),
            SocketLocation::Unix(_) => self.address.to_string(),
        }
    }

    /// A word of a command with this address in it.
    pub fn fill_in(&self, word: &str) -> String {
        match &self.address.location {
            SocketLocation::Ip { ip, port, .. } => {
                word.replace("{ip}", &ip.to_string()).replace("{port}", &port.to_string())
            }
            SocketLocation::Unix(path) => word.replace("{path}", &path.display().to_string()),
        }
    }

    /// Whether a server listens there by now.
    pub fn is_taken(&self) -> bool {
        match (&self.address.location, self.address.transport) {
            (SocketLocation::Ip { ip, port, .. }, Transport::Stream) => accepts(SocketAddr::from((*ip, *port))),
            // Nothing can be sent that every server would answer.
            (SocketLocation::Ip { port, .. }, Transport::Datagram) => datagram::is_bound(*port),
            (SocketLocation::Unix(path), Transport::Stream) => UnixStream::connect(path).is_ok(),
            (SocketLocation::Unix(path), Transport::Datagram) => receives(path),
        }
    }
}

/// A connection that a client made to itself (both ends have the same address) is none to a server.
fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, CONNECT_WITHIN.duration())
        .and_then(|stream| Ok(stream.local_addr()? != stream.peer_addr()?))
        .unwrap_or(false)
}

fn receives(path: &Path) -> bool {
    UnixDatagram::unbound().and_then(|socket| socket.connect(path)).is_ok()
}

/// A loopback address nobody listens on. Each call tries other ports, so that restarts do not meet old connections.
fn free_address(transport: Transport) -> Option<SocketAddr> {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() as u16).wrapping_mul(40_503);
    (0..PORTS)
        .map(|_| start.wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed)) % PORTS + FIRST_PORT)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| match transport {
            Transport::Stream => TcpListener::bind(address).is_ok(),
            Transport::Datagram => UdpSocket::bind(address).is_ok(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_port_nobody_listens_on_is_not_taken() {
        let listen = Listen::free("tcp").unwrap();
        assert!(!listen.is_taken());
        assert_ne!(Listen::free("tcp").unwrap().address, listen.address);
        let address = listen.address.to_string();
        assert_eq!(listen.fill_in("--at={ip}:{port}"), format!("--at={address}"));
        assert_eq!(listen.typed(), format!("tcp://{address}"));
        let _server = TcpListener::bind(address).unwrap();
        assert!(listen.is_taken());
    }

    #[test]
    fn a_unix_socket_is_taken_once_it_is_bound() {
        for protocol in ["unix", "unixgram"] {
            let listen = Listen::free(protocol).unwrap();
            assert!(!listen.is_taken());
            let path = listen.fill_in("{path}");
            assert_eq!(listen.typed(), format!("{protocol}:{path}"));
            let _server = match protocol {
                "unix" => (Some(UnixListener::bind(&path).unwrap()), None),
                _ => (None, Some(UnixDatagram::bind(&path).unwrap())),
            };
            assert!(listen.is_taken(), "{protocol}");
        }
    }
}

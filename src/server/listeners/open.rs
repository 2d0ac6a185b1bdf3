//! One socket of a server: create, set options, bind, and for streams listen — the first half of its workflow, in that
//! order.

use crate::server::SocketOptions;
use crate::sys::datagram;
use crate::units::{Address, Bytes, SocketLocation, Transport};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Receive buffer asked for at datagram sockets: a burst waits there or is lost. The kernel grants at most
/// net.core.rmem_max.
const DATAGRAM_BUFFER: usize = 4 << 20;

/// A listener could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{what} for {address} failed: {source}{advice}")]
    Socket { what: &'static str, address: Address, source: io::Error, advice: &'static str },
    #[error("{0} exists and is not a socket; choose another path")]
    NotASocket(Address),
    #[error("--accept reuseport is for TCP, and {0} is not; use --accept balanced")]
    ReuseportUnix(Address),
    #[error("there is no network device '{0}'; `ip link` lists them")]
    NoDevice(String),
}

impl ListenError {
    /// Another socket has the port.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, ListenError::Socket { source, .. } if source.kind() == ErrorKind::AddrInUse)
    }
}

/// Create, bind, listen.
pub(super) fn listen(address: &Address, options: &SocketOptions, reuseport: bool) -> Result<Socket, ListenError> {
    let socket = create(address)?;
    if let SocketLocation::Ip { .. } = address.location {
        set_tcp_options(&socket, options, reuseport).map_err(failed("setting socket options", address))?;
    }
    bind_to(&socket, address)?;
    set_buffers(&socket, options).map_err(failed("setting socket buffers", address))?;
    let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
    socket.listen(backlog).map_err(failed("listen", address))?;
    Ok(socket)
}

/// Create and bind: from then on datagrams arrive.
pub(super) fn open_datagrams(
    address: &Address,
    options: &SocketOptions,
    reuseport: bool,
) -> Result<Socket, ListenError> {
    let socket = create(address)?;
    if let SocketLocation::Ip { .. } = address.location {
        socket.set_reuse_port(reuseport).map_err(failed("setting socket options", address))?;
    }
    datagram::mark_answers(&socket).map_err(failed("marking answers", address))?;
    if address.location.is_everywhere() {
        let enabled = datagram::enable_pktinfo(&socket);
        enabled.map_err(failed("asking for the addresses that datagrams arrive at (IP_PKTINFO)", address))?;
    }
    let larger = |options: &SocketOptions| SocketOptions {
        rcvbuf: options.rcvbuf.or(Some(Bytes(DATAGRAM_BUFFER as u64))),
        ..options.clone()
    };
    set_buffers(&socket, &larger(options)).map_err(failed("setting socket buffers", address))?;
    bind_to(&socket, address)?;
    Ok(socket)
}

fn create(address: &Address) -> Result<Socket, ListenError> {
    let domain = match &address.location {
        SocketLocation::Ip { ip, port, .. } => Domain::for_address(SocketAddr::new(*ip, *port)),
        SocketLocation::Unix(_) => Domain::UNIX,
    };
    let kind = if address.transport == Transport::Stream { Type::STREAM } else { Type::DGRAM };
    Socket::new(domain, kind, None).map_err(failed("socket", address))
}

fn bind_to(socket: &Socket, address: &Address) -> Result<(), ListenError> {
    let name = match &address.location {
        SocketLocation::Ip { ip, port, device } => {
            bind_to_device(socket, device.as_deref(), address)?;
            socket_address(*ip, *port, device.as_deref())?.into()
        }
        SocketLocation::Unix(path) => {
            remove_stale(path, address)?;
            SockAddr::unix(path).map_err(failed("bind", address))?
        }
    };
    socket.bind(&name).map_err(failed("bind", address))
}

/// Accepted sockets inherit all of these.
fn set_tcp_options(socket: &Socket, options: &SocketOptions, reuseport: bool) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuseport)?;
    socket.set_tcp_nodelay(options.nodelay)
}

fn set_buffers(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    let size = |Bytes(bytes)| usize::try_from(bytes).unwrap_or(usize::MAX);
    options.rcvbuf.map_or(Ok(()), |bytes| socket.set_recv_buffer_size(size(bytes)))?;
    options.sndbuf.map_or(Ok(()), |bytes| socket.set_send_buffer_size(size(bytes)))
}

fn bind_to_device(socket: &Socket, device: Option<&str>, address: &Address) -> Result<(), ListenError> {
    match socket.bind_device(device.map(str::as_bytes)) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
            Err(ListenError::NoDevice(device.unwrap_or_default().to_owned()))
        }
        result => result.map_err(failed("binding to the device", address)),
    }
}

/// The socket address; a link-local IPv6 address gets the device as its scope.
fn socket_address(ip: IpAddr, port: u16, device: Option<&str>) -> Result<SocketAddr, ListenError> {
    match (ip, device) {
        (IpAddr::V6(ip), Some(device)) if ip.is_unicast_link_local() => {
            let scope = interface_index(device).ok_or_else(|| ListenError::NoDevice(device.to_owned()))?;
            Ok(SocketAddrV6::new(ip, port, 0, scope).into())
        }
        _ => Ok(SocketAddr::new(ip, port)),
    }
}

fn interface_index(device: &str) -> Option<u32> {
    fs::read_to_string(Path::new("/sys/class/net").join(device).join("ifindex")).ok()?.trim().parse().ok()
}

/// Removes the file that an earlier server left behind: a socket without a listener.
fn remove_stale(path: &Path, address: &Address) -> Result<(), ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket(address.clone()));
    }
    match has_listener(path, address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("removing the stale socket", address))
        }
        // There is a listener, or it cannot be known: bind will fail then.
        _ => Ok(()),
    }
}

fn has_listener(path: &Path, address: &Address) -> io::Result<()> {
    create(address).map_err(io::Error::other)?.connect(&SockAddr::unix(path)?)
}

/// For `map_err`: what was being done, for which address, and what to do about it.
pub(super) fn failed(what: &'static str, address: &Address) -> impl FnOnce(io::Error) -> ListenError + use<> {
    let address = address.clone();
    move |source| {
        let advice = match source.raw_os_error() {
            Some(libc::EADDRINUSE) => {
                "; another program listens there: stop it, or choose another port (0 lets the kernel choose)"
            }
            Some(libc::EADDRNOTAVAIL) => "; this machine has no such address: `ip address` lists those it has",
            Some(libc::EACCES) => {
                "; ports below 1024 need CAP_NET_BIND_SERVICE, other addresses the right to write there"
            }
            Some(libc::ENOENT) => "; its folder is not there: make it first",
            Some(libc::EPERM) => "; binding to a device may need CAP_NET_RAW",
            _ => "",
        };
        ListenError::Socket { what, address, source, advice }
    }
}

//! The sockets of a server: create, set options, bind, and for streams listen — the first half of its workflow, in that
//! order.

use super::SocketOptions;
use crate::engine::datagram::{DatagramSocket, Guard};
use crate::engine::shard::Listener;
use crate::service::Kind;
use crate::sys::datagram;
use crate::units::{Address, Bytes, Endpoint, Place, Transport};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

/// Receive buffer asked for at datagram sockets: a burst waits there or is lost. The kernel grants at most
/// net.core.rmem_max.
const DATAGRAM_BUFFER: usize = 4 << 20;
/// Times that a free port is looked for which is so over both transports.
const PORT_ATTEMPTS: usize = 16;

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
    fn is_taken(&self) -> bool {
        matches!(self, ListenError::Socket { source, .. } if source.kind() == ErrorKind::AddrInUse)
    }
}

/// How often each address is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    /// A listener for each of so many shards (SO_REUSEPORT), or one only; then the first shard accepts.
    pub reuseport: Option<usize>,
    /// Datagram sockets per address: one for each core.
    pub cores: usize,
}

/// All sockets of a server.
pub(super) struct Bound {
    sockets: Vec<BoundSocket>,
}

struct BoundSocket {
    kind: Kind,
    /// With the port that the kernel chose.
    address: Address,
    /// Those not yet handed over.
    copies: Vec<Socket>,
}

impl Bound {
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Kind, &Address)> {
        self.sockets.iter().map(|socket| (socket.kind, &socket.address))
    }

    /// The listeners of the next shard: all of them for the first, or its own SO_REUSEPORT ones. They are handed over,
    /// not copied, so that a shard which closes them refuses newcomers.
    pub(super) fn take_listeners(&mut self) -> Vec<Listener> {
        let streams = self.numbered(Transport::Stream);
        streams.filter_map(|(number, bound)| Some(Listener { number, socket: bound.copies.pop()? })).collect()
    }

    /// The datagram sockets of the next shard, `each` of every address, as far as there are so many.
    pub(super) fn take_datagrams(&mut self, each: usize) -> Vec<DatagramSocket> {
        let own_ports = self.datagram_ports();
        let take = |(number, bound): (usize, &mut BoundSocket)| {
            let guard = Guard::new(!bound.address.place.is_local(), own_ports.clone());
            let first = bound.copies.len().saturating_sub(each);
            let taken = bound.copies.split_off(first).into_iter();
            taken.map(move |socket| DatagramSocket { number, socket, guard: guard.clone() }).collect::<Vec<_>>()
        };
        self.numbered(Transport::Datagram).flat_map(take).collect()
    }

    /// Copies of the datagram sockets not yet handed over, to ask the kernel about them.
    pub(super) fn watch_datagrams(&mut self) -> io::Result<Vec<Socket>> {
        self.numbered(Transport::Datagram).flat_map(|(_, bound)| &bound.copies).map(Socket::try_clone).collect()
    }

    fn numbered(&mut self, transport: Transport) -> impl Iterator<Item = (usize, &mut BoundSocket)> {
        self.sockets.iter_mut().enumerate().filter(move |(_, bound)| bound.address.transport == transport)
    }

    fn datagram_ports(&mut self) -> Arc<[u16]> {
        let ports = self.numbered(Transport::Datagram).filter_map(|(_, bound)| port(&bound.address.place));
        ports.collect::<Vec<_>>().into()
    }

    /// Removes the files of unix sockets.
    pub(super) fn remove_paths(&self) {
        for bound in &self.sockets {
            if let Place::Unix(path) = &bound.address.place {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Binds every endpoint, over each of its transports, and listens.
pub(super) fn bind_all(
    endpoints: &[(Kind, Endpoint)],
    options: &SocketOptions,
    binding: Binding,
) -> Result<Bound, ListenError> {
    let bound = endpoints.iter().map(|(kind, endpoint)| bind_endpoint(*kind, endpoint, options, binding));
    Ok(Bound { sockets: bound.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect() })
}

/// One port for all transports, also where the kernel chooses it: then another is tried should it be taken over one.
fn bind_endpoint(
    kind: Kind,
    endpoint: &Endpoint,
    options: &SocketOptions,
    binding: Binding,
) -> Result<Vec<BoundSocket>, ListenError> {
    let free_choice = port(&endpoint.place) == Some(0) && endpoint.transports().len() > 1;
    let mut attempts = if free_choice { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match bind_transports(kind, endpoint, options, binding) {
            Err(error) if attempts > 0 && error.is_taken() => {}
            outcome => return outcome,
        }
    }
}

fn bind_transports(
    kind: Kind,
    endpoint: &Endpoint,
    options: &SocketOptions,
    binding: Binding,
) -> Result<Vec<BoundSocket>, ListenError> {
    let mut bound: Vec<BoundSocket> = Vec::new();
    for &transport in endpoint.transports() {
        let place = bound.first().map_or(&endpoint.place, |first| &first.address.place).clone();
        bound.push(bind(kind, &Address { transport, place }, options, binding)?);
    }
    Ok(bound)
}

fn bind(kind: Kind, address: &Address, options: &SocketOptions, binding: Binding) -> Result<BoundSocket, ListenError> {
    let unix = matches!(address.place, Place::Unix(_));
    let (first, copies) = match address.transport {
        Transport::Stream if unix && binding.reuseport.is_some() => {
            return Err(ListenError::ReuseportUnix(address.clone()));
        }
        Transport::Stream => (listen(address, options, binding.reuseport.is_some())?, binding.reuseport.unwrap_or(1)),
        Transport::Datagram => (open_datagrams(address, options, false)?, if unix { 1 } else { binding.cores }),
    };
    let address = with_port_of(address, &first).map_err(failed("getsockname", address))?;
    if address.transport == Transport::Datagram && copies > 1 {
        // Only now, so that the first bind fails where another server is on that port already.
        first.set_reuse_port(true).map_err(failed("setting socket options", &address))?;
    }
    let mut all = vec![first];
    for _ in 1..copies {
        all.push(match address.transport {
            Transport::Stream => listen(&address, options, true)?,
            Transport::Datagram => open_datagrams(&address, options, true)?,
        });
    }
    Ok(BoundSocket { kind, address, copies: all })
}

/// Create, bind, listen.
fn listen(address: &Address, options: &SocketOptions, reuseport: bool) -> Result<Socket, ListenError> {
    let socket = create(address)?;
    if let Place::Ip { .. } = address.place {
        set_tcp_options(&socket, options, reuseport).map_err(failed("setting socket options", address))?;
    }
    bind_to(&socket, address)?;
    set_buffers(&socket, options).map_err(failed("setting socket buffers", address))?;
    let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
    socket.listen(backlog).map_err(failed("listen", address))?;
    Ok(socket)
}

/// Create and bind: from then on datagrams arrive.
fn open_datagrams(address: &Address, options: &SocketOptions, reuseport: bool) -> Result<Socket, ListenError> {
    let socket = create(address)?;
    if let Place::Ip { .. } = address.place {
        socket.set_reuse_port(reuseport).map_err(failed("setting socket options", address))?;
    }
    datagram::mark_answers(&socket).map_err(failed("marking answers", address))?;
    if address.place.is_everywhere() {
        let told = datagram::tell_arrival_addresses(&socket);
        told.map_err(failed("having the addresses told that datagrams arrive at (IP_PKTINFO)", address))?;
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
    let domain = match &address.place {
        Place::Ip { ip, port, .. } => Domain::for_address(SocketAddr::new(*ip, *port)),
        Place::Unix(_) => Domain::UNIX,
    };
    let kind = if address.transport == Transport::Stream { Type::STREAM } else { Type::DGRAM };
    Socket::new(domain, kind, None).map_err(failed("socket", address))
}

fn bind_to(socket: &Socket, address: &Address) -> Result<(), ListenError> {
    let name = match &address.place {
        Place::Ip { ip, port, device } => {
            bind_to_device(socket, device.as_deref(), address)?;
            socket_address(*ip, *port, device.as_deref())?.into()
        }
        Place::Unix(path) => {
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

/// Removes the file that an earlier server left behind: a socket nobody listens on.
fn remove_stale(path: &Path, address: &Address) -> Result<(), ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket(address.clone()));
    }
    match somebody_is_there(path, address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("removing the stale socket", address))
        }
        // Somebody listens, or it cannot be told: bind will say so.
        _ => Ok(()),
    }
}

fn somebody_is_there(path: &Path, address: &Address) -> io::Result<()> {
    create(address).map_err(io::Error::other)?.connect(&SockAddr::unix(path)?)
}

fn port(place: &Place) -> Option<u16> {
    match place {
        Place::Ip { port, .. } => Some(*port),
        Place::Unix(_) => None,
    }
}

fn with_port_of(address: &Address, socket: &Socket) -> io::Result<Address> {
    let local = socket.local_addr()?;
    let mut address = address.clone();
    if let (Place::Ip { port, .. }, Some(local)) = (&mut address.place, local.as_socket()) {
        *port = local.port();
    }
    Ok(address)
}

fn failed(what: &'static str, address: &Address) -> impl FnOnce(io::Error) -> ListenError + use<> {
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
            Some(libc::EPERM) => "; binding to a device may need CAP_NET_RAW",
            _ => "",
        };
        ListenError::Socket { what, address, source, advice }
    }
}

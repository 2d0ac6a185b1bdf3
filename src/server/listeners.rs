//! Listening sockets: create, set options, bind, listen — the first half of the server's workflow, in that order.

use super::SocketOptions;
use crate::engine::shard::Listener;
use crate::service::Kind;
use crate::units::{Address, Bytes};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

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

/// How often each address is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// Once; the first shard accepts.
    Once,
    /// Once per shard (SO_REUSEPORT).
    PerShard(usize),
}

/// All listeners of a server.
pub(super) struct Bound {
    endpoints: Vec<Endpoint>,
}

struct Endpoint {
    kind: Kind,
    /// With the port that the kernel chose.
    address: Address,
    /// One, or one per shard; those not yet handed over.
    sockets: Vec<Socket>,
}

impl Bound {
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Kind, &Address)> {
        self.endpoints.iter().map(|endpoint| (endpoint.kind, &endpoint.address))
    }

    /// The listeners of the next shard: all of them for the first, or its own SO_REUSEPORT ones. They are handed over,
    /// not copied, so that a shard which closes them refuses newcomers.
    pub(super) fn take_listeners(&mut self) -> Vec<Listener> {
        let endpoints = self.endpoints.iter_mut().enumerate();
        endpoints.filter_map(|(number, endpoint)| Some(Listener { number, socket: endpoint.sockets.pop()? })).collect()
    }

    /// Removes the files of unix sockets.
    pub(super) fn remove_paths(&self) {
        for endpoint in &self.endpoints {
            if let Address::Unix(path) = &endpoint.address {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Binds every endpoint and listens.
pub(super) fn bind_all(
    endpoints: &[(Kind, Address)],
    options: &SocketOptions,
    binding: Binding,
) -> Result<Bound, ListenError> {
    let bound = endpoints.iter().map(|(kind, address)| bind(*kind, address, options, binding));
    Ok(Bound { endpoints: bound.collect::<Result<_, _>>()? })
}

fn bind(kind: Kind, address: &Address, options: &SocketOptions, binding: Binding) -> Result<Endpoint, ListenError> {
    let reuseport = binding != Binding::Once;
    if reuseport && matches!(address, Address::Unix(_)) {
        return Err(ListenError::ReuseportUnix(address.clone()));
    }
    let first = listen(address, options, reuseport)?;
    let address = with_port_of(address, &first).map_err(failed("getsockname", address))?;
    let copies = if let Binding::PerShard(shards) = binding { shards } else { 1 };
    let mut sockets = vec![first];
    for _ in 1..copies {
        sockets.push(listen(&address, options, reuseport)?);
    }
    Ok(Endpoint { kind, address, sockets })
}

/// Create, bind, listen.
fn listen(address: &Address, options: &SocketOptions, reuseport: bool) -> Result<Socket, ListenError> {
    let socket = match address {
        Address::Tcp { ip, port, device } => {
            let socket = create(Domain::for_address(SocketAddr::new(*ip, *port)), address)?;
            set_tcp_options(&socket, options, reuseport).map_err(failed("setting socket options", address))?;
            bind_to_device(&socket, device.as_deref(), address)?;
            let name = socket_address(*ip, *port, device.as_deref())?;
            socket.bind(&name.into()).map_err(failed("bind", address))?;
            socket
        }
        Address::Unix(path) => {
            remove_stale(path, address)?;
            let socket = create(Domain::UNIX, address)?;
            let name = SockAddr::unix(path).map_err(failed("bind", address))?;
            socket.bind(&name).map_err(failed("bind", address))?;
            socket
        }
    };
    set_buffers(&socket, options).map_err(failed("setting socket buffers", address))?;
    let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
    socket.listen(backlog).map_err(failed("listen", address))?;
    Ok(socket)
}

fn create(domain: Domain, address: &Address) -> Result<Socket, ListenError> {
    Socket::new(domain, Type::STREAM, None).map_err(failed("socket", address))
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
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("removing the stale socket", address))
        }
        // Somebody listens, or it cannot be told: bind will say so.
        _ => Ok(()),
    }
}

fn with_port_of(address: &Address, socket: &Socket) -> io::Result<Address> {
    let local = socket.local_addr()?;
    Ok(match (address, local.as_socket()) {
        (Address::Tcp { ip, device, .. }, Some(local)) => {
            Address::Tcp { ip: *ip, port: local.port(), device: device.clone() }
        }
        _ => address.clone(),
    })
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

//! The sockets of a server: which are bound for an endpoint, and who gets them.

mod open;

pub use open::ListenError;

use super::SocketOptions;
use crate::engine::datagram::{DatagramSocket, ReflectionGuard};
use crate::engine::shard::Listener;
use crate::protocol::Kind;
use crate::units::{Address, Endpoint, SocketLocation, Transport};
use open::{failed, listen, open_datagrams};
use socket2::Socket;
use std::fs;
use std::io;
use std::sync::Arc;

/// Times that a free port is looked for which is so over both transports.
const PORT_ATTEMPTS: usize = 16;

/// How often each address is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BindPlan {
    /// A listener for each of so many shards (SO_REUSEPORT), or one only; then the first shard accepts.
    pub reuseport: Option<usize>,
    /// Datagram sockets per address: one for each core.
    pub cores: usize,
}

/// All sockets of a server.
pub(super) struct BoundSockets {
    sockets: Vec<BoundSocket>,
}

struct BoundSocket {
    kind: Kind,
    /// With the port that the kernel chose.
    address: Address,
    /// Those not yet handed over.
    copies: Vec<Socket>,
}

impl BoundSockets {
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Kind, &Address)> {
        self.sockets.iter().map(|socket| (socket.kind, &socket.address))
    }

    /// The listeners of the next shard: all of them for the first, or its own SO_REUSEPORT ones. They are handed over,
    /// not copied, so that a shard which closes them refuses new connections.
    pub(super) fn take_listeners(&mut self) -> Vec<Listener> {
        let streams = self.numbered(Transport::Stream);
        streams.filter_map(|(number, bound)| Some(Listener { number, socket: bound.copies.pop()? })).collect()
    }

    /// The datagram sockets of the next shard, `each` of every address, as far as there are so many.
    pub(super) fn take_datagrams(&mut self, each: usize) -> Vec<DatagramSocket> {
        let own_ports = self.datagram_ports();
        let take = |(number, bound): (usize, &mut BoundSocket)| {
            let guard = ReflectionGuard::new(!bound.address.location.is_local(), own_ports.clone());
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
        let ports = self.numbered(Transport::Datagram).filter_map(|(_, bound)| port(&bound.address.location));
        ports.collect::<Vec<_>>().into()
    }

    /// Removes the files of unix sockets.
    pub(super) fn remove_paths(&self) {
        for bound in &self.sockets {
            if let SocketLocation::Unix(path) = &bound.address.location {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Binds every endpoint, over each of its transports, and listens.
pub(super) fn bind_all(
    endpoints: &[(Kind, Endpoint)],
    options: &SocketOptions,
    plan: BindPlan,
) -> Result<BoundSockets, ListenError> {
    let bound = endpoints.iter().map(|(kind, endpoint)| bind_endpoint(*kind, endpoint, options, plan));
    Ok(BoundSockets { sockets: bound.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect() })
}

/// One port for all transports, also where the kernel chooses it: then another is tried should it be taken over one.
fn bind_endpoint(
    kind: Kind,
    endpoint: &Endpoint,
    options: &SocketOptions,
    plan: BindPlan,
) -> Result<Vec<BoundSocket>, ListenError> {
    let free_choice = port(&endpoint.location) == Some(0) && endpoint.transports().len() > 1;
    let mut attempts = if free_choice { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match bind_transports(kind, endpoint, options, plan) {
            Err(error) if attempts > 0 && error.is_taken() => {}
            outcome => return outcome,
        }
    }
}

fn bind_transports(
    kind: Kind,
    endpoint: &Endpoint,
    options: &SocketOptions,
    plan: BindPlan,
) -> Result<Vec<BoundSocket>, ListenError> {
    let mut bound: Vec<BoundSocket> = Vec::new();
    for &transport in endpoint.transports() {
        let location = bound.first().map_or(&endpoint.location, |first| &first.address.location).clone();
        bound.push(bind(kind, &Address { transport, location }, options, plan)?);
    }
    Ok(bound)
}

fn bind(kind: Kind, address: &Address, options: &SocketOptions, plan: BindPlan) -> Result<BoundSocket, ListenError> {
    let unix = matches!(address.location, SocketLocation::Unix(_));
    let (first, copies) = match address.transport {
        Transport::Stream if unix && plan.reuseport.is_some() => {
            return Err(ListenError::ReuseportUnix(address.clone()));
        }
        Transport::Stream => (listen(address, options, plan.reuseport.is_some())?, plan.reuseport.unwrap_or(1)),
        Transport::Datagram => (open_datagrams(address, options, false)?, if unix { 1 } else { plan.cores }),
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

fn port(location: &SocketLocation) -> Option<u16> {
    match location {
        SocketLocation::Ip { port, .. } => Some(*port),
        SocketLocation::Unix(_) => None,
    }
}

fn with_port_of(address: &Address, socket: &Socket) -> io::Result<Address> {
    let local = socket.local_addr()?;
    let mut address = address.clone();
    if let (SocketLocation::Ip { port, .. }, Some(local)) = (&mut address.location, local.as_socket()) {
        *port = local.port();
    }
    Ok(address)
}

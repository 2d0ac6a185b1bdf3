//! Load by datagrams: every request is one, sent on a connected socket with an address of its own; the network may
//! lose, delay, duplicate and reorder them, and each of these is counted apart.
//!
//! From the inside out: `reorder` and `tracker` (one socket's requests: what an answer is), `pool` (one thread's
//! sockets), `engine` (I/O: epoll or io_uring), `socket` (how one is made), `stats` and `report` (figures and rules of
//! the report). Only `engine` and `socket` touch sockets.

pub mod engine;
mod pool;
mod reorder;
mod report;
mod socket;
pub mod stats;
mod tracker;

pub use engine::{epoll::EpollEngine, uring::UringEngine};
pub use pool::SocketPool;
pub use report::{invalid, record, silent, unsegmented, warnings};

use super::Config;
use super::protocols::DatagramProtocol;
use crate::record::Reason;
use crate::sys::datagram::drops_at;
use crate::sys::datagram::gso::MAX_SEGMENTS;
use crate::units::{Address, SocketLocation, Transport};
use std::net::{SocketAddr, UdpSocket};

/// What a valid run may lose unless asked for otherwise.
pub const DEFAULT_MAX_LOSS: f64 = 0.01;

/// What is asked of datagrams beyond what every load has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Most datagrams of one super-packet; 1 sends none.
    pub gso: u64,
    pub protocol: DatagramProtocol,
    /// The share of the requests, 0 to 1, that may stay without an answer in time in a valid run.
    pub max_loss: f64,
}

impl Default for Options {
    fn default() -> Options {
        Options { gso: 1, protocol: DatagramProtocol::Echo, max_loss: DEFAULT_MAX_LOSS }
    }
}

/// The largest datagram that a target takes: IP's length field, less the headers (over IPv6 that field leaves out its
/// own); of a unix socket what is one piece of the pattern. A super-packet must fit the same field.
pub fn max_size(target: &Address) -> u64 {
    match &target.location {
        SocketLocation::Ip { ip, .. } if ip.to_canonical().is_ipv4() => 65_507,
        SocketLocation::Ip { .. } => 65_527,
        SocketLocation::Unix(_) => 65_536,
    }
}

/// Most datagrams of one super-packet; 1 where none are sent.
pub fn segments(config: &Config) -> usize {
    let is_udp = matches!(config.target.location, SocketLocation::Ip { .. });
    if config.target.transport != Transport::Datagram || !is_udp || config.mix.is_some() {
        return 1;
    }
    let fit = max_size(&config.target) / config.size.0.max(1);
    (config.datagrams.gso.min(fit) as usize).clamp(1, MAX_SEGMENTS)
}

/// Why no super-packet is sent though they were asked for: not even two datagrams fit one.
pub fn too_large_for_gso(config: &Config) -> Option<Reason> {
    (config.datagrams.gso > 1 && segments(config) == 1)
        .then(|| Reason::GsoTooLarge { size: config.size.0, most: max_size(&config.target) })
}

/// What the kernel has dropped so far at the target's sockets. `None` where they are not on this machine.
pub fn server_drops(target: &Address) -> Option<u64> {
    match target.location {
        SocketLocation::Ip { ip, port, .. } if UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok() => {
            drops_at(SocketAddr::new(ip, port))
        }
        _ => None,
    }
}

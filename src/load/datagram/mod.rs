//! Load by datagrams: every request is one, sent on a connected socket with an address of its own; the network may lose,
//! delay, duplicate and reorder them, and each of these is counted apart.
//!
//! From the inside out: `message` (what a datagram looks like), `reorder` and `tracker` (one socket's requests: what an
//! answer is), `swarm` (one thread's sockets), `engine` (I/O: epoll or io_uring), `socket` (how one is made), `crew` (a
//! swarm on its engine), `outcome` (figures and rules of the report). Only `engine` and `socket` touch sockets, nothing
//! reads the clock but `crew`, where it is told to.

mod crew;
mod engine;
mod message;
mod outcome;
mod reorder;
mod socket;
mod swarm;
mod tracker;

pub use crew::Datagrams;
pub use engine::{Setup, epoll::EpollEngine, uring::UringEngine};
pub use message::{Dialect, Layout};
pub use outcome::{Tally, invalid, record, silent, unsegmented, warnings};
pub use swarm::Orders;

use super::Config;
use super::pacer::Pacer;
use super::payload::Payload;
use crate::sys::datagram::drops_at;
use crate::sys::datagram::offload::{MAX_SEGMENTS, MAX_SUPER_PACKET};
use crate::units::{Address, Place};
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// What a valid run may lose unless told otherwise.
pub const DEFAULT_MAX_LOSS: f64 = 0.01;

/// What is asked of datagrams beyond what every load has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Most datagrams of one super-packet; 1 sends none.
    pub gso: u64,
    pub dialect: Dialect,
    /// The share of the requests, 0 to 1, that may stay without an answer in time in a valid run.
    pub max_loss: f64,
}

impl Default for Options {
    fn default() -> Options {
        Options { gso: 1, dialect: Dialect::Echo, max_loss: DEFAULT_MAX_LOSS }
    }
}

/// The largest datagram that a target takes: IP's length field, less the headers; of a unix socket what is one piece of the
/// payload.
pub fn max_size(target: &Address) -> u64 {
    match &target.place {
        Place::Ip { ip: IpAddr::V4(_), .. } => 65_507,
        Place::Ip { ip: IpAddr::V6(_), .. } => 65_527,
        Place::Unix(_) => 65_536,
    }
}

/// What a thread's engine prepares for.
pub fn setup(config: &Config, sockets: usize, spins: bool, usual_depth: u64) -> Setup {
    let size = config.size.0 as usize;
    let is_udp = matches!(config.target.place, Place::Ip { .. });
    let segments =
        if is_udp { (config.datagrams.gso as usize).min(MAX_SEGMENTS).min(MAX_SUPER_PACKET / size) } else { 1 };
    Setup { sockets, size, depth: usual_depth as usize, segments: segments.max(1), spins }
}

/// What a thread's sockets have to do; `first` is the number of its first socket among all.
pub fn orders(config: &Config, payload: Payload, pacer: Pacer, first: usize, sockets: usize, admit: usize) -> Orders {
    Orders {
        target: config.target.clone(),
        sockets,
        first,
        layout: Layout { dialect: config.datagrams.dialect, size: config.size.0 as usize },
        depth: config.depth,
        timeout: config.timeout,
        admit_at_once: admit,
        payload,
        pacer,
    }
}

/// What the kernel has dropped so far at the target's sockets. `None` where they are not on this machine.
pub fn server_drops(target: &Address) -> Option<u64> {
    match target.place {
        Place::Ip { ip, port, .. } if UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok() => {
            drops_at(SocketAddr::new(ip, port))
        }
        _ => None,
    }
}

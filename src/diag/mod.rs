//! Diagnostics on raw sockets: is it there ([`ping`]), which way does it go ([`trace`]), what passes a device
//! ([`sniff`]), and how long a server takes to answer ([`latency`]).
//!
//! What a probe became is decided by pure state machines ([`probe_tracker`]) and parsers ([`icmp`]); I/O is thin and goes through
//! the ring ([`probe_io`]). This module never sends to an address that was not typed, never faster than its caller allows, and
//! never trusts a byte that arrives.

pub mod echo;
pub mod frame;
pub mod icmp;
pub mod latency;
pub mod names;
pub mod ping;
pub mod probe_io;
pub mod probe_stats;
pub mod probe_tracker;
mod record;
pub mod sniff;
pub mod socket;
pub mod socket_caps;
pub mod trace;

use crate::sys::uring::RingError;
use std::io;

/// A diagnosis could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DiagError {
    #[error(transparent)]
    Open(#[from] socket::OpenError),
    #[error("probes go through io_uring: {0}")]
    Ring(#[from] RingError),
    #[error("{what} failed: {source}")]
    Io { what: &'static str, source: io::Error },
}

impl DiagError {
    /// For `map_err`.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> DiagError {
        move |source| DiagError::Io { what, source }
    }
}

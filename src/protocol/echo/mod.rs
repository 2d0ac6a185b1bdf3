//! Echo (RFC 862): what one end says comes back from the other.

pub mod client;
mod server;

/// The protocol, and its sessions, which remember nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Echo;

//! Character generator (RFC 864): the server speaks first and never stops; what it hears it throws away.

pub mod client;
mod pattern;
mod server;

pub use pattern::{LINE, PERIOD, character};

/// The protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chargen;

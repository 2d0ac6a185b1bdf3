//! Trace: which hops lie on the way to a host, and what becomes of probes that are to get as far as each of them.
//!
//! All probes look like one flow to routers that spread load over several ways (as Paris traceroute, Augustin et al., IMC
//! 2006): addresses, protocol and ports stay the same, and probes differ only where such routers do not look.

mod path;
mod probe;
mod record;
mod rounds;
mod run;

pub use path::{Hop, HopReply, Path};
pub use probe::Flow;
pub use record::{hops, report};
pub use run::run;

use super::names::Host;
use crate::sys::raw::Access;
use crate::units::Nanos;

/// Shortest round to other machines, unless flooding is asked for.
pub const POLITE_INTERVAL: Nanos = Nanos::from_millis(100);
/// Most hops that an IP packet may take.
pub const MOST_HOPS: u8 = 64;

/// What the probes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// UDP datagrams to this port.
    Udp { port: u16 },
    /// Echo requests.
    Icmp,
    /// SYNs: as the start of a connection, which is not finished.
    Tcp { port: u16 },
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// The destination.
    pub host: Host,
    /// What the probes are.
    pub method: Method,
    /// Probes to each hop; `None` until stopped.
    pub rounds: Option<u64>,
    /// From one round to the next.
    pub interval: Nanos,
    /// An answer after this is late.
    pub timeout: Nanos,
    /// Hops that are tried at most, up to [`MOST_HOPS`].
    pub max_hops: u8,
    /// Go below [`POLITE_INTERVAL`].
    pub flood: bool,
}

/// The settings are fine one by one, but not together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "a round every {0} floods other machines: at least {POLITE_INTERVAL} is asked for; if they and the way there are yours, add --flood"
    )]
    Flood(Nanos),
}

impl Config {
    /// Checks the settings against each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self.interval < POLITE_INTERVAL && !self.flood && !self.host.address.is_loopback() {
            true => Err(ConfigError::Flood(self.interval)),
            false => Ok(()),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The hops and what answered there.
    pub path: Path,
    /// The kind of ICMP socket that was used.
    pub access: Access,
    /// Addresses and ports of all probes.
    pub flow: Flow,
    /// Length of the run.
    pub duration: Nanos,
}

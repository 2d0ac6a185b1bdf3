//! Where sockets listen or connect: `IP:PORT`, `tcp://IP:PORT`, `udp://[v6]:PORT`, `IP%DEVICE:PORT`, `unix:PATH`,
//! `unixgram:PATH`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Longest path that fits `sockaddr_un.sun_path` with its final NUL (unix(7)).
const MAX_UNIX_PATH_BYTES: usize = 107;
/// Longest device name with its final NUL: IFNAMSIZ is 16 (netdevice(7)).
const MAX_DEVICE_BYTES: usize = 15;

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A stream of bytes within a connection: TCP, or a unix stream socket.
    Stream,
    /// Messages without a connection: UDP, or a unix datagram socket.
    Datagram,
}

/// Where a socket is, whatever it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketLocation {
    /// An IP address and a port.
    Ip {
        /// The unspecified address (0.0.0.0, ::) is every address of this machine.
        ip: IpAddr,
        /// 0 lets the kernel choose.
        port: u16,
        /// Bind to this network device (SO_BINDTODEVICE).
        device: Option<String>,
    },
    /// Path of a unix socket, at most 107 bytes (unix(7)).
    Unix(PathBuf),
}

/// A location and the transport there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Streams or datagrams.
    pub transport: Transport,
    /// Where.
    pub location: SocketLocation,
}

/// What a server listens on: a location, over the one transport that was named or over both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `None`: over both, where the location has both.
    pub transport: Option<Transport>,
    /// Where.
    pub location: SocketLocation,
}

/// What was typed is not an address; the message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not an address: {problem}; write 127.0.0.1:7007, udp://127.0.0.1:7007, [::1]:7007, 127.0.0.1%lo:7007, unix:/path or unixgram:/path"
)]
pub struct ParseAddressError {
    text: String,
    problem: &'static str,
}

impl Address {
    /// TCP at this address.
    pub fn tcp(address: SocketAddr) -> Address {
        Address { transport: Transport::Stream, location: SocketLocation::ip(address) }
    }

    /// UDP at this address.
    pub fn udp(address: SocketAddr) -> Address {
        Address { transport: Transport::Datagram, location: SocketLocation::ip(address) }
    }

    /// `tcp`, `udp`, `unix` or `unixgram`.
    pub fn protocol(&self) -> &'static str {
        match (&self.location, self.transport) {
            (SocketLocation::Ip { .. }, Transport::Stream) => "tcp",
            (SocketLocation::Ip { .. }, Transport::Datagram) => "udp",
            (SocketLocation::Unix(_), Transport::Stream) => "unix",
            (SocketLocation::Unix(_), Transport::Datagram) => "unixgram",
        }
    }
}

impl SocketLocation {
    /// Without a device.
    pub fn ip(address: SocketAddr) -> SocketLocation {
        SocketLocation::Ip { ip: address.ip(), port: address.port(), device: None }
    }

    /// Only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            SocketLocation::Ip { ip, .. } => ip.to_canonical().is_loopback(),
            SocketLocation::Unix(_) => true,
        }
    }

    /// The unspecified address (0.0.0.0, ::): every address of this machine.
    pub fn is_everywhere(&self) -> bool {
        matches!(self, SocketLocation::Ip { ip, .. } if ip.to_canonical().is_unspecified())
    }
}

impl Endpoint {
    /// The transports to listen on. A path is one socket, a stream unless named otherwise.
    pub fn transports(&self) -> &'static [Transport] {
        match (self.transport, &self.location) {
            (Some(Transport::Datagram), _) => &[Transport::Datagram],
            (None, SocketLocation::Ip { .. }) => &[Transport::Stream, Transport::Datagram],
            _ => &[Transport::Stream],
        }
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Endpoint {
        Endpoint { transport: Some(address.transport), location: address.location }
    }
}

impl FromStr for Endpoint {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Endpoint, ParseAddressError> {
        let error = |problem| ParseAddressError { text: text.to_owned(), problem };
        for (scheme, transport) in [("unix:", Transport::Stream), ("unixgram:", Transport::Datagram)] {
            if let Some(path) = text.strip_prefix(scheme) {
                let location = parse_unix(path.strip_prefix("//").unwrap_or(path)).map_err(error)?;
                return Ok(Endpoint { transport: Some(transport), location });
            }
        }
        let (transport, rest) = match text.split_once("://") {
            None => (None, text),
            Some(("tcp", rest)) => (Some(Transport::Stream), rest),
            Some(("udp", rest)) => (Some(Transport::Datagram), rest),
            Some(_) => return Err(error("only tcp://, udp://, unix: and unixgram: are known")),
        };
        Ok(Endpoint { transport, location: parse_ip(rest).map_err(error)? })
    }
}

/// Without a scheme it is a stream's.
impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Address, ParseAddressError> {
        let Endpoint { transport, location } = text.parse()?;
        Ok(Address { transport: transport.unwrap_or(Transport::Stream), location })
    }
}

fn parse_unix(path: &str) -> Result<SocketLocation, &'static str> {
    match path.len() {
        0 => Err("the path is empty"),
        1..=MAX_UNIX_PATH_BYTES => Ok(SocketLocation::Unix(path.into())),
        _ => Err("the path is longer than the 107 bytes a unix socket may have"),
    }
}

/// `HOST:PORT`, the device after the IP or after the port.
fn parse_ip(text: &str) -> Result<SocketLocation, &'static str> {
    let (text, trailing_device) = match text.rsplit_once('%') {
        Some((rest, device)) if !device.contains(':') && !device.contains(']') => (rest, Some(device)),
        _ => (text, None),
    };
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port = port.parse().map_err(|_| "the port is not a number from 0 to 65535")?;
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let (ip, device) = match bracketed.unwrap_or(host).split_once('%') {
        Some((ip, device)) => (ip, Some(device)),
        None => (bracketed.unwrap_or(host), None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| "the host must be an IP address (localhost is 127.0.0.1)")?;
    if ip.is_ipv6() != bracketed.is_some() {
        return Err("an IPv6 address needs brackets, an IPv4 address has none");
    }
    let device = device.or(trailing_device).map(check_device).transpose()?;
    Ok(SocketLocation::Ip { ip, port, device })
}

fn check_device(device: &str) -> Result<String, &'static str> {
    match device.len() {
        1..=MAX_DEVICE_BYTES => Ok(device.to_owned()),
        _ => Err("a device name has 1 to 15 characters"),
    }
}

/// Without the protocol: `IP:PORT` or a path.
impl fmt::Display for SocketLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketLocation::Unix(path) => write!(f, "{}", path.display()),
            SocketLocation::Ip { ip, port, device } => {
                let device = device.as_ref().map(|device| format!("%{device}")).unwrap_or_default();
                match ip {
                    IpAddr::V4(ip) => write!(f, "{ip}{device}:{port}"),
                    IpAddr::V6(ip) => write!(f, "[{ip}{device}]:{port}"),
                }
            }
        }
    }
}

/// As it is typed; TCP, which is the default, without its scheme.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.location, self.transport) {
            (SocketLocation::Ip { .. }, Transport::Stream) => write!(f, "{}", self.location),
            (SocketLocation::Ip { .. }, Transport::Datagram) => write!(f, "udp://{}", self.location),
            (SocketLocation::Unix(_), _) => write!(f, "{}:{}", self.protocol(), self.location),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print() {
        for (text, printed) in [
            ("127.0.0.1:7007", "127.0.0.1:7007"),
            ("tcp://127.0.0.1:0", "127.0.0.1:0"),
            ("udp://127.0.0.1:0", "udp://127.0.0.1:0"),
            ("udp://[::1]:53", "udp://[::1]:53"),
            ("[::1]:7007", "[::1]:7007"),
            ("127.0.0.1%lo:7007", "127.0.0.1%lo:7007"),
            ("127.0.0.1:7007%lo", "127.0.0.1%lo:7007"),
            ("[fe80::1%eth0]:1", "[fe80::1%eth0]:1"),
            ("unix:/tmp/x", "unix:/tmp/x"),
            ("unix:///tmp/x", "unix:/tmp/x"),
            ("unixgram:/tmp/x", "unixgram:/tmp/x"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(printed.parse(), Ok(address));
        }
    }

    #[test]
    fn an_endpoint_without_a_scheme_is_both_transports() {
        use Transport::{Datagram, Stream};
        for (text, transports) in [
            ("127.0.0.1:7", &[Stream, Datagram][..]),
            ("tcp://127.0.0.1:7", &[Stream]),
            ("udp://127.0.0.1:7", &[Datagram]),
            ("unix:/x", &[Stream]),
            ("unixgram:/x", &[Datagram]),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().transports(), transports, "{text}");
        }
    }

    #[test]
    fn what_others_can_reach_is_not_local_and_what_stands_for_all_is_everywhere() {
        for (text, local, everywhere) in [
            ("127.0.0.2:1", true, false),
            ("[::1]:1", true, false),
            ("[::ffff:127.0.0.1]:1", true, false),
            ("unix:/x", true, false),
            ("0.0.0.0:1", false, true),
            ("0.0.0.0%lo:1", false, true),
            ("[::]:1", false, true),
            ("[::ffff:0.0.0.0]:1", false, true),
            ("192.0.2.1:1", false, false),
        ] {
            let location = text.parse::<Address>().unwrap().location;
            assert_eq!((location.is_local(), location.is_everywhere()), (local, everywhere), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_address_is_told_why() {
        for (text, part) in [
            ("127.0.0.1", "port is missing"),
            ("127.0.0.1:70000", "65535"),
            ("::1:7007", "brackets"),
            ("localhost:80", "IP address"),
            ("unix:", "empty"),
            ("unixgram:", "empty"),
            ("http://127.0.0.1:80", "tcp://"),
            ("127.0.0.1%:80", "1 to 15"),
        ] {
            let message = text.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert!(format!("unix:/{}", "x".repeat(200)).parse::<Address>().is_err());
    }
}

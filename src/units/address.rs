//! Where a stream socket listens or connects: `tcp://IP:PORT`, `[v6]:PORT`, `IP%DEVICE:PORT`, `unix:PATH`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Longest path that fits `sockaddr_un.sun_path` with its final NUL (unix(7)).
const MAX_UNIX_PATH_BYTES: usize = 107;
/// Longest device name with its final NUL: IFNAMSIZ is 16 (netdevice(7)).
const MAX_DEVICE_BYTES: usize = 15;

/// A stream address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp {
        ip: IpAddr,
        /// 0 lets the kernel choose.
        port: u16,
        /// Bind to this network device (SO_BINDTODEVICE).
        device: Option<String>,
    },
    Unix(PathBuf),
}

/// What was typed is not an address; the message says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an address: {problem}; write 127.0.0.1:7007, [::1]:7007, 127.0.0.1%lo:7007 or unix:/path")]
pub struct ParseAddressError {
    text: String,
    problem: &'static str,
}

impl Address {
    pub fn tcp(address: SocketAddr) -> Address {
        Address::Tcp { ip: address.ip(), port: address.port(), device: None }
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Address, ParseAddressError> {
        let error = |problem| ParseAddressError { text: text.to_owned(), problem };
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_unix(path.strip_prefix("//").unwrap_or(path)).map_err(error);
        }
        if text.contains("://") && !text.starts_with("tcp://") {
            return Err(error("only tcp:// and unix: are known"));
        }
        parse_tcp(text.strip_prefix("tcp://").unwrap_or(text)).map_err(error)
    }
}

fn parse_unix(path: &str) -> Result<Address, &'static str> {
    match path.len() {
        0 => Err("the path is empty"),
        1..=MAX_UNIX_PATH_BYTES => Ok(Address::Unix(path.into())),
        _ => Err("the path is longer than the 107 bytes a unix socket may have"),
    }
}

/// `HOST:PORT`, the device after the IP or after the port.
fn parse_tcp(text: &str) -> Result<Address, &'static str> {
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
    Ok(Address::Tcp { ip, port, device })
}

fn check_device(device: &str) -> Result<String, &'static str> {
    match device.len() {
        1..=MAX_DEVICE_BYTES => Ok(device.to_owned()),
        _ => Err("a device name has 1 to 15 characters"),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp { ip, port, device } => {
                let device = device.as_ref().map(|device| format!("%{device}")).unwrap_or_default();
                match ip {
                    IpAddr::V4(ip) => write!(f, "{ip}{device}:{port}"),
                    IpAddr::V6(ip) => write!(f, "[{ip}{device}]:{port}"),
                }
            }
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
            ("[::1]:7007", "[::1]:7007"),
            ("127.0.0.1%lo:7007", "127.0.0.1%lo:7007"),
            ("127.0.0.1:7007%lo", "127.0.0.1%lo:7007"),
            ("[fe80::1%eth0]:1", "[fe80::1%eth0]:1"),
            ("unix:/tmp/x", "unix:/tmp/x"),
            ("unix:///tmp/x", "unix:/tmp/x"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(printed.parse(), Ok(address));
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
            ("http://127.0.0.1:80", "tcp://"),
            ("127.0.0.1%:80", "1 to 15"),
        ] {
            let message = text.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert!(format!("unix:/{}", "x".repeat(200)).parse::<Address>().is_err());
    }
}

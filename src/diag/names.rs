//! Host names, and which addresses may be probed.

use super::icmp::Family;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};

/// A host as it was typed, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// As it was typed.
    pub name: String,
    /// An IPv4-mapped IPv6 address becomes IPv4.
    pub address: IpAddr,
}

/// Why a host cannot be probed.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    #[error("'{name}': no such host ({source}); check the spelling and /etc/resolv.conf")]
    Unknown { name: String, source: io::Error },
    #[error("{name}: has no {wanted} address; leave out {option}")]
    OtherFamily { name: String, wanted: &'static str, option: &'static str },
    #[error("{name}: {address} is not the address of one host; name one")]
    NotOne { name: String, address: IpAddr },
}

impl Host {
    /// Finds the first address of a name, of this family if one is given. An address is its own name.
    pub fn resolve(name: &str, family: Option<Family>) -> Result<Host, NameError> {
        let found: Vec<IpAddr> = match name.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => lookup(name)?,
        };
        let mut fitting = found.iter().map(IpAddr::to_canonical);
        let address = fitting.find(|address| family.is_none_or(|family| Family::of(*address) == family));
        let Some(address) = address else {
            let (wanted, option) = if family == Some(Family::V6) { ("IPv6", "-6") } else { ("IPv4", "-4") };
            return Err(NameError::OtherFamily { name: name.to_owned(), wanted, option });
        };
        match is_one_host(address) {
            true => Ok(Host { name: name.to_owned(), address }),
            false => Err(NameError::NotOne { name: name.to_owned(), address }),
        }
    }

    /// `name (address)`, or the address alone where that was typed.
    pub fn label(&self) -> String {
        let address = self.address.to_string();
        if self.name == address { address } else { format!("{} ({address})", self.name) }
    }
}

fn lookup(name: &str) -> Result<Vec<IpAddr>, NameError> {
    let unknown = |source| NameError::Unknown { name: name.to_owned(), source };
    let found: Vec<IpAddr> = (name, 0).to_socket_addrs().map_err(unknown)?.map(|address| address.ip()).collect();
    match found.is_empty() {
        true => Err(unknown(io::Error::from(io::ErrorKind::NotFound))),
        false => Ok(found),
    }
}

/// Neither multicast, nor broadcast, nor unspecified.
fn is_one_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::from([255; 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_their_own_names() {
        let host = Host::resolve("127.0.0.2", None).unwrap();
        assert_eq!((host.address, host.label().as_str()), ([127, 0, 0, 2].into(), "127.0.0.2"));
        assert_eq!(Host::resolve("::ffff:127.0.0.1", Some(Family::V4)).unwrap().address, IpAddr::from([127, 0, 0, 1]));
        assert!(matches!(Host::resolve("::1", Some(Family::V4)), Err(NameError::OtherFamily { option: "-4", .. })));
    }

    #[test]
    fn groups_and_what_is_no_host_are_refused() {
        for address in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            assert!(matches!(Host::resolve(address, None), Err(NameError::NotOne { .. })), "{address}");
        }
        for name in ["", "no such.host", "host.invalid"] {
            assert!(matches!(Host::resolve(name, None), Err(NameError::Unknown { .. })), "{name}");
        }
    }
}

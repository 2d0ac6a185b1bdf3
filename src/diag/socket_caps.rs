//! Which sockets below TCP and UDP this process may have, found by trying.

use super::socket::{ALLOW_PING, allow_raw};
use crate::sys::raw::{self, Access};
use socket2::Domain;
use std::io;

/// The kind that sends no echo requests.
pub const PACKET_SOCKETS: &str = "packet sockets";

/// A kind of socket, and whether it may be had.
#[derive(Debug)]
pub struct SocketCap {
    /// As shown by `ringmark doctor`.
    pub name: &'static str,
    /// What ringmark does with it.
    pub gives: &'static str,
    /// Whether the kernel gave one, or why not.
    pub outcome: io::Result<()>,
    /// The command that allows it.
    pub allow: String,
}

/// Tries every kind. Nothing is sent.
pub fn socket_caps() -> Vec<SocketCap> {
    let icmp = |access| {
        raw::icmp(Domain::IPV4, access)?;
        // IPv6 may be switched off; IPv4 alone is no reason for advice.
        match raw::icmp(Domain::IPV6, access) {
            Err(error) if error.raw_os_error() != Some(libc::EAFNOSUPPORT) => Err(error),
            _ => Ok(()),
        }
    };
    let raw_sockets = "ping, and trace by UDP, ICMP and TCP";
    vec![
        SocketCap { name: "raw sockets", gives: raw_sockets, outcome: icmp(Access::Raw), allow: allow_raw() },
        SocketCap {
            name: "ping sockets",
            gives: "ping and trace --icmp without CAP_NET_RAW",
            outcome: icmp(Access::Ping),
            allow: ALLOW_PING.to_owned(),
        },
        SocketCap {
            name: PACKET_SOCKETS,
            gives: "sniff, and latency read off the wire",
            outcome: raw::try_packet(),
            allow: allow_raw(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_says_how_it_is_allowed() {
        for cap in socket_caps() {
            assert!(["setcap cap_net_raw+ep", "ping_group_range"].iter().any(|part| cap.allow.contains(part)));
        }
    }
}

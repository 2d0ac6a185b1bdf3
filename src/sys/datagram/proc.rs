//! What /proc/net/udp and udp6 tell of UDP sockets, whoever has them (proc_net_udp(5)).

use std::fs;

/// One line: a bound UDP socket of this network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRow {
    pub local_port: u16,
    /// Datagrams dropped since the socket was made.
    pub drops: u64,
}

/// All UDP sockets; none where /proc cannot be read.
pub fn udp_sockets() -> Vec<UdpRow> {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().filter_map(parse)).collect()
}

/// Whether some socket is bound to this port, so that datagrams to it find somebody.
pub fn is_bound(port: u16) -> bool {
    udp_sockets().iter().any(|row| row.local_port == port)
}

/// `sl: address:port remote state queues timer retransmits uid timeout inode ref pointer drops`. The title has no colon
/// in its first word.
fn parse(line: &str) -> Option<UdpRow> {
    let mut words = line.split_whitespace();
    words.next()?.strip_suffix(':')?;
    let (_, port) = words.next()?.split_once(':')?;
    Some(UdpRow { local_port: u16::from_str_radix(port, 16).ok()?, drops: words.last()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::UdpSocket;

    #[test]
    fn lines_are_read_and_titles_passed_over() {
        let title = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
        let line = " 1057: 0100007F:1B5F 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12345 2 0000000000000000 42";
        assert_eq!(parse(title), None);
        assert_eq!(parse(line), Some(UdpRow { local_port: 7007, drops: 42 }));
    }

    #[test]
    fn sockets_are_found_over_both_versions_of_ip() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(at).unwrap();
            let port = socket.local_addr().unwrap().port();
            assert!(is_bound(port), "{at}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_line(text: String) {
            let _ = parse(&text);
        }
    }
}

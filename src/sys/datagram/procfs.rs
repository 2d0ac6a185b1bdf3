//! UDP sockets of all processes, from /proc/net/udp and udp6 (proc_net_udp(5)).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One line: a bound UDP socket of this network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRow {
    /// Address that it is bound to.
    pub local_ip: IpAddr,
    /// Port that it is bound to.
    pub local_port: u16,
    /// Datagrams dropped since the socket was made; wraps at 2^32.
    pub drops: u64,
}

/// All UDP sockets; none where /proc cannot be read.
pub fn udp_sockets() -> Vec<UdpRow> {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().filter_map(parse)).collect()
}

/// Whether some socket is bound to this port, so that datagrams to it are received.
pub fn is_bound(port: u16) -> bool {
    udp_sockets().iter().any(|row| row.local_port == port)
}

/// Datagrams dropped so far at the sockets that receive what is sent to `target`: bound to its port, and to its address or
/// to all. `None` where there is no such socket in this network namespace.
pub fn drops_at(target: SocketAddr) -> Option<u64> {
    sum_of_drops(udp_sockets(), target)
}

fn sum_of_drops(rows: impl IntoIterator<Item = UdpRow>, target: SocketAddr) -> Option<u64> {
    let rows = rows.into_iter().filter(|row| row.receives(target));
    rows.map(|row| row.drops).reduce(|sum, drops| sum + drops)
}

impl UdpRow {
    /// A socket of version 6 that is bound to all addresses may receive what is sent to one of version 4.
    fn receives(&self, target: SocketAddr) -> bool {
        let (own, wanted) = (self.local_ip.to_canonical(), target.ip().to_canonical());
        let all = own.is_unspecified() && (own.is_ipv6() || wanted.is_ipv4());
        self.local_port == target.port() && (own == wanted || all)
    }
}

/// `sl: address:port remote state queues timer retransmits uid timeout inode ref pointer drops`. The title has no colon
/// in its first word.
fn parse(line: &str) -> Option<UdpRow> {
    let mut words = line.split_whitespace();
    words.next()?.strip_suffix(':')?;
    let (ip, port) = words.next()?.split_once(':')?;
    Some(UdpRow {
        local_ip: parse_ip(ip)?,
        local_port: u16::from_str_radix(port, 16).ok()?,
        drops: words.last()?.parse().ok()?,
    })
}

/// Words of 32 bits in hexadecimal, each as the machine reads the address's bytes.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
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
        let local_ip = IpAddr::from(0x0100_007f_u32.to_ne_bytes());
        assert_eq!(parse(line), Some(UdpRow { local_ip, local_port: 7007, drops: 42 }));
    }

    #[test]
    fn sockets_are_found_over_both_versions_of_ip() {
        for at in crate::sys::loopbacks() {
            let socket = UdpSocket::bind(at).unwrap();
            let port = socket.local_addr().unwrap().port();
            assert!(is_bound(port), "{at}");
        }
    }

    #[test]
    fn the_sockets_that_receive_are_found_and_their_drops_added() {
        let row = |ip: &str, local_port, drops| UdpRow { local_ip: ip.parse().unwrap(), local_port, drops };
        let rows = [
            row("127.0.0.1", 7007, 1),
            row("0.0.0.0", 7007, 20),
            row("::", 7007, 300),
            row("::1", 7007, 4000),
            row("::ffff:127.0.0.1", 7007, 50_000),
            row("127.0.0.2", 7007, 600_000),
            row("127.0.0.1", 7008, 7_000_000),
        ];
        let at = |target: &str| sum_of_drops(rows, target.parse().unwrap());
        assert_eq!(at("127.0.0.1:7007"), Some(50_321));
        assert_eq!(at("[::1]:7007"), Some(4300));
        assert_eq!(at("127.0.0.1:7009"), None);
    }

    #[test]
    fn what_a_real_socket_drops_is_read() {
        for ip in crate::sys::loopbacks() {
            let socket = UdpSocket::bind(ip).unwrap();
            let address = socket.local_addr().unwrap();
            socket2::SockRef::from(&socket).set_recv_buffer_size(1).unwrap();
            assert_eq!(drops_at(address), Some(0), "{ip}");
            let sender = UdpSocket::bind(ip).unwrap();
            (0..100).for_each(|_| drop(sender.send_to(&[0; 1000], address)));
            assert!(drops_at(address).is_some_and(|drops| drops > 50 && drops < 100), "{ip}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_line(text: String) {
            let _ = parse(&text);
        }
    }
}

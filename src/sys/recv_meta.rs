//! Ancillary data that the kernel attaches to a datagram for diagnostics: when it arrived, how far it may still have gone, and which
//! error it stands for. Damaged data is ignored.

use super::cmsg::{Cmsg, cmsgs, stamp, word};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// What the kernel attached to a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecvMeta {
    /// When the kernel took it from the device, on the wall clock (SO_TIMESTAMPNS, socket(7)).
    pub stamp: Option<Duration>,
    /// IP_RECVTTL, IPV6_RECVHOPLIMIT.
    pub hop_limit: Option<u8>,
    /// IP_RECVERR, IPV6_RECVERR.
    pub error: Option<ExtendedError>,
}

/// Who found the error of [`ExtendedError`] (linux/errqueue.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This machine.
    Local,
    /// An ICMP message.
    Icmp,
    /// Another origin, such as transmit timestamps.
    Other,
}

/// An error that a packet met (`struct sock_extended_err`, ip(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// Error number.
    pub errno: i32,
    /// Where the error comes from.
    pub origin: Origin,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The MTU, where a packet was too big for one.
    pub info: u32,
    /// Who reported it.
    pub offender: Option<IpAddr>,
}

/// Length of `struct sock_extended_err`; the address of who reported it follows.
const EXTENDED: usize = 16;

impl RecvMeta {
    /// Reads a whole control buffer.
    pub fn parse(control: &[u8]) -> RecvMeta {
        let mut found = RecvMeta::default();
        cmsgs(control).for_each(|cmsg| found.take(cmsg));
        found
    }

    fn take(&mut self, Cmsg { level, kind, data }: Cmsg<'_>) {
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => self.stamp = stamp(data),
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                self.hop_limit = word(data, 0).and_then(|value| u8::try_from(value).ok());
            }
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                self.error = ExtendedError::parse(data);
            }
            _ => {}
        }
    }
}

impl ExtendedError {
    fn parse(data: &[u8]) -> Option<ExtendedError> {
        let (head, offender) = data.split_at_checked(EXTENDED)?;
        let origin = match head[4] {
            libc::SO_EE_ORIGIN_LOCAL => Origin::Local,
            libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => Origin::Icmp,
            _ => Origin::Other,
        };
        let (errno, info) = (word(head, 0)? as i32, word(head, 8)?);
        Some(ExtendedError { errno, origin, kind: head[5], code: head[6], info, offender: ip_of(offender) })
    }
}

/// The IP address in a socket address as the kernel writes it; `None` where it has none.
pub fn ip_of(name: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(name.get(..2)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(name.get(4..8)?).ok()?).into()),
        libc::AF_INET6 => {
            let address = Ipv6Addr::from(<[u8; 16]>::try_from(name.get(8..24)?).ok()?);
            Some(IpAddr::from(address).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cmsg::CmsgBuffer;
    use super::*;
    use proptest::prelude::*;

    fn control(all: &[(libc::c_int, libc::c_int, &[u8])]) -> Vec<u8> {
        let mut control = CmsgBuffer::<512>::EMPTY;
        all.iter().for_each(|(level, kind, data)| control.push(*level, *kind, data));
        control.written().to_vec()
    }

    #[test]
    fn all_that_comes_along_is_read() {
        let stamp = [7i64.to_ne_bytes(), 9i64.to_ne_bytes()].concat();
        let sender = [&(libc::AF_INET as u16).to_ne_bytes()[..], &[0, 0, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        let error = [&113u32.to_ne_bytes()[..], &[2, 11, 0, 0], &[0; 8], &sender].concat();
        let control = control(&[
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &stamp),
            (libc::IPPROTO_IP, libc::IP_TTL, &63i32.to_ne_bytes()),
            (libc::IPPROTO_IP, libc::IP_RECVERR, &error),
        ]);
        let found = RecvMeta::parse(&control);
        assert_eq!((found.stamp, found.hop_limit), (Some(Duration::new(7, 9)), Some(63)));
        let error = found.error.unwrap();
        assert_eq!((error.errno, error.origin, error.kind), (113, Origin::Icmp, 11));
        assert_eq!(error.offender, Some("10.1.2.3".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn garbage_is_nothing_and_no_panic(control: Vec<u8>, name: Vec<u8>) {
            let _ = (RecvMeta::parse(&control), ip_of(&name));
        }

        #[test]
        fn messages_with_garbage_in_them_are_read_without_a_panic(
            parts in prop::collection::vec((0..3usize, prop::collection::vec(any::<u8>(), 0..40)), 0..4),
            cut in 0..200usize,
        ) {
            let kinds = [
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS),
                (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
            ];
            let parts: Vec<_> =
                parts.iter().map(|(kind, data)| (kinds[*kind].0, kinds[*kind].1, &data[..])).collect();
            let control = control(&parts);
            let _ = RecvMeta::parse(&control[..cut.min(control.len())]);
        }
    }
}

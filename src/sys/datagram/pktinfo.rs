//! Ancillary data of a server's datagrams: in batches, how long each is (udp(7)), and at which address of this machine
//! they arrived, so that the answer leaves from there (ip(7), IP_PKTINFO; ipv6(7), IPV6_RECVPKTINFO).
//!
//! Only a socket that is bound to every address needs the latter: the kernel would choose a source by its
//! route, and a client that asked another address, and is connected to that, never sees the answer.

use crate::sys::cmsg::{Cmsg, CmsgBuffer, cmsgs, space, word};
use crate::sys::socket::set_option;
use libc::c_int;
use socket2::{Domain, Socket};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

const V4_INFO: usize = size_of::<libc::in_pktinfo>();
const V6_INFO: usize = size_of::<libc::in6_pktinfo>();
/// A socket for both versions of IP gets both forms for an IPv4 datagram.
pub(in crate::sys) const ROOM: usize = space(size_of::<c_int>()) + space(V4_INFO) + space(V6_INFO);

/// Ancillary data of a server's datagram.
pub(in crate::sys) type PktInfoBuffer = CmsgBuffer<ROOM>;

/// An address of this machine at which a datagram arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// Of an IPv4 datagram, on an IPv6 socket too.
    V4(Ipv4Addr),
    /// With the interface, where the address means something only there; otherwise 0, and the route is free.
    V6(Ipv6Addr, u32),
}

/// Ancillary data of one datagram, received or to be sent: segment size (UDP_GRO, UDP_SEGMENT) and local address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sys) struct PktInfo {
    /// Bytes of each datagram of a batch, of which the last may be shorter; `None` for a single one.
    pub segment: Option<usize>,
    /// `None` leaves the source to the kernel.
    pub local: Option<Local>,
}

/// Has the kernel report at which address a datagram arrived (IP_PKTINFO, IPV6_RECVPKTINFO); for a UDP socket that is
/// bound to every address. Call it before the socket is bound. Answers then leave from there.
pub fn enable_pktinfo(socket: &Socket) -> io::Result<()> {
    if socket.domain()? == Domain::IPV6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &1i32)?;
    }
    // Of IPv4 on an IPv6 socket too: for a broadcast only this reports an address to answer from.
    set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, &1i32)
}

/// Whether a bound socket is a UDP socket that is bound to every address.
pub fn is_bound_to_all(socket: &Socket) -> io::Result<bool> {
    Ok(socket.local_addr()?.as_socket().is_some_and(|bound| bound.ip().to_canonical().is_unspecified()))
}

impl PktInfo {
    /// Reads the control data of a received datagram.
    #[inline]
    pub(in crate::sys) fn read(control: &[u8]) -> PktInfo {
        let mut pktinfo = PktInfo::default();
        cmsgs(control).for_each(|cmsg| pktinfo.take(cmsg));
        pktinfo
    }

    #[inline]
    fn take(&mut self, Cmsg { level, kind, data }: Cmsg<'_>) {
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let size = word(data, 0).and_then(|size| c_int::try_from(size).ok());
                self.segment = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => self.local = v4_local(data),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => self.local = v6_local(data).or(self.local),
            _ => {}
        }
    }

    /// Writes the control data of a datagram to be sent.
    #[inline]
    pub(in crate::sys) fn write(self, control: &mut PktInfoBuffer) {
        control.clear();
        if let Some(size) = self.segment.and_then(|size| u16::try_from(size).ok()) {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
        }
        match self.local {
            None => {}
            Some(Local::V4(address)) => {
                let mut info = [0; V4_INFO];
                info[std::mem::offset_of!(libc::in_pktinfo, ipi_spec_dst)..][..4].copy_from_slice(&address.octets());
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(Local::V6(address, interface)) => {
                let mut info = [0; V6_INFO];
                info[..16].copy_from_slice(&address.octets());
                info[16..].copy_from_slice(&interface.to_ne_bytes());
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }
}

/// The address to answer from: of a broadcast that is one of those of the interface.
fn v4_local(info: &[u8]) -> Option<Local> {
    let at = std::mem::offset_of!(libc::in_pktinfo, ipi_spec_dst);
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(info.get(at..at + 4)?).ok()?);
    (!address.is_unspecified()).then_some(Local::V4(address))
}

/// IPv4-mapped addresses are reported by IP_PKTINFO as well, and no answer may leave from a multicast address.
fn v6_local(info: &[u8]) -> Option<Local> {
    let address = Ipv6Addr::from(<[u8; 16]>::try_from(info.get(..16)?).ok()?);
    let interface = if address.is_unicast_link_local() { word(info, 16)? } else { 0 };
    let usable = !(address.is_unspecified() || address.is_multicast() || address.to_ipv4_mapped().is_some());
    usable.then_some(Local::V6(address, interface))
}

#[cfg(test)]
mod tests;

//! A datagram with all that sendmsg(2) and recvmsg(2) know of it: bytes, address, ancillary data. Goes into the ring
//! with an operation and comes back with its completion.

use crate::sys::cmsg::{CmsgBuffer, space};
use crate::sys::recv_meta::{RecvMeta, ip_of};
use socket2::SockAddr;
use std::net::IpAddr;

/// Room for ancillary data: a stamp, a hop limit and an error with its sender's address take less than half.
const INCOMING: usize = 256;

/// Which queue of a socket to receive from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// What was sent to the socket.
    Data,
    /// ICMP errors, each with the packet that caused it (MSG_ERRQUEUE, recvmsg(2)).
    Errors,
}

/// One datagram, to send or to receive into. Used again and again.
pub struct Msg {
    header: libc::msghdr,
    data: libc::iovec,
    name: libc::sockaddr_storage,
    name_len: libc::socklen_t,
    incoming: CmsgBuffer<INCOMING>,
    /// A hop limit, or nothing.
    outgoing: CmsgBuffer<{ space(size_of::<libc::c_int>()) }>,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Msg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Msg").field("bytes", &self.bytes.len()).field("from", &self.from()).finish()
    }
}

impl Msg {
    /// An empty one with room for this many bytes.
    pub fn new(room: usize) -> Box<Msg> {
        // SAFETY: structs of integers and pointers, for both of which zero is a value.
        let (header, name) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Box::new(Msg {
            header,
            data: libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 },
            name,
            name_len: 0,
            incoming: CmsgBuffer::EMPTY,
            outgoing: CmsgBuffer::EMPTY,
            bytes: vec![0; room],
        })
    }

    /// Makes it go to this address, with this hop limit instead of the socket's, and hands out the empty body to be
    /// written.
    pub fn compose(&mut self, to: &SockAddr, hop_limit: Option<u8>) -> &mut Vec<u8> {
        self.name_len = to.len();
        // SAFETY: a socket address is never longer than the storage, which socket2 builds it in.
        unsafe {
            std::ptr::copy_nonoverlapping(to.as_ptr().cast(), (&raw mut self.name).cast::<u8>(), to.len() as usize)
        };
        self.outgoing.clear();
        if let Some(limit) = hop_limit.map(libc::c_int::from) {
            let (level, kind) = match to.is_ipv6() {
                true => (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
                false => (libc::IPPROTO_IP, libc::IP_TTL),
            };
            self.outgoing.push(level, kind, &limit.to_ne_bytes());
        }
        self.bytes.clear();
        &mut self.bytes
    }

    /// The first `len` bytes that were received.
    pub fn received(&self, len: u32) -> &[u8] {
        &self.bytes[..self.bytes.len().min(len as usize)]
    }

    /// Who sent it; of an error whom the packet was meant for that caused it.
    pub fn from(&self) -> Option<IpAddr> {
        ip_of(self.name_bytes())
    }

    /// What came along with it.
    pub fn meta(&self) -> RecvMeta {
        RecvMeta::parse(self.incoming.received(&self.header))
    }

    fn name_bytes(&self) -> &[u8] {
        let len = (self.header.msg_namelen as usize).min(size_of_val(&self.name));
        // SAFETY: the storage has at least `len` bytes, all of them initialised.
        unsafe { std::slice::from_raw_parts((&raw const self.name).cast::<u8>(), len) }
    }

    /// The header of a send. All it points to is in this value, which must stay where it is until the send has completed.
    pub(super) fn outbound(&mut self) -> *const libc::msghdr {
        self.point(self.name_len);
        self.outgoing.attach(&mut self.header);
        &raw const self.header
    }

    /// The header of a receive into `room` bytes; as `outbound`.
    pub(super) fn inbound(&mut self, room: usize) -> *mut libc::msghdr {
        self.bytes.resize(room, 0);
        self.point(size_of_val(&self.name) as libc::socklen_t);
        self.incoming.offer(&mut self.header);
        &raw mut self.header
    }

    fn point(&mut self, name_len: libc::socklen_t) {
        self.data = libc::iovec { iov_base: self.bytes.as_mut_ptr().cast(), iov_len: self.bytes.len() };
        self.header.msg_name = (&raw mut self.name).cast();
        self.header.msg_namelen = name_len;
        self.header.msg_iov = &raw mut self.data;
        self.header.msg_iovlen = 1;
        self.header.msg_flags = 0;
    }
}

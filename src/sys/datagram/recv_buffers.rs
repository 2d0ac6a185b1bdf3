//! Many datagrams received by one system call: recvmmsg(2).

use super::pktinfo::{PktInfo, PktInfoBuffer};
use super::port_of;
use socket2::Socket;
use std::io;
use std::os::fd::AsRawFd;

/// Datagrams per system call. With so many a call's own cost is spread thin; with more, the first would only wait longer
/// for the answers to the last. (The kernel takes up to 1024.)
pub const BATCH: usize = 64;
/// What the beginnings of two buffers are apart beyond their size: a page and a cache line. Small datagrams touch only
/// the first bytes of each, and a power of two would put all of these into the same few sets of the caches and the TLB.
const STAGGER: usize = 4096 + 64;

/// A socket address as the kernel writes it: as long and aligned as sockaddr_storage.
#[derive(Clone)]
#[repr(C, align(8))]
struct Name([u8; size_of::<libc::sockaddr_storage>()]);

/// What the last receive brought.
pub struct RecvBuffers {
    buffers: Vec<u8>,
    buffer_bytes: usize,
    names: Vec<Name>,
    controls: Vec<PktInfoBuffer>,
    /// One for each header, which points there, as with those above.
    _vectors: Vec<libc::iovec>,
    /// They point into the vectors above, none of which ever grows.
    headers: Vec<libc::mmsghdr>,
    count: usize,
}

/// A received message: a datagram, or with UDP_GRO several that arrived as one.
#[derive(Clone, Copy, Debug)]
pub struct RecvMsg<'a> {
    /// Its place in the batch.
    pub index: usize,
    /// The bytes received, at most the size of the buffer.
    pub payload: &'a [u8],
    /// `None` where the source has none (a unix socket).
    pub source_port: Option<u16>,
    /// It was longer than the buffer.
    pub truncated: bool,
    /// Length of the datagrams that it consists of, of which the last may be shorter (UDP_GRO).
    pub segment: Option<usize>,
}

impl RecvBuffers {
    pub(super) fn new(buffer_bytes: usize) -> RecvBuffers {
        let stride = buffer_bytes + STAGGER;
        let mut buffers = vec![0; stride * BATCH];
        let mut names = vec![Name([0; size_of::<Name>()]); BATCH];
        let mut controls = vec![PktInfoBuffer::EMPTY; BATCH];
        let mut vectors: Vec<_> = (0..BATCH)
            .map(|index| libc::iovec { iov_base: buffers[index * stride..].as_mut_ptr().cast(), iov_len: buffer_bytes })
            .collect();
        let headers = (0..BATCH).map(|index| {
            // SAFETY: integers and pointers, for which zeros will do.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = names[index].0.as_mut_ptr().cast();
            header.msg_hdr.msg_iov = &raw mut vectors[index];
            header.msg_hdr.msg_iovlen = 1;
            controls[index].offer(&mut header.msg_hdr);
            header
        });
        let headers = headers.collect();
        // Their lengths are set before each receive.
        RecvBuffers { buffers, buffer_bytes, names, controls, _vectors: vectors, headers, count: BATCH }
    }

    pub(super) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        self.reset();
        let headers = self.headers.as_mut_ptr();
        let flags = libc::MSG_DONTWAIT as _;
        // SAFETY: the kernel writes to BATCH headers, and through their pointers to memory that belongs to this value
        // and stays where it is: no more than the lengths say that were set for it.
        let count = unsafe { libc::recvmmsg(socket.as_raw_fd(), headers, BATCH as u32, flags, std::ptr::null_mut()) };
        self.count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.count)
    }

    /// Sets the lengths again that the kernel replaced by its own.
    #[inline]
    fn reset(&mut self) {
        for (header, control) in self.headers.iter_mut().zip(&mut self.controls).take(self.count) {
            header.msg_hdr.msg_namelen = size_of::<Name>() as _;
            control.offer(&mut header.msg_hdr);
        }
        self.count = 0;
    }

    /// The messages, in the order of their arrival.
    #[inline]
    pub fn messages(&self) -> impl Iterator<Item = RecvMsg<'_>> {
        (0..self.count).map(|index| self.message(index))
    }

    #[inline]
    fn message(&self, index: usize) -> RecvMsg<'_> {
        let header = &self.headers[index].msg_hdr;
        RecvMsg {
            index,
            payload: self.payload(index),
            source_port: port_of(self.name(index)),
            truncated: header.msg_flags & libc::MSG_TRUNC != 0,
            segment: self.pktinfo(index).segment,
        }
    }

    /// Of a message there is none: nothing.
    #[inline]
    pub(super) fn payload(&self, index: usize) -> &[u8] {
        let Some(header) = self.headers[..self.count].get(index) else { return &[] };
        let len = (header.msg_len as usize).min(self.buffer_bytes);
        &self.buffers[index * (self.buffer_bytes + STAGGER)..][..len]
    }

    /// Ancillary data of a message.
    #[inline]
    pub(super) fn pktinfo(&self, index: usize) -> PktInfo {
        let Some(header) = self.headers[..self.count].get(index) else { return PktInfo::default() };
        PktInfo::read(self.controls[index].received(&header.msg_hdr))
    }

    /// The name of the sender; empty where it has none.
    #[inline]
    pub(super) fn name(&self, index: usize) -> &[u8] {
        let Some(header) = self.headers[..self.count].get(index) else { return &[] };
        let len = (header.msg_hdr.msg_namelen as usize).min(size_of::<Name>());
        &self.names[index].0[..len]
    }
}

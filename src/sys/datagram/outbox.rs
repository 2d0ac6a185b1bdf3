//! Datagrams of one size that leave a connected socket together: sendmmsg(2) without names, or as a super-packet.

use socket2::Socket;
use std::io;
use std::os::fd::AsRawFd;

/// Datagrams of one size, one behind the other, to be sent.
pub struct Outbox {
    bytes: Box<[u8]>,
    each: usize,
    _vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Outbox {
    /// For at most `count` datagrams of `each` bytes; both at least 1.
    pub fn new(count: usize, each: usize) -> Outbox {
        let (count, each) = (count.max(1), each.max(1));
        let mut bytes = vec![0; count * each].into_boxed_slice();
        let mut vectors = vectors(&mut bytes, each);
        let headers = headers(&mut vectors);
        Outbox { bytes, each, _vectors: vectors, headers }
    }

    /// Most datagrams at a time.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Where datagram `index` is to be written.
    pub fn room(&mut self, index: usize) -> &mut [u8] {
        &mut self.bytes[index * self.each..][..self.each]
    }

    /// Sends the first `count`, each on its own, without waiting. How many the kernel took, at least one; an error is
    /// that of the first.
    pub fn send(&mut self, socket: &Socket, count: usize) -> io::Result<usize> {
        let headers = &mut self.headers[..count];
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the socket is open; every header points to memory of its length that lives as long as `self`, and the
        // kernel writes to nothing but the headers themselves.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, flags as _) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Sends the first `count` as one super-packet, without waiting.
    pub fn send_as_one(&self, socket: &Socket, count: usize) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        socket.send_with_flags(&self.bytes[..count * self.each], flags).map(|_| count)
    }
}

/// One for each `each` bytes.
fn vectors(bytes: &mut [u8], each: usize) -> Box<[libc::iovec]> {
    bytes
        .chunks_exact_mut(each)
        .map(|chunk| libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: chunk.len() })
        .collect()
}

fn headers(vectors: &mut [libc::iovec]) -> Box<[libc::mmsghdr]> {
    let header = |vector: &mut libc::iovec| {
        // SAFETY: all zero is a header without name, data and control.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header
    };
    vectors.iter_mut().map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, offload, set_gro};
    use super::*;
    use std::net::UdpSocket;

    fn pair() -> [Socket; 2] {
        let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        a.connect(b.local_addr().unwrap()).unwrap();
        b.connect(a.local_addr().unwrap()).unwrap();
        [a.into(), b.into()]
    }

    fn outbox(count: usize, each: usize) -> Outbox {
        let mut outbox = Outbox::new(count, each);
        (0..count).for_each(|index| outbox.room(index).fill(index as u8));
        outbox
    }

    #[test]
    fn a_batch_arrives_as_it_was_sent() {
        let [a, b] = pair();
        assert_eq!(outbox(5, 10).send(&a, 3).unwrap(), 3);
        let mut inbox = Batch::new(20);
        assert_eq!(inbox.receive(&b).unwrap(), 3);
        let got: Vec<_> = inbox.parts().0.messages().map(|got| got.payload.to_vec()).collect();
        assert_eq!(got, [0, 1, 2].map(|byte| vec![byte; 10]));
    }

    #[test]
    fn a_super_packet_is_received_as_one_or_as_many() {
        let [a, b] = pair();
        offload::segment_sends(&a, 100).unwrap();
        let mut inbox = Batch::new(64 << 10);
        outbox(7, 100).send_as_one(&a, 7).unwrap();
        assert_eq!(inbox.receive(&b).unwrap(), 7);
        set_gro(&b).unwrap();
        outbox(7, 100).send_as_one(&a, 7).unwrap();
        assert_eq!(inbox.receive(&b).unwrap(), 1);
        let got = inbox.parts().0.messages().next().unwrap();
        assert_eq!((got.payload.len(), got.segment, got.truncated), (700, Some(100), false));
        assert!(got.payload.chunks(100).enumerate().all(|(index, bytes)| bytes == [index as u8; 100]));
    }
}

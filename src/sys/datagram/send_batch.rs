//! Datagrams that leave a connected socket together: sendmmsg(2) without names, or as a super-packet.

use socket2::Socket;
use std::io;
use std::os::fd::AsRawFd;

/// Datagrams to be sent, each in a slot; the slots are adjacent.
pub struct SendBatch {
    bytes: Box<[u8]>,
    each: usize,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl SendBatch {
    /// For at most `count` datagrams of at most `each` bytes; both at least 1.
    pub fn new(count: usize, each: usize) -> SendBatch {
        let (count, each) = (count.max(1), each.max(1));
        let mut bytes = vec![0; count * each].into_boxed_slice();
        let mut vectors = vectors(&mut bytes, each);
        let headers = headers(&mut vectors);
        SendBatch { bytes, each, vectors, headers }
    }

    /// Most datagrams at a time.
    pub fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Has datagram `index` written to its slot, which is as long as the longest; `write` returns its length.
    #[inline]
    pub fn put(&mut self, index: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        let len = write(&mut self.bytes[index * self.each..][..self.each]);
        self.vectors[index].iov_len = len.min(self.each);
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

    /// Sends the first `count`, all of the greatest length, as one super-packet, without waiting.
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
    use super::super::{RecvBatch, gso, set_gro};
    use super::*;
    use std::net::UdpSocket;

    fn pair() -> [Socket; 2] {
        pair_at("127.0.0.1:0")
    }

    fn pair_at(at: &str) -> [Socket; 2] {
        let [a, b] = [(); 2].map(|()| UdpSocket::bind(at).unwrap());
        a.connect(b.local_addr().unwrap()).unwrap();
        b.connect(a.local_addr().unwrap()).unwrap();
        [a.into(), b.into()]
    }

    fn outbox(count: usize, each: usize) -> SendBatch {
        let mut outbox = SendBatch::new(count, each);
        (0..count).for_each(|index| put(&mut outbox, index, each));
        outbox
    }

    fn put(outbox: &mut SendBatch, index: usize, len: usize) {
        outbox.put(index, |room| {
            room[..len].fill(index as u8);
            len
        });
    }

    #[test]
    fn each_datagram_has_the_length_that_it_was_written_with_last() {
        let [a, b] = pair();
        let (mut outbox, mut inbox) = (SendBatch::new(3, 10), RecvBatch::new(20));
        for lengths in [[10, 3, 7], [1, 10, 10]] {
            lengths.iter().enumerate().for_each(|(index, len)| put(&mut outbox, index, *len));
            assert_eq!(outbox.send(&a, 3).unwrap(), 3);
            assert_eq!(inbox.receive(&b).unwrap(), 3);
            let got: Vec<_> = inbox.parts().0.messages().map(|got| got.payload.to_vec()).collect();
            assert_eq!(got, [0, 1, 2].map(|index| vec![index as u8; lengths[index]]));
        }
    }

    /// IP's length field, less the headers: over IPv6 its own header is not part of that.
    #[test]
    fn a_super_packet_holds_as_many_bytes_as_the_largest_datagram() {
        for (at, largest) in [("127.0.0.1:0", 65_507), ("[::1]:0", 65_527)] {
            let [a, b] = pair_at(at);
            for (each, fits) in [(largest / 2, true), (largest / 2 + 1, false)] {
                gso::set_gso(&a, each as u16).unwrap();
                let sent = outbox(2, each).send_as_one(&a, 2);
                assert_eq!(
                    sent.map_err(|error| error.raw_os_error()),
                    if fits { Ok(2) } else { Err(Some(libc::EMSGSIZE)) }
                );
                let mut inbox = RecvBatch::new(64 << 10);
                assert_eq!(inbox.receive(&b).unwrap_or(0), if fits { 2 } else { 0 });
            }
        }
    }

    #[test]
    fn a_batch_arrives_as_it_was_sent() {
        let [a, b] = pair();
        assert_eq!(outbox(5, 10).send(&a, 3).unwrap(), 3);
        let mut inbox = RecvBatch::new(20);
        assert_eq!(inbox.receive(&b).unwrap(), 3);
        let got: Vec<_> = inbox.parts().0.messages().map(|got| got.payload.to_vec()).collect();
        assert_eq!(got, [0, 1, 2].map(|byte| vec![byte; 10]));
    }

    #[test]
    fn a_super_packet_is_received_as_one_or_as_many() {
        let [a, b] = pair();
        gso::set_gso(&a, 100).unwrap();
        let mut inbox = RecvBatch::new(64 << 10);
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

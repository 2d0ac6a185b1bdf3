//! What a multishot recvmsg leaves in a buffer, and the message of an answer that needs more than an address.
//!
//! A buffer begins with `struct io_uring_recvmsg_out` (io_uring_prep_recvmsg_multishot(3)); then come room for the name
//! and for ancillary data, each of fixed size, and what was sent.

use crate::sys::datagram::Local;
use crate::sys::datagram::pktinfo::{PktInfo, PktInfoBuffer, ROOM};

/// `struct io_uring_recvmsg_out`: lengths of name, ancillary data and payload, and the flags, 32 bits each.
const HEADER: usize = 16;
/// Room for the longest name, that of a unix socket (110 bytes), rounded up.
const NAME: usize = 112;
/// Room for ancillary data. What there may be takes half; the rest puts the payload at the start of a cache line.
const CONTROL: usize = 192;
const _: () = assert!(CONTROL >= ROOM);
/// Bytes of a buffer that come before the payload: an odd number of cache lines.
pub(super) const HEADROOM: usize = HEADER + NAME + CONTROL;
const _: () = assert!(HEADROOM % 128 == 64);

/// A datagram in a receive buffer, or a batch of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The bytes received.
    pub payload: &'a [u8],
    /// Where it came from, as the kernel writes addresses; empty for a source without one.
    pub name: &'a [u8],
    /// Bytes of each datagram of a batch (UDP_GRO), the last of which may be shorter; `None` for a single one.
    pub segment: Option<usize>,
    /// Local address to answer from, at a socket with pktinfo enabled ([`crate::sys::datagram::enable_pktinfo`]).
    pub local: Option<Local>,
    /// It was longer than the buffer.
    pub truncated: bool,
}

impl Datagram<'_> {
    /// Reads the first `len` bytes of a buffer. Any bytes are allowed: damaged fields count as absent.
    pub(super) fn parse(buffer: &[u8]) -> Datagram<'_> {
        let Some((head, payload)) = buffer.split_at_checked(HEADROOM) else {
            return Datagram { payload: &[], name: &[], segment: None, local: None, truncated: true };
        };
        let word = |index: usize| {
            let bytes = head[index * 4..][..4].try_into().expect("four bytes");
            u32::from_ne_bytes(bytes)
        };
        let [name_len, control_len, payload_len] = [0, 1, 2].map(|index| word(index) as usize);
        let PktInfo { segment, local } = PktInfo::read(&head[HEADER + NAME..][..control_len.min(CONTROL)]);
        Datagram {
            payload: &payload[..payload_len.min(payload.len())],
            // A name that was cut is none.
            name: &head[HEADER..][..if name_len <= NAME { name_len } else { 0 }],
            segment,
            local,
            truncated: word(3) & libc::MSG_TRUNC as u32 != 0,
        }
    }
}

/// A header for multishot recvmsg, of which the kernel reads only how much room to leave.
pub(super) fn receive_header() -> Box<libc::msghdr> {
    let mut header = Box::new(empty_header());
    header.msg_namelen = NAME as libc::socklen_t;
    header.msg_controllen = CONTROL as _;
    header
}

fn empty_header() -> libc::msghdr {
    // SAFETY: a struct of integers and pointers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// The arguments of sendmsg(2) for an answer: destination, source, bytes and segment size. Reused.
pub(super) struct SendMsg {
    header: libc::msghdr,
    data: libc::iovec,
    name: [u8; NAME],
    control: PktInfoBuffer,
}

impl SendMsg {
    pub(super) fn new() -> Box<SendMsg> {
        let data = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Box::new(SendMsg { header: empty_header(), data, name: [0; NAME], control: PktInfoBuffer::EMPTY })
    }

    /// Sets bytes, destination name and control data. The bytes are read when the message is sent; they and the
    /// message must be there until then, at the same place.
    pub(super) fn set(&mut self, name: &[u8], bytes: &[u8], pktinfo: PktInfo) -> *const libc::msghdr {
        self.name[..name.len()].copy_from_slice(name);
        self.data = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        self.header.msg_name = self.name.as_mut_ptr().cast();
        self.header.msg_namelen = name.len() as libc::socklen_t;
        self.header.msg_iov = &raw mut self.data;
        self.header.msg_iovlen = 1;
        pktinfo.write(&mut self.control);
        self.control.attach(&mut self.header);
        &raw const self.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buffer(words: [u32; 4], name: &[u8], control: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut all = vec![0; HEADROOM];
        words.iter().enumerate().for_each(|(i, word)| all[i * 4..][..4].copy_from_slice(&word.to_ne_bytes()));
        all[HEADER..][..name.len()].copy_from_slice(name);
        all[HEADER + NAME..][..control.len()].copy_from_slice(control);
        all.extend_from_slice(payload);
        all
    }

    #[test]
    fn a_datagram_is_read_from_its_buffer() {
        let parsed = Datagram::parse(&buffer([3, 0, 5, 0], b"abc", b"", b"hello")).payload.to_vec();
        assert_eq!(parsed, b"hello");
        let whole = buffer([3, 0, 5, libc::MSG_TRUNC as u32], b"abc", b"", b"hello");
        let parsed = Datagram::parse(&whole);
        assert_eq!((parsed.name, parsed.segment, parsed.truncated), (&b"abc"[..], None, true));
    }

    #[test]
    fn what_came_along_is_read_too() {
        let mut control = PktInfoBuffer::EMPTY;
        let local = Some(Local::V4([127, 0, 0, 2].into()));
        PktInfo { segment: None, local }.write(&mut control);
        let pktinfo = control.written().to_vec();
        control.clear();
        control.push(libc::SOL_UDP, libc::UDP_GRO, &64i32.to_ne_bytes());
        let pktinfo = [control.written(), &pktinfo].concat();
        let whole = buffer([0, pktinfo.len() as u32, 1, 0], b"", &pktinfo, b"x");
        let datagram = Datagram::parse(&whole);
        assert_eq!((datagram.segment, datagram.local), (Some(64), local));
    }

    proptest! {
        #[test]
        fn no_buffer_is_read_beyond_its_end(bytes in proptest::collection::vec(any::<u8>(), 0..2 * HEADROOM)) {
            let datagram = Datagram::parse(&bytes);
            prop_assert!(datagram.payload.len() <= bytes.len().saturating_sub(HEADROOM));
            prop_assert!(datagram.name.len() <= NAME);
        }

        /// Lengths in the header are the dangerous ones: small numbers, and the largest.
        #[test]
        fn no_lengths_lead_astray(
            words in prop::array::uniform4(prop_oneof![0u32..300, Just(u32::MAX)]),
            control in proptest::collection::vec(any::<u8>(), 0..CONTROL),
            payload in 0usize..100,
        ) {
            let datagram_bytes = buffer(words, b"", &control, &vec![1; payload]);
            let datagram = Datagram::parse(&datagram_bytes);
            prop_assert!(datagram.payload.len() <= payload && datagram.name.len() <= NAME);
        }
    }
}

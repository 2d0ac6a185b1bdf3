//! Several parts of buffers that one send takes one behind the other (sendmsg(2)).

use super::buffers::Segment;
use crate::sys::send_buffer::MAX_SEGMENTS;

/// Parts of buffers for one send. Used again and again.
pub struct Gather {
    header: libc::msghdr,
    parts: [libc::iovec; MAX_SEGMENTS],
    /// What is to be sent, in order; at most [`MAX_SEGMENTS`].
    pub segments: Vec<Segment>,
}

impl std::fmt::Debug for Gather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gather").field("segments", &self.segments).finish()
    }
}

impl Gather {
    /// An empty one.
    pub fn new() -> Box<Gather> {
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: a struct of integers and pointers, for which zero is a value.
        let header = unsafe { std::mem::zeroed() };
        Box::new(Gather { header, parts: [nothing; MAX_SEGMENTS], segments: Vec::with_capacity(MAX_SEGMENTS) })
    }

    /// Makes the header name these bytes, of which there are at most [`MAX_SEGMENTS`] parts. They, and this, must
    /// stay where they are until the send has completed.
    pub(super) fn point<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> *const libc::msghdr {
        let mut count = 0;
        for (entry, bytes) in self.parts.iter_mut().zip(parts) {
            *entry = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            count += 1;
        }
        self.header.msg_iov = self.parts.as_mut_ptr();
        self.header.msg_iovlen = count;
        &raw const self.header
    }
}

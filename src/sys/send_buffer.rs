//! Bytes to be sent, and the memory that holds them until they are.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;
use tokio_uring::buf::IoBuf;

/// Most segments of one send: what a connection lets wait before it stops receiving.
pub const MAX_SEGMENTS: usize = 8;

/// Bytes to send; `R` is a buffer that they were received into.
#[derive(Debug)]
pub enum SendBuffer<R> {
    /// Straight from the buffer they were received into.
    Received(R),
    /// Written for this send.
    Owned(Vec<u8>),
    /// Bytes of the program.
    Static(&'static [u8]),
    /// Several connections send them.
    Shared(Arc<[u8]>),
}

/// A part of a buffer that is to be sent.
#[derive(Debug)]
pub struct Segment<R> {
    /// Where the bytes are.
    pub buffer: SendBuffer<R>,
    /// Never empty while it waits to be sent.
    pub range: Range<usize>,
}

impl<R> Segment<R> {
    /// The bytes; `received` returns those of a receive buffer.
    #[inline]
    pub fn bytes<'a>(&'a self, received: impl FnOnce(&'a R) -> &'a [u8]) -> &'a [u8] {
        let bytes = match &self.buffer {
            SendBuffer::Received(buffer) => received(buffer),
            SendBuffer::Owned(bytes) => bytes,
            SendBuffer::Static(bytes) => bytes,
            SendBuffer::Shared(bytes) => bytes,
        };
        &bytes[self.range.clone()]
    }
}

/// The first segments as writev(2) takes them, as many as one send may have; the rest are empty. `received` returns the bytes
/// of a receive buffer.
#[inline]
pub fn io_slices<'a, R>(
    segments: &'a [Segment<R>],
    received: impl Fn(&'a R) -> &'a [u8],
) -> [IoSlice<'a>; MAX_SEGMENTS] {
    let mut slices = [IoSlice::new(&[]); MAX_SEGMENTS];
    for (slice, segment) in slices.iter_mut().zip(segments) {
        *slice = IoSlice::new(segment.bytes(&received));
    }
    slices
}

/// A receive buffer that is a vector: its first `len` bytes were received.
#[derive(Debug)]
pub struct Filled {
    /// The whole buffer.
    pub vector: Vec<u8>,
    /// At most the vector's length.
    pub len: usize,
}

impl Filled {
    /// What was received.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.vector[..self.len]
    }
}

// SAFETY: the bytes of a vector, of a static and of an Arc stay where they are when the segment moves, and nothing changes
// them while the segment is owned by the operation.
unsafe impl IoBuf for Segment<Filled> {
    fn stable_ptr(&self) -> *const u8 {
        self.bytes(Filled::bytes).as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.range.len()
    }

    fn bytes_total(&self) -> usize {
        self.range.len()
    }
}

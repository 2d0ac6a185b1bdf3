//! What a shard lends to its conversations while it calls them, and the free lists behind it.

use super::stats::Stats;
use crate::clock::Clock;
use crate::protocol::{Cx, Out};
use crate::sys::send_buffer::{Filled, Segment, SendBuffer};

/// Vectors that a free list keeps …
const MAX_FREE: usize = 64;
/// … and the largest of them, in bytes.
const MAX_FREE_BYTES: usize = 64 << 10;

/// Where an engine's receive buffers come from and go back to.
pub trait Buffers {
    /// A receive buffer that has been filled. To be given back with [`Buffers::release`]; dropping it loses the buffer.
    type Received;

    /// The bytes that were received into it.
    fn bytes<'a>(&'a self, buffer: &'a Self::Received) -> &'a [u8];

    /// Takes a receive buffer back.
    fn release(&mut self, buffer: Self::Received);

    /// The vectors not in use.
    fn free_list(&mut self) -> &mut FreeList;

    /// An empty vector.
    #[inline]
    fn vector(&mut self) -> Vec<u8> {
        self.free_list().take()
    }

    /// Keeps a vector for later use, as far as there is place for it.
    #[inline]
    fn recycle(&mut self, vector: Vec<u8>) {
        self.free_list().put(vector);
    }

    /// Takes back what was sent from.
    #[inline]
    fn take_back(&mut self, buffer: SendBuffer<Self::Received>) {
        match buffer {
            SendBuffer::Received(buffer) => self.release(buffer),
            SendBuffer::Owned(vector) => self.recycle(vector),
            SendBuffer::Static(_) | SendBuffer::Shared(_) => {}
        }
    }
}

/// Vectors not in use, bounded in number and bytes: what a crowd of slow readers needed is freed again.
#[derive(Debug, Default)]
pub struct FreeList {
    vectors: Vec<Vec<u8>>,
}

impl FreeList {
    /// An empty vector, one that was used before if there is any.
    #[inline]
    pub fn take(&mut self) -> Vec<u8> {
        self.vectors.pop().unwrap_or_default()
    }

    /// Keeps it, or frees it where it is one too many or too large.
    #[inline]
    pub fn put(&mut self, mut vector: Vec<u8>) {
        if self.vectors.len() < MAX_FREE && (1..=MAX_FREE_BYTES).contains(&vector.capacity()) {
            vector.clear();
            self.vectors.push(vector);
        }
    }
}

/// What a shard lends to the conversation that it calls.
#[derive(Debug)]
pub struct ShardContext<B: Buffers> {
    pub buffers: B,
    pub out: Out,
    pub cx: Cx,
    pub stats: Stats,
    /// Empty; for engines that send several at once.
    pub segments: Vec<Segment<B::Received>>,
}

impl<B: Buffers> ShardContext<B> {
    /// Instants are those of `clock`.
    pub fn new(buffers: B, clock: Clock) -> ShardContext<B> {
        let cx = Cx::new(clock.started_at());
        ShardContext { buffers, out: Out::default(), cx, stats: Stats::default(), segments: Vec::new() }
    }
}

/// Receive buffers that are vectors of one size, for engines that receive into memory of their own. The one used last comes
/// first: its memory is the likeliest to be in the cache.
#[derive(Debug)]
pub struct VectorBuffers {
    buffers: Vec<Vec<u8>>,
    size: usize,
    /// More than so many are freed.
    max_free: usize,
    free_list: FreeList,
}

impl VectorBuffers {
    /// Buffers of `size` bytes, `count` of them from the start.
    pub fn new(count: usize, size: usize) -> VectorBuffers {
        let buffers = (0..count).map(|_| vec![0; size]).collect();
        VectorBuffers { buffers, size, max_free: count.max(1), free_list: FreeList::default() }
    }

    /// A buffer to receive into, all of its bytes initialised.
    #[inline]
    pub fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_else(|| vec![0; self.size])
    }

    /// Takes back a buffer into which nothing was received.
    #[inline]
    pub fn put(&mut self, vector: Vec<u8>) {
        if self.buffers.len() < self.max_free {
            self.buffers.push(vector);
        }
    }
}

impl Buffers for VectorBuffers {
    type Received = Filled;

    #[inline]
    fn bytes<'a>(&'a self, buffer: &'a Filled) -> &'a [u8] {
        buffer.bytes()
    }

    #[inline]
    fn release(&mut self, buffer: Filled) {
        self.put(buffer.vector);
    }

    #[inline]
    fn free_list(&mut self) -> &mut FreeList {
        &mut self.free_list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_list_is_bounded_in_number_and_bytes() {
        let mut list = FreeList::default();
        (0..2 * MAX_FREE).for_each(|_| list.put(Vec::with_capacity(10)));
        list.put(Vec::with_capacity(MAX_FREE_BYTES + 1));
        assert_eq!(list.vectors.len(), MAX_FREE);
        assert!(list.take().capacity() <= MAX_FREE_BYTES);
        let mut buffers = VectorBuffers::new(2, 100);
        (0..10).for_each(|_| buffers.put(vec![0; 100]));
        assert_eq!(buffers.buffers.len(), 2);
    }
}

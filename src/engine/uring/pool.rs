//! The ring with its receive buffers, and how many of them are with us: one for streams and datagrams alike.

use super::MAX_BUFFERS;
use crate::engine::EngineError;
use crate::engine::buffers::{Buffers, FreeList};
use crate::sys::uring::{Gather, Group, Lease, Ring};

/// Gathers that are kept for later use.
const MAX_FREE_GATHERS: usize = 64;

/// A ring, and the buffers of both its groups that the kernel cannot use now: being answered from, or waiting to be.
pub(super) struct BufferPool {
    pub(super) ring: Ring,
    leased: [u32; 2],
    free_list: FreeList,
    #[allow(clippy::vec_box, reason = "boxes go in and out; one in use must not move")]
    gathers: Vec<Box<Gather>>,
}

impl BufferPool {
    pub(super) fn new(ring: Ring) -> BufferPool {
        BufferPool { ring, leased: [0; 2], free_list: FreeList::default(), gathers: Vec::new() }
    }

    /// A completion brought this buffer.
    #[inline]
    pub(super) fn leased(&mut self, lease: &Lease) {
        self.leased[lease.group() as usize] += 1;
    }

    /// Takes back a buffer that a completion may have brought.
    #[inline]
    pub(super) fn release_any(&mut self, lease: Option<Lease>) {
        lease.into_iter().for_each(|lease| self.release(lease));
    }

    /// Buffers that the kernel can receive into.
    pub(super) fn free(&self, group: Group) -> u32 {
        self.ring.buffer_count(group) - self.leased[group as usize]
    }

    /// Whether the streams' buffers are as many as there can ever be.
    pub(super) fn is_full_grown(&self) -> bool {
        self.ring.buffer_count(Group::Streams) >= MAX_BUFFERS
    }

    /// Doubles the number of buffers of a group, as far as its limit allows. `false` at the limit.
    pub(super) fn grow(&mut self, group: Group) -> Result<bool, EngineError> {
        self.ring.add_buffers(group).map_err(EngineError::io("allocating receive buffers"))
    }

    /// An empty gather.
    pub(super) fn gather(&mut self) -> Box<Gather> {
        self.gathers.pop().unwrap_or_else(Gather::new)
    }

    /// Keeps an empty gather for later use.
    pub(super) fn recycle_gather(&mut self, gather: Box<Gather>) {
        debug_assert!(gather.segments.is_empty());
        if self.gathers.len() < MAX_FREE_GATHERS {
            self.gathers.push(gather);
        }
    }
}

impl Buffers for BufferPool {
    type Received = Lease;

    #[inline]
    fn bytes<'a>(&'a self, lease: &'a Lease) -> &'a [u8] {
        self.ring.bytes(lease)
    }

    #[inline]
    fn release(&mut self, lease: Lease) {
        self.leased[lease.group() as usize] -= 1;
        self.ring.release(lease);
    }

    #[inline]
    fn free_list(&mut self) -> &mut FreeList {
        &mut self.free_list
    }
}

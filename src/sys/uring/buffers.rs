//! Registered buffer rings: receive buffers that the kernel picks from (io_uring_register_buf_ring(3), 5.19).

use super::error::{RingError, explain_buffers};
use crate::sys::send_buffer;
use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// A ring's buffer groups: streams receive into the one, datagrams into the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// For receives on streams.
    Streams = 0,
    /// For multishot recvmsg.
    Datagrams = 1,
}

/// The kernel's limit on entries of a buffer ring.
const MAX_BUFFERS: u32 = 1 << 15;

/// How many receive buffers, and how large.
#[derive(Clone, Copy, Debug)]
pub struct BufferSettings {
    /// Buffers to begin with; rounded up to a power of two.
    pub count: u32,
    /// Bytes of each.
    pub size: u32,
    /// Most buffers that [`super::Ring::add_buffers`] may grow to; at most 32768.
    pub max: u32,
}

/// A filled receive buffer that the kernel has let go of. Give it back with [`super::Ring::release`] or send it;
/// dropping it loses the buffer until the ring ends.
#[derive(Debug)]
#[must_use]
pub struct Lease {
    pub(super) id: u16,
    pub(super) group: Group,
    /// Which ring it came from: a lease means nothing to another one.
    pub(super) ring: u16,
    pub(super) len: u32,
}

impl Lease {
    /// Bytes received into the buffer; for a datagram with all that precedes it there.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Where it came from.
    #[inline]
    pub fn group(&self) -> Group {
        self.group
    }

    /// Nothing was received: the end of a stream.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Bytes to send, or room to read into.
pub type SendBuffer = send_buffer::SendBuffer<Lease>;
/// A part of a buffer to send.
pub type Segment = send_buffer::Segment<Lease>;

/// Zeroed, page-aligned memory from mmap(2), unmapped when dropped.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE;
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { start: NonNull::new(address.cast()).expect("mmap never maps page 0 unasked"), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and len are those of one mapping that nothing refers to any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The buffers and the ring through which they are handed to the kernel.
pub(super) struct Buffers {
    /// `entries` entries of 16 bytes; the tail lives in the first one's unused field.
    ring: Mapping,
    mask: u16,
    tail: u16,
    /// Blocks of `block` buffers each; buffer `id` is in block `id / block`.
    blocks: Vec<Mapping>,
    block: u32,
    size: u32,
    max: u32,
}

impl Buffers {
    /// Maps the memory and registers the ring with `count` buffers in it.
    pub(super) fn register(
        submitter: &Submitter<'_>,
        group: Group,
        settings: BufferSettings,
    ) -> Result<Buffers, RingError> {
        let memory = |source| RingError::Memory { bytes: u64::from(settings.count) * u64::from(settings.size), source };
        let block = settings.count.clamp(1, MAX_BUFFERS).next_power_of_two();
        let max = settings.max.clamp(block, MAX_BUFFERS);
        let entries = max.next_power_of_two();
        let ring = Mapping::new(entries as usize * size_of::<BufRingEntry>()).map_err(memory)?;
        // SAFETY: the mapping holds `entries` entries, is page-aligned, and outlives the registration: `Ring` drops
        // it only after the io_uring instance is gone or its operations have ended.
        unsafe { submitter.register_buf_ring_with_flags(ring.start.as_ptr() as u64, entries as u16, group as u16, 0) }
            .map_err(explain_buffers)?;
        let mask = (entries - 1) as u16;
        let mut buffers = Buffers { ring, mask, tail: 0, blocks: Vec::new(), block, size: settings.size, max };
        buffers.grow().map_err(memory)?;
        Ok(buffers)
    }

    /// Doubles the number of buffers, as far as the limit allows. `false` at the limit.
    pub(super) fn grow(&mut self) -> io::Result<bool> {
        let more = self.blocks.len().max(1).min((self.max / self.block) as usize - self.blocks.len());
        for _ in 0..more {
            self.add_block()?;
        }
        Ok(more > 0)
    }

    fn add_block(&mut self) -> io::Result<()> {
        let first = self.count();
        self.blocks.push(Mapping::new(self.block as usize * self.size as usize)?);
        (first..first + self.block).for_each(|id| self.provide(id as u16));
        Ok(())
    }

    pub(super) fn count(&self) -> u32 {
        self.blocks.len() as u32 * self.block
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Start of a buffer. Ids come from the kernel or from a lease; others are a bug and stop here.
    pub(super) fn address(&self, id: u16) -> NonNull<u8> {
        let block = &self.blocks[usize::from(id) / self.block as usize];
        let offset = (u32::from(id) % self.block) as usize * self.size as usize;
        // SAFETY: the offset is below block * size, the mapping's length.
        unsafe { block.start.add(offset) }
    }

    /// What was received into a leased buffer.
    pub(super) fn bytes(&self, lease: &Lease) -> &[u8] {
        debug_assert!(lease.len <= self.size);
        // SAFETY: `len` bytes from the start lie within the buffer (the kernel filled at most `size`), and a lease
        // exists only while the kernel does not write to its buffer.
        unsafe { std::slice::from_raw_parts(self.address(lease.id).as_ptr(), lease.len as usize) }
    }

    /// Hands a buffer to the kernel. The caller has given up its lease, or the buffer is new.
    pub(super) fn provide(&mut self, id: u16) {
        let address = self.address(id).as_ptr() as u64;
        let entries: *mut BufRingEntry = self.ring.start.as_ptr().cast();
        // SAFETY: the index is masked to the mapped entries, and the kernel reads an entry only below the tail, which
        // is published after the entry is written. The tail is a 16-bit word within the first entry.
        unsafe {
            let entry = &mut *entries.add(usize::from(self.tail & self.mask));
            entry.set_addr(address);
            entry.set_len(self.size);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

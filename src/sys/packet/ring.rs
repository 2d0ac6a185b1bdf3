//! A ring of blocks (TPACKET_V3) that the kernel fills with packets and hands over whole.
//!
//! A [`Block`] borrows the ring and gives its memory back when dropped; its packets borrow the block. So no code can look
//! at a packet whose memory the kernel may write again, nor at two blocks at once.

use super::{Meta, Packet, PacketStats, Tap, read_address, vlan_tag};
use crate::sys::socket::set_option;
use crate::units::{Bytes, Nanos};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where a packet's sockaddr_ll lies, from its header.
const ADDRESS_OFFSET: usize = size_of::<libc::tpacket3_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);
const SMALLEST_BLOCK: u64 = 256 << 10;
/// The kernel wants one though packets in blocks have any size; a power of two that holds a packet's header.
const FRAME_SIZE: u32 = 2048;

/// How much memory a ring has.
#[derive(Clone, Copy, Debug)]
pub struct RingSize {
    /// In all; rounded up to whole blocks.
    pub buffer: Bytes,
    /// The kernel hands over a block that is not full after this long (whole milliseconds, at least 1).
    pub block_timeout: Duration,
}

/// The memory that is shared with the kernel.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to the process, not to a thread; access is through &mut Ring only.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and no reference into it outlives the ring.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// A tap with its ring, started.
#[derive(Debug)]
pub struct Ring {
    // Unmapped before the socket closes.
    mapping: Mapping,
    tap: Tap,
    block_size: usize,
    blocks: usize,
    next: usize,
}

impl Ring {
    /// Gives the tap a ring and starts it.
    ///
    /// # Errors
    /// ENOMEM when the kernel has no such memory: ask for less.
    pub fn start(tap: Tap, size: RingSize) -> io::Result<Ring> {
        set_option(&tap.socket, libc::SOL_PACKET, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as i32))?;
        let blocks = size.buffer.0.div_ceil(SMALLEST_BLOCK).clamp(2, u64::from(u32::MAX / FRAME_SIZE));
        let request = libc::tpacket_req3 {
            tp_block_size: SMALLEST_BLOCK as u32,
            tp_block_nr: blocks as u32,
            tp_frame_size: FRAME_SIZE,
            tp_frame_nr: (blocks * (SMALLEST_BLOCK / u64::from(FRAME_SIZE))) as u32,
            tp_retire_blk_tov: size.block_timeout.as_millis().clamp(1, 10_000) as u32,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set_option(&tap.socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let (block_size, blocks) = (SMALLEST_BLOCK as usize, blocks as usize);
        let mapping = map(&tap, block_size * blocks)?;
        tap.start()?;
        Ok(Ring { mapping, tap, block_size, blocks, next: 0 })
    }

    /// The next block, if the kernel has handed it over.
    pub fn next_block(&mut self) -> Option<Block<'_>> {
        let start = self.block_start(self.next);
        let block = Block { ring: self, start };
        // Acquire: what the kernel wrote into the block before it set the status is visible from here on.
        if block.status().load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            // Not ours: dropping it would hand it over.
            std::mem::forget(block);
            return None;
        }
        Some(block)
    }

    /// Waits for a block, at most this long.
    pub fn wait(&self, at_most: Duration) -> io::Result<()> {
        self.tap.wait(at_most)
    }

    pub(super) fn receive(&mut self, at_most: Duration, each: impl FnMut(Packet<'_>)) -> io::Result<usize> {
        if self.next_block_is_missing() {
            self.wait(at_most)?;
        }
        let Some(block) = self.next_block() else { return Ok(0) };
        block.packets().for_each(each);
        Ok(block.len())
    }

    fn next_block_is_missing(&mut self) -> bool {
        match self.next_block() {
            Some(block) => {
                std::mem::forget(block);
                false
            }
            None => true,
        }
    }

    /// Packets since the start (PACKET_STATISTICS).
    pub fn stats(&mut self) -> io::Result<PacketStats> {
        self.tap.stats()
    }

    pub(super) fn blocks(&self) -> u64 {
        self.blocks as u64
    }

    pub(super) fn tap(&self) -> &Tap {
        &self.tap
    }

    pub(super) fn tap_mut(&mut self) -> &mut Tap {
        &mut self.tap
    }

    fn block_start(&self, index: usize) -> NonNull<u8> {
        // SAFETY: index < blocks, so this stays within the mapping.
        unsafe { self.mapping.start.add(index * self.block_size) }
    }
}

fn map(tap: &Tap, length: usize) -> io::Result<Mapping> {
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
    // SAFETY: a new mapping of the ring at an address that the kernel chooses.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), length, access, flags, tap.socket.as_raw_fd(), 0) };
    match NonNull::new(start.cast()).filter(|_| start != libc::MAP_FAILED) {
        Some(start) => Ok(Mapping { start, length }),
        None => Err(io::Error::last_os_error()),
    }
}

/// A block that is ours until it is dropped. No packet of it can be looked at later:
///
/// ```compile_fail,E0597
/// fn outlive(ring: &mut ringmark::sys::packet::Ring) -> usize {
///     let packet = {
///         let block = ring.next_block().unwrap();
///         block.packets().next().unwrap()
///     };
///     packet.data.len()
/// }
/// ```
#[derive(Debug)]
pub struct Block<'a> {
    ring: &'a mut Ring,
    start: NonNull<u8>,
}

impl Block<'_> {
    /// The packets of the block, in order.
    pub fn packets(&self) -> Packets<'_> {
        let header = self.header();
        Packets { block: self, at: header.offset_to_first_pkt as usize, left: header.num_pkts }
    }

    /// How many packets are in it.
    pub fn len(&self) -> usize {
        self.header().num_pkts as usize
    }

    /// No packet is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn header(&self) -> &libc::tpacket_hdr_v1 {
        // SAFETY: a block begins with its descriptor, pages are aligned, and the kernel leaves a block alone that is
        // ours; the union has one member.
        unsafe { &self.start.cast::<libc::tpacket_block_desc>().as_ref().hdr.bh1 }
    }

    fn status(&self) -> &AtomicU32 {
        // SAFETY: the descriptor lies at the block's start; the status is an aligned u32 that both sides access
        // atomically; the mapping outlives the borrow of the ring.
        unsafe {
            let descriptor = self.start.cast::<libc::tpacket_block_desc>().as_ptr();
            AtomicU32::from_ptr(&raw mut (*descriptor).hdr.bh1.block_status)
        }
    }

    /// Bytes of the block, where they lie within it.
    fn bytes(&self, offset: usize, length: usize) -> Option<&[u8]> {
        let end = offset.checked_add(length).filter(|end| *end <= self.ring.block_size)?;
        // SAFETY: within the block, which the kernel does not write while it is ours.
        Some(unsafe { slice::from_raw_parts(self.start.as_ptr().add(offset), end - offset) })
    }

    /// A plain value of the block.
    ///
    /// # Safety
    /// Any bits must be a value of `T`.
    unsafe fn value<T: Copy>(&self, offset: usize) -> Option<T> {
        let bytes = self.bytes(offset, size_of::<T>())?;
        // SAFETY: enough bytes for a T, read without regard to alignment; the rest is what this function asks for.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }
}

impl Drop for Block<'_> {
    /// Gives the block back to the kernel.
    fn drop(&mut self) {
        // Release: all that we read of the block happened before the kernel may write it.
        self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.ring.next = (self.ring.next + 1) % self.ring.blocks;
    }
}

/// The packets of a block, in the order they came.
#[derive(Debug)]
pub struct Packets<'a> {
    block: &'a Block<'a>,
    at: usize,
    left: u32,
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: a header and an address are plain integers.
        let (header, address) = unsafe {
            let header: libc::tpacket3_hdr = self.block.value(self.at)?;
            (header, self.block.value::<libc::sockaddr_ll>(self.at + ADDRESS_OFFSET)?)
        };
        let data = self.block.bytes(self.at + usize::from(header.tp_mac), header.tp_snaplen as usize)?;
        self.at += header.tp_next_offset as usize;
        let at = Nanos(u64::from(header.tp_sec) * 1_000_000_000 + u64::from(header.tp_nsec));
        let mut meta = Meta::new(at, header.tp_len);
        meta.vlan = vlan_tag(header.tp_status, header.hv1.tp_vlan_tci as u16, header.hv1.tp_vlan_tpid);
        read_address(&mut meta, &address);
        Some(Packet { meta, data })
    }
}

//! The requests of one connection or socket as pure functions of their numbers: how long each is, and what is in it.

use super::client::ClientConfig;
use super::pattern::{PERIOD, PatternStream};
use super::size_distribution::SizeDistribution;
use crate::stats::derive_seed;

/// What the bodies of consecutive datagrams are apart in their socket's stream. Multiples of it modulo [`PERIOD`], a
/// prime, are all different, whatever the sizes.
const STEP: u64 = 12_289;
const _: () = assert!(!STEP.is_multiple_of(PERIOD as u64));

/// What makes the requests of one connection or socket different from another's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requests {
    stream: PatternStream,
    sizes: SizeDistribution,
    seed: u64,
}

impl Requests {
    /// Those of the connection or socket with this number.
    pub fn new(config: &ClientConfig, number: u64) -> Requests {
        Requests { stream: config.pattern.stream(number), sizes: config.sizes, seed: derive_seed(config.seed, number) }
    }

    /// Bytes of request `id`, at least 1.
    #[inline]
    pub fn size(&self, id: u64) -> u64 {
        self.sizes.of(self.seed, id)
    }

    /// Of requests that lie one behind the other: the bytes from `position` on, `len` of them, or
    /// [`MAX_SLICE`](super::pattern::MAX_SLICE) when that is less.
    #[inline]
    pub fn slice(&self, position: u64, len: u64) -> &'static [u8] {
        self.stream.slice(position, len)
    }

    /// Of requests that are datagrams: what is in request `id` behind its header.
    #[inline]
    pub fn body(&self, id: u64, len: usize) -> &'static [u8] {
        // Modulo the stream's period this is id * STEP, without overflow.
        self.stream.slice(id % PERIOD as u64 * STEP, len as u64)
    }
}

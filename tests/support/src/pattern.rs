//! Streams of bytes: the byte at a position depends on the seed and the position, so that a byte lost, doubled, changed
//! or of another connection shows.

/// A small generator of random numbers (splitmix64, Steele et al. 2014); the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// From `low` to `high`, both included, small numbers and large ones alike: uniform in the logarithm.
    pub fn size(&mut self, low: usize, high: usize) -> usize {
        let bits = (high / low).ilog2() + 1;
        let scale = low << (self.next_u64() % u64::from(bits));
        (scale + self.next_u64() as usize % scale).clamp(low, high)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `len` bytes of the stream from position `start`.
pub fn bytes(seed: u64, start: u64, len: usize) -> Vec<u8> {
    let first = start / 8;
    let skip = (start % 8) as usize;
    let words = (skip + len).div_ceil(8) as u64;
    let all =
        (first..first + words).flat_map(|word| mix(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ word).to_le_bytes());
    all.skip(skip).take(len).collect()
}

/// Checks received bytes against the stream; tells where they begin to differ.
#[track_caller]
pub fn check(seed: u64, start: u64, received: &[u8]) {
    let expected = bytes(seed, start, received.len());
    if let Some(index) = received.iter().zip(&expected).position(|(one, other)| one != other) {
        panic!(
            "stream {seed}: wrong byte at position {} (chunk of {} at {start})",
            start + index as u64,
            received.len()
        );
    }
}

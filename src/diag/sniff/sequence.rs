//! Where the sequence numbers of connections began, so that lines show how far they are, as tcpdump does.

use crate::diag::frame::AddrPair;
use etherparse::TcpSlice;
use lru::LruCache;
use std::net::IpAddr;
use std::num::NonZeroUsize;

/// Connections remembered; the one longest unseen is forgotten, and shows whole numbers once more.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

type End = (IpAddr, u16);

/// First numbers of both directions; the one from the smaller end first.
#[derive(Debug)]
pub(super) struct Sequences(LruCache<(End, End), (u32, u32)>);

impl Default for Sequences {
    fn default() -> Sequences {
        Sequences(LruCache::new(CONNECTIONS))
    }
}

/// Numbers as they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub sequence: u32,
    pub acknowledged: u32,
    /// Where the other direction's numbers began: selective acknowledgements count from there.
    pub other_start: u32,
}

impl Sequences {
    /// The segment's sequence and acknowledgement numbers from the connection's beginning; whole ones in the segment
    /// that is the first of it to be seen, or has no acknowledgement.
    pub fn shown(&mut self, pair: AddrPair, tcp: &TcpSlice) -> Shown {
        let (sequence, acknowledged) = (tcp.sequence_number(), tcp.acknowledgment_number());
        if !tcp.ack() {
            return Shown { sequence, acknowledged, other_start: 0 };
        }
        let (from, to) = ((pair.source, tcp.source_port()), (pair.destination, tcp.destination_port()));
        let reversed = from > to;
        let key = if reversed { (to, from) } else { (from, to) };
        let known = self.0.get(&key).filter(|_| !tcp.syn()).copied();
        let Some((low, high)) = known else {
            let other_start = acknowledged.wrapping_sub(1);
            self.0.put(key, if reversed { (other_start, sequence) } else { (sequence, other_start) });
            return Shown { sequence, acknowledged, other_start };
        };
        let (own, other_start) = if reversed { (high, low) } else { (low, high) };
        let (sequence, acknowledged) = (sequence.wrapping_sub(own), acknowledged.wrapping_sub(other_start));
        Shown { sequence, acknowledged, other_start }
    }
}

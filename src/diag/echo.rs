//! Echo requests: how they are written, and payloads that identify the request they belong to.

use super::icmp::{EchoId, Family, HEADER};
use super::probe_tracker::Sequence;
use crate::stats::{derive_seed, splitmix64};
use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type};

/// Payloads that differ from request to request and from run to run, so that nothing old or foreign passes for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    nonce: u64,
}

impl Pattern {
    /// `nonce` should differ from run to run.
    pub fn new(nonce: u64) -> Pattern {
        Pattern { nonce }
    }

    /// Appends the payload of a request to this target.
    pub fn write(self, target: u32, sequence: Sequence, size: usize, to: &mut Vec<u8>) {
        let end = to.len() + size;
        self.words(target, sequence).take(size.div_ceil(8)).for_each(|word| to.extend_from_slice(&word));
        to.truncate(end);
    }

    /// Where a payload differs from what was sent: the first wrong or missing byte, or the first beyond its end.
    pub fn difference(self, target: u32, sequence: Sequence, size: usize, payload: &[u8]) -> Option<usize> {
        let sent = self.words(target, sequence).flatten().take(size);
        let wrong = sent.zip(payload).position(|(sent, got)| sent != *got);
        wrong.or((payload.len() != size).then_some(payload.len().min(size)))
    }

    fn words(self, target: u32, sequence: Sequence) -> impl Iterator<Item = [u8; 8]> {
        let mut state = derive_seed(self.nonce ^ u64::from(target), sequence.0);
        std::iter::repeat_with(move || splitmix64(&mut state).to_be_bytes())
    }
}

/// Writes a whole request into an empty vector, the payload by `write_payload`. Of ICMPv6 the kernel writes the checksum;
/// of what goes through a ping socket also identifier and checksum.
pub fn write_request(
    family: Family,
    id: EchoId,
    sequence: u16,
    to: &mut Vec<u8>,
    write_payload: impl FnOnce(&mut Vec<u8>),
) {
    to.clear();
    to.resize(HEADER, 0);
    write_payload(to);
    let header = IcmpEchoHeader { id: id.0, seq: sequence };
    let (head, payload) = to.split_at_mut(HEADER);
    match family {
        Family::V4 => {
            head.copy_from_slice(&Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(header), payload).to_bytes());
        }
        Family::V6 => {
            head[0] = family.echo_request();
            head[4..].copy_from_slice(&header.to_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::icmp::parse_echo;
    use etherparse::checksum::Sum16BitWords;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn requests_read_back_and_only_their_own_payload_passes(
            v6: bool, id: u16, number: u64, size in 0..200usize, nonce: u64, flip in any::<prop::sample::Index>(),
        ) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let pattern = Pattern::new(nonce);
            let mut bytes = Vec::new();
            write_request(family, EchoId(id), number as u16, &mut bytes, |to| {
                pattern.write(3, Sequence(number), size, to)
            });
            prop_assert_eq!(bytes[0], family.echo_request());
            prop_assert!(v6 || Sum16BitWords::new().add_slice(&bytes).ones_complement() == 0);
            let echo = parse_echo(&bytes).unwrap();
            prop_assert_eq!((echo.id, echo.sequence), (EchoId(id), number as u16));
            let mut payload = echo.payload.to_vec();
            let check = |payload: &[u8]| pattern.difference(3, Sequence(number), size, payload);
            prop_assert_eq!(check(&payload), None);
            if size > 0 {
                let at = flip.index(size);
                payload[at] ^= 0x40;
                prop_assert_eq!(check(&payload), Some(at));
                payload[at] ^= 0x40;
                prop_assert_eq!(check(&payload[..at]), Some(at));
            }
            payload.push(0);
            prop_assert_eq!(check(&payload), Some(size));
        }
    }
}

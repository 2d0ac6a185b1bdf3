//! Checks what comes back: every byte, against the stream that was sent. It keeps no state and repairs nothing.

use super::payload::Stream;

/// What came back is not what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    #[error("byte {position} of the stream came back wrong")]
    Wrong { position: u64 },
    #[error("more came back than the {asked} bytes that were asked for")]
    Surplus { asked: u64 },
}

/// Checks that `bytes` are the stream's from `position` on and that none lies at or beyond `asked`.
#[inline]
pub fn check(stream: &Stream, position: u64, asked: u64, bytes: &[u8]) -> Result<(), Corrupt> {
    if bytes.len() as u64 > asked - position {
        return Err(Corrupt::Surplus { asked });
    }
    let expected = stream.slice(position, bytes.len() as u64);
    // One comparison is the common case; only more than a slice at once needs a second.
    let (head, tail) = bytes.split_at(expected.len());
    if head != expected {
        return Err(Corrupt::Wrong { position: position + first_difference(head, expected) });
    }
    if tail.is_empty() { Ok(()) } else { check(stream, position + head.len() as u64, asked, tail) }
}

#[cold]
fn first_difference(a: &[u8], b: &[u8]) -> u64 {
    a.iter().zip(b).take_while(|(a, b)| a == b).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::payload::{MAX_SLICE, Payload};

    #[test]
    fn right_wrong_and_surplus_bytes_are_told_apart() {
        let stream = Payload::leak(1).stream(0);
        let mut bytes: Vec<u8> = (0..3 * MAX_SLICE as u64).map(|i| stream.slice(100 + i, 1)[0]).collect();
        let asked = 100 + bytes.len() as u64;
        assert_eq!(check(&stream, 100, asked, &bytes), Ok(()));
        assert_eq!(check(&stream, 100, asked - 1, &bytes), Err(Corrupt::Surplus { asked: asked - 1 }));
        for at in [0, 70_000, bytes.len() - 1] {
            bytes[at] ^= 1;
            assert_eq!(check(&stream, 100, asked, &bytes), Err(Corrupt::Wrong { position: 100 + at as u64 }));
            bytes[at] ^= 1;
        }
    }
}

//! Discard (RFC 863): every byte is thrown away.

use super::Answer;

#[inline]
pub(super) fn answer(_input: &[u8]) -> Answer {
    Answer::Nothing
}

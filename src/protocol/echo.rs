//! Echo (RFC 862): every byte comes back.

pub mod client;

use super::Answer;

#[inline]
pub(super) fn answer(input: &[u8]) -> Answer {
    Answer::Input(0..input.len())
}

//! Character generator, the client: checks that what comes is the RFC's lines from their beginning. It asks for
//! nothing, and what it says the server throws away.

use super::pattern;
use crate::protocol::client::{ClientConfig, ProtocolError, Received, StreamClient};
use crate::units::Nanos;

/// One connection's characters, as far as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChargenStream {
    received: u64,
}

impl StreamClient for ChargenStream {
    fn open(_config: &ClientConfig, _number: u64) -> ChargenStream {
        ChargenStream::default()
    }

    fn request(&mut self, _id: u64, _at: Nanos) {}

    fn next_send(&self) -> &'static [u8] {
        &[]
    }

    fn sent(&mut self, _len: usize) {}

    fn received(&mut self, bytes: &[u8], mut notify: impl FnMut(Received)) -> Result<(), ProtocolError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let expected = pattern::slice(self.received, rest.len());
            let (head, tail) = rest.split_at(expected.len());
            if head != expected {
                let right = head.iter().zip(expected).take_while(|(is, expected)| is == expected).count();
                return Err(ProtocolError::WrongByte { position: self.received + right as u64 });
            }
            self.received += head.len() as u64;
            rest = tail;
        }
        notify(Received::Bytes(bytes.len()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::chargen::{PERIOD, character};
    use proptest::prelude::*;

    /// Reads the bytes in chunks of these lengths and then the rest: how many were right, or where the first is wrong.
    fn read(bytes: &[u8], chunks: &[usize]) -> Result<usize, ProtocolError> {
        let (mut client, mut rest, mut right) = (ChargenStream::default(), bytes, 0);
        for len in chunks.iter().copied().chain([usize::MAX]) {
            let (chunk, tail) = rest.split_at(len.min(rest.len()));
            client.received(chunk, |received| match received {
                Received::Bytes(len) => right += len,
                other => panic!("{other:?}"),
            })?;
            rest = tail;
        }
        Ok(right)
    }

    fn characters(len: usize) -> Vec<u8> {
        (0..len as u64).map(character).collect()
    }

    proptest! {
        #[test]
        fn any_chunking_of_the_lines_is_right(len in 0..3 * PERIOD, chunks in prop::collection::vec(0usize..9000, 0..40)) {
            prop_assert_eq!(read(&characters(len), &chunks), Ok(len));
        }

        #[test]
        fn a_wrong_byte_is_found_where_it_is_in_any_chunking(
            len in 1..3 * PERIOD, at: prop::sample::Index, flip in 1u8.., chunks in prop::collection::vec(0usize..9000, 0..40),
        ) {
            let mut bytes = characters(len);
            let at = at.index(len);
            bytes[at] ^= flip;
            prop_assert_eq!(read(&bytes, &chunks), Err(ProtocolError::WrongByte { position: at as u64 }));
        }
    }

    #[test]
    fn more_at_once_than_a_slice_of_the_pattern_is_right_too() {
        assert_eq!(read(&characters(200_000), &[]), Ok(200_000));
    }
}

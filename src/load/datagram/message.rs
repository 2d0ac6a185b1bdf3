//! What a datagram looks like: a header with its sequence number, and bytes of the socket's stream. A request is a pure
//! function of its number, so it can be written twice and an answer is checked in every byte.

use crate::load::payload::{PERIOD, Stream};

/// What the header looks like, and how the server changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// An echo server's: a sequence number of 8 bytes, all come back as they went.
    #[default]
    Echo,
    /// `sockperf server`'s: its header of 14 bytes, in which the answer's flags may differ from the request's.
    Sockperf,
}

/// Header of sockperf 3 (`MsgHeader` in its message.h), in network byte order: sequence number of 8 bytes, flags of 2,
/// length of the whole message of 4. The server answers what says that it is a client's and wants an answer (else it
/// stays silent) with the client's flag cleared.
const SOCKPERF_HEADER: usize = 14;
const SOCKPERF_CLIENT: u16 = 1;
const SOCKPERF_ANSWER_ME: u16 = 2;

impl Dialect {
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Echo => "echo",
            Dialect::Sockperf => "sockperf",
        }
    }

    fn header(self) -> usize {
        match self {
            Dialect::Echo => 8,
            Dialect::Sockperf => SOCKPERF_HEADER,
        }
    }

    /// Shortest datagram: the header, and enough of the stream that one socket's cannot pass for another's.
    pub fn min_size(self) -> u64 {
        match self {
            Dialect::Echo => 16,
            Dialect::Sockperf => 24,
        }
    }
}

/// How a run's datagrams are laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub dialect: Dialect,
    /// Bytes of a datagram, at least [`Dialect::min_size`].
    pub size: usize,
}

impl Layout {
    /// Writes request `sequence` to `room`, which has `size` bytes.
    #[inline]
    pub fn write(&self, stream: &Stream, sequence: u64, room: &mut [u8]) {
        let (header, body) = room.split_at_mut(self.dialect.header());
        match self.dialect {
            Dialect::Echo => header.copy_from_slice(&sequence.to_le_bytes()),
            Dialect::Sockperf => self.sockperf(sequence, SOCKPERF_CLIENT | SOCKPERF_ANSWER_ME, header),
        }
        body.copy_from_slice(self.body(stream, sequence));
    }

    /// The number of the request that this answers; `None` if it is no answer to it, or a byte of it is wrong.
    #[inline]
    pub fn read(&self, stream: &Stream, answer: &[u8]) -> Option<u64> {
        if answer.len() != self.size {
            return None;
        }
        let (header, body) = answer.split_at(self.dialect.header());
        let number = header[..8].try_into().ok()?;
        let sequence = match self.dialect {
            Dialect::Echo => u64::from_le_bytes(number),
            Dialect::Sockperf => {
                let sequence = u64::from_be_bytes(number);
                let is = |flags| {
                    let mut expected = [0; SOCKPERF_HEADER];
                    self.sockperf(sequence, flags, &mut expected);
                    header == expected
                };
                // A plain echo, which changes nothing, is compared with sockperf's under the same requests.
                if !is(SOCKPERF_ANSWER_ME) && !is(SOCKPERF_CLIENT | SOCKPERF_ANSWER_ME) {
                    return None;
                }
                sequence
            }
        };
        (body == self.body(stream, sequence)).then_some(sequence)
    }

    fn sockperf(&self, sequence: u64, flags: u16, header: &mut [u8]) {
        header[..8].copy_from_slice(&sequence.to_be_bytes());
        header[8..10].copy_from_slice(&flags.to_be_bytes());
        header[10..].copy_from_slice(&(self.size as u32).to_be_bytes());
    }

    #[inline]
    fn body(&self, stream: &Stream, sequence: u64) -> &'static [u8] {
        // Modulo the stream's period this is sequence * size, without overflow.
        let position = sequence % PERIOD as u64 * self.size as u64;
        stream.slice(position, (self.size - self.dialect.header()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::payload::Payload;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static PAYLOAD: LazyLock<Payload> = LazyLock::new(|| Payload::leak(3));

    fn layouts() -> impl Strategy<Value = Layout> {
        let sizes = prop_oneof![Just(24usize), Just(65_507), 24usize..2000];
        (sizes, prop::sample::select(vec![Dialect::Echo, Dialect::Sockperf]))
            .prop_map(|(size, dialect)| Layout { dialect, size })
    }

    /// What the server sends back.
    fn answer(layout: Layout, sequence: u64) -> Vec<u8> {
        let mut datagram = vec![0; layout.size];
        layout.write(&PAYLOAD.stream(1), sequence, &mut datagram);
        if layout.dialect == Dialect::Sockperf {
            datagram[9] &= !1;
        }
        datagram
    }

    proptest! {
        #[test]
        fn an_answer_tells_its_number(layout in layouts(), sequence: u64) {
            let answer = answer(layout, sequence);
            prop_assert_eq!(layout.read(&PAYLOAD.stream(1), &answer), Some(sequence));
            prop_assert_eq!(layout.read(&PAYLOAD.stream(2), &answer), None, "another socket's");
            prop_assert_eq!(layout.read(&PAYLOAD.stream(1), &answer[..layout.size - 1]), None);
            prop_assert_eq!(layout.read(&PAYLOAD.stream(1), &[&answer[..], &[0]].concat()), None);
        }

        #[test]
        fn a_wrong_bit_is_never_taken_for_the_right_answer(
            layout in layouts(), sequence: u64, at: prop::sample::Index, bit in 0u32..8,
        ) {
            let mut answer = answer(layout, sequence);
            let at = at.index(answer.len());
            prop_assume!(layout.dialect == Dialect::Echo || (at, bit) != (9, 0), "the client's flag");
            answer[at] ^= 1 << bit;
            // In the number itself it makes another request's number, whose bytes are others.
            prop_assert_eq!(layout.read(&PAYLOAD.stream(1), &answer), None);
        }
    }

    #[test]
    fn a_plain_echo_of_sockperfs_header_is_an_answer_too() {
        let layout = Layout { dialect: Dialect::Sockperf, size: 24 };
        let mut request = vec![0; 24];
        layout.write(&PAYLOAD.stream(1), 7, &mut request);
        assert_eq!(layout.read(&PAYLOAD.stream(1), &request), Some(7));
    }

    #[test]
    fn an_empty_answer_is_wrong() {
        let layout = Layout { dialect: Dialect::Echo, size: 16 };
        assert_eq!(layout.read(&PAYLOAD.stream(1), &[]), None);
    }
}

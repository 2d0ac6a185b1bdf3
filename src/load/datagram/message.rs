//! What a datagram looks like: a header with its sequence number, and bytes of the socket's stream. A request, its size
//! included, is a pure function of its socket and its number, so it can be written twice and an answer is checked in
//! every byte.

use crate::load::payload::{PERIOD, Stream};
use crate::load::sizes::Sizes;
use crate::stats::mix;

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

/// What the bodies of consecutive requests are apart in their socket's stream. Multiples of it modulo [`PERIOD`], a prime,
/// are all different, whatever the sizes.
const STEP: u64 = 12_289;
const _: () = assert!(!STEP.is_multiple_of(PERIOD as u64));

/// What makes one socket's datagrams different from another's.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    stream: Stream,
    /// Decides the sizes.
    seed: u64,
}

impl Source {
    /// The socket with this number, of a run with this seed.
    pub fn new(stream: Stream, seed: u64, number: u64) -> Source {
        Source { stream, seed: mix(seed, number) }
    }
}

/// How a run's datagrams are laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub dialect: Dialect,
    /// Bytes of the datagrams, at least [`Dialect::min_size`].
    pub sizes: Sizes,
}

impl Layout {
    /// Bytes of the largest datagram.
    pub fn largest(&self) -> usize {
        self.sizes.largest() as usize
    }

    #[inline]
    fn size(&self, source: &Source, sequence: u64) -> usize {
        self.sizes.of(source.seed, sequence) as usize
    }

    /// Writes request `sequence` to the begin of `room`, which holds the largest, and says how long it is.
    #[inline]
    pub fn write(&self, source: &Source, sequence: u64, room: &mut [u8]) -> usize {
        let size = self.size(source, sequence);
        let (header, body) = room[..size].split_at_mut(self.dialect.header());
        match self.dialect {
            Dialect::Echo => header.copy_from_slice(&sequence.to_le_bytes()),
            Dialect::Sockperf => sockperf(size, sequence, SOCKPERF_CLIENT | SOCKPERF_ANSWER_ME, header),
        }
        body.copy_from_slice(slice(source, sequence, body.len()));
        size
    }

    /// The number of the request that this answers; `None` if it is no answer to it, or a byte of it is wrong or missing.
    #[inline]
    pub fn read(&self, source: &Source, answer: &[u8]) -> Option<u64> {
        let (header, body) = answer.split_at_checked(self.dialect.header())?;
        let number = header[..8].try_into().ok()?;
        let sequence = match self.dialect {
            Dialect::Echo => u64::from_le_bytes(number),
            Dialect::Sockperf => {
                let sequence = u64::from_be_bytes(number);
                let is = |flags| {
                    let mut expected = [0; SOCKPERF_HEADER];
                    sockperf(answer.len(), sequence, flags, &mut expected);
                    header == expected
                };
                // A plain echo, which changes nothing, is compared with sockperf's under the same requests.
                if !is(SOCKPERF_ANSWER_ME) && !is(SOCKPERF_CLIENT | SOCKPERF_ANSWER_ME) {
                    return None;
                }
                sequence
            }
        };
        let right = answer.len() == self.size(source, sequence) && body == slice(source, sequence, body.len());
        right.then_some(sequence)
    }
}

fn sockperf(size: usize, sequence: u64, flags: u16, header: &mut [u8]) {
    header[..8].copy_from_slice(&sequence.to_be_bytes());
    header[8..10].copy_from_slice(&flags.to_be_bytes());
    header[10..].copy_from_slice(&(size as u32).to_be_bytes());
}

/// The body of a request.
#[inline]
fn slice(source: &Source, sequence: u64, len: usize) -> &'static [u8] {
    // Modulo the stream's period this is sequence * STEP, without overflow.
    source.stream.slice(sequence % PERIOD as u64 * STEP, len as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::payload::Payload;
    use crate::units::{Bytes, SizeMix};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static PAYLOAD: LazyLock<Payload> = LazyLock::new(|| Payload::leak(3));
    /// The seed of the sizes.
    const SEED: u64 = 11;

    fn source(number: u64) -> Source {
        Source::new(PAYLOAD.stream(number), SEED, number)
    }

    fn mixed(text: &str) -> Sizes {
        let mix: SizeMix = text.parse().unwrap();
        Sizes::leak(mix.mean(), Some(&mix))
    }

    fn layouts() -> impl Strategy<Value = Layout> {
        let one = prop_oneof![Just(24u64), Just(65_507), Just(PERIOD as u64), 24u64..2000].prop_map(Sizes::All);
        let several =
            prop::sample::select(vec!["24:1,1400:1", "64:90,1400:9,65507:1", "24:1,25:1,26:1"]).prop_map(mixed);
        (prop_oneof![one, several], prop::sample::select(vec![Dialect::Echo, Dialect::Sockperf]))
            .prop_map(|(sizes, dialect)| Layout { dialect, sizes })
    }

    fn request(layout: Layout, sequence: u64) -> Vec<u8> {
        let mut room = vec![0; layout.largest()];
        let len = layout.write(&source(1), sequence, &mut room);
        room.truncate(len);
        room
    }

    /// What the server sends back.
    fn answer(layout: Layout, sequence: u64) -> Vec<u8> {
        let mut datagram = request(layout, sequence);
        if layout.dialect == Dialect::Sockperf {
            datagram[9] &= !1;
        }
        datagram
    }

    proptest! {
        #[test]
        fn an_answer_tells_its_number(layout in layouts(), sequence: u64) {
            let answer = answer(layout, sequence);
            prop_assert_eq!(layout.read(&source(1), &answer), Some(sequence));
            prop_assert_eq!(layout.read(&source(2), &answer), None, "another socket's");
            prop_assert_eq!(layout.read(&source(1), &[&answer[..], &[0]].concat()), None);
            for len in 0..answer.len().min(70) {
                prop_assert_eq!(layout.read(&source(1), &answer[..answer.len() - 1 - len]), None);
            }
        }

        #[test]
        fn a_request_can_be_written_again_whatever_was_written_between(layout in layouts(), sequence: u64, other: u64) {
            let mut room = vec![0; layout.largest()];
            layout.write(&source(1), other, &mut room);
            let len = layout.write(&source(1), sequence, &mut room);
            prop_assert_eq!(&room[..len], request(layout, sequence));
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
            prop_assert_eq!(layout.read(&source(1), &answer), None);
        }

        /// Whatever the sizes: of each other's, and of a stream as long as one of them.
        #[test]
        fn a_request_is_not_taken_for_one_with_another_number(layout in layouts(), sequence: u64, apart in 1u64..PERIOD as u64) {
            let mut answer = answer(layout, sequence);
            let other = request(layout, sequence.wrapping_add(apart));
            answer[..8].copy_from_slice(&other[..8]);
            prop_assert_eq!(layout.read(&source(1), &answer), None);
        }
    }

    #[test]
    fn the_sizes_of_a_mix_have_their_shares_on_every_socket_and_each_socket_its_own_sequence() {
        let layout = Layout { dialect: Dialect::Echo, sizes: mixed("64:90,1400:9,9000:1") };
        let sizes = |number| (0..20_000).map(|sequence| layout.size(&source(number), sequence)).collect::<Vec<_>>();
        for number in 0..4 {
            let share = |size| sizes(number).iter().filter(|is| **is == size).count();
            assert!((17_800..18_200).contains(&share(64)) && (1_650..1_950).contains(&share(1400)), "{}", share(64));
            assert!((140..260).contains(&share(9000)), "{}", share(9000));
            assert_ne!(sizes(number)[..100], sizes(number + 1)[..100]);
        }
        assert_eq!(layout.largest(), Bytes(9000).0 as usize);
    }

    #[test]
    fn a_plain_echo_of_sockperfs_header_is_an_answer_too() {
        let layout = Layout { dialect: Dialect::Sockperf, sizes: Sizes::All(24) };
        assert_eq!(layout.read(&source(1), &request(layout, 7)), Some(7));
    }

    #[test]
    fn an_empty_answer_is_wrong() {
        let layout = Layout { dialect: Dialect::Echo, sizes: Sizes::All(16) };
        assert_eq!(layout.read(&source(1), &[]), None);
    }
}

//! Both clients against a wire that echoes, in pieces of any size.

use super::*;
use crate::protocol::pattern::{MAX_SLICE, Pattern};
use crate::protocol::size_distribution::SizeDistribution;
use crate::units::{Bytes, SizeMix};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::LazyLock;

static PATTERN: LazyLock<Pattern> = LazyLock::new(|| Pattern::leak(7));

fn config(sizes: SizeDistribution) -> ClientConfig {
    ClientConfig { pattern: *PATTERN, sizes, seed: 9 }
}

fn mixed(text: &str) -> SizeDistribution {
    let mix: SizeMix = text.parse().unwrap();
    SizeDistribution::leak(mix.mean(), Some(&mix))
}

fn sizes() -> impl Strategy<Value = SizeDistribution> {
    let several = prop::sample::select(vec!["1:1,3000:1", "64:90,1400:9,16k:1", "7:1,8:2,9:3"]).prop_map(mixed);
    prop_oneof![(1u64..3000).prop_map(SizeDistribution::All), several]
}

/// A connection and a wire that echoes, both driven in random pieces.
struct Wire {
    client: EchoStream,
    begun: u64,
    bytes: VecDeque<u8>,
    answered: Vec<u64>,
}

impl Wire {
    fn new(sizes: SizeDistribution) -> Wire {
        let client = EchoStream::open(&config(sizes), 3);
        Wire { client, begun: 0, bytes: VecDeque::new(), answered: Vec::new() }
    }

    fn request(&mut self, count: u64) {
        for _ in 0..count {
            self.client.request(self.begun, Nanos(self.begun));
            self.begun += 1;
        }
    }

    fn send(&mut self, max: usize) {
        let bytes = self.client.next_send();
        let len = bytes.len().min(max);
        self.bytes.extend(&bytes[..len]);
        self.client.sent(len);
    }

    fn send_all(&mut self) {
        while !self.client.next_send().is_empty() {
            self.send(usize::MAX);
        }
    }

    fn receive(&mut self, max: usize) -> Result<(), ProtocolError> {
        let len = self.bytes.len().min(max);
        let bytes: Vec<u8> = self.bytes.drain(..len).collect();
        let answered = &mut self.answered;
        self.client.received(&bytes, |received| match received {
            Received::Answered { id } => answered.push(id),
            other => panic!("{other:?}"),
        })
    }
}

proptest! {
    #[test]
    fn every_request_is_answered_once_in_order(
        sizes in sizes(),
        steps in prop::collection::vec((0u64..40, 0usize..9000, 0usize..9000), 1..60),
    ) {
        let mut wire = Wire::new(sizes);
        for (requests, send, receive) in steps {
            wire.request(requests);
            wire.send(send);
            wire.receive(receive).unwrap();
        }
        wire.send_all();
        wire.receive(usize::MAX).unwrap();
        prop_assert_eq!(wire.answered, (0..wire.begun).collect::<Vec<_>>());
    }

    #[test]
    fn a_wrong_byte_is_always_noticed(
        size in 1u64..2000, requests in 1u64..20, at: prop::sample::Index, flip in 1u8.., chunk in 1usize..5000,
    ) {
        let mut wire = Wire::new(SizeDistribution::All(size));
        wire.request(requests);
        wire.send_all();
        let at = at.index(wire.bytes.len());
        wire.bytes[at] ^= flip;
        let result = (0..=wire.bytes.len() / chunk).try_for_each(|_| wire.receive(chunk));
        prop_assert_eq!(result, Err(ProtocolError::WrongByte { position: at as u64 }));
        prop_assert!(wire.answered.len() as u64 <= at as u64 / size);
    }
}

#[test]
fn a_byte_too_many_is_noticed() {
    let mut wire = Wire::new(SizeDistribution::All(10));
    wire.request(1);
    wire.send_all();
    wire.bytes.push_back(0);
    assert_eq!(wire.receive(usize::MAX), Err(ProtocolError::Surplus { requested: 10 }));
}

#[test]
fn requests_become_one_send() {
    let mut wire = Wire::new(SizeDistribution::All(64));
    wire.request(16);
    assert_eq!(wire.client.next_send().len(), 16 * 64);
}

#[test]
fn more_than_a_slice_of_the_pattern_at_once_is_checked_to_its_end() {
    const SIZE: u64 = 3 * MAX_SLICE as u64;
    for at in [None, Some(0), Some(70_000), Some(SIZE as usize - 1)] {
        let mut wire = Wire::new(SizeDistribution::All(SIZE));
        wire.request(1);
        wire.send_all();
        at.into_iter().for_each(|at| wire.bytes[at] ^= 1);
        let expected = at.map_or(Ok(()), |at| Err(ProtocolError::WrongByte { position: at as u64 }));
        assert_eq!(wire.receive(usize::MAX), expected);
    }
}

#[test]
fn datagrams_are_told_apart_bit_by_bit() {
    datagrams::check::<EchoDatagrams>(None);
}

#[test]
fn the_sizes_of_a_mix_have_their_shares_on_every_socket_and_each_socket_its_own_sequence() {
    let config = config(mixed("64:90,1400:9,9000:1"));
    let sizes = |number| {
        let EchoDatagrams(requests) = EchoDatagrams::open(&config, number);
        (0..20_000).map(|id| requests.size(id)).collect::<Vec<_>>()
    };
    for number in 0..4 {
        let share = |size| sizes(number).iter().filter(|is| **is == size).count();
        assert!((17_800..18_200).contains(&share(64)) && (1_650..1_950).contains(&share(1400)), "{}", share(64));
        assert!((140..260).contains(&share(9000)), "{}", share(9000));
        assert_ne!(sizes(number)[..100], sizes(number + 1)[..100]);
    }
    assert_eq!(config.sizes.largest(), Bytes(9000).0);
}

/// What holds of every client of datagrams.
pub mod datagrams {
    use super::*;
    use crate::protocol::pattern::PERIOD;
    use proptest::test_runner::TestRunner;

    /// All datagrams of this size.
    pub fn config(size: u64) -> ClientConfig {
        super::config(SizeDistribution::All(size))
    }

    fn configs() -> impl Strategy<Value = ClientConfig> {
        let one =
            prop_oneof![Just(24u64), Just(65_507), Just(PERIOD as u64), 24u64..2000].prop_map(SizeDistribution::All);
        let several =
            prop::sample::select(vec!["24:1,1400:1", "64:90,1400:9,65507:1", "24:1,25:1,26:1"]).prop_map(mixed);
        prop_oneof![one, several].prop_map(super::config)
    }

    fn request<C: DatagramClient>(config: &ClientConfig, id: u64) -> Vec<u8> {
        let mut room = vec![0; config.sizes.largest() as usize];
        let len = C::open(config, 1).request(id, &mut room);
        room.truncate(len);
        room
    }

    /// `cleared`: byte and bit that the server clears in its answer, and that may come back as it was.
    pub fn check<C: DatagramClient>(cleared: Option<(usize, u32)>) {
        let inputs =
            (configs(), any::<u64>(), any::<u64>(), 1u64..PERIOD as u64, any::<prop::sample::Index>(), 0u32..8);
        let run = TestRunner::default().run(&inputs, |(config, id, other, apart, at, bit)| {
            let mut answer = request::<C>(&config, id);
            cleared.into_iter().for_each(|(at, bit)| answer[at] &= !(1 << bit));
            an_answer_tells_its_number_and_its_socket::<C>(&config, id, &answer)?;
            a_request_can_be_written_again::<C>(&config, id, other)?;
            another_number_makes_it_wrong::<C>(&config, id, apart, &answer)?;
            let at = at.index(answer.len());
            if cleared != Some((at, bit)) {
                // In the number itself it makes another request's number, whose bytes are others.
                answer[at] ^= 1 << bit;
                prop_assert_eq!(C::open(&config, 1).received(&answer), Err(ProtocolError::NoAnswer));
            }
            Ok(())
        });
        run.unwrap();
    }

    fn an_answer_tells_its_number_and_its_socket<C: DatagramClient>(
        config: &ClientConfig,
        id: u64,
        answer: &[u8],
    ) -> Result<(), TestCaseError> {
        let client = C::open(config, 1);
        prop_assert_eq!(client.received(answer), Ok(Received::Answered { id }));
        prop_assert_eq!(C::open(config, 2).received(answer), Err(ProtocolError::NoAnswer));
        prop_assert_eq!(client.received(&[answer, &[0]].concat()), Err(ProtocolError::NoAnswer));
        for len in (answer.len().saturating_sub(70)..answer.len()).chain([0]) {
            prop_assert_eq!(client.received(&answer[..len]), Err(ProtocolError::NoAnswer));
        }
        Ok(())
    }

    fn a_request_can_be_written_again<C: DatagramClient>(
        config: &ClientConfig,
        id: u64,
        other: u64,
    ) -> Result<(), TestCaseError> {
        let (client, mut room) = (C::open(config, 1), vec![0; config.sizes.largest() as usize]);
        client.request(other, &mut room);
        let len = client.request(id, &mut room);
        prop_assert_eq!(&room[..len], request::<C>(config, id));
        Ok(())
    }

    /// Whatever the sizes: of each other's, and of a stream as long as one of them.
    fn another_number_makes_it_wrong<C: DatagramClient>(
        config: &ClientConfig,
        id: u64,
        apart: u64,
        answer: &[u8],
    ) -> Result<(), TestCaseError> {
        let mut answer = answer.to_vec();
        answer[..8].copy_from_slice(&request::<C>(config, id.wrapping_add(apart))[..8]);
        prop_assert_eq!(C::open(config, 1).received(&answer), Err(ProtocolError::NoAnswer));
        Ok(())
    }
}

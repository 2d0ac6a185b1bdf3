//! Holds every protocol's server side to the law: the same input in any chunking gives the same output.

use super::*;
use proptest::prelude::*;

/// All that a session says to the chunks, with ever `room` bytes of room, and what it publishes.
fn said(kind: Kind, chunks: &[Vec<u8>], room: usize) -> (Vec<u8>, Vec<u8>) {
    let mut cx = Cx::default();
    let session = Services::new([kind]).open(Peer { endpoint: 0 }, &mut cx);
    said_by(session, cx, chunks, room)
}

fn said_by(mut session: impl Session, mut cx: Cx, chunks: &[Vec<u8>], room: usize) -> (Vec<u8>, Vec<u8>) {
    let mut out = Out::default();
    let mut said = Vec::new();
    for chunk in chunks {
        let mut rest = chunk.as_slice();
        while !rest.is_empty() && !session.wants().close {
            out.begin(room);
            let taken = session.received(rest, &mut out, &mut cx);
            assert!(taken > 0, "it takes nothing though there is room");
            collect(&mut out, rest, &mut said);
            rest = &rest[taken..];
        }
    }
    (said, cx.take_published().iter().flat_map(|publication| publication.bytes.to_vec()).collect())
}

/// The registry as it would be with one more line: nothing else is needed for a protocol to be named, helped and served.
mod with_one_more {
    use super::super::*;
    define_protocols! {
        Echo, echo::Echo;
        Skeleton, skeleton::Skeleton;
    }
}

#[test]
fn a_new_protocol_is_one_file_and_one_line() {
    use with_one_more::{Kind, Services};
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(kinds, ["echo", "skeleton"]);
    assert!(
        Kind::Skeleton.speaks_datagrams() && !Kind::Skeleton.is_hidden() && Kind::Skeleton.help().contains("length")
    );
    let (mut cx, mut out, mut said) = (Cx::default(), Out::default(), Vec::new());
    let mut session = Services::new([Kind::Echo, Kind::Skeleton]).open(Peer { endpoint: 1 }, &mut cx);
    for chunk in [&b"one\ntw"[..], b"o\n"] {
        out.begin(100);
        assert_eq!(session.received(chunk, &mut out, &mut cx), chunk.len());
        collect(&mut out, chunk, &mut said);
    }
    assert_eq!(said, b"4\n4\n");
    assert_eq!(Kind::Echo.to_string(), "echo");
}

fn collect(out: &mut Out, input: &[u8], said: &mut Vec<u8>) {
    for chunk in out.chunks() {
        said.extend_from_slice(match chunk {
            Chunk::Input(range) => &input[range.clone()],
            Chunk::Written(range) => &out.written()[range.clone()],
            Chunk::Static(bytes) => bytes,
            Chunk::Shared(bytes, range) => &bytes[range.clone()],
        });
    }
    out.clear();
}

proptest! {
    #[test]
    fn chunking_does_not_change_what_is_said(chunks: Vec<Vec<u8>>, room in 1usize..10_000) {
        for kind in Kind::ALL {
            prop_assert_eq!(said(*kind, &chunks, room), said(*kind, &[chunks.concat()], 10_000));
        }
    }

    #[test]
    fn the_skeleton_keeps_to_the_law(lines in prop::collection::vec("[a-z]{0,30}\n", 0..20), cut in 1usize..50) {
        let lengths: String = lines.iter().map(|line| format!("{}\n", line.len())).collect();
        let chunks: Vec<_> = lines.concat().as_bytes().chunks(cut).map(<[u8]>::to_vec).collect();
        let mut cx = Cx::default();
        let session = skeleton::Skeleton.open(Peer { endpoint: 0 }, &mut cx);
        prop_assert_eq!(said_by(session, cx, &chunks, 21).0, lengths.into_bytes());
    }

    #[test]
    fn lines_are_published_whole(lines in prop::collection::vec("[a-z]{0,30}\n", 0..20), cut in 1usize..50) {
        let text = lines.concat().into_bytes();
        let chunks: Vec<_> = text.chunks(cut).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(said(Kind::Broadcast, &chunks, 100).1, text);
    }

    #[test]
    fn echo_says_what_it_hears_and_discard_nothing(chunks: Vec<Vec<u8>>) {
        prop_assert_eq!(said(Kind::Echo, &chunks, 1).0, chunks.concat());
        prop_assert!(said(Kind::Discard, &chunks, 1).0.is_empty());
    }

    #[test]
    fn an_answer_keeps_to_its_limit(input: Vec<u8>, limit in 0usize..2_000) {
        for kind in Kind::ALL.iter().filter(|kind| kind.speaks_datagrams()) {
            let mut written = Vec::new();
            let mut answer = Answer::new(&mut written, limit.max(input.len()));
            Services::new([*kind]).datagram(Peer { endpoint: 0 }, &input, &mut answer, &mut Cx::default());
            match answer.finish() {
                Some(Reply::Input(range)) => prop_assert!(range.end <= input.len()),
                Some(Reply::Written) => prop_assert!(written.len() <= limit.max(input.len())),
                None => {}
            }
        }
    }
}

#[test]
fn chargen_speaks_first_and_for_as_long_as_there_is_room() {
    let (mut cx, mut out, mut all) = (Cx::default(), Out::default(), Vec::new());
    let mut session = Services::new([Kind::Chargen]).open(Peer { endpoint: 0 }, &mut cx);
    for room in [1, 100, 7_030, 70_000, 3].into_iter().cycle().take(20) {
        assert!(session.wants().produce);
        out.begin(room);
        session.writable(&mut out, &mut cx);
        collect(&mut out, &[], &mut all);
    }
    assert!(all.iter().zip(0..).all(|(byte, at)| *byte == chargen::character(at)));
    session.ended(&mut out, &mut cx);
    assert!(!session.wants().produce);
}

#[test]
fn who_is_silent_is_told_so_once() {
    let (mut cx, mut out) = (Cx::default(), Out::default());
    let mut session = Services::new([Kind::Broadcast]).open(Peer { endpoint: 0 }, &mut cx);
    assert_eq!(cx.take_subscribed(), [Topic(0)]);
    cx.now = session.wants().deadline.expect("it waits for something to come");
    out.begin(100);
    session.timeout(&mut out, &mut cx);
    assert_eq!((out.chunks(), session.wants().deadline), (&[Chunk::Static(b"idle\n")][..], None));
    out.clear();
    out.begin(100);
    session.received(b"x", &mut out, &mut cx);
    assert!(session.wants().deadline > Some(cx.now));
}

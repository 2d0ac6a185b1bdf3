//! Broadcast, for tests of what no other protocol here needs: each line that a connection sends is delivered to every
//! connection of the server, on all shards, and one that is silent for a while is told so.

use super::Protocol;
use super::server::{Answer, Cx, Out, Peer, Publication, Session, Topic, Wants};
use crate::units::Nanos;

/// Longest line, with its line feed; who sends a longer one is disconnected.
const MAX_LINE: usize = 4096;
/// How long a connection must be silent to be told so.
const IDLE: Nanos = Nanos::from_millis(300);
const IDLE_LINE: &[u8] = b"idle\n";
const EVERYBODY: Topic = Topic(0);

/// The protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broadcast;

impl Protocol for Broadcast {
    const NAME: &'static str = "broadcast";
    const HELP: &'static str = "Deliver each line that comes in here to every connection: for tests";
    const HIDDEN: bool = true;
    const DATAGRAMS: bool = false;
    type Session = Member;

    fn open(&mut self, _peer: Peer, cx: &mut Cx) -> Member {
        cx.subscribe(EVERYBODY);
        Member { line: Vec::new(), idle_at: Some(cx.now + IDLE), too_long: false }
    }

    fn datagram(&mut self, _input: &[u8], _answer: &mut Answer<'_>, _cx: &mut Cx) {}
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Member {
    /// The line that has begun and not ended.
    line: Vec<u8>,
    /// When it is to be told that it is silent, unless it has been.
    idle_at: Option<Nanos>,
    too_long: bool,
}

impl Member {
    fn publish_line(&mut self, end: &[u8], cx: &mut Cx) {
        self.line.extend_from_slice(end);
        cx.publish(EVERYBODY, self.line.as_slice().into());
        self.line.clear();
    }
}

impl Session for Member {
    fn received(&mut self, input: &[u8], _out: &mut Out, cx: &mut Cx) -> usize {
        self.idle_at = Some(cx.now + IDLE);
        for part in input.split_inclusive(|byte| *byte == b'\n') {
            self.too_long |= self.line.len() + part.len() > MAX_LINE;
            match part {
                _ if self.too_long => break,
                [.., b'\n'] => self.publish_line(part, cx),
                _ => self.line.extend_from_slice(part),
            }
        }
        input.len()
    }

    fn timeout(&mut self, out: &mut Out, _cx: &mut Cx) {
        self.idle_at = None;
        if out.room() >= IDLE_LINE.len() {
            out.fixed(IDLE_LINE);
        }
    }

    fn delivered(&mut self, publication: &Publication, out: &mut Out, _cx: &mut Cx) {
        if out.room() >= publication.bytes.len() {
            out.shared(&publication.bytes, 0..publication.bytes.len());
        }
    }

    fn wants(&self) -> Wants {
        if self.too_long { Wants::CLOSE } else { Wants { deadline: self.idle_at, ..Wants::READ } }
    }
}

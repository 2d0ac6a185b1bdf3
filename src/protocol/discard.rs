//! Discard (RFC 863): every byte and every datagram is thrown away.

use super::Protocol;
use super::server::{Answer, Cx, Out, Peer, Session};

/// The protocol, and its sessions, which remember nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discard;

impl Protocol for Discard {
    const NAME: &'static str = "discard";
    const HELP: &'static str = "Throw away what comes in here (RFC 863); may be repeated";
    const DATAGRAMS: bool = true;
    type Session = Discard;

    fn open(&mut self, _peer: Peer, _cx: &mut Cx) -> Discard {
        Discard
    }

    fn datagram(&mut self, _input: &[u8], _answer: &mut Answer<'_>, _cx: &mut Cx) {}
}

impl Session for Discard {
    fn received(&mut self, input: &[u8], _out: &mut Out, _cx: &mut Cx) -> usize {
        input.len()
    }
}

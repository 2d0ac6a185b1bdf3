//! Chargen, the server: characters without end, as fast as the peer takes them.

use super::{Chargen, pattern};
use crate::protocol::Protocol;
use crate::protocol::server::{Answer, Cx, Out, Peer, Session, Wants};

/// Most characters in answer to a datagram (RFC 864).
const MAX_DATAGRAM: usize = 512;

impl Protocol for Chargen {
    const NAME: &'static str = "chargen";
    const HELP: &'static str =
        "Send characters here without end and throw away what comes in (RFC 864); may be repeated";
    const DATAGRAMS: bool = true;
    type Session = Generator;

    fn open(&mut self, _peer: Peer, _cx: &mut Cx) -> Generator {
        Generator { said: 0, ended: false }
    }

    fn datagram(&mut self, _input: &[u8], answer: &mut Answer<'_>, _cx: &mut Cx) {
        let len = MAX_DATAGRAM.min(answer.limit());
        answer.write(pattern::slice(0, len));
    }
}

/// One connection's characters.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    said: u64,
    ended: bool,
}

impl Session for Generator {
    fn received(&mut self, input: &[u8], _out: &mut Out, _cx: &mut Cx) -> usize {
        input.len()
    }

    fn writable(&mut self, out: &mut Out, _cx: &mut Cx) {
        let bytes = pattern::slice(self.said, out.room());
        self.said += bytes.len() as u64;
        out.fixed(bytes);
    }

    fn ended(&mut self, _out: &mut Out, _cx: &mut Cx) {
        self.ended = true;
    }

    fn wants(&self) -> Wants {
        Wants { produce: !self.ended, ..Wants::READ }
    }
}

//! Where the next protocol begins: copy this file, rename the types, and add a line to `for_each_protocol` in
//! `protocol/mod.rs`. Its option of `ringmark serve`, its dispatch and its place in the test suites follow from that. The load
//! generator's side begins like [`client`].
//!
//! The example answers each line with the number of its bytes, and each datagram with the number of its. It is compiled and
//! held to the law of all protocols, but not offered.

pub mod client;

use super::Protocol;
use super::server::{Answer, Cx, Out, Peer, Session, Wants};

/// Longest answer to a line: the digits of a 64-bit number and a line feed.
const MAX_ANSWER: usize = 21;

/// What a shard knows of one endpoint: settings, or what its sessions share. It is cloned for each shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Skeleton;

impl Protocol for Skeleton {
    const NAME: &'static str = "skeleton";
    const HELP: &'static str = "Answer each line with its length; may be repeated\n\nWhat follows an empty line is shown by \
                                --help, not by -h.";
    const DATAGRAMS: bool = true;
    type Session = Lengths;

    fn open(&mut self, _peer: Peer, _cx: &mut Cx) -> Lengths {
        // To be told what others publish, subscribe here: cx.subscribe(Topic(…)).
        Lengths { length: 0 }
    }

    fn datagram(&mut self, input: &[u8], answer: &mut Answer<'_>, _cx: &mut Cx) {
        // Not calling `answer` is no answer. Beyond `answer.limit()` there is none either.
        answer.write(input.len().to_string().as_bytes());
    }
}

/// What is remembered of one connection: what a partial message makes necessary, and no more.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// Bytes of the line so far.
    length: u64,
}

impl Session for Lengths {
    fn received(&mut self, input: &[u8], out: &mut Out, _cx: &mut Cx) -> usize {
        let mut taken = 0;
        for part in input.split_inclusive(|byte| *byte == b'\n') {
            // Never say more than there is room for: take less instead. The rest is offered again when there is room.
            if out.room() < MAX_ANSWER {
                break;
            }
            taken += part.len();
            self.length += part.len() as u64;
            if part.ends_with(b"\n") {
                out.write(format!("{}\n", self.length).as_bytes());
                self.length = 0;
            }
        }
        taken
    }

    // Others have defaults: `writable` for a session that speaks without being asked (Wants::produce), `ended` for the
    // peer's end, `timeout` for a deadline, `delivered` for what was published.

    fn wants(&self) -> Wants {
        Wants::READ
    }
}

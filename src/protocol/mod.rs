//! What a server says, with no sockets and no clock.
//!
//! A [`Service`] is given received bytes and tells what to answer. It always takes all of its input and keeps partial
//! frames itself; the same input in any chunking gives the same output ([`tests`] holds every service to that).
//! Adding a service: one file, one line in [`Kind`] and one in each of the two matches below it.

pub mod client;
mod discard;
pub mod echo;
pub mod pattern;
mod requests;
pub mod size_distribution;
pub mod sockperf;

use std::fmt;
use std::ops::Range;

/// What to send in answer to the bytes just received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Nothing,
    /// This range of the input itself: sent out of the receive buffer, without a copy.
    Input(Range<usize>),
    /// What the service appended to `output`.
    Output,
}

/// What a server says on the connections of one shard.
pub trait Service {
    /// What the service remembers of one connection.
    type Session;

    /// A connection to listener number `listener` was opened.
    fn open(&mut self, listener: usize) -> Self::Session;

    /// Takes all of `input`; what it writes goes to the end of the empty `output`.
    fn received(&mut self, session: &mut Self::Session, input: &[u8], output: &mut Vec<u8>) -> Answer;
}

/// The services there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Echo,
    Discard,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Echo => "echo",
            Kind::Discard => "discard",
        })
    }
}

/// The services of a server, one per listener, told apart by an enum so that no message costs dynamic dispatch.
#[derive(Clone, Debug)]
pub struct Services {
    by_listener: Vec<Kind>,
}

impl Services {
    /// `by_listener[i]` is what listener number `i` serves.
    pub fn new(by_listener: Vec<Kind>) -> Services {
        Services { by_listener }
    }
}

impl Service for Services {
    type Session = Kind;

    fn open(&mut self, listener: usize) -> Kind {
        self.by_listener[listener]
    }

    #[inline]
    fn received(&mut self, session: &mut Kind, input: &[u8], _output: &mut Vec<u8>) -> Answer {
        match session {
            Kind::Echo => echo::answer(input),
            Kind::Discard => discard::answer(input),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All that a service answers to the chunks.
    fn output(kind: Kind, chunks: &[Vec<u8>]) -> Vec<u8> {
        let mut service = Services::new(vec![kind]);
        let mut session = service.open(0);
        let mut all = Vec::new();
        for chunk in chunks {
            let mut written = Vec::new();
            match service.received(&mut session, chunk, &mut written) {
                Answer::Nothing => {}
                Answer::Input(range) => all.extend_from_slice(&chunk[range]),
                Answer::Output => all.extend_from_slice(&written),
            }
        }
        all
    }

    proptest! {
        #[test]
        fn chunking_does_not_change_what_is_said(chunks: Vec<Vec<u8>>) {
            for kind in [Kind::Echo, Kind::Discard] {
                prop_assert_eq!(output(kind, &chunks), output(kind, &[chunks.concat()]));
            }
        }

        #[test]
        fn echo_says_what_it_hears_and_discard_nothing(chunks: Vec<Vec<u8>>) {
            prop_assert_eq!(output(Kind::Echo, &chunks), chunks.concat());
            prop_assert!(output(Kind::Discard, &chunks).is_empty());
        }
    }
}

//! What is said on a socket, by both ends, with no socket and no clock: a file or folder for each protocol.
//!
//! [`server`] is what the server's side is made of, [`client`] the load generator's; `for_each_protocol` is the one place
//! that lists what a server can serve. Adding one: a file that begins like [`skeleton`], and one line there; its option of
//! `ringmark serve`, its dispatch and its tests follow.

mod broadcast;
pub mod chargen;
pub mod client;
mod daytime;
mod discard;
pub mod echo;
pub mod pattern;
mod requests;
pub mod server;
pub mod size_distribution;
pub mod skeleton;
pub mod sockperf;

pub use server::{Answer, Chunk, Cx, DatagramService, Out, Peer, Publication, Reply, Service, Session, Topic, Wants};

use std::fmt;

/// The server's side of one protocol. A value of it is what a shard knows of one endpoint.
pub trait Protocol: Clone + Default {
    /// The option of `ringmark serve`, and the word in its ready lines.
    const NAME: &'static str;
    /// Help of the option: a line, and where there is more to say, an empty line and that.
    const HELP: &'static str;
    /// Whether the option is left out of the help.
    const HIDDEN: bool = false;
    /// Whether it is spoken in datagrams too; all are spoken on streams.
    const DATAGRAMS: bool;
    type Session: Session;

    /// As [`Service::open`].
    fn open(&mut self, peer: Peer, cx: &mut Cx) -> Self::Session;

    /// As [`DatagramService::datagram`]; never called without [`Protocol::DATAGRAMS`].
    fn datagram(&mut self, input: &[u8], answer: &mut Answer<'_>, cx: &mut Cx);
}

/// Calls a macro with every protocol: a variant's name, and the type that implements [`Protocol`].
macro_rules! for_each_protocol {
    ($apply:ident) => {
        $apply! {
            Echo, echo::Echo;
            Discard, discard::Discard;
            Chargen, chargen::Chargen;
            Daytime, daytime::Daytime;
            Broadcast, broadcast::Broadcast;
        }
    };
}

macro_rules! define_protocols {
    ($($variant:ident, $protocol:ty;)*) => {
        /// The protocols there are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($variant,)*
        }

        impl Kind {
            /// All of them, in the order of the help.
            pub const ALL: &[Kind] = &[$(Kind::$variant,)*];

            /// As [`Protocol::NAME`].
            pub fn name(self) -> &'static str {
                match self { $(Kind::$variant => <$protocol>::NAME,)* }
            }

            /// As [`Protocol::HELP`].
            pub fn help(self) -> &'static str {
                match self { $(Kind::$variant => <$protocol>::HELP,)* }
            }

            /// As [`Protocol::HIDDEN`].
            pub fn is_hidden(self) -> bool {
                match self { $(Kind::$variant => <$protocol>::HIDDEN,)* }
            }

            /// As [`Protocol::DATAGRAMS`].
            pub fn speaks_datagrams(self) -> bool {
                match self { $(Kind::$variant => <$protocol>::DATAGRAMS,)* }
            }

            fn endpoint(self) -> AnyProtocol {
                match self { $(Kind::$variant => AnyProtocol::$variant(Default::default()),)* }
            }
        }

        impl fmt::Display for Kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        /// A protocol, told apart by an enum so that no message costs dynamic dispatch.
        #[derive(Clone, Debug)]
        enum AnyProtocol {
            $($variant($protocol),)*
        }

        /// A session of any protocol.
        #[derive(Clone, Debug)]
        pub enum AnySession {
            $($variant(<$protocol as Protocol>::Session),)*
        }

        /// What a server serves, one protocol per endpoint.
        #[derive(Clone, Debug)]
        pub struct Services {
            by_endpoint: Vec<AnyProtocol>,
        }

        impl Services {
            /// `by_endpoint[i]` is what endpoint number `i` serves.
            pub fn new(by_endpoint: impl IntoIterator<Item = Kind>) -> Services {
                Services { by_endpoint: by_endpoint.into_iter().map(Kind::endpoint).collect() }
            }
        }

        impl Service for Services {
            type Session = AnySession;

            fn open(&mut self, peer: Peer, cx: &mut Cx) -> AnySession {
                self.by_endpoint[peer.endpoint].open(peer, cx)
            }
        }

        impl DatagramService for Services {
            #[inline]
            fn datagram(&mut self, peer: Peer, input: &[u8], answer: &mut Answer<'_>, cx: &mut Cx) {
                self.by_endpoint[peer.endpoint].datagram(input, answer, cx);
            }
        }

        impl AnyProtocol {
            fn open(&mut self, peer: Peer, cx: &mut Cx) -> AnySession {
                match self { $(AnyProtocol::$variant(protocol) => AnySession::$variant(protocol.open(peer, cx)),)* }
            }

            #[inline]
            fn datagram(&mut self, input: &[u8], answer: &mut Answer<'_>, cx: &mut Cx) {
                match self { $(AnyProtocol::$variant(protocol) => protocol.datagram(input, answer, cx),)* }
            }
        }

        impl Session for AnySession {
            #[inline]
            fn received(&mut self, input: &[u8], out: &mut Out, cx: &mut Cx) -> usize {
                match self { $(AnySession::$variant(session) => session.received(input, out, cx),)* }
            }

            fn writable(&mut self, out: &mut Out, cx: &mut Cx) {
                match self { $(AnySession::$variant(session) => session.writable(out, cx),)* }
            }

            fn ended(&mut self, out: &mut Out, cx: &mut Cx) {
                match self { $(AnySession::$variant(session) => session.ended(out, cx),)* }
            }

            fn timeout(&mut self, out: &mut Out, cx: &mut Cx) {
                match self { $(AnySession::$variant(session) => session.timeout(out, cx),)* }
            }

            fn delivered(&mut self, publication: &Publication, out: &mut Out, cx: &mut Cx) {
                match self { $(AnySession::$variant(session) => session.delivered(publication, out, cx),)* }
            }

            #[inline]
            fn wants(&self) -> Wants {
                match self { $(AnySession::$variant(session) => session.wants(),)* }
            }
        }
    };
}

for_each_protocol!(define_protocols);

#[cfg(test)]
mod tests;

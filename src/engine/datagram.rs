//! What the engines share of serving datagrams, free of I/O: whom to answer, and what.
//!
//! An echo over UDP is a known weapon: a forged source makes two echo servers talk to each other for ever (CERT advisory
//! CA-1996-01), or the server a mirror. So a source that could be a server of ours, or away from loopback any well-known
//! one, is never answered, and no answer is longer than what it answers. What another ringmark server has answered never
//! gets here at all: [`crate::sys::datagram::mark_answers`].

use super::stats::Stats;
use crate::protocol::{Answer, Service};
use socket2::Socket;
use std::ops::Range;
use std::sync::Arc;

/// Ports below this belong to well-known services (IPPORT_RESERVED), which may answer answers.
const FIRST_FREE_PORT: u16 = 1024;
/// Bytes a receive buffer for datagrams must have: more than the largest that IP carries (65 507 over IPv4).
pub const BUFFER_BYTES: usize = 64 << 10;

/// How datagrams are received, by the engines that offer a choice.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct DatagramOptions {
    /// Take datagrams that were sent as one batch as one batch, and answer them so (UDP_GRO, Linux 5.0).
    ///
    /// What a sender hands over with one call (UDP_SEGMENT: `ringload --gso`, QUIC stacks) passes through the kernel's
    /// network stack once instead of datagram by datagram, in both directions. Does nothing for datagrams that were
    /// sent one by one, on loopback and between namespaces, nor for unix sockets; a network card may batch those too.
    #[arg(long, help_heading = "Datagrams")]
    pub gro: bool,
}

/// A bound datagram socket and the number by which the service knows it.
#[derive(Debug)]
pub struct DatagramSocket {
    pub number: usize,
    pub socket: Socket,
    pub guard: ReflectionGuard,
}

/// Whom a socket answers, and how much. A clone shares the list of ports.
#[derive(Clone, Debug)]
pub struct ReflectionGuard {
    exposed: bool,
    own_ports: Arc<[u16]>,
}

impl ReflectionGuard {
    /// `exposed`: others than this machine can reach the socket. `own_ports`: on which this server serves datagrams.
    pub fn new(exposed: bool, own_ports: Arc<[u16]>) -> ReflectionGuard {
        ReflectionGuard { exposed, own_ports }
    }

    /// Whether to answer a datagram from this port; `None` is a source without one (a unix socket).
    #[inline]
    pub fn answers(&self, source_port: Option<u16>) -> bool {
        let Some(port) = source_port else { return true };
        !(self.own_ports.contains(&port) || self.exposed && port < FIRST_FREE_PORT)
    }

    /// Counts what came, and tells whether it is to be answered.
    #[inline]
    pub fn admits(&self, meta: ReceivedMeta, stats: &mut Stats) -> bool {
        stats.datagrams_in += meta.datagrams as u64;
        stats.bytes_in += meta.bytes as u64;
        if meta.truncated {
            stats.truncated += meta.datagrams as u64;
            return false;
        }
        let answers = self.answers(meta.source_port);
        stats.refused += if answers { 0 } else { meta.datagrams as u64 };
        answers
    }
}

/// What one receive brought from one source.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedMeta {
    pub datagrams: usize,
    /// Of all of them.
    pub bytes: usize,
    /// Longer than the buffer.
    pub truncated: bool,
    /// `None` is a source without one (a unix socket).
    pub source_port: Option<u16>,
}

/// What to send back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// This range of the datagram that came.
    Input(Range<usize>),
    /// All that stands in `output`.
    Output,
}

impl Reply {
    /// The bytes of it.
    #[inline]
    pub fn bytes<'a>(&self, input: &'a [u8], output: &'a [u8]) -> &'a [u8] {
        match self {
            Reply::Input(range) => &input[range.clone()],
            Reply::Output => output,
        }
    }
}

/// Gives a datagram to the service as a conversation of its own. `output` must be empty; `None` is no answer.
#[inline]
pub fn handle_datagram<S: Service>(
    service: &mut S,
    number: usize,
    guard: &ReflectionGuard,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Option<Reply> {
    let mut session = service.open(number);
    match service.received(&mut session, input, output) {
        Answer::Nothing => None,
        Answer::Input(range) => Some(Reply::Input(range)),
        Answer::Output => {
            if guard.exposed {
                output.truncate(input.len());
            }
            Some(Reply::Output)
        }
    }
}

/// Answers the datagrams of a socket one at a time, for the engines that receive them so.
#[derive(Debug)]
pub struct Responder<S> {
    service: S,
    number: usize,
    guard: ReflectionGuard,
    /// What the service wrote last.
    pub output: Vec<u8>,
    stats: Stats,
}

impl<S: Service> Responder<S> {
    /// For the socket of this number and guard.
    pub fn new(service: S, number: usize, guard: ReflectionGuard) -> Responder<S> {
        Responder { service, number, guard, output: Vec::new(), stats: Stats::default() }
    }

    /// What to send in answer to a datagram from this port; `truncated`: it was longer than the buffer.
    pub fn answer(&mut self, input: &[u8], source_port: Option<u16>, truncated: bool) -> Option<Reply> {
        let meta = ReceivedMeta { datagrams: 1, bytes: input.len(), truncated, source_port };
        if !self.guard.admits(meta, &mut self.stats) {
            return None;
        }
        self.output.clear();
        handle_datagram(&mut self.service, self.number, &self.guard, input, &mut self.output)
    }

    /// Counts an answer of so many bytes, that was sent or could not be sent.
    pub fn answered(&mut self, bytes: usize, sent: bool) {
        match sent {
            true => {
                self.stats.datagrams_out += 1;
                self.stats.bytes_out += bytes as u64;
            }
            false => self.stats.unsent += 1,
        }
    }

    /// What was counted since the last time.
    pub fn take_stats(&mut self) -> Stats {
        std::mem::take(&mut self.stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says more than it hears.
    struct Chatter;

    impl Service for Chatter {
        type Session = ();

        fn open(&mut self, _listener: usize) {}

        fn received(&mut self, _session: &mut (), input: &[u8], output: &mut Vec<u8>) -> Answer {
            match input.len() {
                0 => Answer::Nothing,
                1 => Answer::Input(0..0),
                _ => {
                    output.extend([7; 100]);
                    Answer::Output
                }
            }
        }
    }

    #[test]
    fn sources_that_could_answer_back_for_ever_are_refused() {
        let guard = |exposed| ReflectionGuard::new(exposed, [7007, 7008].into());
        for (exposed, port, answered) in [
            (false, Some(40_000), true),
            (false, Some(7), true),
            (false, Some(7008), false),
            (true, Some(7), false),
            (true, Some(1023), false),
            (true, Some(1024), true),
            (true, Some(7007), false),
            (true, None, true),
        ] {
            assert_eq!(guard(exposed).answers(port), answered, "{exposed} {port:?}");
        }
    }

    #[test]
    fn what_is_cut_or_refused_is_counted_and_not_answered() {
        let mut stats = Stats::default();
        let guard = ReflectionGuard::new(false, [7].into());
        let meta = |truncated, port| ReceivedMeta { datagrams: 3, bytes: 30, truncated, source_port: Some(port) };
        let admitted = [(true, 9), (false, 7), (true, 7), (false, 9)]
            .map(|(truncated, port)| guard.admits(meta(truncated, port), &mut stats));
        assert_eq!(admitted, [false, false, false, true]);
        let expected = Stats { datagrams_in: 12, bytes_in: 120, truncated: 6, refused: 3, ..Stats::default() };
        assert_eq!(stats, expected);
    }

    #[test]
    fn an_exposed_socket_answers_no_more_than_it_was_asked() {
        for (exposed, len) in [(true, 3), (false, 100)] {
            let mut output = Vec::new();
            let reply =
                handle_datagram(&mut Chatter, 0, &ReflectionGuard::new(exposed, [].into()), b"abc", &mut output);
            assert_eq!((reply, output.len()), (Some(Reply::Output), len));
        }
    }

    #[test]
    fn an_empty_answer_is_one_and_silence_is_none() {
        let guard = ReflectionGuard::new(true, [].into());
        assert_eq!(handle_datagram(&mut Chatter, 0, &guard, b"a", &mut Vec::new()), Some(Reply::Input(0..0)));
        assert_eq!(handle_datagram(&mut Chatter, 0, &guard, b"", &mut Vec::new()), None);
    }
}

//! What the engines share of serving datagrams, free of I/O: whom to answer, and what.
//!
//! An echo over UDP is a known weapon: a forged source makes two echo servers talk to each other for ever (CERT advisory
//! CA-1996-01), or the server a mirror. So a source that could be a server of ours, or away from loopback any well-known
//! one, is never answered, and no answer is longer than what it answers. What another ringmark server has answered never
//! gets here at all: [`crate::sys::datagram::mark_answers`].

use super::stats::Stats;
use crate::clock::Clock;
use crate::protocol::{Answer, Cx, DatagramService, Peer, Publication, Reply};
use socket2::Socket;
use std::sync::Arc;

/// Ports below this belong to well-known services (IPPORT_RESERVED), which may answer answers.
const FIRST_FREE_PORT: u16 = 1024;
/// Bytes a receive buffer for datagrams must have: more than the largest that IP carries (65 507 over IPv4).
pub const BUFFER_BYTES: usize = 64 << 10;

/// Longest answer: what UDP carries over IPv4.
const MAX_ANSWER: usize = 65_507;

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

    /// Stats what came, and tells whether it is to be answered.
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

/// Gives a datagram to the service, as a conversation of its own. `written` must be empty; `None` is no answer.
#[inline]
pub fn handle_datagram<S: DatagramService>(
    service: &mut S,
    number: usize,
    guard: &ReflectionGuard,
    input: &[u8],
    written: &mut Vec<u8>,
    cx: &mut Cx,
) -> Option<Reply> {
    let limit = if guard.exposed { input.len() } else { MAX_ANSWER };
    let mut answer = Answer::new(written, limit);
    service.datagram(Peer { endpoint: number }, input, &mut answer, cx);
    answer.finish()
}

/// Answers the datagrams of a socket one at a time, for the engines that receive them so.
#[derive(Debug)]
pub struct Responder<S> {
    service: S,
    number: usize,
    guard: ReflectionGuard,
    clock: Clock,
    /// What the service wrote last.
    pub written: Vec<u8>,
    cx: Cx,
    stats: Stats,
}

impl<S: DatagramService> Responder<S> {
    /// For the socket of this number and guard.
    pub fn new(service: S, number: usize, guard: ReflectionGuard, clock: Clock) -> Responder<S> {
        let cx = Cx::new(clock.started_at());
        Responder { service, number, guard, clock, written: Vec::new(), cx, stats: Stats::default() }
    }

    /// What to send in answer to a datagram from this port; `truncated`: it was longer than the buffer.
    pub fn answer(&mut self, input: &[u8], source_port: Option<u16>, truncated: bool) -> Option<Reply> {
        let meta = ReceivedMeta { datagrams: 1, bytes: input.len(), truncated, source_port };
        if !self.guard.admits(meta, &mut self.stats) {
            return None;
        }
        self.written.clear();
        self.cx.now = self.clock.now();
        handle_datagram(&mut self.service, self.number, &self.guard, input, &mut self.written, &mut self.cx)
    }

    /// What the service published since the last time.
    pub fn take_published(&mut self) -> Vec<Publication> {
        self.cx.take_published()
    }

    /// Stats an answer of so many bytes, that was sent or could not be sent.
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

    /// Says as much as it may, and more when it is asked for that.
    struct Chatter;

    impl DatagramService for Chatter {
        fn datagram(&mut self, _peer: Peer, input: &[u8], answer: &mut Answer<'_>, _cx: &mut Cx) {
            match input.len() {
                0 => {}
                1 => answer.input(0..0),
                2 => answer.write(&[7; 100]),
                _ => answer.write(&vec![7; answer.limit()]),
            }
        }
    }

    fn said(guard: &ReflectionGuard, input: &[u8]) -> (Option<Reply>, usize) {
        let mut written = Vec::new();
        let reply = handle_datagram(&mut Chatter, 0, guard, input, &mut written, &mut Cx::default());
        (reply, written.len())
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
        let mut counts = Stats::default();
        let guard = ReflectionGuard::new(false, [7].into());
        let meta = |truncated, port| ReceivedMeta { datagrams: 3, bytes: 30, truncated, source_port: Some(port) };
        let admitted = [(true, 9), (false, 7), (true, 7), (false, 9)]
            .map(|(truncated, port)| guard.admits(meta(truncated, port), &mut counts));
        assert_eq!(admitted, [false, false, false, true]);
        let expected = Stats { datagrams_in: 12, bytes_in: 120, truncated: 6, refused: 3, ..Stats::default() };
        assert_eq!(counts, expected);
    }

    #[test]
    fn an_exposed_socket_answers_no_more_than_it_was_asked() {
        let [exposed, local] = [true, false].map(|exposed| ReflectionGuard::new(exposed, [].into()));
        assert_eq!(said(&exposed, b"abc"), (Some(Reply::Written), 3));
        assert_eq!(said(&local, b"abc"), (Some(Reply::Written), MAX_ANSWER));
        assert_eq!(said(&exposed, b"ab").0, None);
        assert_eq!(said(&local, b"ab"), (Some(Reply::Written), 100));
    }

    #[test]
    fn an_empty_answer_is_one_and_silence_is_none() {
        let guard = ReflectionGuard::new(true, [].into());
        assert_eq!(said(&guard, b"a").0, Some(Reply::Input(0..0)));
        assert_eq!(said(&guard, b"").0, None);
    }
}

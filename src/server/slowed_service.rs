//! A service that is slower than it need be, by a known amount: to test that `compare` finds what is there to find.

use crate::clock::Clock;
use crate::protocol::{Answer, Cx, DatagramService, Out, Peer, Publication, Service, Session, Wants};
use crate::units::Nanos;

/// Keeps the processor busy for a while per message before it lets `inner` answer. Without a handicap it costs a
/// comparison with zero, which a processor foresees.
#[derive(Clone, Debug)]
pub struct SlowedService<S> {
    inner: S,
    busy: Nanos,
    clock: Clock,
}

impl<S> SlowedService<S> {
    /// `busy` is what each call of the service takes longer, exact to one reading of the clock.
    pub fn new(inner: S, busy: Nanos, clock: Clock) -> SlowedService<S> {
        SlowedService { inner, busy, clock }
    }

    #[inline]
    fn delay(&self) {
        if self.busy > Nanos::ZERO {
            self.stay_busy();
        }
    }

    #[cold]
    fn stay_busy(&self) {
        let begun = self.clock.now();
        while self.clock.now().since(begun) < self.busy {
            std::hint::spin_loop();
        }
    }
}

impl<S: Service> Service for SlowedService<S> {
    type Session = SlowedService<S::Session>;

    fn open(&mut self, peer: Peer, cx: &mut Cx) -> Self::Session {
        SlowedService { inner: self.inner.open(peer, cx), busy: self.busy, clock: self.clock }
    }
}

impl<S: DatagramService> DatagramService for SlowedService<S> {
    #[inline]
    fn datagram(&mut self, peer: Peer, input: &[u8], answer: &mut Answer<'_>, cx: &mut Cx) {
        self.delay();
        self.inner.datagram(peer, input, answer, cx);
    }
}

impl<S: Session> Session for SlowedService<S> {
    #[inline]
    fn received(&mut self, input: &[u8], out: &mut Out, cx: &mut Cx) -> usize {
        self.delay();
        self.inner.received(input, out, cx)
    }

    fn writable(&mut self, out: &mut Out, cx: &mut Cx) {
        self.inner.writable(out, cx);
    }

    fn ended(&mut self, out: &mut Out, cx: &mut Cx) {
        self.inner.ended(out, cx);
    }

    fn timeout(&mut self, out: &mut Out, cx: &mut Cx) {
        self.inner.timeout(out, cx);
    }

    fn delivered(&mut self, publication: &Publication, out: &mut Out, cx: &mut Cx) {
        self.inner.delivered(publication, out, cx);
    }

    #[inline]
    fn wants(&self) -> Wants {
        self.inner.wants()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Chunk, Kind, Services};

    #[test]
    fn each_message_takes_at_least_the_handicap_and_is_answered_all_the_same() {
        let (clock, mut cx, mut out) = (Clock::start(), Cx::default(), Out::default());
        for busy in [Nanos::ZERO, Nanos::from_millis(2)] {
            let mut slow = SlowedService::new(Services::new([Kind::Echo]), busy, clock);
            let mut session = slow.open(Peer { endpoint: 0 }, &mut cx);
            let begun = clock.now();
            for _ in 0..3 {
                out.begin(100);
                assert_eq!(session.received(b"abc", &mut out, &mut cx), 3);
                assert_eq!(out.chunks(), [Chunk::Input(0..3)]);
                out.clear();
            }
            assert!(clock.now().since(begun).0 >= 3 * busy.0);
        }
    }
}

//! A service that is slower than it need be, by a known amount: to test that `compare` finds what is there to find.

use crate::clock::Clock;
use crate::protocol::{Answer, Service};
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

    #[cold]
    fn dawdle(&self) {
        let begun = self.clock.now();
        while self.clock.now().since(begun) < self.busy {
            std::hint::spin_loop();
        }
    }
}

impl<S: Service> Service for SlowedService<S> {
    type Session = S::Session;

    fn open(&mut self, listener: usize) -> S::Session {
        self.inner.open(listener)
    }

    #[inline]
    fn received(&mut self, session: &mut S::Session, input: &[u8], output: &mut Vec<u8>) -> Answer {
        if self.busy > Nanos::ZERO {
            self.dawdle();
        }
        self.inner.received(session, input, output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Kind, Services};

    #[test]
    fn each_message_takes_at_least_the_handicap_and_is_answered_all_the_same() {
        let clock = Clock::start();
        for busy in [Nanos::ZERO, Nanos::from_millis(2)] {
            let mut slow = SlowedService::new(Services::new(vec![Kind::Echo]), busy, clock);
            let mut session = slow.open(0);
            let begun = clock.now();
            for _ in 0..3 {
                assert_eq!(slow.received(&mut session, b"abc", &mut Vec::new()), Answer::Input(0..3));
            }
            assert!(clock.now().since(begun).0 >= 3 * busy.0);
        }
    }
}

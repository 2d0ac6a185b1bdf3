//! When requests are meant to be sent: a pure function of time and of what was sent so far. It never waits and never
//! looks at answers.

use crate::units::Nanos;

/// The plan by which a thread sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacer {
    /// A request goes out whenever a slot is free: the answers set the pace.
    ClosedLoop,
}

impl Pacer {
    /// The instant request number `sent` (from 0) is meant to go out, on the scale of `elapsed`, the instant that is
    /// now. It may be sent when that instant is not in the future.
    #[inline]
    pub fn intended(self, elapsed: Nanos, _sent: u64) -> Nanos {
        match self {
            Pacer::ClosedLoop => elapsed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_loop_means_now() {
        for (elapsed, sent) in [(0, 0), (17, 5), (u64::MAX, 0)] {
            assert_eq!(Pacer::ClosedLoop.intended(Nanos(elapsed), sent), Nanos(elapsed));
        }
    }
}

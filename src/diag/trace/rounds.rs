//! When which hop is tried: all hops of a round shortly after one another, without waiting for answers.
//!
//! Pure: instants are arguments.

use crate::units::Nanos;

/// From one probe of a round to the next, at most: few enough at a time to be no burst.
const GAP: Nanos = Nanos::from_millis(2);

/// Rounds of probes.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// When the current round began.
    start: Nanos,
    interval: Nanos,
    gap: Nanos,
    /// Rounds that have not begun, without the current one.
    left: u64,
    /// Last hop that the current round has tried.
    hop: u8,
}

impl Rounds {
    /// `count` rounds from `start` on, `interval` apart, of at most `max_hops` probes.
    pub fn new(start: Nanos, interval: Nanos, count: Option<u64>, max_hops: u8) -> Rounds {
        let gap = GAP.min(Nanos(interval.0 / (u64::from(max_hops) + 1)));
        Rounds { start, interval, gap, left: count.unwrap_or(u64::MAX).saturating_sub(1), hop: 0 }
    }

    /// When the next probe is due, where rounds end at hop `limit`; `None` after the last.
    pub fn due(&self, limit: u8) -> Option<Nanos> {
        match self.hop < limit {
            true => Some(self.start + Nanos(self.gap.0 * u64::from(self.hop))),
            false => (self.left > 0).then_some(self.start + self.interval),
        }
    }

    /// The hop to try at this instant, if one is due.
    pub fn take(&mut self, now: Nanos, limit: u8) -> Option<u8> {
        if self.due(limit)? > now {
            return None;
        }
        if self.hop >= limit {
            // A round that begins late moves all that follow, so that a pause is not followed by a burst.
            let late = now.since(self.start + self.interval);
            self.start = self.start + self.interval + late;
            self.left -= 1;
            self.hop = 0;
        }
        self.hop += 1;
        Some(self.hop)
    }

    /// No further probes.
    pub fn stop(&mut self) {
        (self.left, self.hop) = (0, u8::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_tries_every_hop() {
        let mut rounds = Rounds::new(Nanos(0), Nanos::from_millis(100), Some(2), 3);
        let mut tried = Vec::new();
        while let Some(due) = rounds.due(3) {
            tried.push((due.0 / 1_000_000, rounds.take(due, 3).unwrap()));
        }
        assert_eq!(tried, [(0, 1), (2, 2), (4, 3), (100, 1), (102, 2), (104, 3)]);
    }

    #[test]
    fn a_limit_found_meanwhile_ends_the_round_and_a_pause_moves_the_next() {
        let mut rounds = Rounds::new(Nanos(0), Nanos::from_millis(100), None, 30);
        assert_eq!([rounds.take(Nanos(0), 30), rounds.take(Nanos::from_millis(2), 30)], [Some(1), Some(2)]);
        assert_eq!(rounds.due(2), Some(Nanos::from_millis(100)));
        assert_eq!(rounds.take(Nanos::from_secs(9), 2), Some(1));
        assert_eq!(rounds.take(Nanos::from_secs(9), 2), None);
        rounds.stop();
        assert_eq!(rounds.due(2), None);
    }
}

//! When which target is sent the next request: one after the other, evenly spread.
//!
//! Pure: instants are arguments.

use crate::units::Nanos;

/// A late request is made up for at once as long as it is no later than this; then the schedule moves on, so that a pause
/// is not followed by a burst.
const MAX_CATCH_UP: Nanos = Nanos::from_millis(10);

/// Requests to a number of targets in turn.
#[derive(Clone, Debug)]
pub struct SendSchedule {
    start: Nanos,
    interval: Nanos,
    targets: u64,
    /// Requests to send in total.
    total: u64,
    sent: u64,
}

impl SendSchedule {
    /// `count` requests to each of `targets`, each target's `interval` apart, from `start` on.
    pub fn new(start: Nanos, interval: Nanos, targets: usize, count: Option<u64>) -> SendSchedule {
        let targets = targets.max(1) as u64;
        let total = count.map_or(u64::MAX, |count| count.saturating_mul(targets));
        SendSchedule { start, interval, targets, total, sent: 0 }
    }

    /// When the next request is due; `None` when all are sent.
    pub fn due(&self) -> Option<Nanos> {
        let offset = u128::from(self.sent) * u128::from(self.interval.0) / u128::from(self.targets);
        (self.sent < self.total).then(|| self.start + Nanos(u64::try_from(offset).unwrap_or(u64::MAX)))
    }

    /// The target that a request is due to at this instant, if one is.
    pub fn take(&mut self, now: Nanos) -> Option<usize> {
        let late = now.0.checked_sub(self.due()?.0)?;
        let catch_up = MAX_CATCH_UP.max(self.interval);
        self.start = self.start + Nanos(late.saturating_sub(catch_up.0));
        let target = self.sent % self.targets;
        self.sent += 1;
        Some(target as usize)
    }

    /// No further requests.
    pub fn stop(&mut self) {
        self.total = self.sent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_take_turns_within_the_interval() {
        let mut schedule = SendSchedule::new(Nanos(100), Nanos(30), 3, Some(2));
        let mut sent = Vec::new();
        while let Some(due) = schedule.due() {
            assert_eq!(schedule.take(Nanos(due.0 - 1)), None);
            sent.push((due.0, schedule.take(due).unwrap()));
        }
        assert_eq!(sent, [(100, 0), (110, 1), (120, 2), (130, 0), (140, 1), (150, 2)]);
    }

    proptest! {
        /// However late it is asked: never more requests than the time since the start has room for, plus a few that are
        /// made up for; and every target gets its share.
        #[test]
        fn a_pause_is_not_followed_by_a_burst(
            pauses in prop::collection::vec(0..3_000_000_000u64, 1..20),
            interval in 1_000_000..1_000_000_000u64,
            targets in 1..5usize,
        ) {
            let mut schedule = SendSchedule::new(Nanos(0), Nanos(interval), targets, None);
            let (mut now, mut counts) = (Nanos(0), vec![0u64; targets]);
            for pause in pauses {
                now = now + Nanos(pause);
                let mut burst = 0;
                while let Some(target) = schedule.take(now) {
                    counts[target] += 1;
                    burst += 1;
                }
                let most = (MAX_CATCH_UP.0.max(interval) as u128 * targets as u128).div_ceil(interval.into()) + 1;
                prop_assert!(burst <= most, "{burst} requests at once, {most} are for {interval} ns");
            }
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }
    }
}

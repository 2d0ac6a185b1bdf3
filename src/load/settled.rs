//! What a slice was like once it had settled: of one thread, and of all.

use crate::units::Nanos;

/// The part of a slice after it has settled, between two instants at which answers came. Answers come in waves, of which a
/// slice may hold but a few; whoever counts for a time that has nothing to do with them counts one too many or too few,
/// always the same of each server. From wave to wave there is no such error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettledPart {
    /// When answers came the last time before it had settled; else when it began.
    pub from: Nanos,
    /// When the last answer came.
    pub until: Nanos,
    /// Those after `from`.
    pub answers: u64,
}

impl SettledPart {
    /// An answer came; `settling`: so early that it does not count.
    #[inline]
    pub fn answered(&mut self, done: Nanos, settling: bool) {
        if settling {
            self.from = done;
        } else {
            self.answers += 1;
            self.until = done;
        }
    }

    /// That of the slice that began at `start`; the next begins afresh.
    pub fn take(&mut self, start: Nanos) -> SettledPart {
        let SettledPart { from, until, answers } = std::mem::take(self);
        let from = from.max(start);
        SettledPart { from, until: until.max(from), answers }
    }

    /// Answers per second.
    pub fn rate(&self) -> f64 {
        let time = self.until.since(self.from).as_secs_f64();
        if time > 0.0 { self.answers as f64 / time } else { 0.0 }
    }
}

/// What all threads had of a slice once it had settled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settled {
    pub answers: u64,
    /// Answers per second.
    pub rate: f64,
    /// When the last came.
    pub until: Nanos,
}

impl Settled {
    /// With what one more thread had.
    pub fn with(self, part: SettledPart) -> Settled {
        Settled {
            answers: self.answers + part.answers,
            rate: self.rate + part.rate(),
            until: self.until.max(part.until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_counted_from_wave_to_wave() {
        let mut part = SettledPart::default();
        // Ten answers every 7 us; the slice has settled at 10 us.
        for wave in 1..=5u64 {
            (0..10).for_each(|_| part.answered(Nanos(100 + wave * 7_000), wave * 7_000 < 10_000));
        }
        let settled = part.take(Nanos(100));
        assert_eq!(settled, SettledPart { from: Nanos(7_100), until: Nanos(35_100), answers: 40 });
        assert!((settled.rate() - 10.0 / 7e-6).abs() < 1.0, "{}", settled.rate());
        // The next: nothing came before it had settled, then nothing at all.
        part.answered(Nanos(60_000), false);
        let next = part.take(Nanos(50_000));
        assert_eq!(next, SettledPart { from: Nanos(50_000), until: Nanos(60_000), answers: 1 });
        assert_eq!(part.take(Nanos(70_000)).rate(), 0.0);
    }
}

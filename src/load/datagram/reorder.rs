//! Which answers came out of order, and by how much: RFC 4737, sections 3.3 and 4.2.
//!
//! An answer is reordered when its sequence number is below that expected next, which is one above the largest that has
//! come. Its extent is the distance, counted in arrivals, to the first that came with a larger number.

use std::collections::VecDeque;

/// Gaps in the sequence that are remembered. An extent that reaches beyond is reported as that to the oldest of them.
const RUNS: usize = 256;

/// Arrivals in order, one number after the other.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The first of them: its sequence number, and which arrival it was.
    sequence: u64,
    arrival: u64,
}

/// The order in which one socket's answers came. Remembers a bounded number of gaps; where there are none it costs a
/// comparison.
#[derive(Debug, Default)]
pub struct Order {
    arrivals: u64,
    /// The sequence number expected next (NextExp).
    next: u64,
    /// The last answer came in order.
    in_run: bool,
    /// The first arrivals with a larger number than all before, where they were not the next; oldest first.
    runs: VecDeque<Run>,
}

impl Order {
    /// An answer came that had not come before. Its extent: 0 where it is in order.
    #[inline]
    pub fn arrived(&mut self, sequence: u64) -> u64 {
        let arrival = self.arrivals;
        self.arrivals += 1;
        if sequence < self.next {
            self.in_run = false;
            return self.extent(sequence, arrival);
        }
        if sequence > self.next || !self.in_run {
            self.begin_run(Run { sequence, arrival });
        }
        self.in_run = true;
        self.next = sequence + 1;
        0
    }

    #[cold]
    fn begin_run(&mut self, run: Run) {
        if self.runs.len() == RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
    }

    /// The first arrival with a larger number was one that was larger than all before. It began a run, because it
    /// cannot have followed on one that holds what has only come now.
    #[cold]
    fn extent(&self, sequence: u64, arrival: u64) -> u64 {
        let first_larger = self.runs.partition_point(|run| run.sequence <= sequence);
        self.runs.get(first_larger).map_or(1, |run| arrival - run.arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extents(sequences: &[u64]) -> Vec<u64> {
        let mut order = Order::default();
        sequences.iter().map(|sequence| order.arrived(*sequence)).collect()
    }

    /// Word by word after RFC 4737, 4.2.2.
    fn by_definition(sequences: &[u64]) -> Vec<u64> {
        let extent = |(i, sequence): (usize, &u64)| {
            let first_larger = sequences[..i].iter().position(|earlier| earlier > sequence);
            first_larger.map_or(0, |j| (i - j) as u64)
        };
        sequences.iter().enumerate().map(extent).collect()
    }

    #[test]
    fn one_that_is_late_and_several_that_are_late() {
        // The two cases that RFC 4737, section 10, walks through.
        assert_eq!(extents(&[1, 2, 3, 5, 6, 7, 8, 4, 9, 10]), [0, 0, 0, 0, 0, 0, 0, 4, 0, 0]);
        assert_eq!(extents(&[1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11]), [0, 0, 0, 0, 0, 0, 0, 4, 5, 6, 0]);
    }

    proptest! {
        #[test]
        fn extents_are_those_of_the_definition(keys in prop::collection::vec(0u64..400, 0..300), gaps: bool) {
            let mut order: Vec<u64> = (0..keys.len() as u64).collect();
            order.sort_by_key(|number| number + keys[*number as usize] % 40);
            order.retain(|number| !gaps || keys[*number as usize] % 5 != 0);
            prop_assert_eq!(extents(&order), by_definition(&order));
        }

        #[test]
        fn memory_is_bounded_and_a_long_extent_is_told_too_short_at_most(gaps in 1000u64..3000) {
            let mut order = Order::default();
            (0..gaps).for_each(|gap| assert_eq!(order.arrived(2 * gap + 2), 0));
            let extent = order.arrived(1);
            prop_assert!(order.runs.len() <= RUNS && extent >= RUNS as u64 && extent <= gaps);
        }
    }
}

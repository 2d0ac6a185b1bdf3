//! A ratio as a small bar around 1: `#` as far as a difference was shown, `-` as far as the interval goes on.

use super::super::percent::{has_interval, is_shown};
use crate::record::{JudgedRatioRecord, RatioRecord};

/// Per cent at the ends of a bar.
const ENDS: [f64; 7] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// How the bars of a table are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BarScale {
    /// Per cent at the ends.
    end: f64,
    /// Columns on each side of the middle.
    half: usize,
}

impl BarScale {
    /// All intervals fit, or the bar is cut off at 100 %. `width` is the most columns there may be.
    pub fn of<'a>(all: impl Iterator<Item = &'a JudgedRatioRecord>, width: usize) -> BarScale {
        let farthest = all.map(farthest).fold(0.0, f64::max);
        let end = ENDS.into_iter().find(|end| *end >= farthest).unwrap_or(100.0);
        BarScale { end, half: (width.max(Self::least_width(end)) - 1) / 2 }
    }

    fn least_width(end: f64) -> usize {
        2 * format!("+{end}").len() + 3
    }

    /// `-50  0  +50`, as wide as a bar.
    pub fn head(&self) -> String {
        let (left, right) = (format!("-{}", self.end), format!("+{}", self.end));
        format!("{left:half$}0{right:>half$}", half = self.half)
    }

    /// An empty one with its middle.
    pub fn middle(&self) -> String {
        format!("{:half$}|", "", half = self.half)
    }

    pub fn draw(&self, judged: &JudgedRatioRecord) -> String {
        let mut cells = vec![' '; 2 * self.half + 1];
        cells[self.half] = '|';
        let RatioRecord { median, low, high, .. } = judged.ratio;
        if !has_interval(judged) {
            self.fill(&mut cells, median, median, '?');
        } else {
            self.fill(&mut cells, low, high, '-');
            match is_shown(judged.verdict) {
                true if low > 1.0 => self.fill(&mut cells, 1.0, low, '#'),
                true if high < 1.0 => self.fill(&mut cells, high, 1.0, '#'),
                _ => {}
            }
        }
        self.mark_cut(&mut cells, low, high);
        cells.into_iter().collect::<String>().trim_end().to_owned()
    }

    /// Marks all cells but the middle from one ratio to the other. What lies on one side of 1 has a cell there.
    fn fill(&self, cells: &mut [char], from: f64, to: f64, mark: char) {
        let (first, last) = (self.place(from), self.place(to));
        for cell in first..=last {
            if cell != 0 {
                cells[(self.half as isize + cell) as usize] = mark;
            }
        }
    }

    /// Cells from the middle, never more than there are; only 1 itself is in the middle.
    fn place(&self, ratio: f64) -> isize {
        let percent = (ratio - 1.0) * 100.0;
        let cells = (percent.abs() / self.end * self.half as f64).ceil().min(self.half as f64) as isize;
        if percent < 0.0 { -cells } else { cells }
    }

    /// An arrow where the interval goes on beyond the end.
    fn mark_cut(&self, cells: &mut [char], low: f64, high: f64) {
        let beyond = 1.0 + self.end / 100.0;
        if high > beyond {
            cells[2 * self.half] = '>';
        }
        if low < 2.0 - beyond {
            cells[0] = '<';
        }
    }
}

fn farthest(judged: &JudgedRatioRecord) -> f64 {
    let RatioRecord { median, low, high, .. } = judged.ratio;
    let ends = if has_interval(judged) { [low, high] } else { [median, median] };
    ends.map(|ratio| (ratio - 1.0).abs() * 100.0).into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::super::percent::tests::judged;
    use super::*;
    use crate::record::Verdict;

    #[test]
    fn what_was_shown_is_full_and_the_interval_dashed() {
        let scale = BarScale { end: 50.0, half: 5 };
        assert_eq!(scale.head(), "-50  0  +50");
        assert_eq!(scale.middle(), "     |");
        for (one, bar) in [
            (judged(0.63, 0.51, 0.71, Verdict::Slower), "--###|"),
            (judged(1.15, 1.12, 1.25, Verdict::Faster), "     |##-"),
            (judged(1.004, 1.001, 1.008, Verdict::Faster), "     |#"),
            (judged(1.0, 0.97, 1.02, Verdict::NoDifferenceShown), "    -|-"),
            (judged(1.05, 1.02, 1.08, Verdict::NoDifferenceShown), "     |-"),
            (judged(1.9, 1.8, 2.0, Verdict::Faster), "     |####>"),
            (judged(0.3, 0.2, 0.4, Verdict::Slower), "<####|"),
        ] {
            assert_eq!(scale.draw(&one), bar, "{one:?}");
        }
        let mut few = judged(1.04, 1.04, 1.04, Verdict::TooFewRounds);
        few.ratio.pairs = 2;
        assert_eq!(scale.draw(&few), "     |?");
    }

    #[test]
    fn all_bars_of_a_table_have_the_scale_of_the_longest() {
        let of = |all: &[JudgedRatioRecord], width| BarScale::of(all.iter(), width);
        let near = judged(1.038, 1.024, 1.051, Verdict::Faster);
        assert_eq!(of(&[near], 13), BarScale { end: 10.0, half: 6 });
        assert_eq!(of(&[near, judged(0.63, 0.51, 0.71, Verdict::Slower)], 1), BarScale { end: 50.0, half: 4 });
        assert_eq!(of(&[judged(9.0, 8.0, 10.0, Verdict::Faster)], 13), BarScale { end: 100.0, half: 6 });
        assert_eq!(of(&[], 9), BarScale { end: 1.0, half: 4 });
    }
}

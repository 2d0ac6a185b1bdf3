//! What a comparison says, in a sentence.

use super::verdict::short_name;
use crate::record::{CellRecord, ContestantRecord, Verdict};
use crate::stats::MIN_PAIRS;

/// One sentence on a cell.
pub fn conclusion(cell: &CellRecord, baseline: &str) -> String {
    let shown = short_name(baseline);
    let measured = cell.contestants.iter().any(|contestant| contestant.name == baseline && contestant.rounds > 0);
    if !measured {
        return format!("Nothing can be said: {shown}, the baseline, has no valid round.");
    }
    let clauses: Vec<String> = [
        (Verdict::Faster, format!("faster than {shown}: ")),
        (Verdict::Slower, format!("slower than {shown}: ")),
        (Verdict::NoDifferenceShown, format!("no difference to {shown} shown: ")),
        (Verdict::TooFewRounds, format!("fewer than {MIN_PAIRS} rounds, so nothing shown: ")),
    ]
    .into_iter()
    .filter_map(|(verdict, start)| clause(cell, verdict, start))
    .collect();
    match clauses.is_empty() {
        true => format!("Nothing was compared to {shown}."),
        false => capitalised(&clauses.join("; ")) + ".",
    }
}

fn clause(cell: &CellRecord, verdict: Verdict, start: String) -> Option<String> {
    let those = cell.contestants.iter().filter(|contestant| contestant.verdict == Some(verdict));
    let names: Vec<String> = those.map(|contestant| named(contestant, verdict)).collect();
    (!names.is_empty()).then(|| start + &names.join(", "))
}

/// The name, and where something was shown by how much.
fn named(contestant: &ContestantRecord, verdict: Verdict) -> String {
    let shown = matches!(verdict, Verdict::Faster | Verdict::Slower);
    match contestant.ratio.filter(|_| shown) {
        Some(ratio) => format!("{} ({:+.0} %)", short_name(&contestant.name), (ratio.median - 1.0) * 100.0),
        None => short_name(&contestant.name),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, failed, report, steady, trial};
    use super::*;

    #[test]
    fn the_sentence_says_what_was_shown() {
        let few = vec![trial(1, 5e4, &[])];
        let all = report(vec![
            contestant("epoll", steady(1e5)),
            contestant("uring", steady(1.2e5)),
            contestant("same", steady(1e5)),
            contestant("few", few),
        ]);
        assert_eq!(
            conclusion(&all.cells[0], "epoll"),
            "Faster than epoll: uring (+20 %); no difference to epoll shown: same; \
             fewer than 6 rounds, so nothing shown: few."
        );
        let none = report(vec![contestant("epoll", vec![failed(1, "x")]), contestant("uring", steady(1.0))]);
        assert!(conclusion(&none.cells[0], "epoll").contains("no valid round"));
    }
}

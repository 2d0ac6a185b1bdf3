//! Rounds that stand apart from the others: recorded, never dropped.

use crate::record::OutlierRecord;
use crate::stats::{MIN_PAIRS, OUTLIER_SCORE, modified_z_scores};

/// The rounds whose value stands apart; none among too few rounds.
pub fn records(rounds: impl Iterator<Item = (u64, f64)>) -> Vec<OutlierRecord> {
    let rounds: Vec<(u64, f64)> = rounds.filter(|(_, value)| value.is_finite()).collect();
    if rounds.len() < MIN_PAIRS {
        return Vec::new();
    }
    let values: Vec<f64> = rounds.iter().map(|(_, value)| *value).collect();
    rounds
        .into_iter()
        .zip(modified_z_scores(&values))
        .filter(|(_, score)| score.abs() > OUTLIER_SCORE)
        .map(|((round, value), score)| OutlierRecord { round, value, score })
        .collect()
}

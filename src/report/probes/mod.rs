//! What `ringmark ping` and `ringmark trace` found: their stored forms, and as text.

pub mod ping;
pub mod trace;

use super::schema::LatencyRecord;
use super::times::FiguresRecord;
use crate::units::{Nanos, three_digits};
use comfy_table::{CellAlignment, Table};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What ICMP told, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorRecord {
    pub from: String,
    pub meaning: String,
    pub icmp_type: u8,
    pub icmp_code: u8,
    pub count: u64,
}

impl ErrorRecord {
    fn note(&self, whose: &str) -> String {
        format!("{whose}: {} x {} says: {}", self.count, self.from, self.meaning)
    }
}

/// A host as named, and its address where that is something else.
fn label(name: &str, address: &str) -> String {
    if name == address { address.to_owned() } else { format!("{name} ({address})") }
}

/// Of the probes that were sent and are over, the share that was not answered in time.
fn share_lost(answered: u64, otherwise: u64) -> f64 {
    otherwise as f64 / answered.saturating_add(otherwise).max(1) as f64
}

fn percent(share: f64) -> String {
    format!("{} %", three_digits(share * 100.0))
}

/// The lines of a table without borders: columns of words aligned on the left, figures on the right.
fn aligned(header: &[&str], rows: impl Iterator<Item = Vec<String>>, words: &[usize]) -> Vec<String> {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(header);
    rows.for_each(|row| {
        table.add_row(row);
    });
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if !words.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// min, p50, p90, p99 and max for a table; dashes where there is nothing.
fn five_figures(times: &FiguresRecord) -> [String; 5] {
    let Some(&LatencyRecord { min, p50, p90, p99, max, .. }) = times.known() else {
        return std::array::from_fn(|_| "-".to_owned());
    };
    [min, p50, p90, p99, max].map(|nanos| Nanos(nanos).to_string())
}

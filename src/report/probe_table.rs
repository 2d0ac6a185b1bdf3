//! What the texts of ping and trace share.

use crate::record::{LatencyFigures, LatencyRecord};
use crate::units::{Nanos, three_digits};
use comfy_table::{CellAlignment, Table};

pub fn percent(share: f64) -> String {
    format!("{} %", three_digits(share * 100.0))
}

/// The lines of a table without borders: columns of words aligned on the left, figures on the right.
pub fn aligned(header: &[&str], rows: impl Iterator<Item = Vec<String>>, words: &[usize]) -> Vec<String> {
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
pub fn five_figures(times: &LatencyFigures) -> [String; 5] {
    let Some(&LatencyRecord { min, p50, p90, p99, max, .. }) = times.known() else {
        return std::array::from_fn(|_| "-".to_owned());
    };
    [min, p50, p90, p99, max].map(|nanos| Nanos(nanos).to_string())
}

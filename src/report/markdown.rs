//! Records in, Markdown out: tables to paste into an issue or a README.

use super::export::{ExportError, Exporter, Part};
use super::result::{StoredResult, Table};

/// The tables of a result.
pub struct Markdown;

impl Exporter for Markdown {
    fn export(&self, result: &dyn StoredResult) -> Result<Vec<Part>, ExportError> {
        let tables = result.tables().ok_or(ExportError::NoTrials)?;
        Ok(Part::whole(tables.iter().map(render).collect()))
    }
}

fn render(table: &Table) -> String {
    let names = table.columns.iter().map(|(name, _)| (*name).to_owned());
    let rule: String = table.columns.iter().map(|(_, figures)| if *figures { "---:|" } else { ":---|" }).collect();
    let rows: String = table.rows.iter().map(|row| line(row.iter().map(|field| field.replace('|', "\\|")))).collect();
    let after = if table.after.is_empty() { String::new() } else { format!("\n{}\n", table.after) };
    format!("{}{}|{rule}\n{rows}{after}", table.before, line(names))
}

fn line(fields: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", fields.collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, report, steady};
    use super::super::export::tests::{all, comparison, only};
    use super::*;

    #[test]
    fn every_row_of_a_table_has_as_many_columns_as_its_header() {
        for result in all() {
            let text = only(Markdown.export(&*result).unwrap());
            let widths: Vec<usize> =
                text.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
            assert!(widths.len() >= 3 && widths.iter().all(|width| *width == widths[0]), "{text}");
        }
        let text = only(Markdown.export(&comparison()).unwrap());
        assert!(
            text.contains("| `uring --recv oneshot` | 120004 | 1us |") && text.contains("| too few rounds |"),
            "{text}"
        );
    }

    #[test]
    fn the_answer_is_the_first_line() {
        let text = only(
            Markdown
                .export(&report(vec![contestant("epoll", steady(1e5)), contestant("uring", steady(1.2e5))]))
                .unwrap(),
        );
        assert!(
            text.starts_with("uring is faster than epoll: +20 % requests/s (+20..+20).\n\nringmark 0.1.0, "),
            "{text}"
        );
        assert!(text.contains("| `uring` | 120004 |") && text.contains(" | faster |"), "{text}");
    }

    #[test]
    fn an_open_loop_says_what_its_ratios_are_of() {
        let mut report = report(vec![contestant("epoll", steady(1e5))]);
        assert!(!only(Markdown.export(&report).unwrap()).contains("open loop"));
        (report.context.load.rate_per_s, report.context.load.arrival) = (Some(20_000), Some("poisson".into()));
        report.cells[0].shape.size_mix = Some("64:9,1k:1".into());
        let text = only(Markdown.export(&report).unwrap());
        assert!(text.contains("64:9,1k:1 B") && text.contains("20000 requests/s (poisson); latency is resp"), "{text}");
    }
}

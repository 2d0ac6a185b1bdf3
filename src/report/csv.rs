//! Records in, comma-separated values out (RFC 4180), raw, for statistics of your own.
//!
//! Which columns there are is up to the kind of result: for trials see the `trial_rows` module, for what ping, trace and sniff
//! found theirs. Columns that are added come last.

use super::export::{ExportError, Exporter, Part};
use super::result::{Rows, StoredResult};

/// One line per row of the result.
pub struct Csv;

impl Exporter for Csv {
    fn export(&self, result: &dyn StoredResult) -> Result<Vec<Part>, ExportError> {
        Ok(Part::whole(render(&result.rows().ok_or(ExportError::NoTrials)?)))
    }
}

fn render(rows: &Rows) -> String {
    let line = |fields: &Vec<String>| fields.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",") + "\r\n";
    let lines: String = rows.lines.iter().map(line).collect();
    format!("{}\r\n{lines}", rows.header)
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::export::tests::{all, comparison, only, single};
    use super::*;

    #[test]
    fn a_line_has_as_many_fields_as_the_header() {
        for result in all() {
            let rows = result.rows().unwrap();
            let columns = rows.header.split(',').count();
            assert!(!rows.lines.is_empty() && rows.lines.iter().all(|line| line.len() == columns), "{}", rows.header);
        }
    }

    #[test]
    fn what_separates_fields_is_quoted_within_them() {
        let text = only(Csv.export(&comparison()).unwrap());
        assert_eq!(text.matches("\r\n").count(), 1 + 14, "{text}");
        let plain = text.lines().find(|line| line.contains(",epoll,3,")).unwrap();
        assert!(plain.starts_with("64,64,1,0,epoll,3,1,1,100,1000000,100003.0,"), "{plain}");
        assert!(
            text.contains(",uring --recv oneshot,2,1,0,") && text.contains("\"an answer, \"\"wrong\"\"\""),
            "{text}"
        );
        assert!(text.contains("oneshot,3,1,0,,,,,,,,,,,,,,,\"the server ended;\nno memory\",closed,,,,,0,"), "{text}");
        assert_eq!(only(Csv.export(&single()).unwrap()).lines().count(), 2);
    }
}

//! The list of the exporters.

use super::csv::Csv;
use super::export::Exporter;
use super::hgrm::Hgrm;
use super::hlog::Hlog;
use super::json::Json;
use super::markdown::Markdown;
use std::str::FromStr;

/// The formats there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    Json,
    Csv,
    Markdown,
    Hlog,
    Hgrm,
}

const FORMATS: [(&str, ExportFormat); 5] = [
    ("json", ExportFormat::Json),
    ("csv", ExportFormat::Csv),
    ("md", ExportFormat::Markdown),
    ("hlog", ExportFormat::Hlog),
    ("hgrm", ExportFormat::Hgrm),
];

impl ExportFormat {
    pub fn exporter(self) -> &'static dyn Exporter {
        match self {
            ExportFormat::Json => &Json,
            ExportFormat::Csv => &Csv,
            ExportFormat::Markdown => &Markdown,
            ExportFormat::Hlog => &Hlog,
            ExportFormat::Hgrm => &Hgrm,
        }
    }
}

impl FromStr for ExportFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<ExportFormat, String> {
        let found = FORMATS.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, form)| *form)
            .ok_or_else(|| format!("'{text}' is no format; there are {}", FORMATS.map(|(name, _)| name).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::export::tests::all;
    use super::*;

    #[test]
    fn every_format_takes_a_run_and_a_comparison() {
        for (name, form) in FORMATS {
            assert_eq!(name.parse(), Ok(form));
            for result in all() {
                let parts = form.exporter().export(&*result).unwrap();
                assert!(parts.iter().all(|part| part.text.ends_with('\n')), "{name}: {parts:?}");
            }
        }
        assert!("xml".parse::<ExportFormat>().unwrap_err().contains("json, csv, md, hlog, hgrm"));
    }
}

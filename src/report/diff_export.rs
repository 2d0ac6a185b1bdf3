//! Two results side by side, as what the exporters take: json, md and csv hold the ratio to the other file; of histograms
//! there are those of two runs, which no format holds side by side.

use super::baseline_diff::{self, BaselineDiff, DiffRow};
use super::json;
use super::result::{Rows, Series, StoredResult, Table};
use super::text_style::TextStyle;
use crate::record::QuantileRecord;
use crate::record::histogram::HistogramError;
use crate::stats::MIN_PAIRS;
use crate::units::Nanos;

/// The quantiles shown.
const QUANTILES: [f64; 2] = [0.5, 0.99];
const HEADER: &str = "name,paced,rounds,baseline_rounds,throughput_per_s,baseline_throughput_per_s,ratio,ratio_low,\
                      ratio_high,pairs,verdict,p50_ns,baseline_p50_ns,p99_ns,baseline_p99_ns";

impl StoredResult for BaselineDiff {
    /// Nothing is raw in it.
    fn derive(&mut self) -> Result<(), HistogramError> {
        Ok(())
    }

    fn schema(&self) -> &str {
        &self.schema
    }

    fn json(&self) -> Result<String, serde_json::Error> {
        json::render(self)
    }

    fn text(&self, _: &TextStyle) -> String {
        baseline_diff::render(self)
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows { header: HEADER.to_owned(), lines: self.rows.iter().map(fields).collect() })
    }

    fn tables(&self) -> Option<Vec<Table>> {
        let columns = [
            ("", false),
            ("req/s", true),
            ("baseline", true),
            ("ratio [95 %]", true),
            ("verdict", false),
            ("p50", true),
            ("baseline", true),
            ("p99", true),
            ("baseline", true),
        ];
        let warnings: String = self.warnings.iter().map(|warning| format!("- {warning}\n")).collect();
        Some(vec![Table {
            before: format!("{}\n\n{warnings}\n", baseline_diff::intro(self)),
            columns: columns.into(),
            rows: self.rows.iter().map(row).collect(),
            after: String::new(),
        }])
    }

    /// Those of two runs are not of one.
    fn series(&self) -> Option<Vec<Series<'_>>> {
        None
    }
}

/// Of both sides.
fn quantiles(row: &DiffRow) -> impl Iterator<Item = Option<u64>> + '_ {
    let of = |all: &[QuantileRecord], quantile: f64| {
        all.iter().find(|record| record.quantile == quantile).map(|record| record.value_ns)
    };
    QUANTILES.into_iter().flat_map(move |quantile| [&row.ours, &row.base].map(|side| of(&side.quantiles, quantile)))
}

fn fields(row: &DiffRow) -> Vec<String> {
    let rate = |rate: Option<f64>| rate.map(|rate| rate.to_string()).unwrap_or_default();
    let ratio = row.ratio.map(|ratio| {
        let [low, high] = [ratio.low, ratio.high].map(|bound| match ratio.pairs >= MIN_PAIRS as u64 {
            true => bound.to_string(),
            false => String::new(),
        });
        [ratio.median.to_string(), low, high, ratio.pairs.to_string()]
    });
    let first = [
        row.name.clone(),
        u8::from(row.paced).to_string(),
        row.ours.rounds.to_string(),
        row.base.rounds.to_string(),
        rate(row.ours.throughput_per_s),
        rate(row.base.throughput_per_s),
    ];
    let quantiles = quantiles(row).map(|nanos| nanos.map(|nanos| nanos.to_string()).unwrap_or_default());
    let verdict = [row.verdict.text().to_owned()];
    first.into_iter().chain(ratio.unwrap_or_default()).chain(verdict).chain(quantiles).collect()
}

fn row(row: &DiffRow) -> Vec<String> {
    let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
    let (ratio, said) = baseline_diff::ratio_and_verdict(row);
    let of = if row.paced { " (1/p99)" } else { "" };
    let quantiles = quantiles(row).map(|nanos| nanos.map_or("-".to_owned(), |nanos| Nanos(nanos).to_string()));
    let first = [
        format!("`{}`", row.name),
        rate(row.ours.throughput_per_s),
        rate(row.base.throughput_per_s),
        format!("{ratio}{of}"),
        said.to_owned(),
    ];
    first.into_iter().chain(quantiles).collect()
}

#[cfg(test)]
mod tests {
    use super::super::derive::tests::{contestant, report, steady};
    use super::super::export::tests::only;
    use super::super::formats::ExportFormat;
    use super::*;

    fn compared() -> BaselineDiff {
        let of = |rate| report(vec![contestant("epoll", steady(rate))]);
        baseline_diff::diff(("new.json", &of(9e4)), ("old.json", &of(1e5))).unwrap()
    }

    /// A contestant's stored rate is relative to its own baseline, which drifts with the machine.
    #[test]
    fn what_is_shown_of_two_files_agrees() {
        let of = |rates: [f64; 2]| {
            let mut uring = steady(rates[1]);
            uring.truncate(6);
            report(vec![contestant("epoll", steady(rates[0])), contestant("uring", uring)])
        };
        let both = baseline_diff::diff(("new", &of([9e4, 1e5])), ("old", &of([1e5, 2e5]))).unwrap();
        for row in &both.rows {
            let shown = row.ours.throughput_per_s.unwrap() / row.base.throughput_per_s.unwrap();
            assert!((shown - row.ratio.unwrap().median).abs() < 1e-9, "{row:?}");
        }
    }

    #[test]
    fn exports_hold_the_other_file() {
        let both = compared();
        for (form, part) in [
            ("json", "\"baseline\": \"old.json\""),
            ("md", "| `epoll (64 connections x 64 B)` | 90004 | 100004 | 0.900 ["),
            ("csv", "epoll (64 connections x 64 B),0,7,7,90004,100004,0.9"),
        ] {
            let text = only(form.parse::<ExportFormat>().unwrap().exporter().export(&both).unwrap());
            assert!(text.contains(part), "{form}: {text}");
        }
        let header = both.rows().unwrap().header.split(',').count();
        assert!(both.rows().unwrap().lines.iter().all(|line| line.len() == header));
        assert!("hlog".parse::<ExportFormat>().unwrap().exporter().export(&both).is_err());
    }
}

//! What `ringmark trace` found: its stored form, and as text.

use super::super::histogram::HistogramError;
use super::super::times::FiguresRecord;
use super::{ErrorRecord, aligned, five_figures, label, percent, share_lost};
use crate::units::{Nanos, counted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of [`TraceReport`].
pub const TRACE_SCHEMA: &str = "ringmark.trace/1";
const HEADER: [&str; 10] = ["hop", "address", "sent", "answered", "loss", "min", "p50", "p90", "p99", "max"];
/// Columns that hold words; figures are aligned on the right.
const WORDS: [usize; 1] = [1];

/// The way to a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceReport {
    /// [`TRACE_SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    #[serde(default)]
    pub ringmark: String,
    /// When it ended: UTC, `2026-01-31T23:59:59Z`.
    #[serde(default)]
    pub ended: String,
    pub name: String,
    pub address: String,
    /// The target itself has answered.
    pub reached: bool,
    /// `UDP`, `TCP` or `ICMP`.
    pub probes: String,
    /// The same for all probes. It is the echo identifier where the probes are echo requests; they have no destination
    /// port.
    pub source_port: u16,
    pub destination_port: Option<u16>,
    /// `raw` or `ping`.
    pub icmp_socket: String,
    /// From one round to the next.
    pub interval_ns: u64,
    pub timeout_ns: u64,
    pub duration_ns: u64,
    /// From the first.
    pub hops: Vec<HopRecord>,
    /// Hops that lost more than the target did: they limit their answers, or give none.
    pub losing_only_answers: Vec<u8>,
}

/// Probes that were to get this far; `sent` = `answered` + `late` + `unsent` + `lost`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HopRecord {
    /// 1 is the first.
    pub hop: u8,
    /// Who answered: more than one where the way changes.
    pub addresses: Vec<AddressRecord>,
    pub sent: u64,
    /// In time.
    pub answered: u64,
    /// Answered after the time limit.
    pub late: u64,
    /// Longest of the late ones.
    #[serde(default)]
    pub latest_ns: u64,
    /// Probes that the kernel did not take.
    pub unsent: u64,
    #[serde(default)]
    pub unsent_because: Option<String>,
    pub lost: u64,
    /// Further answers to a probe.
    pub duplicates: u64,
    pub errors: Vec<ErrorRecord>,
    pub round_trips_ns: FiguresRecord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddressRecord {
    pub address: String,
    pub answers: u64,
}

impl TraceReport {
    /// Computes the figures again from the histograms.
    pub fn fill(&mut self) -> Result<(), HistogramError> {
        self.hops.iter_mut().try_for_each(|hop| hop.round_trips_ns.fill())
    }

    pub fn label(&self) -> String {
        label(&self.name, &self.address)
    }

    /// The last hop, where it is the target.
    pub fn target(&self) -> Option<&HopRecord> {
        self.hops.last().filter(|_| self.reached)
    }
}

impl HopRecord {
    /// Of the probes that were sent, the share that was not answered in time.
    pub fn loss(&self) -> f64 {
        share_lost(self.answered, self.late + self.lost)
    }
}

/// As text, with a final line break.
pub fn render(report: &TraceReport) -> String {
    let head = format!("trace to {}, {}", report.label(), probes(report));
    let notes = report.hops.iter().flat_map(notes);
    let lines = [head].into_iter().chain(table(&report.hops)).chain(notes).chain(conclusions(report));
    lines.map(|line| line + "\n").collect()
}

fn probes(report: &TraceReport) -> String {
    let what = if report.probes == "TCP" { "SYNs" } else { &report.probes };
    match report.destination_port {
        Some(port) => format!("{what} from port {} to port {port}", report.source_port),
        None => format!("echo requests with identifier {}", report.source_port),
    }
}

/// The lines of the table.
pub fn table(hops: &[HopRecord]) -> Vec<String> {
    aligned(&HEADER, hops.iter().flat_map(rows), &WORDS)
}

/// The hop, and further addresses that answered in its place.
fn rows(hop: &HopRecord) -> Vec<Vec<String>> {
    let mut addresses = hop.addresses.iter().map(|record| record.address.clone());
    let first = addresses.next().unwrap_or_else(|| "no answer".into());
    let head = [hop.hop.to_string(), first, hop.sent.to_string(), hop.answered.to_string(), percent(hop.loss())];
    let row = head.into_iter().chain(five_figures(&hop.round_trips_ns)).collect();
    [row].into_iter().chain(addresses.map(|address| vec![String::new(), address])).collect()
}

/// What the table has no column for.
fn notes(hop: &HopRecord) -> Vec<String> {
    let name = format!("hop {}", hop.hop);
    let refusals = hop.errors.iter().map(|error| error.note(&name));
    let late = (hop.late > 0).then(|| format!("{name}: {} late, up to {}", hop.late, Nanos(hop.latest_ns)));
    let twice = (hop.duplicates > 0).then(|| format!("{name}: {} came twice", counted(hop.duplicates, "answer")));
    let unsent = hop.unsent_because.as_ref().map(|why| format!("{name}: {} not sent: {why}", hop.unsent));
    refusals.chain(late).chain(twice).chain(unsent).collect()
}

/// How to read it.
fn conclusions(report: &TraceReport) -> Vec<String> {
    let only_answers: Vec<String> = report.losing_only_answers.iter().map(u8::to_string).collect();
    let limiting = (!only_answers.is_empty()).then(|| {
        format!(
            "Loss at hop {} alone is usually rate limiting: what goes on to the target passes through it and is not lost \
             there.",
            only_answers.join(", ")
        )
    });
    let loss = report.target().map(HopRecord::loss).filter(|loss| *loss > 0.0);
    let real = loss.map(|loss| format!("{} are lost on the whole way and back.", percent(loss)));
    let missing = (!report.reached).then(|| format!("{} did not answer.", report.label()));
    limiting.into_iter().chain(real).chain(missing).collect()
}

#[cfg(test)]
pub(in super::super) mod tests {
    use super::super::super::histogram::tests::stored;
    use super::*;

    /// A silent hop, and the target behind it.
    pub fn report() -> TraceReport {
        let hop = |hop, address: &str, answered, times: &[u64]| HopRecord {
            hop,
            addresses: vec![AddressRecord { address: address.into(), answers: answered }; usize::from(answered > 0)],
            sent: 4,
            answered,
            lost: 4 - answered,
            round_trips_ns: FiguresRecord { histogram: stored(times), ..FiguresRecord::default() },
            ..HopRecord::default()
        };
        let mut report = TraceReport {
            schema: TRACE_SCHEMA.into(),
            ringmark: "0.0.0".into(),
            ended: "2026-01-31T23:59:59Z".into(),
            name: "there.example".into(),
            address: "192.0.2.1".into(),
            reached: true,
            probes: "TCP".into(),
            source_port: 40_000,
            destination_port: Some(443),
            icmp_socket: "raw".into(),
            interval_ns: 1_000_000_000,
            timeout_ns: 1_000_000_000,
            duration_ns: 4_000_000_000,
            hops: vec![hop(1, "", 0, &[]), hop(2, "192.0.2.1", 3, &[1000, 2000, 3000])],
            losing_only_answers: vec![1],
        };
        report.fill().unwrap();
        report
    }

    #[test]
    fn text_says_how_to_read_the_losses() {
        let text = render(&report());
        for part in [
            "trace to there.example (192.0.2.1), SYNs from port 40000 to port 443",
            "no answer",
            "Loss at hop 1 alone is usually rate limiting",
            "25 % are lost on the whole way",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let echo = TraceReport { probes: "ICMP".into(), destination_port: None, reached: false, ..report() };
        let text = render(&echo);
        assert!(text.contains("echo requests with identifier 40000") && text.contains("did not answer."), "{text}");
    }
}

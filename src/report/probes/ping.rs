//! What `ringmark ping` found: its stored form, and as text.

use super::super::histogram::HistogramError;
use super::super::times::FiguresRecord;
use super::{ErrorRecord, aligned, five_figures, label, percent, share_lost};
use crate::units::{Nanos, counted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of [`PingReport`].
pub const PING_SCHEMA: &str = "ringmark.ping/1";
const HEADER: [&str; 12] =
    ["target", "sent", "answered", "loss", "late", "twice", "reordered", "min", "p50", "p90", "p99", "max"];

/// Echo requests to some targets in turn, and what became of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PingReport {
    /// [`PING_SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    #[serde(default)]
    pub ringmark: String,
    /// When it ended: UTC, `2026-01-31T23:59:59Z`.
    #[serde(default)]
    pub ended: String,
    /// Of payload.
    pub size_bytes: u64,
    /// From one request to a target to the next to it.
    pub interval_ns: u64,
    /// An answer that takes longer is late.
    pub timeout_ns: u64,
    pub duration_ns: u64,
    /// How ICMP was had, for each version of IP in use.
    pub sockets: Vec<SocketRecord>,
    /// Answers whose instant is the kernel's …
    pub kernel_stamps: u64,
    /// … and those for which the clock was read after the receive.
    pub clock_stamps: u64,
    /// Arrivals that overflowed a receive buffer, also those that were not for us.
    pub overflowed: u64,
    /// Answers to us from addresses that are no target.
    pub strangers: u64,
    pub targets: Vec<TargetRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SocketRecord {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// `raw` or `ping`.
    pub kind: String,
}

/// `sent` = `answered` + `late` + `refused` + `unsent` + `lost`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetRecord {
    pub name: String,
    pub address: String,
    pub reachable: bool,
    pub sent: u64,
    /// In time.
    pub answered: u64,
    /// Answered after the time limit; they are not among the round trips.
    pub late: u64,
    /// Requests that met an error on the way.
    pub refused: u64,
    /// Requests that the kernel did not take.
    pub unsent: u64,
    pub lost: u64,
    /// Further answers to a request.
    pub duplicates: u64,
    /// Answers in time that came after that of a request that was sent later.
    pub reordered: u64,
    /// Answers whose payload is not what was sent.
    pub corrupt: u64,
    /// Longest of the late ones.
    pub latest_ns: u64,
    pub errors: Vec<ErrorRecord>,
    pub unsent_because: Option<String>,
    pub round_trips_ns: FiguresRecord,
}

impl PingReport {
    /// Computes the figures again from the histograms.
    pub fn fill(&mut self) -> Result<(), HistogramError> {
        self.targets.iter_mut().try_for_each(|target| target.round_trips_ns.fill())
    }
}

impl TargetRecord {
    pub fn label(&self) -> String {
        label(&self.name, &self.address)
    }

    /// Of the requests that were sent, the share that was not answered in time.
    pub fn loss(&self) -> f64 {
        share_lost(self.answered, self.late + self.refused + self.lost)
    }
}

/// The table, and what must be known of it.
pub fn render(report: &PingReport) -> String {
    let lines = aligned(&HEADER, report.targets.iter().map(row), &[0]);
    let notes = report.targets.iter().flat_map(notes);
    let rest = lines.into_iter().chain(notes).chain([setting(report)]).chain(warnings(report));
    rest.map(|line| line + "\n").collect()
}

fn row(target: &TargetRecord) -> Vec<String> {
    let counts = [target.late, target.duplicates, target.reordered].map(|count| count.to_string());
    let head = [target.label(), target.sent.to_string(), target.answered.to_string(), percent(target.loss())];
    head.into_iter().chain(counts).chain(five_figures(&target.round_trips_ns)).collect()
}

/// What the table has no column for.
fn notes(target: &TargetRecord) -> Vec<String> {
    let name = target.label();
    let refusals = target.errors.iter().map(|error| error.note(&name));
    let unsent = target.unsent_because.as_ref().filter(|_| target.unsent > 0);
    let unsent = unsent.map(|why| format!("{name}: {} not sent: {why}", target.unsent));
    let late = (target.late > 0).then(|| format!("{name}: the latest answer took {}", Nanos(target.latest_ns)));
    let corrupt =
        (target.corrupt > 0).then(|| format!("{name}: {} with WRONG bytes", counted(target.corrupt, "answer")));
    refusals.chain(unsent).chain(late).chain(corrupt).collect()
}

/// How it was measured.
fn setting(report: &PingReport) -> String {
    let socket = |socket: &SocketRecord| format!("{} {} socket", socket.family, socket.kind);
    let sockets: Vec<String> = report.sockets.iter().map(socket).collect();
    format!(
        "{} every {}, answers within {}; {}; {}.",
        counted(report.size_bytes, "byte"),
        Nanos(report.interval_ns),
        Nanos(report.timeout_ns),
        sockets.join(", "),
        stamps(report.kernel_stamps, report.clock_stamps)
    )
}

fn stamps(kernel: u64, clock: u64) -> String {
    match (kernel, clock) {
        (0, 0) => "nothing came back".into(),
        (_, 0) => "from before the send until the kernel's receive stamp".into(),
        (0, _) => "from before the send until after the receive (no kernel stamps)".into(),
        (_, clock) => format!("until the kernel's receive stamp, or after the receive for {clock} without one"),
    }
}

fn warnings(report: &PingReport) -> Vec<String> {
    let (overflowed, strangers) = (report.overflowed, report.strangers);
    let lost = (overflowed > 0).then(|| {
        format!(
            "warning: {} overflowed our receive buffer: as much of the loss may be ours",
            counted(overflowed, "arrival")
        )
    });
    let strange = (strangers > 0)
        .then(|| format!("warning: {} came from addresses that are no target", counted(strangers, "answer")));
    lost.into_iter().chain(strange).collect()
}

#[cfg(test)]
pub(in super::super) mod tests {
    use super::super::super::histogram::tests::stored;
    use super::*;

    /// Two targets, of which one is silent.
    pub fn report() -> PingReport {
        let figures = |values: &[u64]| {
            let mut figures = FiguresRecord { histogram: stored(values), ..FiguresRecord::default() };
            figures.fill().unwrap();
            figures
        };
        let target = |address: &str, answered, late, lost, times: &[u64]| TargetRecord {
            name: address.into(),
            address: address.into(),
            reachable: answered > 0,
            sent: answered + late + lost,
            answered,
            late,
            lost,
            latest_ns: late * 2_000_000_000,
            round_trips_ns: figures(times),
            ..TargetRecord::default()
        };
        PingReport {
            schema: PING_SCHEMA.into(),
            ringmark: "0.0.0".into(),
            ended: "2026-01-31T23:59:59Z".into(),
            size_bytes: 56,
            interval_ns: 1_000_000,
            timeout_ns: 1_000_000_000,
            duration_ns: 2_000_000_000,
            sockets: vec![SocketRecord { family: "IPv6".into(), kind: "raw".into() }],
            kernel_stamps: 4,
            clock_stamps: 0,
            overflowed: 0,
            strangers: 0,
            targets: vec![target("::1", 3, 1, 0, &[1000, 2000, 3000]), target("192.0.2.1", 0, 0, 4, &[])],
        }
    }

    #[test]
    fn loss_counts_what_was_not_answered_in_time() {
        let text = render(&report());
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[1],
            ["::1", "4", "3", "25", "%", "1", "0", "0", "1us", "2us", "3.00us", "3.00us", "3.00us"],
            "{text}"
        );
        assert_eq!(lines[2][..5], ["192.0.2.1", "4", "0", "100", "%"], "{text}");
        for part in ["::1: the latest answer took 2s\n", "answers within 1s; IPv6 raw socket; from before the send"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_an_older_version_printed_reads() {
        let mut old = serde_json::to_value(report()).unwrap();
        for field in ["ringmark", "ended"] {
            old.as_object_mut().unwrap().remove(field).unwrap();
        }
        old["targets"][0]["round_trips_ns"].as_object_mut().unwrap().remove("samples").unwrap();
        let mut read: PingReport = serde_json::from_value(old).unwrap();
        read.fill().unwrap();
        assert_eq!(read.targets, report().targets);
    }
}

//! Why figures must not be used, what to know though they may, and why a trial or a contestant failed: a code with its
//! fields, which programs read, and words for people ([`words`]).
//!
//! Stored are both, the words where older versions had only them. Codes and fields are as lasting as the names of the
//! schema.

mod words;

use super::DatagramRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Shares are fractions of 1; of a busy thread or core more than 1 is possible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Reason {
    /// A file of a version that stored only words, or a code that this version does not know.
    Unclassified {
        text: String,
    },

    // Of a run.
    /// Connections that were never answered.
    NotAdmitted {
        admitted: u64,
        connections: u64,
    },
    /// No datagram was answered at all.
    NobodyAnswered {
        target: String,
        protocol: String,
        tries: u64,
    },
    /// Errors by kind, without those that did not happen.
    Errors {
        kinds: BTreeMap<String, u64>,
    },
    /// Errors, but no more than were allowed.
    ErrorsAllowed {
        kinds: BTreeMap<String, u64>,
    },
    NothingAnswered,
    /// Every answer took longer than a slice: none was to a request that counts.
    SlicesTooShort {
        length_ns: u64,
    },
    /// An open loop fell behind its schedule: requests answered of those that were due.
    RateNotReached {
        answered: u64,
        due: f64,
    },
    /// The generator's own lag, and the response time of which it may be so large a share; both at the 99th percentile.
    GeneratorLate {
        lag_ns: u64,
        response_ns: u64,
        allowed: f64,
    },
    /// The share of the time that the busiest of the generator's threads ran, and the server's cores, if known.
    GeneratorBottleneck {
        threads: u64,
        busy: f64,
        server: Option<f64>,
    },
    /// By how much throughput changed; the warm-up ended before it was steady.
    NotSteady {
        change: f64,
    },
    /// By how much throughput changed, though the warm-up had ended steady.
    Drift {
        change: f64,
    },
    /// A signal ended the run early.
    Interrupted {
        counted_ns: u64,
        planned_ns: u64,
    },
    /// The share of the cores that others used, at most and at least; no least where it may all have been interrupts.
    OtherPrograms {
        least: Option<f64>,
        most: f64,
    },
    /// The share of the cores' time that a hypervisor gave to others.
    Hypervisor {
        share: f64,
    },
    SlowClock {
        source: String,
    },
    PortsExhausted,
    ServerCpuUnknown,
    /// Processes of the server that ended within the counted time.
    ServerCpuPartial {
        processes: u64,
    },
    /// More datagrams without an answer in time than were allowed.
    Loss {
        share: f64,
        allowed: f64,
        #[serde(flatten)]
        losses: Losses,
    },
    /// Datagrams without an answer in time, but no more than were allowed.
    LossAllowed {
        share: f64,
        #[serde(flatten)]
        losses: Losses,
    },
    /// Answers that came again.
    Duplicates {
        count: u64,
    },
    /// Answers that came out of order.
    Reordered {
        count: u64,
    },
    /// The kernel refused super-packets, with this errno.
    GsoRefused {
        errno: i32,
    },
    /// Not even two datagrams fit a super-packet.
    GsoTooLarge {
        size: u64,
        most: u64,
    },
    /// The generator's exit code says that the run is invalid, but its report does not.
    InvalidWithoutReason {
        status: i32,
    },

    // Of a trial, or of a contestant that cannot run.
    CannotStart {
        command: String,
        error: String,
    },
    NoFreePort,
    /// The folder of a server's unix socket, or the one it was to be made in.
    NoSocketFolder {
        folder: String,
        problem: String,
    },
    /// The server ended before it listened. `stderr`: the last lines that it wrote there; likewise below.
    ServerEndedEarly {
        command: String,
        status: String,
        stderr: Vec<String>,
    },
    ServerNotReady {
        command: String,
        address: String,
        waited_ns: u64,
        stderr: Vec<String>,
    },
    ServerEndedUnderLoad {
        command: String,
        status: String,
        stderr: Vec<String>,
    },
    ServerStoppedBadly {
        command: String,
        status: String,
        stderr: Vec<String>,
    },
    ServerHung {
        command: String,
        waited_ns: u64,
        stderr: Vec<String>,
    },
    GeneratorFailed {
        command: String,
        status: String,
        stderr: Vec<String>,
    },
    GeneratorHung {
        command: String,
        waited_ns: u64,
        stderr: Vec<String>,
    },
    /// The generator's report could not be read.
    NoReport {
        command: String,
        problem: String,
    },
    /// The generator's report was read, but no figures can be derived from it.
    ReportUnusable {
        problem: String,
    },
    NotKilled {
        pid: u32,
        command: String,
        waited_ns: u64,
    },
    WaitFailed {
        command: String,
        error: String,
    },
    /// The share of a core that the server used without a request under way; it was stopped (SIGSTOP) while others had
    /// their slices.
    StoppedBetweenSlices {
        share: f64,
    },
    /// The same, but it went on all the same: its processes are not all in the group it was started in.
    BusyBetweenSlices {
        share: f64,
    },
    /// Not tried, because so many trials in a row had no answer.
    NotRun {
        failures: u64,
    },
}

/// What became of the datagrams that were not answered in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Losses {
    pub lost: u64,
    pub late: u64,
    pub dropped_by_server: Option<u64>,
    pub dropped_by_generator: Option<u64>,
}

impl From<&DatagramRecord> for Losses {
    fn from(record: &DatagramRecord) -> Losses {
        let DatagramRecord { lost, late, dropped_by_server, dropped_by_generator, .. } = *record;
        Losses { lost, late, dropped_by_server, dropped_by_generator }
    }
}

impl Reason {
    /// Only words are known.
    pub fn unclassified(text: impl Into<String>) -> Reason {
        Reason::Unclassified { text: text.into() }
    }

    /// Whether it says that the generator was at its limit, and the server was not.
    pub fn is_limit_of_generator(&self) -> bool {
        matches!(self, Reason::GeneratorBottleneck { .. })
    }

    /// In words, without what a process wrote.
    pub fn first_line(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }

    /// Whether two differ in numbers only, as those of several rounds do: one may speak for both.
    pub fn is_like(&self, other: &Reason) -> bool {
        let value = |reason: &Reason| serde_json::to_value(reason).unwrap_or_default();
        are_alike(&value(self), &value(other))
    }

    fn stored(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// That of a code, or of the words where the code is not known.
    fn read(text: &str, code: Option<Value>) -> Reason {
        code.and_then(|code| serde_json::from_value(code).ok()).unwrap_or_else(|| Reason::unclassified(text))
    }
}

/// Ports, process ids and times within a command are numbers too.
fn are_alike(one: &Value, other: &Value) -> bool {
    let words = |text: &str| text.replace(|c: char| c.is_ascii_digit() || c == '.', "");
    match (one, other) {
        (Value::Number(_), Value::Number(_)) => true,
        (Value::String(one), Value::String(other)) => words(one) == words(other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| are_alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| are_alike(one, other)))
        }
        (one, other) => one == other,
    }
}

/// For `serde(flatten, with = …)`: a list of reasons as a list of words, which older versions had alone, and the codes in a
/// list beside it.
macro_rules! list_with_words {
    ($name:ident, $words:ident, $codes:ident) => {
        pub(super) mod $name {
            use super::*;
            use serde::{Deserializer, Serializer};

            #[derive(Default, Serialize, Deserialize, JsonSchema)]
            pub struct Stored {
                /// In words, each with what to do about it.
                $words: Vec<String>,
                /// The same as codes with their fields.
                #[serde(default)]
                #[schemars(with = "Vec<Reason>")]
                $codes: Vec<Value>,
            }

            pub fn serialize<S: Serializer>(reasons: &[Reason], serializer: S) -> Result<S::Ok, S::Error> {
                let $words = reasons.iter().map(Reason::to_string).collect();
                let $codes = reasons.iter().map(Reason::stored).collect();
                Stored { $words, $codes }.serialize(serializer)
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Reason>, D::Error> {
                let Stored { $words, $codes } = Stored::deserialize(deserializer)?;
                let mut codes = $codes.into_iter();
                Ok($words.iter().map(|text| Reason::read(text, codes.next())).collect())
            }
        }
    };
}

/// The same of one reason that there may be.
macro_rules! option_with_words {
    ($name:ident, $words:ident, $code:ident) => {
        pub(super) mod $name {
            use super::*;
            use serde::{Deserializer, Serializer};

            #[derive(Default, Serialize, Deserialize, JsonSchema)]
            pub struct Stored {
                /// In words.
                $words: Option<String>,
                /// The same as a code with its fields.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(with = "Option<Reason>")]
                $code: Option<Value>,
            }

            pub fn serialize<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
                let ($words, $code) = (reason.as_ref().map(Reason::to_string), reason.as_ref().map(Reason::stored));
                Stored { $words, $code }.serialize(serializer)
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Reason>, D::Error> {
                let Stored { $words, $code } = Stored::deserialize(deserializer)?;
                Ok($words.map(|text| Reason::read(&text, $code)))
            }
        }
    };
}

list_with_words!(invalid, invalid, invalid_reasons);
list_with_words!(warnings, warnings, warning_reasons);
list_with_words!(problems, problems, problem_reasons);
option_with_words!(failed, failed, failed_reason);
option_with_words!(unavailable, unavailable, unavailable_reason);
option_with_words!(broken, broken, broken_reason);

#[cfg(test)]
mod tests {
    use super::super::{AaComparison, ContestantRecord, LoadReport, TrialRecord};
    use super::*;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    fn again<T: Serialize + DeserializeOwned>(record: &T) -> T {
        serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap()
    }

    #[test]
    fn codes_stand_beside_their_words_and_read_back() {
        let invalid = vec![Reason::NothingAnswered, Reason::NotAdmitted { admitted: 3, connections: 4 }];
        let warnings = vec![Reason::Drift { change: 0.3 }];
        let load = LoadReport { invalid, warnings, ..LoadReport::default() };
        let stored = serde_json::to_value(&load).unwrap();
        assert_eq!(stored["invalid"][1].as_str(), Some(load.invalid[1].to_string().as_str()));
        assert_eq!(stored["invalid_reasons"][1], json!({"code": "not-admitted", "admitted": 3, "connections": 4}));
        assert_eq!(again(&load), load);
        let failed = TrialRecord {
            round: 1,
            position: 1,
            load: Some(load),
            failed: Some(Reason::NoFreePort),
            connections_per_shard: None,
        };
        assert_eq!(again(&failed), failed);
        let losses = Losses { lost: 9, dropped_by_server: Some(4), ..Losses::default() };
        let problems = vec![Reason::Loss { share: 0.5, allowed: 0.01, losses }];
        let compared = AaComparison { problems, ..AaComparison::default() };
        assert_eq!(again(&compared), compared);
    }

    #[test]
    fn what_has_only_words_and_what_has_a_newer_code_reads() {
        let mut stored = serde_json::to_value(LoadReport::default()).unwrap();
        stored["invalid"] = json!(["errors: reset 3"]);
        stored["warnings"] = json!(["it rained"]);
        stored["warning_reasons"] = json!([{"code": "rain", "drops": 7}]);
        stored.as_object_mut().unwrap().remove("invalid_reasons");
        let read: LoadReport = serde_json::from_value(stored).unwrap();
        assert_eq!(read.invalid, [Reason::unclassified("errors: reset 3")]);
        assert_eq!(read.warnings, [Reason::unclassified("it rained")]);
        let contestant: ContestantRecord = serde_json::from_value(
            json!({"name": "a", "words": "a", "unavailable": "no io_uring", "rounds": 0, "trials": []}),
        )
        .unwrap();
        assert_eq!(contestant.unavailable, Some(Reason::unclassified("no io_uring")));
    }

    #[test]
    fn reasons_that_differ_in_numbers_are_alike() {
        let ended = |command: &str, line: &str| Reason::ServerEndedEarly {
            command: command.into(),
            status: "exit status: 1".into(),
            stderr: vec![line.into()],
        };
        assert!(ended("./a 127.0.0.1:80", "no memory").is_like(&ended("./a 127.0.0.1:81", "no memory")));
        assert!(!ended("./a 1", "no memory").is_like(&ended("./a 1", "no disk")));
        let errors = |kind: &str, count| Reason::Errors { kinds: [(kind.to_owned(), count)].into() };
        assert!(errors("reset", 1).is_like(&errors("reset", 2)) && !errors("reset", 1).is_like(&errors("corrupt", 1)));
        assert!(!Reason::NoFreePort.is_like(&Reason::NothingAnswered));
    }
}

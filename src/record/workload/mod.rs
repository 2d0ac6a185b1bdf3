//! What the load is: the one form in which it is typed, handed to the generator, stored and listed.
//!
//! A new property is a field here and a line in [`properties`]: from that follow the options of `ringload` and of
//! `ringmark compare`, the arguments with which a comparison starts its generator, and the columns of csv.

mod properties;
mod property;

pub use properties::PROPERTIES;
pub use property::{Column, Defaults, InCompare, Preset, Property, Value};

use crate::units::{ParseUnitError, SizeMix, Transport};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The workload as it is run, every default spelled out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    #[serde(flatten)]
    pub shape: Shape,
    #[serde(flatten)]
    pub generator: GeneratorSettings,
    pub seed: u64,
    /// Cores the generator's threads are pinned to, as `0-3,6`; `None` when not pinned.
    pub cores: Option<String>,
}

/// What is asked of a server: how much at a time, and on how many connections. The cells of a comparison differ in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shape {
    /// Of datagrams: sockets.
    pub connections: u64,
    /// Bytes of a request, of a mix the mean; the answer has as many.
    pub size: u64,
    /// Sizes and their shares, as `64:90,1400:10`; `None` where all are the same.
    #[serde(default)]
    pub size_mix: Option<String>,
    /// Requests in flight per connection; in an open loop the most that may be.
    pub depth: u64,
    pub connect_per_request: bool,
}

/// How the generator sends it: what all cells of a comparison share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorSettings {
    /// `tcp`, `udp`, `unix` or `unixgram`.
    #[serde(default = "tcp")]
    pub protocol: String,
    /// What the header of a datagram is like: `echo` or `sockperf`; empty where there are none, and in the comparisons of
    /// versions that did not store it.
    #[serde(default)]
    pub dialect: String,
    /// Datagrams that leave with one send at most (UDP_SEGMENT); 0 where each leaves by itself.
    #[serde(default)]
    pub gso: u64,
    /// The generator's engine: `uring` or `epoll`.
    pub engine: String,
    pub threads: u64,
    /// Connections beside the others that are open and idle.
    #[serde(default)]
    pub idle: u64,
    /// Requests per second asked for, over all connections (the mean of a ramp); `None` in a closed loop.
    #[serde(default)]
    pub rate_per_s: Option<u64>,
    /// How they are spaced: `constant`, `poisson`, `burst:N`, `ramp:FROM..TO`. Open loop only.
    #[serde(default)]
    pub arrival: Option<String>,
    /// How the generator waits for a request's instant: `hybrid`, `sleep`, `spin`. Open loop only.
    #[serde(default)]
    pub timer: Option<String>,
    /// Counted time that was asked for. 0 in the runs of versions that did not store it.
    #[serde(default)]
    pub duration_ns: u64,
    /// Counted requests after which a run ends before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u64>,
    /// Shortest and longest warm-up.
    pub warmup_ns: u64,
    #[serde(default)]
    pub warmup_max_ns: u64,
    pub timeout_ns: u64,
    /// Errors that do not make the run invalid, as a share of all requests; `None` where none were allowed.
    #[serde(default)]
    pub allow_errors: Option<f64>,
    /// Lost and late datagrams that do not, as a share of all requests; `None` for the usual 0.01, and for streams.
    #[serde(default)]
    pub max_loss: Option<f64>,
    pub spin_ns: u64,
}

/// What older files, which do not name it, were about.
fn tcp() -> String {
    "tcp".to_owned()
}

impl Workload {
    /// The workload that these properties make on `protocol` (`tcp`, `udp`, `unix` or `unixgram`): what was typed, and
    /// the defaults of all others, which may follow from what was typed.
    ///
    /// # Errors
    /// What was typed is not a value of its property; the message says what would be.
    pub fn typed(protocol: &str, typed: &[(&Property, &str)], defaults: Defaults) -> Result<Workload, String> {
        let mut workload = Workload::default();
        workload.generator.protocol = protocol.to_owned();
        for (property, value) in typed {
            (property.set)(&mut workload, value)?;
        }
        let is_typed = |property: &Property| typed.iter().any(|(typed, _)| typed.option == property.option);
        for property in PROPERTIES.iter().filter(|property| !is_typed(property)) {
            property.default(defaults).fill(property, &mut workload)?;
        }
        // A closed loop waits for no instant.
        workload.generator.timer = workload.generator.timer.filter(|_| workload.generator.rate_per_s.is_some());
        Ok(workload)
    }

    /// The options that ask for it, each with its value as a word of its own. What is as by default may be among them.
    pub fn arguments(&self) -> Vec<String> {
        let option = |property: &Property| {
            let value = (property.get)(self)?;
            let name = format!("--{}", property.option?);
            Some(match property.value {
                Value::Flag => vec![name],
                _ => vec![name, value],
            })
        };
        PROPERTIES.iter().filter_map(option).flatten().collect()
    }
}

impl GeneratorSettings {
    /// Whether requests are sent by a schedule, whatever the answers do.
    pub fn is_open_loop(&self) -> bool {
        self.rate_per_s.is_some()
    }

    pub fn transport(&self) -> Transport {
        match self.protocol.as_str() {
            "udp" | "unixgram" => Transport::Datagram,
            _ => Transport::Stream,
        }
    }
}

impl Shape {
    /// Bytes of a request, or the mix of sizes, without a unit.
    pub fn sizes(&self) -> String {
        self.size_mix.clone().unwrap_or_else(|| self.size.to_string())
    }

    /// The sizes and their weights.
    ///
    /// # Errors
    /// The stored mix is damaged.
    pub fn mix(&self) -> Result<SizeMix, ParseUnitError> {
        self.sizes().parse()
    }

    /// What distinguishes it from others, in a few words.
    pub fn name(&self) -> String {
        let way = match (self.connect_per_request, self.depth) {
            (true, _) => ", a connection per request".to_owned(),
            (false, 0 | 1) => String::new(),
            (false, depth) => format!(", {depth} in flight"),
        };
        format!("{} connections x {} B{way}", self.connections, self.sizes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(option: &str) -> &'static Property {
        PROPERTIES.iter().find(|property| property.option == Some(option)).unwrap()
    }

    fn workload(protocol: &str, typed: &[(&str, &str)]) -> Workload {
        let typed: Vec<(&Property, &str)> = typed.iter().map(|(option, value)| (property(option), *value)).collect();
        Workload::typed(protocol, &typed, Defaults::Ringload).unwrap()
    }

    /// The value after this option.
    fn argument<'a>(words: &'a [String], option: &str) -> Option<&'a str> {
        words.iter().position(|word| word == option).map(|at| words[at + 1].as_str())
    }

    #[test]
    fn what_its_arguments_ask_for_is_the_workload_itself() {
        for (protocol, typed) in [
            ("tcp", &[][..]),
            ("tcp", &[("connections", "7"), ("size", "64:9,1k:1"), ("idle", "5"), ("depth", "3")]),
            ("tcp", &[("connect-per-request", ""), ("allow-errors", "1%"), ("requests", "9"), ("spin", "10us")]),
            ("tcp", &[("rate", "20k"), ("arrival", "poisson"), ("timer", "spin")]),
            ("unix", &[("arrival", "ramp:1k..2k"), ("engine", "epoll"), ("threads", "2"), ("warmup", "200ms")]),
            ("udp", &[("gso", "16"), ("speak", "sockperf"), ("max-loss", "7%"), ("timeout", "3s"), ("seed", "8")]),
        ] {
            let asked = workload(protocol, typed);
            let words = asked.arguments();
            let mut again = Vec::new();
            let mut rest = words.iter();
            while let Some(word) = rest.next() {
                let property = property(word.strip_prefix("--").unwrap());
                let value = if property.value == Value::Flag { "" } else { rest.next().unwrap() };
                again.push((property, value));
            }
            assert_eq!(Workload::typed(protocol, &again, Defaults::Compare).unwrap(), asked, "{words:?}");
        }
    }

    #[test]
    fn defaults_follow_from_what_was_typed() {
        let depth = |protocol, typed: &[(&str, &str)]| workload(protocol, typed).shape.depth;
        assert_eq!((depth("tcp", &[]), depth("tcp", &[("rate", "1k")]), depth("udp", &[("gso", "16")])), (1, 4096, 16));
        assert_eq!(depth("tcp", &[("rate", "1k"), ("connect-per-request", "")]), 1);
        assert_eq!(workload("tcp", &[("warmup", "200ms")]).generator.warmup_max_ns, 1_000_000_000);
        assert_eq!(workload("udp", &[]).generator.timeout_ns, 250_000_000);
        assert_eq!(
            (workload("udp", &[]).generator.dialect, workload("tcp", &[]).generator.dialect),
            ("echo".into(), "".into())
        );
    }

    #[test]
    fn a_ramp_brings_its_rate() {
        let ramp = workload("tcp", &[("arrival", "ramp:1k..2k")]);
        assert_eq!(ramp.generator.rate_per_s, Some(1500));
        assert_eq!(argument(&ramp.arguments(), "--rate"), None);
        assert_eq!(argument(&workload("tcp", &[("rate", "7")]).arguments(), "--arrival"), Some("constant"));
        assert_eq!(workload("tcp", &[("timer", "spin")]).generator.timer, None, "a closed loop waits for no instant");
    }

    #[test]
    fn every_option_and_column_is_there_once() {
        let all = |names: Vec<&str>| {
            let mut once = names.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), names.len(), "{names:?}");
        };
        all(PROPERTIES.iter().filter_map(|property| property.option).collect());
        all(PROPERTIES.iter().filter_map(|property| property.column).map(|column| column.name).collect());
    }
}

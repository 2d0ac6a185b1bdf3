//! The one place that turns a reason into words: what happened, and what to do about it.

use super::{Losses, Reason};
use crate::record::{DatagramRecord, LOAD_SCHEMA};
use crate::units::{Bytes, Nanos, three_digits};
use std::collections::BTreeMap;
use std::fmt;
use std::io;

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.of_run().or_else(|| self.of_machine()).or_else(|| self.of_datagrams());
        f.write_str(&text.or_else(|| self.of_server()).or_else(|| self.of_process()).unwrap_or_default())
    }
}

impl Reason {
    fn of_run(&self) -> Option<String> {
        Some(match self {
            Reason::Unclassified { text } => text.clone(),
            Reason::NotAdmitted { admitted, connections } => format!(
                "only {admitted} of {connections} connections were admitted and answered once: raise the server's limits \
                 (open files, listen backlog), or ask for fewer --connections"
            ),
            Reason::Errors { kinds } => format!("errors: {}: {}", list(kinds), advice_on_errors(kinds)),
            Reason::ErrorsAllowed { kinds } => format!("errors, as allowed: {}", list(kinds)),
            Reason::NothingAnswered => {
                "no request was answered within the counted time: measure longer, or see why the server is silent"
                    .into()
            }
            Reason::SlicesTooShort { length_ns } => format!(
                "no answer was to a request that counts: they take longer than a slice, the longest of which was {}: give a \
                 longer --slice, or leave it out",
                Nanos(*length_ns)
            ),
            Reason::RateNotReached { answered, due } => format!(
                "only {} % of the requests asked for were answered in time ({answered} of {due:.0}): the rate is above what \
                 server or generator can do; ask for less, or see whose core is busy",
                percent(*answered as f64 / due)
            ),
            Reason::Interrupted { counted_ns, planned_ns } => {
                format!("stopped early by a signal: {} of {} were counted", Nanos(*counted_ns), Nanos(*planned_ns))
            }
            Reason::NotSteady { change } => format!(
                "not steady: throughput was not by the end of the warm-up, and changed by {} % within the counted time: \
                 raise --warmup-max",
                percent(*change)
            ),
            Reason::Drift { change } => format!(
                "throughput changed by {} % within the counted time: the figures are of no one state",
                percent(*change)
            ),
            Reason::InvalidWithoutReason { status } => {
                format!("the generator ended with {status} (invalid) without a reason")
            }
            _ => return None,
        })
    }

    fn of_machine(&self) -> Option<String> {
        Some(match self {
            Reason::GeneratorLate { lag_ns, response_ns, allowed } => format!(
                "the generator sent late: its own lag is {} at p99, more than {} % of the response time's {}: stop other \
                 programs, give it cores of its own (--cores), more --threads, or --timer spin",
                Nanos(*lag_ns),
                percent(*allowed),
                Nanos(*response_ns)
            ),
            Reason::GeneratorBottleneck { threads, busy, server } => format!(
                "the busiest of the generator's threads ({threads}) was {} % busy, {}: the generator was the bottleneck; give \
                 it more --threads on other cores",
                percent(*busy),
                server.map_or("unless the server's cores were too".into(), |share| {
                    format!("the server's cores only {} %", percent(share))
                })
            ),
            Reason::OtherPrograms { least, most } => other_programs(least.map(|least| least * 100.0), most * 100.0),
            Reason::Hypervisor { share } => format!(
                "the hypervisor gave {:.0} % of the cores' time to others (steal): measure more often, or at another hour",
                share * 100.0
            ),
            Reason::SlowClock { source } => format!(
                "the clock source is {source}, which takes a system call to read: boot with tsc=reliable if the hardware \
                 allows, or expect each latency to hold some of it"
            ),
            Reason::PortsExhausted => {
                "local ports ran out (EADDRNOTAVAIL), because closed connections keep theirs for 60 s (TIME_WAIT): widen \
                 net.ipv4.ip_local_port_range, set net.ipv4.tcp_tw_reuse=1, or connect more rarely"
                    .into()
            }
            Reason::ServerCpuUnknown => {
                "the server's CPU time is unknown: its process ended, or the counted time was never reached".into()
            }
            Reason::ServerCpuPartial { processes } => format!(
                "{processes} of the server's processes ended within the counted time: its CPU time is told too small"
            ),
            _ => return None,
        })
    }

    fn of_datagrams(&self) -> Option<String> {
        Some(match self {
            Reason::NobodyAnswered { target, protocol, tries } => {
                let remedy = match protocol.as_str() {
                    "sockperf" => "start sockperf server there, or leave out --speak if it is a plain echo",
                    _ => "start an echo server there, or say what it is if it is none (--speak)",
                };
                format!(
                    "nobody answered at {target} within --timeout, {tries} requests in a row on the same socket: {remedy}"
                )
            }
            Reason::Loss { share, allowed, losses } => format!(
                "{} % of the requests had no answer in time, more than --max-loss {} %: {}; {}",
                fine_percent(*share),
                fine_percent(*allowed),
                losses.words(),
                losses.advice()
            ),
            Reason::LossAllowed { share, losses } => {
                format!("{} % of the requests had no answer in time: {}", fine_percent(*share), losses.words())
            }
            Reason::Duplicates { count } => format!("{count} answers came though there had been one before"),
            Reason::Reordered { count } => format!("{count} answers came out of order"),
            Reason::GsoRefused { errno } => format!(
                "--gso had no effect: super-packets of this size cannot be sent here ({}); every datagram left on its own",
                io::Error::from_raw_os_error(*errno)
            ),
            Reason::GsoTooLarge { size, most } => format!(
                "--gso had no effect: a super-packet has at most {} bytes, so that two datagrams of {} do not fit; every \
                 datagram left on its own: choose a --size of at most {}, or leave out --gso",
                Bytes(*most),
                Bytes(*size),
                Bytes(most / 2)
            ),
            _ => return None,
        })
    }

    fn of_server(&self) -> Option<String> {
        Some(match self {
            Reason::NoFreePort => {
                "no free port on 127.0.0.1 below the range the kernel hands out; free one between 10000 and 30000"
                    .into()
            }
            Reason::NoSocketFolder { folder, problem } => {
                format!("no folder for a server's unix socket in {folder}: {problem}; set TMPDIR to another one")
            }
            Reason::ServerEndedEarly { command, status, stderr } => {
                format!("the server '{command}' ended ({status}) before it listened{}", stderr_tail(stderr))
            }
            Reason::ServerNotReady { command, address, waited_ns, stderr } => {
                let waited = Nanos(*waited_ns);
                format!("the server '{command}' did not listen on {address} within {waited}{}", stderr_tail(stderr))
            }
            Reason::ServerEndedUnderLoad { command, status, stderr } => {
                format!("the server '{command}' ended ({status}) while it was measured{}", stderr_tail(stderr))
            }
            Reason::ServerStoppedBadly { command, status, stderr } => {
                format!(
                    "the server '{command}' ended with {status} instead of 0 when asked to stop{}",
                    stderr_tail(stderr)
                )
            }
            Reason::ServerHung { command, waited_ns, stderr } => {
                let waited = Nanos(*waited_ns);
                format!(
                    "the server '{command}' was still there {waited} after SIGTERM and was killed{}",
                    stderr_tail(stderr)
                )
            }
            Reason::StoppedBetweenSlices { share } => format!(
                "it used {} % of a core without a request under way, so it was stopped while the others were loaded",
                percent(*share)
            ),
            Reason::BusyBetweenSlices { share } => format!(
                "it used {} % of a core without a request under way and could not be stopped, so the others had less of \
                 theirs: compare it with --trials",
                percent(*share)
            ),
            Reason::NotRun { failures } => format!("not run: {failures} trials in a row got no answer"),
            _ => return None,
        })
    }

    fn of_process(&self) -> Option<String> {
        Some(match self {
            Reason::CannotStart { command, error } => format!("cannot start '{command}': {error}"),
            Reason::GeneratorFailed { command, status, stderr } => {
                format!("the generator '{command}' ended with {status}{}", stderr_tail(stderr))
            }
            Reason::GeneratorHung { command, waited_ns, stderr } => {
                let waited = Nanos(*waited_ns);
                format!("the generator '{command}' was not done within {waited} and was killed{}", stderr_tail(stderr))
            }
            Reason::NoReport { command, problem } => {
                format!("the generator '{command}' printed no report of the form {LOAD_SCHEMA}: {problem}")
            }
            Reason::ReportUnusable { problem } => format!("the generator's report cannot be used: {problem}"),
            Reason::NotKilled { pid, command, waited_ns } => format!(
                "process {pid} ('{command}') is still there {} after SIGKILL: end it yourself (a program that changes its \
                 user, such as sudo, cannot be ended from here)",
                Nanos(*waited_ns)
            ),
            Reason::WaitFailed { command, error } => format!("waiting for '{command}' failed: {error}"),
            _ => return None,
        })
    }
}

fn list(kinds: &BTreeMap<String, u64>) -> String {
    kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}

fn advice_on_errors(kinds: &BTreeMap<String, u64>) -> &'static str {
    match kinds.contains_key("corrupt") {
        true => "this is no echo server, or it mixes up bytes",
        false => "see the server's log, raise --timeout, or allow some with --allow-errors",
    }
}

fn other_programs(least: Option<f64>, most: f64) -> String {
    let advice = "stop them, or differences drown in the noise";
    match least {
        Some(least) if format!("{least:.0}") == format!("{most:.0}") => {
            format!("other programs used {most:.0} % of the cores: {advice}")
        }
        Some(least) => format!("other programs used {least:.0} to {most:.0} % of the cores: {advice}"),
        None => format!(
            "interrupts or other programs used up to {most:.0} % of the cores (a kernel with CONFIG_IRQ_TIME_ACCOUNTING \
             tells them apart): if it was programs, {advice}"
        ),
    }
}

/// The last lines a process wrote to stderr, one below the other.
fn stderr_tail(lines: &[String]) -> String {
    match lines {
        [] => "; it wrote nothing to stderr".to_owned(),
        lines => format!("; its stderr:\n{}", lines.join("\n")),
    }
}

impl Losses {
    fn words(&self) -> String {
        let Losses { lost, late, dropped_by_server, dropped_by_generator } = *self;
        let record =
            DatagramRecord { lost, late, dropped_by_server, dropped_by_generator, ..DatagramRecord::default() };
        record.losses()
    }

    /// What to do about the loss: it depends on who lost the most.
    fn advice(&self) -> &'static str {
        let (server, generator) = (self.dropped_by_server.unwrap_or(0), self.dropped_by_generator.unwrap_or(0));
        if self.late > self.lost {
            "the answers came, but after --timeout: allow more time, or ask for less at once: lower --depth or --connections"
        } else if server.max(generator) < self.lost.div_ceil(2) {
            "neither end's kernel dropped most of them: look for a server that does not answer, or for the network between"
        } else if generator > server {
            "answers came faster than the generator took them: lower --depth, raise net.core.rmem_max, or give it more \
             --threads on other cores"
        } else {
            "requests came faster than the server took them: lower --depth or --connections, or give its sockets larger \
             receive buffers (SO_RCVBUF, net.core.rmem_default, net.core.rmem_max)"
        }
    }
}

/// To a tenth of a per cent.
fn percent(share: f64) -> String {
    three_digits((share * 1000.0).round() / 10.0)
}

/// To a thousandth.
fn fine_percent(share: f64) -> String {
    three_digits((share * 1e5).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_brings_the_advice_that_fits() {
        let lost = Losses { lost: 15, late: 5, ..Losses::default() };
        for (losses, part) in [
            (Losses { dropped_by_server: Some(14), ..lost }, "faster than the server"),
            (Losses { dropped_by_generator: Some(14), ..lost }, "faster than the generator"),
            (Losses { dropped_by_server: Some(1), ..lost }, "neither end"),
            (Losses { lost: 5, late: 15, ..lost }, "--timeout"),
        ] {
            let text = Reason::Loss { share: 0.02, allowed: 0.01, losses }.to_string();
            assert!(text.starts_with("2 % of the requests") && text.contains(part), "{text}");
        }
    }

    #[test]
    fn figures_are_rounded_for_eyes() {
        for (reason, words) in [
            (Reason::OtherPrograms { least: Some(0.4), most: 0.4 }, "other programs used 40 % of"),
            (Reason::OtherPrograms { least: Some(0.2), most: 0.4 }, "other programs used 20 to 40 % of"),
            (Reason::OtherPrograms { least: None, most: 0.4 }, "interrupts or other programs used up to 40 %"),
            (Reason::RateNotReached { answered: 970, due: 1e6 }, "only 0.10 % of the requests"),
            (Reason::Drift { change: -0.3 }, "throughput changed by -30 %"),
            (Reason::Interrupted { counted_ns: 1000, planned_ns: 2000 }, "stopped early by a signal: 1us of 2us"),
        ] {
            assert!(reason.to_string().starts_with(words), "{reason}");
        }
        let corrupt = Reason::Errors { kinds: [("corrupt".to_owned(), 2)].into() };
        assert_eq!(corrupt.to_string(), "errors: corrupt 2: this is no echo server, or it mixes up bytes");
        let stderr = vec!["a".to_owned(), "b".to_owned()];
        let failed = Reason::GeneratorFailed { command: "x".into(), status: "signal: 9".into(), stderr };
        assert_eq!(failed.to_string(), "the generator 'x' ended with signal: 9; its stderr:\na\nb");
    }
}

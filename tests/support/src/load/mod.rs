//! ringload as a process, and what it reports.

pub mod faults;
pub mod peers;

use super::programs;
use crate::skip::skip;
use ringmark::record::LoadReport;
use ringmark::sys::uring;
use std::process::{Command, Output, Stdio};

/// The engines that can run here.
pub fn engines() -> Vec<&'static str> {
    let usable = uring::usable();
    if std::env::var_os("RINGMARK_REQUIRE_URING").is_some() {
        usable.as_ref().expect("RINGMARK_REQUIRE_URING is set");
    } else if let Err(reason) = &usable {
        skip(format_args!("for io_uring: {reason}"));
    }
    let uring = usable.is_ok().then_some("uring");
    uring.into_iter().chain(["epoll"]).collect()
}

pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(programs::ringload());
    command.args(words).stdin(Stdio::null());
    command
}

/// A short run with JSON; more words may follow and override.
pub fn ringload(engine: &str, address: &str, words: &[&str]) -> Output {
    let fixed = [address, "--engine", engine, "--format", "json", "--no-pin"];
    let short: &[&str] = if words.contains(&"--warmup") { &[] } else { &["--warmup", "0"] };
    command(&[&fixed, short, words].concat()).output().unwrap()
}

/// It said nothing but, where the run took longer, how far it was.
#[track_caller]
pub fn expect_silence(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().all(|line| line.contains("/s")), "{said}");
}

pub fn report(output: &Output) -> LoadReport {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

//! What cannot be tested here: told, and collected where a run of all suites asks for it.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Stdio};

/// The file to which a run of all suites has every skip appended: a line with the suite's test and the reason.
const COLLECTED: &str = "RINGMARK_SKIPPED";

/// Tells that the test, or a part of it, is skipped, and why.
pub fn skip(reason: impl Display) {
    println!("skipped: {reason}");
    if let Some(path) = std::env::var_os(COLLECTED) {
        let thread = std::thread::current();
        let line = format!("{}: {reason}\n", thread.name().unwrap_or("a test")).replace('\n', " ");
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{}", line.trim_end())).expect("collecting what is skipped");
    }
}

/// Whether what this variable requires must be there: `RINGMARK_REQUIRE_URING`, say, being 1.
pub fn is_required(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "1")
}

/// Whether these programs are here; skips where not.
///
/// # Panics
/// When one is not, and RINGMARK_REQUIRE_PEERS=1 says that it must be.
#[track_caller]
pub fn are_installed(programs: &[&str]) -> bool {
    let absent = programs.iter().find(|program| !is_found(program));
    absent.is_none_or(|program| lacks(&format!("{program} is not installed")))
}

/// Whether there is an `nc` that ends its side after its input (OpenBSD's; ncat has no such option); skips where not.
///
/// # Panics
/// As [`are_installed`].
#[track_caller]
pub fn has_openbsd_netcat() -> bool {
    if !are_installed(&["nc"]) {
        return false;
    }
    let help = Command::new("nc").arg("-h").stdin(Stdio::null()).output().expect("nc runs");
    let help = String::from_utf8_lossy(&[help.stdout, help.stderr].concat()).into_owned();
    help.lines().any(|line| line.trim_start().starts_with("-N"))
        || lacks("this nc has no option -N (netcat-openbsd has)")
}

/// Skips; `false`.
#[track_caller]
fn lacks(reason: &str) -> bool {
    assert!(!is_required("RINGMARK_REQUIRE_PEERS"), "RINGMARK_REQUIRE_PEERS=1, but {reason}");
    skip(reason);
    false
}

fn is_found(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

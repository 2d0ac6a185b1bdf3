//! What a test on packets needs of the machine: the right to capture, other people's programs, and IPv6.

use crate::skip::{is_required, skip};
use ringmark::sys::packet::{Device, Tap};
use std::process::Command;

/// Whether there is an IPv6 loopback; says so where not.
pub fn has_ipv6() -> bool {
    std::net::UdpSocket::bind("[::1]:0").inspect_err(|error| skip(format_args!("for [::1]: {error}"))).is_ok()
}

/// Whether packets may be captured here, and all these programs are here; says what is missing.
///
/// # Panics
/// When something is missing, and RINGMARK_REQUIRE_NET=1 says that it must not.
pub fn can_capture(programs: &[&str]) -> bool {
    let tap = Device::find("lo").and_then(Tap::open);
    let lacking = tap.err().map(|error| error.to_string()).or_else(|| {
        let absent = programs.iter().find(|program| Command::new(program).arg("--version").output().is_err())?;
        Some(format!("{absent} is not installed"))
    });
    let Some(reason) = lacking else { return true };
    let required = is_required("RINGMARK_REQUIRE_NET");
    assert!(!required, "RINGMARK_REQUIRE_NET=1, but: {reason}");
    skip(reason);
    false
}

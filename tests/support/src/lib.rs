//! What the out-of-process suites share: the program as a process that cannot outlive its test, clients that cannot
//! hang, and streams of bytes that tell when one of them is wrong.
#![forbid(unsafe_code)]

pub mod cell;
pub mod characters;
pub mod client;
pub mod datagrams;
pub mod load;
pub mod net;
pub mod netns;
pub mod pattern;
pub mod programs;
pub mod retry;
pub mod server;
pub mod shard;
pub mod skip;
pub mod terminal;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// No step of any test takes this long unless something hangs.
pub const WATCHDOG: Duration = Duration::from_secs(30);

/// Asks until the answer is yes.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + WATCHDOG;
    while !is_so() {
        assert!(Instant::now() < end, "gave up waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Why io_uring cannot be used here. `None` where it can.
///
/// # Panics
/// When it cannot, and RINGMARK_REQUIRE_URING=1 says that it must.
pub fn without_uring() -> Option<String> {
    use ringmark::engine::Engine;
    use ringmark::engine::uring::Uring;
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let probe = || Uring::probe(&options::<Uring>(&[])).err().map(|error| error.to_string());
    let reason = REASON.get_or_init(probe).clone()?;
    let required = skip::is_required("RINGMARK_REQUIRE_URING");
    assert!(!required, "RINGMARK_REQUIRE_URING=1, but: {reason}");
    Some(reason)
}

/// An engine's options, as its words on the command line would set them.
pub fn options<E: ringmark::engine::Engine>(words: &[&str]) -> E::Options {
    let command = <E::Options as clap::Args>::augment_args(clap::Command::new("options"));
    let matches = command.get_matches_from(std::iter::once("options").chain(words.iter().copied()));
    clap::FromArgMatches::from_arg_matches(&matches).expect("clap matched them")
}

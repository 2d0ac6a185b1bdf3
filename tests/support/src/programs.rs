//! Where the programs are that the suites start. Cargo builds them before any suite of the package runs.

use std::sync::LazyLock;

/// The path of `ringmark`.
///
/// # Panics
/// Where this is not an executable that Cargo has built for a suite.
pub fn ringmark() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| built("ringmark"));
    &PATH
}

/// The path of `ringload`; panics as [`ringmark`] does.
pub fn ringload() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| built("ringload"));
    &PATH
}

/// A suite is target/PROFILE/deps/SUITE-HASH, a program target/PROFILE/PROGRAM. Cargo tells a library no path of a program.
fn built(program: &str) -> String {
    let suite = std::env::current_exe().expect("the path of this executable");
    let path = suite.ancestors().nth(2).expect("a folder above that of the suites").join(program);
    assert!(path.is_file(), "{} is not there: run the suites by `cargo test`, which builds it", path.display());
    path.into_os_string().into_string().expect("a path in UTF-8")
}

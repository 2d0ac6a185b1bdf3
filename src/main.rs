//! ringmark: the server, the comparison, the diagnostics.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringmark::cli::ringmark()
}

//! ringload: the load generator.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringmark::cli::load::main()
}

fn main() -> std::process::ExitCode {
    ringmark::cli::ringmark()
}

//! What is printed on standard error: lines, and an error in one line with each cause once, as many messages name theirs.

use std::fmt::Arguments;
use std::io::{self, Write};

/// A line on standard error. Where nobody can read it (a pipe closed, a disk full) nothing is to be done about that.
pub fn print(line: Arguments) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The message and its causes, without those that a message before has named already.
pub fn error_chain(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |text, cause| match text.contains(&cause) {
        true => text,
        false => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn each_cause_is_named_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("bind failed: {source}; choose another port")]
        struct Bind {
            source: std::io::Error,
        }
        let source = std::io::Error::other("in use");
        let error = Err::<(), _>(Bind { source }).context("serve epoll").unwrap_err();
        assert_eq!(error_chain(&error), "serve epoll: bind failed: in use; choose another port");
        assert_eq!(error_chain(&anyhow::anyhow!("why").context("what")), "what: why");
    }
}

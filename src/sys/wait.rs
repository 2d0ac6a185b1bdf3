//! How long to wait for what the kernel will report.

use crate::units::Nanos;
use std::time::Duration;

/// How long a wait may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Look, do not sleep.
    Poll,
    /// Sleep until there is something.
    Forever,
    /// Sleep until there is something, but no longer than this.
    AtMost(Nanos),
}

impl Wait {
    /// As system calls take it: `None` is for ever.
    pub fn timeout(self) -> Option<Duration> {
        match self {
            Wait::Poll => Some(Duration::ZERO),
            Wait::Forever => None,
            Wait::AtMost(time) => Some(time.duration()),
        }
    }
}

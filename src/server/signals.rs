//! SIGINT and SIGTERM as messages.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Signals could not be caught.
#[derive(Debug, thiserror::Error)]
#[error("catching SIGINT and SIGTERM failed: {0}")]
pub struct SignalError(#[from] io::Error);

/// The signals that ask for the end.
pub(super) struct Signals {
    received: Receiver<()>,
}

impl Signals {
    /// From now on SIGINT and SIGTERM no longer kill the process; a second one, while it drains, does.
    pub(super) fn catch() -> Result<Signals, SignalError> {
        let mut caught = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
        let (sender, received) = mpsc::channel();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for (count, signal) in caught.forever().enumerate() {
                let _ = sender.send(());
                if count > 0 {
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            }
        })?;
        Ok(Signals { received })
    }

    /// Waits for a signal, at most this long.
    pub(super) fn wait(&self, at_most: Duration) -> Result<(), RecvTimeoutError> {
        self.received.recv_timeout(at_most)
    }
}

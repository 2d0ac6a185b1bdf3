//! The sockets that threads serve.

use socket2::Socket;
use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The sockets being served, each by its thread, to end them on a drain.
#[derive(Default)]
pub(super) struct ConnectionRegistry {
    sockets: Mutex<HashMap<u64, Arc<Socket>>>,
    left: Condvar,
    /// Set when the drain begins: when the timeout ends.
    pub(super) drain_ends: OnceLock<Instant>,
}

impl ConnectionRegistry {
    fn sockets(&self) -> MutexGuard<'_, HashMap<u64, Arc<Socket>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, number: u64, socket: Arc<Socket>) {
        self.sockets().insert(number, socket);
    }

    pub(super) fn leave(&self, number: u64) {
        self.sockets().remove(&number);
        self.left.notify_all();
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        self.sockets().values().for_each(|socket| drop(socket.shutdown(how)));
    }

    /// Wakes every thread: what has arrived is still received, then the end of the stream, or nothing.
    pub(super) fn begin_drain(&self, timeout: Duration) {
        let _ = self.drain_ends.set(Instant::now() + timeout);
        self.shutdown(Shutdown::Read);
    }

    /// Waits until all have left. Returns how many had not when the time was over.
    pub(super) fn wait_until_empty(&self, timeout: Duration) -> usize {
        let end = Instant::now() + timeout;
        let mut sockets = self.sockets();
        while !sockets.is_empty() && Instant::now() < end {
            let rest = end.saturating_duration_since(Instant::now());
            sockets = self.left.wait_timeout(sockets, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        sockets.len()
    }
}

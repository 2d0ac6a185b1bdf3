//! What a generator thread leaves behind.

use super::datagram::stats::DatagramStats;
use super::recorder::Recorder;

/// What a thread hands back.
#[derive(Debug)]
pub struct ThreadResult {
    pub recorder: Recorder,
    /// A connection failed because no local port was free (EADDRNOTAVAIL).
    pub ports_exhausted: bool,
    /// The part of the counted window that the thread was running, where it saw all of it.
    pub busy: Option<f64>,
    /// What became of its datagrams.
    pub datagrams: Option<DatagramStats>,
}

impl ThreadResult {
    pub fn new(recorder: Recorder) -> ThreadResult {
        ThreadResult { recorder, ports_exhausted: false, busy: None, datagrams: None }
    }
}

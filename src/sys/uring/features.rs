//! Which io_uring features work here, found by trying them: a version number promises nothing (backports, containers,
//! security modules).

use super::buffers::BufferSettings;
use super::buffers::SendBuffer;
use super::error::RingError;
use super::op::{Descriptor, UserData};
use super::ring::Ring;
use super::setup::{RingSettings, Sqpoll, Taskrun};
use crate::sys::wait::Wait;
use crate::units::Nanos;
use io_uring::{IoUring, opcode};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// One feature and what became of trying it.
#[derive(Debug)]
pub struct Feature {
    /// As shown by `ringmark doctor`.
    pub name: &'static str,
    /// The first kernel that has it.
    pub since: &'static str,
    /// What ringmark gets from it.
    pub gives: &'static str,
    /// Why it does not work here.
    pub outcome: Result<(), String>,
}

type Probe = fn() -> Result<(), String>;

const PROBES: [(&str, &str, &str, Probe); 13] = [
    ("rings", "5.1", "io_uring at all", || ring(&plain()).map(drop)),
    ("COOP_TASKRUN", "5.19", "completions without interrupts", || {
        ring(&RingSettings { taskrun: Taskrun::Coop, ..plain() }).map(drop)
    }),
    ("SINGLE_ISSUER + DEFER_TASKRUN", "6.1", "completions in batches, when asked for", || {
        ring(&RingSettings { taskrun: Taskrun::Defer, ..plain() }).map(drop)
    }),
    ("SQPOLL", "5.11 unprivileged", "submission without a system call", || {
        let sqpoll = Some(Sqpoll { idle: Nanos::from_millis(1), cpu: None });
        ring(&RingSettings { sqpoll, ..plain() }).map(drop)
    }),
    ("direct descriptors", "5.19", "no descriptor-table work", || {
        ring(&RingSettings { direct_slots: 8, ..plain() }).map(drop)
    }),
    ("buffer ring", "5.19", "receive buffers that the kernel picks", || ring(&with_buffers()).map(drop)),
    ("multishot receive", "6.0", "receives without re-arming", || {
        ring(&with_buffers())?.receive_probe(true).map_err(text)
    }),
    ("multishot recvmsg", "6.0", "datagrams without re-arming", || {
        ring(&with_datagrams())?.datagram_receive_probe().map_err(text)
    }),
    ("send to an address", "6.1", "answers to datagrams, straight from the receive buffers", || {
        ring(&with_datagrams())?.datagram_probe().map_err(text)
    }),
    ("multishot accept", "5.19", "accepts without re-arming", accept),
    ("send", "5.6", "answers", send),
    ("recv/send bundles", "6.10", "several buffers per operation", || {
        feature(|uring| uring.params().is_feature_recvsend_bundle())
    }),
    ("SEND_ZC", "6.0", "sends without a copy on a real network card", || operation(opcode::SendZc::CODE)),
];

/// Tries every feature; when io_uring itself does not work, only that.
pub fn features() -> Vec<Feature> {
    let mut tried: Vec<Feature> = Vec::new();
    for (name, since, gives, probe) in PROBES {
        let unusable = tried.first().is_some_and(|rings| rings.outcome.is_err());
        let outcome = if unusable { Err("not tried: io_uring itself does not work here".into()) } else { probe() };
        tried.push(Feature { name, since, gives, outcome });
    }
    tried
}

/// Whether io_uring works here with all that ringmark's engines use by default.
///
/// # Errors
/// What is missing, and what to do about it.
pub fn usable() -> Result<(), RingError> {
    Ring::new(&RingSettings { taskrun: Taskrun::Defer, ..with_buffers() })?.receive_probe(true)
}

fn plain() -> RingSettings {
    RingSettings::default()
}

fn with_buffers() -> RingSettings {
    RingSettings { buffers: Some(BufferSettings { count: 2, size: 4096, max: 2 }), ..plain() }
}

fn with_datagrams() -> RingSettings {
    RingSettings { datagrams: Some(BufferSettings { count: 2, size: 4096, max: 2 }), ..plain() }
}

fn text(error: RingError) -> String {
    error.to_string()
}

fn ring(settings: &RingSettings) -> Result<Ring, String> {
    Ring::new(settings).map_err(text)
}

fn io_text(error: std::io::Error) -> String {
    error.to_string()
}

fn user_data() -> UserData {
    UserData { kind: 1, generation: 0, slot: 0 }
}

/// Runs the one operation of a ring and returns its outcome.
fn outcome(ring: &mut Ring) -> Result<(), String> {
    ring.enter(Wait::AtMost(Nanos::from_secs(2))).map_err(io_text)?;
    let completion = ring.next_completion().ok_or("it did not complete within 2 s")?;
    completion.result.map(drop).map_err(|errno| io_text(errno.into()))
}

fn accept() -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(io_text)?;
    let mut ring = ring(&plain())?;
    ring.accept_multishot(listener.as_raw_fd(), false, user_data());
    let _client = TcpStream::connect(listener.local_addr().map_err(io_text)?).map_err(io_text)?;
    outcome(&mut ring)
}

fn send() -> Result<(), String> {
    let (socket, mut peer) = UnixStream::pair().map_err(io_text)?;
    peer.flush().map_err(io_text)?;
    let mut ring = ring(&plain())?;
    ring.send(Descriptor::Fd(socket.as_raw_fd()), SendBuffer::Static(b"?"), 0..1, user_data());
    outcome(&mut ring)
}

fn feature(has: fn(&IoUring) -> bool) -> Result<(), String> {
    let uring = IoUring::new(8).map_err(io_text)?;
    if has(&uring) { Ok(()) } else { Err("the kernel does not list it".into()) }
}

fn operation(code: u8) -> Result<(), String> {
    let uring = IoUring::new(8).map_err(io_text)?;
    let mut probe = io_uring::Probe::new();
    uring.submitter().register_probe(&mut probe).map_err(io_text)?;
    if probe.is_supported(code) { Ok(()) } else { Err("the kernel does not list the operation".into()) }
}

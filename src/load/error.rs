//! Why a run could not be made: what was tried, on what, why it failed, what to do next.

use super::Config;
use super::thread::WorkerError;
use std::io;

/// No report came out of it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("connecting to {target} (connection {number} of {connections}) failed: {source}; {advice}")]
    Connect { target: String, number: usize, connections: usize, source: io::Error, advice: &'static str },
    #[error(
        "{needed} open files are needed, one per connection, but this process may have only {limit} (RLIMIT_NOFILE); \
         raise the hard limit with ulimit -Hn or ask for fewer --connections"
    )]
    Descriptors { needed: u64, limit: u64 },
    #[error("the CPU time of --server-pid {pid} cannot be read: {source}; name a process that runs")]
    ServerPid { pid: u32, source: io::Error },
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

impl LoadError {
    /// `index` counts from 0.
    pub(super) fn connect(config: &Config, index: usize, source: io::Error) -> LoadError {
        LoadError::Connect {
            target: config.target.to_string(),
            number: index + 1,
            connections: config.all_connections(),
            advice: advice(&source),
            source,
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "nothing listens there: start the server first, or check address and port",
        Some(libc::ENOENT) => "there is no such socket: start the server first, or check the path",
        Some(libc::EACCES | libc::EPERM) => "permission is denied: check the socket's mode, or the firewall",
        Some(libc::EADDRNOTAVAIL | libc::EAGAIN) => {
            "no local port is free: wait a minute, or widen net.ipv4.ip_local_port_range; or the address is not one \
             that can be reached from here"
        }
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => "there is no route to it: check the address",
        Some(libc::EMFILE | libc::ENFILE) => "too many files are open: ask for fewer --connections",
        Some(libc::EPROTOTYPE) => "that socket is of the other kind: unix: is for streams, unixgram: for datagrams",
        Some(libc::ENODEV) => "there is no such network device: see ip link",
        _ if error.kind() == io::ErrorKind::TimedOut => {
            "nobody answered: check the address, a firewall between, and that the server accepts"
        }
        _ => "check the address, and that a server listens there",
    }
}

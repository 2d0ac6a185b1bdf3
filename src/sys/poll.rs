//! Waiting for one or two descriptors (poll(2)), for threads that serve a single connection each.

use crate::units::Nanos;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A descriptor, and what is waited for or has come.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// Before [`wait`]: wait for POLLIN; after it: whether that has come.
    pub readable: bool,
    /// The same for POLLOUT.
    pub writable: bool,
    /// The peer is gone, or there is an error to fetch; waited for in any case.
    pub broken: bool,
}

impl<'a> Watched<'a> {
    /// To wait until it is `readable` or `writable`, as far as these are set.
    pub fn new(fd: BorrowedFd<'a>, readable: bool, writable: bool) -> Watched<'a> {
        Watched { fd, readable, writable, broken: false }
    }
}

/// Waits until an event comes for one of them, or until the timeout (`None`: no limit), and sets the fields of both to what
/// has come (ppoll(2)). A signal ends the wait too.
pub fn wait(watched: &mut [Watched<'_>; 2], timeout: Option<Nanos>) -> io::Result<()> {
    let mut polled = watched.map(|one| {
        let read = if one.readable { libc::POLLIN } else { 0 };
        let write = if one.writable { libc::POLLOUT } else { 0 };
        libc::pollfd { fd: one.fd.as_raw_fd(), events: read | write, revents: 0 }
    });
    let timeout = timeout.map(|time| libc::timespec {
        tv_sec: (time.0 / 1_000_000_000) as libc::time_t,
        tv_nsec: (time.0 % 1_000_000_000) as libc::c_long,
    });
    let time = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the array has as many entries as its length says and outlives the call, and so does the time.
    let count = unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, time, std::ptr::null()) };
    if count < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        polled.iter_mut().for_each(|one| one.revents = 0);
    }
    for (one, polled) in watched.iter_mut().zip(polled) {
        one.broken = polled.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0;
        one.readable = polled.revents & libc::POLLIN != 0;
        one.writable = polled.revents & libc::POLLOUT != 0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_has_come_is_told_apart() {
        let [(a, mut a_peer), (b, b_peer)] = [(); 2].map(|()| UnixStream::pair().unwrap());
        let both = |writable| [Watched::new(a.as_fd(), true, false), Watched::new(b.as_fd(), true, writable)];
        let mut watched = both(false);
        wait(&mut watched, Some(Nanos::from_millis(1))).unwrap();
        assert!(watched.iter().all(|one| !one.readable && !one.writable && !one.broken));
        a_peer.write_all(b"x").unwrap();
        let mut watched = both(true);
        wait(&mut watched, None).unwrap();
        assert!(watched[0].readable && !watched[1].readable && watched[1].writable);
        drop(b_peer);
        let mut watched = both(false);
        wait(&mut watched, None).unwrap();
        assert!(watched[1].broken);
    }
}

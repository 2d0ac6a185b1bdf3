//! epoll(7), made safe: readiness of many descriptors, level-triggered, waits with nanosecond timeouts.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// The kernel turned out to lack epoll_pwait2(2), which came with Linux 5.11.
static WITHOUT_PWAIT2: AtomicBool = AtomicBool::new(false);

/// `struct __kernel_timespec`: 64 bits each on every architecture.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanos: i64,
}

/// An epoll instance. A descriptor leaves it when it is deleted or when its last copy is closed.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

/// Events to wait for on a descriptor. Errors and hang-ups are always reported (EPOLLERR, EPOLLHUP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    bits: u32,
}

impl Interest {
    /// Errors and hang-ups only.
    pub const NONE: Interest = Interest { bits: 0 };
    /// EPOLLIN.
    pub const READ: Interest = Interest { bits: libc::EPOLLIN as u32 };
    /// EPOLLOUT.
    pub const WRITE: Interest = Interest { bits: libc::EPOLLOUT as u32 };

    /// Both sets of events.
    pub const fn and(self, other: Interest) -> Interest {
        Interest { bits: self.bits | other.bits }
    }
}

/// One descriptor's readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The key the descriptor was added with.
    pub key: u64,
    bits: u32,
}

impl Ready {
    /// A read will not block: there is data, the stream's end, or an error to fetch.
    pub fn readable(self) -> bool {
        self.bits & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }

    /// The peer is gone, or there is an error to fetch.
    pub fn broken(self) -> bool {
        self.bits & (libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }

    /// A write will not block: there is room, or an error to fetch.
    pub fn writable(self) -> bool {
        self.bits & (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }
}

/// Room for what one wait returns.
pub struct Events {
    room: Vec<libc::epoll_event>,
    filled: usize,
}

impl Events {
    fn room(&self) -> i32 {
        i32::try_from(self.room.len()).unwrap_or(i32::MAX)
    }

    /// At most `capacity` descriptors are reported per wait (at least one); the others follow with the next wait.
    pub fn with_capacity(capacity: usize) -> Events {
        Events { room: vec![libc::epoll_event { events: 0, u64: 0 }; capacity.max(1)], filled: 0 }
    }

    /// What the last wait returned.
    pub fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        self.room[..self.filled].iter().map(|event| Ready { key: event.u64, bits: event.events })
    }
}

impl Epoll {
    /// An epoll instance without descriptors (epoll_create1(2)).
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: a plain system call without pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        Ok(Epoll { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Begins to watch a descriptor; its events carry `key`.
    pub fn add(&self, fd: impl AsFd, interest: Interest, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest, key)
    }

    /// Replaces interest and key of a descriptor that was added.
    pub fn modify(&self, fd: impl AsFd, interest: Interest, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest, key)
    }

    /// Stops watching a descriptor.
    pub fn delete(&self, fd: impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, Interest::NONE, 0)
    }

    fn control(&self, operation: i32, fd: impl AsFd, interest: Interest, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.bits, u64: key };
        // SAFETY: both descriptors are borrowed and so open; the kernel reads one epoll_event, a local.
        match unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd.as_fd().as_raw_fd(), &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits until a descriptor is ready or the timeout passed (`None`: no timeout) and returns how many are ready.
    /// A signal ends the wait early with 0. Before Linux 5.11 timeouts are rounded up to whole milliseconds.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        events.filled = 0;
        let outcome = match WITHOUT_PWAIT2.load(Relaxed) {
            true => self.wait_millis(events, timeout),
            false => match self.wait_nanos(events, timeout) {
                // Sandboxes answer EPERM to calls that they do not know; the call itself never does.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    WITHOUT_PWAIT2.store(true, Relaxed);
                    self.wait_millis(events, timeout)
                }
                outcome => outcome,
            },
        };
        match outcome {
            Ok(count) => events.filled = count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(events.filled)
    }

    /// epoll_pwait2(2), as a bare system call: glibc has a function for it only since 2.35.
    fn wait_nanos(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(|timeout| KernelTimespec {
            seconds: timeout.as_secs().min(i64::MAX as u64) as i64,
            nanos: timeout.subsec_nanos().into(),
        });
        let timeout: *const KernelTimespec = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let no_mask: *const libc::sigset_t = std::ptr::null();
        // SAFETY: the kernel writes at most `room()` events to the vector, which has that many, and reads one timespec
        // of its own form that outlives the call; no signal mask is given.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                events.room.as_mut_ptr(),
                events.room(),
                timeout,
                no_mask,
                0usize,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// epoll_wait(2).
    fn wait_millis(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        let (room, timeout) = (events.room(), millis(timeout));
        // SAFETY: the kernel writes at most `room` events to the vector, which has that many.
        let count = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.room.as_mut_ptr(), room, timeout) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}

/// Rounded up, so that a wait is never shorter than asked for; -1 is no timeout.
fn millis(timeout: Option<Duration>) -> i32 {
    timeout.map_or(-1, |timeout| timeout.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    const SOON: Option<Duration> = Some(Duration::from_nanos(1));

    #[test]
    fn readiness_follows_interest_and_data() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let epoll = Epoll::new().unwrap();
        let mut events = Events::with_capacity(8);
        epoll.add(&a, Interest::READ, 7).unwrap();
        assert_eq!(epoll.wait(&mut events, SOON).unwrap(), 0);

        b.write_all(b"x").unwrap();
        assert_eq!(epoll.wait(&mut events, None).unwrap(), 1);
        let ready = events.iter().next().unwrap();
        assert_eq!((ready.key, ready.readable(), ready.writable()), (7, true, false));

        epoll.modify(&a, Interest::READ.and(Interest::WRITE), 8).unwrap();
        epoll.wait(&mut events, None).unwrap();
        let ready = events.iter().next().unwrap();
        assert_eq!((ready.key, ready.readable(), ready.writable()), (8, true, true));

        epoll.delete(&a).unwrap();
        assert_eq!(epoll.wait(&mut events, SOON).unwrap(), 0);
        assert_eq!(events.iter().count(), 0);
    }

    #[test]
    fn a_hang_up_is_told_without_interest() {
        let (a, b) = UnixStream::pair().unwrap();
        let epoll = Epoll::new().unwrap();
        let mut events = Events::with_capacity(1);
        epoll.add(&a, Interest::NONE, 1).unwrap();
        drop(b);
        assert_eq!(epoll.wait(&mut events, None).unwrap(), 1);
        assert!(events.iter().all(|ready| ready.readable() && ready.writable()));
    }

    type Wait = fn(&Epoll, &mut Events, Option<Duration>) -> io::Result<usize>;

    #[test]
    fn both_ways_to_wait_do_the_same() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(&a, Interest::READ, 7).unwrap();
        let waits: [Wait; 2] = [Epoll::wait_millis, Epoll::wait_nanos];
        for wait in waits {
            let mut events = Events::with_capacity(8);
            let begun = Instant::now();
            match wait(&epoll, &mut events, Some(Duration::from_micros(2_500))) {
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => continue,
                outcome => assert_eq!(outcome.unwrap(), 0),
            }
            assert!(begun.elapsed() >= Duration::from_micros(2_500));
        }
        b.write_all(b"x").unwrap();
        for wait in waits {
            let mut events = Events::with_capacity(8);
            match wait(&epoll, &mut events, None) {
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => continue,
                outcome => events.filled = outcome.unwrap(),
            }
            assert_eq!(events.iter().map(|ready| ready.key).collect::<Vec<_>>(), [7]);
        }
    }

    #[test]
    fn milliseconds_are_rounded_up() {
        let of = |nanos| millis(Some(Duration::from_nanos(nanos)));
        assert_eq!([0, 1, 1_000_000, 1_000_001].map(of), [0, 1, 1, 2]);
        assert_eq!((millis(None), millis(Some(Duration::MAX))), (-1, i32::MAX));
    }
}

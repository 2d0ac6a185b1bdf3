//! What socket2 does not offer: options of any kind, accepting with flags in one system call, a place in tokio's reactor,
//! and telling errors that are none.

use socket2::Socket;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Whether a new socket's calls wait or return EWOULDBLOCK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// The call waits.
    Yes,
    /// The call returns `WouldBlock` instead of waiting.
    No,
}

/// Whether a call may simply be made again: it would have waited, or a signal interrupted it.
pub fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Sets an option that the kernel reads a plain value for (setsockopt(2)).
pub(in crate::sys) fn set_option<T: Copy>(
    socket: &Socket,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the socket is open, and the kernel reads `len` bytes from a value of that size.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Receives what has arrived at a socket whose calls otherwise wait (recv(2), MSG_DONTWAIT).
pub fn receive_without_waiting(socket: &Socket, room: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the socket is open, and the kernel writes at most as many bytes as the slice has.
    let count = unsafe { libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Accepts a connection (accept4(2)), close-on-exec.
pub fn accept(listener: &Socket, blocking: Blocking) -> io::Result<Socket> {
    let flags = libc::SOCK_CLOEXEC | if blocking == Blocking::No { libc::SOCK_NONBLOCK } else { 0 };
    let nothing = std::ptr::null_mut();
    // SAFETY: the listener is open; with null pointers the kernel writes no address.
    match unsafe { libc::accept4(listener.as_raw_fd(), nothing, std::ptr::null_mut(), flags) } {
        // SAFETY: a new descriptor that nobody else owns.
        fd @ 0.. => Ok(unsafe { Socket::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Watches a non-blocking socket for readability in the tokio runtime that the calling code runs in.
pub fn watch(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: the AsyncFd owns the socket, which keeps its one descriptor open for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}

/// Waits until there is room to send, in the tokio runtime that the calling code runs in.
pub async fn wait_until_writable(socket: &Socket) -> io::Result<()> {
    let copy = socket.try_clone()?;
    // SAFETY: the AsyncFd owns the copy, which keeps its one descriptor open for as long as it lives.
    let watched = unsafe { AsyncFd::register_with_interest(copy, Interest::WRITABLE) }?;
    watched.writable().await.map(drop)
}

//! What every peer has in common, so that none differs in it: the argument, the socket and the sizes.

use socket2::{Domain, Protocol, Socket, Type};
use std::{
    env, io,
    net::{SocketAddr, TcpListener},
    num::NonZero,
    process,
    time::Duration,
};

/// Connections waiting to be accepted; the kernel lowers it to `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// One receive buffer: each connection has its own, or takes one from a shared ring of [`BUFFERS`].
pub const BUFFER_BYTES: usize = 32 * 1024;

/// Buffers in a ring that all connections share, a power of two: 16 MiB in all.
pub const BUFFERS: NonZero<u16> = NonZero::new(512).unwrap();

/// The pause after a failed accept. Descriptors ran out, most likely; one is freed when a connection ends.
pub const RETRY_ACCEPT: Duration = Duration::from_millis(10);

/// The one argument, `IP:PORT`. Anything else ends the process with exit code 2.
pub fn address() -> SocketAddr {
    let mut arguments = env::args();
    let name = arguments.next().unwrap_or_default();
    let (first, more) = (arguments.next(), arguments.next());
    match first.as_deref().map(str::parse) {
        Some(Ok(address)) if more.is_none() => address,
        Some(Err(_)) if more.is_none() => {
            fail(2, &format!("'{}' is not IP:PORT, as in 127.0.0.1:7000", first.unwrap_or_default()))
        }
        _ => fail(2, &format!("usage: {name} IP:PORT")),
    }
}

/// A listening socket. Accepted sockets inherit TCP_NODELAY from it, which saves a system call each.
///
/// It is a blocking one, as the io_uring runtimes expect; the others change that.
pub fn listen(address: SocketAddr) -> TcpListener {
    open(address).unwrap_or_else(|error| fail(1, &format!("cannot listen on {address}: {error}")))
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Says why on standard error and ends the process.
pub fn fail(code: i32, why: &str) -> ! {
    eprintln!("{why}");
    process::exit(code)
}

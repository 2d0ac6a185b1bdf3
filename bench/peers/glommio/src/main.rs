//! The echo server on glommio: one executor on this thread, io_uring for readiness.

use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use glommio::{
    LocalExecutorBuilder, Placement,
    net::{TcpListener, TcpStream},
    timer,
};
use peer_common::{BUFFER_BYTES, RETRY_ACCEPT, address, fail, listen};
use std::{
    io, net,
    os::fd::{FromRawFd, IntoRawFd},
};

fn main() {
    let listener = listen(address());
    // Unbound keeps the affinity that the caller gave this thread.
    match LocalExecutorBuilder::new(Placement::Unbound).make() {
        Ok(executor) => executor.run(serve(listener)),
        Err(error) => fail(1, &format!("glommio: {error}")),
    }
}

async fn serve(listener: net::TcpListener) {
    // SAFETY: the descriptor is a listening socket, and nothing else owns it any more.
    let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
    loop {
        match listener.accept().await {
            Ok(stream) => drop(glommio::spawn_local(echo(stream)).detach()),
            Err(_) => timer::sleep(RETRY_ACCEPT).await,
        }
    }
}

/// Ends when the client has sent everything, or with the error of a connection that broke.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}

//! The echo server on tokio: one thread, epoll.

use peer_common::{BUFFER_BYTES, RETRY_ACCEPT, address, fail, listen};
use std::{io, net};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime, task, time,
};

fn main() {
    let listener = listen(address());
    let serving = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(listener)));
    if let Err(error) = serving {
        fail(1, &format!("tokio: {error}"));
    }
}

async fn serve(listener: net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(task::spawn(echo(stream))),
            Err(_) => time::sleep(RETRY_ACCEPT).await,
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

//! The echo server on monoio: one thread, its io_uring driver.

use io_uring::IoUring;
use monoio::{
    IoUringDriver, RuntimeBuilder,
    io::{AsyncReadRent, AsyncWriteRentExt},
    net::{TcpListener, TcpStream},
    time,
};
use peer_common::{BUFFER_BYTES, RETRY_ACCEPT, address, fail, listen};
use std::{io, net};

fn main() {
    let listener = listen(address());
    // Not monoio's default; it measured about a tenth less CPU per message.
    let mut ring = IoUring::builder();
    ring.setup_single_issuer().setup_coop_taskrun();
    let serving = RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(ring)
        .enable_timer()
        .build()
        .and_then(|mut runtime| runtime.block_on(serve(listener)));
    if let Err(error) = serving {
        fail(1, &format!("monoio: {error}"));
    }
}

async fn serve(listener: net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(monoio::spawn(echo(stream))),
            Err(_) => time::sleep(RETRY_ACCEPT).await,
        }
    }
}

/// Ends when the client has sent everything, or with the error of a connection that broke.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, used) = stream.write_all(filled).await;
        written?;
        buffer = used;
        buffer.clear();
    }
}

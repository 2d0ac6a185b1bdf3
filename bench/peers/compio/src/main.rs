//! The echo server on compio: one thread, its io_uring driver, multishot receive into provided buffers.

use compio::{
    BufResult,
    driver::ProactorBuilder,
    io::{AsyncRead, AsyncReadMulti, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{self, RuntimeBuilder},
    time,
};
use futures_util::StreamExt;
use peer_common::{BUFFER_BYTES, BUFFERS, RETRY_ACCEPT, address, fail, listen};
use std::{io, net, pin::pin};

fn main() {
    let listener = listen(address());
    let mut proactor = ProactorBuilder::new();
    proactor.single_issuer(true).defer_taskrun(true).taskrun_flag(true);
    proactor.buffer_pool_size(BUFFERS).buffer_pool_buffer_len(BUFFER_BYTES);
    let serving =
        RuntimeBuilder::new().with_proactor(proactor).build().and_then(|runtime| runtime.block_on(serve(listener)));
    if let Err(error) = serving {
        fail(1, &format!("compio: {error}"));
    }
}

async fn serve(listener: net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => runtime::spawn(echo(stream)).detach(),
            Err(_) => time::sleep(RETRY_ACCEPT).await,
        }
    }
}

/// Ends when the client has sent everything, or with the error of a connection that broke.
async fn echo(stream: TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = (&stream, &stream);
    let mut received = pin!(reader.read_multi(0));
    while let Some(next) = received.next().await {
        match next {
            Ok(buffer) => writer.write_all(buffer).await.0?,
            // Other connections hold every provided buffer, which ended the multishot receive. The stream starts
            // another when asked again; one receive into memory of our own keeps that from becoming a busy loop.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                let BufResult(read, filled) = (&stream).read(Vec::with_capacity(BUFFER_BYTES)).await;
                if read? == 0 {
                    return Ok(());
                }
                writer.write_all(filled).await.0?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

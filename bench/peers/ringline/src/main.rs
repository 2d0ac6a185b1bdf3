//! The echo server on ringline: one worker, multishot receive into a ring of provided buffers.

use peer_common::{BACKLOG, BUFFER_BYTES, BUFFERS, address, fail};
use ringline::{AsyncEventHandler, ConfigBuilder, ConnCtx, Error, ParseResult, RinglineBuilder};
use std::{io, net::SocketAddr};

/// One slot of the send pool each, so that the pool cannot run out.
const CONNECTIONS: u16 = 16_000;

fn main() {
    if let Err(error) = serve(address()) {
        fail(1, &format!("ringline: {error}"));
    }
}

fn serve(address: SocketAddr) -> Result<(), Error> {
    let buffer_bytes = BUFFER_BYTES as u32;
    let config = ConfigBuilder::new()
        .workers(1)
        // Pinning would choose the first core of the machine; without it the worker inherits the affinity.
        .pin_to_core(false)
        .backlog(BACKLOG)
        .tcp_nodelay(true)
        .max_connections(CONNECTIONS.into())
        .accept_queue_capacity(CONNECTIONS.into())
        .recv_buffer(BUFFERS.get(), buffer_bytes)
        .send_pool(CONNECTIONS, buffer_bytes)
        .sq_entries(1024)
        // Nothing here needs the tick that would wake an idle worker every millisecond, nor the helper threads.
        .tick_timeout_us(0)
        .resolver_threads(0)
        .spawner_threads(0)
        .blocking_threads(0)
        .disk_io_threads(0)
        .build()?;
    let (_shutdown, workers) = RinglineBuilder::new(config).bind(address).launch::<Echo>()?;
    workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
}

struct Echo;

impl AsyncEventHandler for Echo {
    fn create_for_worker(_worker: usize) -> Self {
        Self
    }

    fn on_accept(&self, connection: ConnCtx) -> impl Future<Output = ()> + 'static {
        echo(connection)
    }
}

/// Ends when the client has sent everything, or with the error of a connection that broke.
async fn echo(connection: ConnCtx) {
    while let Ok(1..) = echo_some(&connection).await {}
}

/// Answers straight out of the receive buffer and waits until that is sent.
///
/// ringline has calls that save the copy into the send pool. `run_direct_echo` mixes up bytes once a second receive
/// finds the first answer still under way (0.6.12); the others measured no faster.
async fn echo_some(connection: &ConnCtx) -> io::Result<usize> {
    let mut sending = None;
    let length = connection
        .with_data(|data| {
            let part = &data[..data.len().min(BUFFER_BYTES)];
            sending = (!part.is_empty()).then(|| connection.send(part));
            ParseResult::Consumed(part.len())
        })
        .await;
    if let Some(sending) = sending {
        sending?.await?;
    }
    Ok(length)
}

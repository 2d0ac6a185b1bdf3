//! One connection as a task: whatever can go on does, sending while it receives and receiving while it sends.

use crate::engine::conversation::SENDS_PER_TURN;
use crate::engine::stats::SharedStats;
use crate::engine::task::ConnectionTask;
use crate::engine::task_timer::TaskTimer;
use crate::engine::task_wake::TaskWake;
use crate::protocol::Session;
use crate::sys::send_buffer::{Filled, MAX_SEGMENTS, io_slices};
use socket2::SockRef;
use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::futures::OwnedNotified;

/// A connection, and all that its task needs.
pub(super) struct Connection<S: Session> {
    task: ConnectionTask<S, TaskWake>,
    shared_stats: Arc<SharedStats>,
    timer: TaskTimer,
}

/// A step of a connection's task: whether anything came of it.
type Step = io::Result<bool>;

impl<S: Session> Connection<S> {
    pub(super) fn new(task: ConnectionTask<S, TaskWake>, shared_stats: Arc<SharedStats>) -> Connection<S> {
        Connection { task, shared_stats, timer: TaskTimer::default() }
    }

    /// Serves it to its end.
    pub(super) async fn serve<T>(&mut self, mut stream: T, drained: OwnedNotified) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + AsFd + Unpin,
    {
        tokio::pin!(drained);
        let mut draining = false;
        self.task.tell(|conversation, context| conversation.begin(context));
        poll_fn(|context| {
            if !draining && drained.as_mut().poll(context).is_ready() {
                draining = true;
                // It fails where both ends have closed already, or the peer has reset it; receiving tells which.
                let _ = SockRef::from(&stream).shutdown(Shutdown::Read);
            }
            self.poll(&mut stream, context)
        })
        .await
    }

    /// The connection is over.
    pub(super) fn finish(self, failed: bool) {
        self.shared_stats.add_alone(&self.task.finish(failed));
    }

    fn poll<T>(&mut self, stream: &mut T, context: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncRead + AsyncWrite + AsFd + Unpin,
    {
        self.task.refresh();
        loop {
            self.task.mailbox.iter().for_each(|mailbox| mailbox.wake.register(context));
            let mut progress = self.task.take_deliveries();
            progress |= self.send(stream, context)?;
            if self.task.conversation.wants_shutdown() {
                let _ = SockRef::from(&*stream).shutdown(Shutdown::Write);
                self.task.tell(|conversation, context| conversation.shut_down(context.cx.now));
            }
            if self.task.conversation.finished() {
                return Poll::Ready(Ok(()));
            }
            progress |= self.receive(stream, context)?;
            progress |= self.timer.check(&mut self.task, context);
            if !progress {
                self.shared_stats.add_alone(&self.task.take_stats());
                return Poll::Pending;
            }
        }
    }

    fn receive<T: AsyncRead + Unpin>(&mut self, stream: &mut T, context: &mut Context<'_>) -> Step {
        if !self.task.conversation.wants_receive() {
            return Ok(false);
        }
        let mut vector = self.task.context.buffers.buffer();
        let mut room = ReadBuf::new(&mut vector);
        let polled = Pin::new(stream).poll_read(context, &mut room);
        let len = room.filled().len();
        match polled {
            Poll::Ready(Ok(())) if len > 0 => {
                self.task.tell(|conversation, context| conversation.received(Filled { vector, len }, context));
                return Ok(true);
            }
            Poll::Ready(Ok(())) => self.task.tell(|conversation, context| conversation.receive_ended(context)),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {}
        }
        self.task.context.buffers.put(vector);
        Ok(polled.is_ready())
    }

    /// Sends until nothing is left, the socket takes no more, or it is time to look whether anything has come.
    fn send<T: AsyncWrite + Unpin>(&mut self, stream: &mut T, context: &mut Context<'_>) -> Step {
        let mut progress = false;
        for _ in 0..SENDS_PER_TURN {
            let mut segments = std::mem::take(&mut self.task.context.segments);
            self.task.conversation.next_sends(MAX_SEGMENTS, &mut segments);
            if segments.is_empty() {
                self.task.context.segments = segments;
                return Ok(progress);
            }
            let parts = io_slices(&segments, Filled::bytes);
            let polled = match segments.len() {
                1 => Pin::new(&mut *stream).poll_write(context, &parts[0]),
                count => Pin::new(&mut *stream).poll_write_vectored(context, &parts[..count]),
            };
            let sent = if let Poll::Ready(Ok(sent)) = polled { sent } else { 0 };
            self.task.tell(|conversation, context| conversation.all_sent(&mut segments, sent, context));
            self.task.context.segments = segments;
            match polled {
                Poll::Ready(result) => progress |= result? > 0,
                Poll::Pending => return Ok(progress),
            }
        }
        Ok(progress)
    }
}

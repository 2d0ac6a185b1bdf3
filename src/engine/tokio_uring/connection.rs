//! One connection as a task: a read and a write, each owning its buffer, are under way side by side.

use crate::engine::stats::SharedStats;
use crate::engine::task::ConnectionTask;
use crate::engine::task_timer::TaskTimer;
use crate::engine::task_wake::TaskWake;
use crate::protocol::Session;
use crate::sys::send_buffer::{Filled, Segment};
use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_uring::BufResult;
use tokio_uring::net::TcpStream;

/// A connection, and all that its task needs.
pub(super) struct Connection<S: Session> {
    stream: Rc<TcpStream>,
    task: ConnectionTask<S, TaskWake>,
    shared_stats: Arc<SharedStats>,
    timer: TaskTimer,
}

async fn read(stream: Rc<TcpStream>, room: Vec<u8>) -> BufResult<usize, Vec<u8>> {
    stream.read(room).await
}

async fn write(stream: Rc<TcpStream>, segment: Segment<Filled>) -> BufResult<usize, Segment<Filled>> {
    stream.write(segment).submit().await
}

impl<S: Session> Connection<S> {
    pub(super) fn new(
        stream: Rc<TcpStream>,
        task: ConnectionTask<S, TaskWake>,
        shared_stats: Arc<SharedStats>,
    ) -> Connection<S> {
        Connection { stream, task, shared_stats, timer: TaskTimer::default() }
    }

    /// Serves it to its end.
    pub(super) async fn serve(mut self) {
        self.task.tell(|conversation, context| conversation.begin(context));
        let ended = self.run().await;
        self.shared_stats.add_alone(&self.task.finish(ended.is_err()));
    }

    async fn run(&mut self) -> io::Result<()> {
        let (mut reading, mut writing) = (pin!(None), pin!(None));
        let ended = poll_fn(|context| {
            self.task.refresh();
            loop {
                self.task.mailbox.iter().for_each(|mailbox| mailbox.wake.register(context));
                let mut progress = self.task.take_deliveries();
                if writing.is_none()
                    && let Some(segment) = self.task.conversation.next_send()
                {
                    writing.set(Some(write(self.stream.clone(), segment)));
                }
                progress |= self.poll_write(&mut writing, context)?;
                if self.task.conversation.wants_shutdown() {
                    let _ = self.stream.shutdown(Shutdown::Write);
                    self.task.tell(|conversation, context| conversation.shut_down(context.cx.now));
                }
                if self.task.conversation.finished() {
                    return Poll::Ready(Ok(()));
                }
                if reading.is_none() && self.may_read(writing.is_some()) {
                    let room = self.task.context.buffers.buffer();
                    reading.set(Some(read(self.stream.clone(), room)));
                }
                progress |= self.poll_read(&mut reading, context)?;
                progress |= self.timer.check(&mut self.task, context);
                if !progress {
                    self.shared_stats.add_alone(&self.task.take_stats());
                    return Poll::Pending;
                }
            }
        })
        .await;
        // What is still under way ends by that. It keeps the socket open, and owns memory that the kernel may touch.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(reading) = reading.as_mut().as_pin_mut() {
            drop(reading.await);
        }
        if let Some(writing) = writing.as_mut().as_pin_mut() {
            drop(writing.await);
        }
        ended
    }

    /// Whether to begin a read. Where only input brings answers about, it waits for the answer before to be sent: then it is
    /// likelier to find its data there, and the kernel need not watch the socket for it.
    fn may_read(&self, writes: bool) -> bool {
        let conversation = &self.task.conversation;
        let at_once = !writes || conversation.speaks_unasked() || self.task.mailbox.is_some();
        at_once && conversation.wants_receive()
    }

    fn poll_write<F>(&mut self, writing: &mut Pin<&mut Option<F>>, context: &mut Context<'_>) -> io::Result<bool>
    where
        F: Future<Output = BufResult<usize, Segment<Filled>>>,
    {
        let Some(future) = writing.as_mut().as_pin_mut() else { return Ok(false) };
        let Poll::Ready((result, segment)) = future.poll(context) else { return Ok(false) };
        writing.set(None);
        let sent = *result.as_ref().unwrap_or(&0);
        self.task.tell(|conversation, context| conversation.sent(segment, sent, context));
        result.map(|_| true)
    }

    fn poll_read<F>(&mut self, reading: &mut Pin<&mut Option<F>>, context: &mut Context<'_>) -> io::Result<bool>
    where
        F: Future<Output = BufResult<usize, Vec<u8>>>,
    {
        let Some(future) = reading.as_mut().as_pin_mut() else { return Ok(false) };
        let Poll::Ready((result, vector)) = future.poll(context) else { return Ok(false) };
        reading.set(None);
        match result? {
            0 => {
                self.task.context.buffers.put(vector);
                self.task.tell(|conversation, context| conversation.receive_ended(context));
            }
            len => self.task.tell(|conversation, context| conversation.received(Filled { vector, len }, context)),
        }
        Ok(true)
    }
}

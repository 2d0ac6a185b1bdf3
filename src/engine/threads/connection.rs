//! One connection and its thread: receive, send what that brought, until the end. It waits in a plain receive for as long
//! as nothing else can happen; otherwise in poll(2), so that it receives while the peer does not read, and sends while the
//! peer says nothing.

use crate::engine::conversation::SENDS_PER_TURN;
use crate::engine::hub::Wake;
use crate::engine::stats::SharedStats;
use crate::engine::task::ConnectionTask;
use crate::protocol::Session;
use crate::sys::poll::{self, Watched};
use crate::sys::send_buffer::{Filled, MAX_SEGMENTS, io_slices};
use crate::sys::socket::{self, Blocking, is_transient};
use socket2::Socket;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Wakes a thread that waits in poll(2).
pub(super) struct ThreadWake {
    sender: UnixStream,
    receiver: UnixStream,
}

impl ThreadWake {
    fn clear(&self) {
        let _ = (&self.receiver).read(&mut [0; 64]);
    }
}

impl Wake for ThreadWake {
    fn new() -> io::Result<ThreadWake> {
        let (sender, receiver) = UnixStream::pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        Ok(ThreadWake { sender, receiver })
    }

    fn wake(&self) {
        // When it is full the thread has been woken already.
        let _ = (&self.sender).write(&[1]);
    }
}

/// A connection, and all that its thread needs.
pub(super) struct Connection<S: Session> {
    socket: Arc<Socket>,
    task: ConnectionTask<S, ThreadWake>,
    shared_stats: Arc<SharedStats>,
}

impl<S: Session> Connection<S> {
    pub(super) fn new(
        socket: Arc<Socket>,
        task: ConnectionTask<S, ThreadWake>,
        shared_stats: Arc<SharedStats>,
    ) -> Connection<S> {
        Connection { socket, task, shared_stats }
    }

    /// Serves it to its end.
    pub(super) fn run(mut self) {
        self.task.tell(|conversation, context| conversation.begin(context));
        let ended = loop {
            match self.turn() {
                Ok(true) => {}
                ended => break ended,
            }
        };
        self.shared_stats.add(&self.task.finish(ended.is_err()));
    }

    /// Sends what there is, then waits and receives. `false` at the end.
    fn turn(&mut self) -> io::Result<bool> {
        self.send()?;
        if self.task.conversation.wants_shutdown() {
            let _ = self.socket.shutdown(Shutdown::Write);
            self.task.tell(|conversation, context| conversation.shut_down(context.cx.now));
        }
        if self.task.conversation.finished() {
            return Ok(false);
        }
        self.shared_stats.add(&self.task.take_stats());
        match self.only_receives() {
            true => self.receive(Blocking::Yes)?,
            false => self.wait()?,
        }
        Ok(true)
    }

    fn only_receives(&self) -> bool {
        let conversation = &self.task.conversation;
        let receives = conversation.wants_receive() && !conversation.has_unsent();
        receives && conversation.deadline().is_none() && self.task.mailbox.is_none()
    }

    /// Waits for anything that may happen, and does what follows.
    fn wait(&mut self) -> io::Result<()> {
        let conversation = &self.task.conversation;
        let (receives, sends) = (conversation.wants_receive(), conversation.has_unsent());
        let socket = self.socket.clone();
        let mailbox = self.task.mailbox.clone();
        let wake = mailbox.as_ref().map_or(socket.as_fd(), |mailbox| mailbox.wake.receiver.as_fd());
        let mut watched = [Watched::new(socket.as_fd(), receives, sends), Watched::new(wake, mailbox.is_some(), false)];
        poll::wait(&mut watched, self.task.time_left())?;
        self.task.refresh();
        let [of_socket, of_wake] = watched;
        if of_wake.readable
            && let Some(mailbox) = &mailbox
        {
            mailbox.wake.clear();
            self.task.take_deliveries();
        }
        self.task.check_deadline();
        match of_socket.readable || of_socket.broken {
            true if receives => self.receive(Blocking::No),
            // Nobody is there to send to, and nothing else would tell.
            true if of_socket.broken && !sends => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, blocking: Blocking) -> io::Result<()> {
        let mut vector = self.task.context.buffers.buffer();
        let received = match blocking {
            Blocking::Yes => (&*self.socket).read(&mut vector),
            Blocking::No => socket::receive_without_waiting(&self.socket, &mut vector),
        };
        self.task.refresh();
        match received {
            Ok(0) => self.task.tell(|conversation, context| conversation.receive_ended(context)),
            Ok(len) => {
                self.task.tell(|conversation, context| conversation.received(Filled { vector, len }, context));
                return Ok(());
            }
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        self.task.context.buffers.put(vector);
        Ok(())
    }

    /// Sends until nothing is left, the socket takes no more, or it is time to look whether anything has come.
    fn send(&mut self) -> io::Result<()> {
        for _ in 0..SENDS_PER_TURN {
            let mut segments = std::mem::take(&mut self.task.context.segments);
            self.task.conversation.next_sends(MAX_SEGMENTS, &mut segments);
            if segments.is_empty() {
                self.task.context.segments = segments;
                return Ok(());
            }
            let parts = io_slices(&segments, Filled::bytes);
            let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
            let result = match segments.len() {
                1 => self.socket.send_with_flags(&parts[0], flags),
                count => self.socket.send_vectored_with_flags(&parts[..count], flags),
            };
            let sent = *result.as_ref().unwrap_or(&0);
            self.task.tell(|conversation, context| conversation.all_sent(&mut segments, sent, context));
            self.task.context.segments = segments;
            match result {
                Ok(_) => {}
                Err(error) if is_transient(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

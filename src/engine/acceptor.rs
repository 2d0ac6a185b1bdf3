//! Accepting and the inbox on a tokio runtime: what the `tokio` and `tokio-uring` engines share.

use super::hub::Hub;
use super::shard::{Inbox, Listener, Message, Placement};
use super::task_wake::TaskWake;
use super::{ACCEPT_BACKOFF, EngineError, is_accept_backoff};
use crate::sys::socket::{self, Blocking};
use socket2::Socket;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::unix::AsyncFd;

/// The listeners and the inbox of a shard, within a tokio runtime.
pub(super) struct Acceptor {
    listeners: Vec<(AsyncFd<Socket>, usize)>,
    inbox: Inbox,
    wake: AsyncFd<Socket>,
    messages: VecDeque<Message>,
    hub: Arc<Hub<TaskWake>>,
    placement: Placement,
    /// Whether the engine wants sockets whose calls wait.
    blocking: Blocking,
}

impl Acceptor {
    /// Must be called within the runtime.
    pub(super) fn new(
        listeners: Vec<Listener>,
        inbox: Inbox,
        placement: Placement,
        hub: Arc<Hub<TaskWake>>,
        blocking: Blocking,
    ) -> Result<Acceptor, EngineError> {
        let registered = || -> io::Result<_> {
            inbox.wake.set_nonblocking(true)?;
            let wake = socket::watch(OwnedFd::from(inbox.wake.try_clone()?).into())?;
            let watch = |listener: Listener| -> io::Result<_> {
                listener.socket.set_nonblocking(true)?;
                Ok((socket::watch(listener.socket)?, listener.number))
            };
            Ok((wake, listeners.into_iter().map(watch).collect::<io::Result<Vec<_>>>()?))
        };
        let (wake, listeners) = registered().map_err(EngineError::io("registering listeners with the runtime"))?;
        Ok(Acceptor { listeners, inbox, wake, messages: VecDeque::new(), hub, placement, blocking })
    }

    /// Waits for the next connection to serve here, and the number of its endpoint; `None` when the drain begins.
    /// Meanwhile it delivers what other shards publish.
    pub(super) async fn next(&mut self) -> Option<(Socket, usize)> {
        loop {
            match poll_fn(|context| self.poll(context)).await {
                Ok(incoming) => return incoming,
                // Descriptors ran out: trying again at once would only spin.
                Err(_) => tokio::time::sleep(ACCEPT_BACKOFF.duration()).await,
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<(Socket, usize)>>> {
        if let Some(incoming) = self.poll_inbox(context) {
            return Poll::Ready(Ok(incoming));
        }
        for index in 0..self.listeners.len() {
            while let Poll::Ready(accepted) = self.poll_accept(context, index)? {
                let listener = self.listeners[index].1;
                if let Some(socket) = accepted.and_then(|socket| self.placement.place(socket, listener)) {
                    return Poll::Ready(Ok(Some((socket, listener))));
                }
            }
        }
        Poll::Pending
    }

    /// A connection that another shard accepted, `Some(None)` for the drain, or nothing yet.
    fn poll_inbox(&mut self, context: &mut Context<'_>) -> Option<Option<(Socket, usize)>> {
        loop {
            match self.messages.pop_front() {
                Some(Message::Drain) => return Some(None),
                // Accepted by a shard of the same engine, so with the same `blocking`.
                Some(Message::Connection { socket, listener }) => return Some(Some((socket, listener))),
                Some(Message::Published(publications)) => self.hub.deliver(&publications),
                None => {
                    let Poll::Ready(Ok(mut guard)) = self.wake.poll_read_ready(context) else { return None };
                    guard.clear_ready();
                    self.messages.extend(self.inbox.read());
                }
            }
        }
    }

    /// A connection, a failed attempt at one (`None`), or nothing yet. An error when descriptors ran out.
    fn poll_accept(&self, context: &mut Context<'_>, index: usize) -> io::Result<Poll<Option<Socket>>> {
        let listener = &self.listeners[index].0;
        let Poll::Ready(Ok(mut guard)) = listener.poll_read_ready(context) else { return Ok(Poll::Pending) };
        match socket::accept(listener.get_ref(), self.blocking) {
            Ok(socket) => Ok(Poll::Ready(Some(socket))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                guard.clear_ready();
                Ok(Poll::Ready(None))
            }
            Err(error) if error.raw_os_error().is_some_and(is_accept_backoff) => Err(error),
            Err(_) => Ok(Poll::Ready(None)),
        }
    }
}

//! A connection that has a thread or task of its own: its conversation, and what a shard would lend to it.

use super::buffers::{ShardContext, VectorBuffers};
use super::conversation::Conversation;
use super::hub::{Hub, Mailbox, Wake};
use super::stats::Stats;
use crate::clock::Clock;
use crate::protocol::{Cx, Session};
use crate::sys::send_buffer::Filled;
use crate::units::Nanos;
use std::sync::Arc;

pub(super) type Context = ShardContext<VectorBuffers>;

/// One connection, and the way to what others publish.
pub(super) struct ConnectionTask<S, W: Wake> {
    pub(super) conversation: Conversation<S, Filled>,
    pub(super) context: Context,
    clock: Clock,
    number: u64,
    hub: Arc<Hub<W>>,
    /// Where publications arrive, once the session has subscribed to any.
    pub(super) mailbox: Option<Arc<Mailbox<W>>>,
}

impl<S: Session, W: Wake> ConnectionTask<S, W> {
    /// `open` makes the session; the connection goes by this number in the hub.
    pub(super) fn new(
        number: u64,
        buffer_size: usize,
        clock: Clock,
        hub: Arc<Hub<W>>,
        open: impl FnOnce(&mut Cx) -> S,
    ) -> ConnectionTask<S, W> {
        let mut context = ShardContext::new(VectorBuffers::new(1, buffer_size), clock);
        context.cx.now = clock.now();
        context.stats.opened = 1;
        let conversation = Conversation::new(open(&mut context.cx));
        let mut task = ConnectionTask { conversation, context, clock, number, hub, mailbox: None };
        task.subscribe();
        task
    }

    /// From now on things happen at this instant.
    #[inline]
    pub(super) fn refresh(&mut self) {
        self.context.cx.now = self.clock.now();
    }

    /// Tells the conversation that something happened, at the instant of the last `refresh`.
    #[inline]
    pub(super) fn tell(&mut self, tell: impl FnOnce(&mut Conversation<S, Filled>, &mut Context)) {
        tell(&mut self.conversation, &mut self.context);
        // First, so that a session that subscribes and publishes hears itself.
        self.subscribe();
        if self.context.cx.has_published() {
            self.hub.publish(self.context.cx.take_published());
        }
    }

    /// Subscribes the connection to what its session asked for. Without a way to wake it, it is given up.
    #[inline]
    fn subscribe(&mut self) {
        if self.context.cx.has_subscribed() {
            let topics = self.context.cx.take_subscribed();
            match self.mailbox.take().map_or_else(|| W::new().map(Mailbox::new), Ok) {
                Ok(mailbox) => {
                    self.hub.subscribe(self.number, topics, &mailbox);
                    self.mailbox = Some(mailbox);
                }
                Err(_) => drop(self.conversation.abort(&mut self.context)),
            }
        }
    }

    /// Tells the session what was published. `false` when nothing was.
    pub(super) fn take_deliveries(&mut self) -> bool {
        let Some(mailbox) = &self.mailbox else { return false };
        let publications = mailbox.take();
        for publication in &publications {
            self.tell(|conversation, context| conversation.delivered(publication, context));
        }
        !publications.is_empty()
    }

    /// Time until the conversation's deadline; zero where that has passed.
    pub(super) fn time_left(&self) -> Option<Nanos> {
        self.conversation.deadline().map(|deadline| deadline.since(self.clock.now()))
    }

    /// Calls the conversation where its deadline has passed.
    pub(super) fn check_deadline(&mut self) -> bool {
        let passed = self.time_left() == Some(Nanos::ZERO);
        if passed {
            self.tell(|conversation, context| conversation.timed_out(context));
        }
        passed
    }

    /// What was counted since the last time.
    #[inline]
    pub(super) fn take_stats(&mut self) -> Stats {
        std::mem::take(&mut self.context.stats)
    }

    /// The connection is over: its last counts.
    pub(super) fn finish(mut self, failed: bool) -> Stats {
        let given_up = !self.conversation.abort(&mut self.context);
        Stats { closed: 1, failed: u64::from(failed || given_up), ..Stats::default() } + self.take_stats()
    }
}

impl<S, W: Wake> Drop for ConnectionTask<S, W> {
    fn drop(&mut self) {
        if self.mailbox.is_some() {
            self.hub.leave(self.number);
        }
    }
}

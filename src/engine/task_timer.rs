//! When a task of a runtime is to be woken for its connection's deadline.

use super::hub::Wake;
use super::task::ConnectionTask;
use crate::protocol::Session;
use crate::units::Nanos;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use tokio::time::{Instant, Sleep};

/// A timer that follows a connection's deadline. Made for the first; connections without one have none.
#[derive(Default)]
pub(super) struct TaskTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The deadline that it is set to.
    set_to: Option<Nanos>,
}

impl TaskTimer {
    /// Calls the conversation where its deadline has passed; otherwise has the task woken when it will have. Whether it was
    /// called.
    pub(super) fn check<S: Session, W: Wake>(
        &mut self,
        task: &mut ConnectionTask<S, W>,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(left) = task.time_left() else { return false };
        if left == Nanos::ZERO {
            return task.check_deadline();
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(left.duration())));
        if self.set_to != task.conversation.deadline() {
            self.set_to = task.conversation.deadline();
            sleep.as_mut().reset(Instant::now() + left.duration());
        }
        if sleep.as_mut().poll(context).is_ready() {
            // The runtime's clock is ahead of ours by a moment: look again.
            self.set_to = None;
            context.waker().wake_by_ref();
        }
        false
    }
}

//! How a task of a runtime is woken.

use super::hub::Wake;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

/// Wakes a task that has registered.
#[derive(Default)]
pub(super) struct TaskWake {
    waker: Mutex<Option<Waker>>,
}

impl TaskWake {
    /// Has the task that polls woken. Call it before looking whether there is anything.
    pub(super) fn register(&self, context: &Context<'_>) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

impl Wake for TaskWake {
    fn new() -> io::Result<TaskWake> {
        Ok(TaskWake::default())
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }
}

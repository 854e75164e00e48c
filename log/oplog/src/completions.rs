//! From the writer's thread back to those who wait.
//!
//! Waking a task from outside the runtime costs a system call each. The writer therefore hands over a whole group at
//! once, and one task inside the runtime answers everybody: one call for a group, however large.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aetherflow_log_core::{AppendError, Appended};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

/// The way back to one who waits, and the room in the queue that is free once it was answered.
pub(crate) type Ticket = (oneshot::Sender<Result<Appended, AppendError>>, OwnedSemaphorePermit);

type Completion = (Ticket, Result<Appended, AppendError>);

#[derive(Default)]
struct State {
    completed: Vec<Completion>,
    ended: bool,
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Completions {
    state: Mutex<State>,
    some: Notify,
}

impl Completions {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a group.
    pub(crate) fn add(&self, group: &mut Vec<Completion>) {
        self.lock().completed.append(group);
        self.some.notify_one();
    }

    /// No more will come.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.some.notify_one();
    }

    /// Answers until the end.
    pub(crate) async fn answer(&self) {
        loop {
            let (completed, ended) = {
                let mut state = self.lock();
                (mem::take(&mut state.completed), state.ended)
            };
            if completed.is_empty() {
                if ended {
                    return;
                }
                self.some.notified().await;
            }
            for ((answer, room), result) in completed {
                // Whoever asked may have gone away; the entry stays committed.
                let _ = answer.send(result);
                drop(room);
            }
        }
    }
}

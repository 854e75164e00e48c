//! What waits for the writer. Appenders reserve room first and wait for it; the writer takes everything at once.

use std::{
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aetherflow_log_core::StorageError;
use aetherflow_schema::{id::PartitionId, record::EncodedEntry};
use tokio::sync::oneshot;

use crate::{completions::Ticket, disk::Written};

/// One append on its way.
pub(crate) struct Request {
    /// The partition of the document that all entries belong to.
    pub(crate) partition: PartitionId,
    /// At least one.
    pub(crate) entries: Vec<EncodedEntry>,
    pub(crate) ticket: Ticket,
}

/// Appends that must have come before the writer looks at them while a group is being written: waking it for each would
/// cost more than placing does.
const WHILE_WRITING: usize = 64;

/// Who waits for the store to be opened anew.
pub(crate) type Resume = oneshot::Sender<Result<(), StorageError>>;

/// What the writer finds when it looks.
pub(crate) struct Round {
    /// The group that was being written has ended.
    pub(crate) written: Option<Written>,
    pub(crate) appends: Vec<Request>,
    /// Only when nothing is queued or being written.
    pub(crate) resume: Option<Resume>,
    /// This is the last round: nothing is queued or being written.
    pub(crate) stop: bool,
}

#[derive(Default)]
struct Waiting {
    written: Option<Written>,
    appends: Vec<Request>,
    resume: Option<Resume>,
    stopping: bool,
    /// The writer sleeps, until there are so many appends at least. Nobody calls the kernel to wake it sooner, or twice.
    asleep_until: Option<usize>,
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    something: Condvar,
}

impl Queue {
    /// Gives the request back when the writer has been told to stop.
    pub(crate) fn push(&self, request: Request) -> Result<(), Request> {
        let mut waiting = self.lock();
        if waiting.stopping {
            return Err(request);
        }
        waiting.appends.push(request);
        if waiting
            .asleep_until
            .is_some_and(|enough| waiting.appends.len() >= enough)
        {
            self.wake(waiting);
        }
        Ok(())
    }

    pub(crate) fn written(&self, written: Written) {
        let mut waiting = self.lock();
        waiting.written = Some(written);
        self.wake(waiting);
    }

    /// Gives the request back when the writer has been told to stop, or is about to resume for somebody else.
    pub(crate) fn resume(&self, answer: Resume) -> Result<(), Resume> {
        let mut waiting = self.lock();
        if waiting.stopping || waiting.resume.is_some() {
            return Err(answer);
        }
        waiting.resume = Some(answer);
        self.wake(waiting);
        Ok(())
    }

    /// The writer ends once it has written what is queued now.
    pub(crate) fn stop(&self) {
        let mut waiting = self.lock();
        waiting.stopping = true;
        self.wake(waiting);
    }

    fn wake(&self, mut waiting: MutexGuard<'_, Waiting>) {
        waiting.asleep_until = None;
        drop(waiting);
        self.something.notify_one();
    }

    /// Waits for something to do, while a group is being written or not.
    pub(crate) fn take(&self, writing: bool) -> Round {
        let enough = if writing { WHILE_WRITING } else { 1 };
        let mut waiting = self.lock();
        loop {
            let calm = !writing && waiting.appends.is_empty();
            let asked = calm && (waiting.stopping || waiting.resume.is_some());
            if asked || waiting.written.is_some() || waiting.appends.len() >= enough {
                return Round {
                    written: waiting.written.take(),
                    resume: waiting.resume.take_if(|_| calm),
                    stop: waiting.stopping && calm,
                    appends: mem::take(&mut waiting.appends),
                };
            }
            waiting.asleep_until = Some(enough);
            waiting = self.something.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flag that one thread sets and another one waits for.
#[derive(Default)]
pub(crate) struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Default)]
struct SignalState {
    raised: bool,
    stopped: bool,
}

impl Signal {
    pub(crate) fn raise(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.raised {
            state.raised = true;
            drop(state);
            self.changed.notify_one();
        }
    }

    pub(crate) fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.changed.notify_all();
    }

    /// Waits until it is raised, lets `gather` pass (less, when it is stopped), and lowers it. `false` when it was stopped.
    pub(crate) fn wait(&self, gather: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self
            .changed
            .wait_while(state, |state| !state.raised && !state.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, gather, |state| !state.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        state.raised = false;
        !state.stopped
    }
}

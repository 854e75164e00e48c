//! What waits for the writer. Appenders reserve room first and wait for it; the writer takes everything at once.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aetherflow_log_core::StorageError;
use aetherflow_schema::{id::PartitionId, record::EncodedEntry};
use tokio::sync::oneshot;

use crate::completions::Ticket;

/// One append on its way.
pub(crate) struct Request {
    /// The partition of the document that all entries belong to.
    pub(crate) partition: PartitionId,
    /// At least one.
    pub(crate) entries: Vec<EncodedEntry>,
    pub(crate) ticket: Ticket,
}

/// What the writer finds when it looks.
pub(crate) enum Work {
    Appends(Vec<Request>),
    Resume(oneshot::Sender<Result<(), StorageError>>),
    Stop,
}

#[derive(Default)]
struct Waiting {
    appends: Vec<Request>,
    resume: Option<oneshot::Sender<Result<(), StorageError>>>,
    stopping: bool,
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
        drop(waiting);
        self.something.notify_one();
        Ok(())
    }

    pub(crate) fn resume(&self, answer: oneshot::Sender<Result<(), StorageError>>) {
        self.lock().resume = Some(answer);
        self.something.notify_one();
    }

    /// The writer ends once it has written what is queued now.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.something.notify_one();
    }

    /// Waits for something to do.
    pub(crate) fn take(&self) -> Work {
        let mut waiting = self.lock();
        loop {
            if !waiting.appends.is_empty() {
                return Work::Appends(std::mem::take(&mut waiting.appends));
            }
            if let Some(answer) = waiting.resume.take() {
                return Work::Resume(answer);
            }
            if waiting.stopping {
                return Work::Stop;
            }
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

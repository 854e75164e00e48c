//! Stored copies that are to be made anew or deleted, and doing so. Bounded by the number of sessions: each waits once.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aetherflow_schema::{id::SessionId, sessions::SessionError};
use futures_util::future::{join, join_all};
use tokio::sync::Notify;

use super::inner::Inner;
use crate::{
    core::entry::Stored,
    store::{Revision, StoreError},
};

/// Sessions that are written at the same time: they share fsyncs, or round trips.
const AT_ONCE: usize = 256;

/// What waits.
#[derive(Default)]
pub(super) struct Writing {
    waiting: Mutex<Waiting>,
    some: Notify,
    none: Notify,
}

#[derive(Default)]
struct Waiting {
    save: BTreeSet<SessionId>,
    forget: Vec<(SessionId, Stored)>,
    /// Some are being written.
    busy: bool,
}

impl Writing {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, save: Vec<SessionId>, mut forget: Vec<(SessionId, Stored)>) {
        if save.is_empty() && forget.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        waiting.save.extend(save);
        waiting.forget.append(&mut forget);
        drop(waiting);
        self.some.notify_one();
    }

    pub(super) fn forget(&self, id: SessionId, revision: Revision) {
        let stored = Arc::new(tokio::sync::Mutex::new(Some(revision)));
        self.add(Vec::new(), vec![(id, stored)]);
    }

    /// Takes some out; nothing when nothing waits.
    fn take(&self) -> (Vec<SessionId>, Vec<(SessionId, Stored)>) {
        let mut waiting = self.lock();
        let forget = if waiting.forget.len() > AT_ONCE {
            waiting.forget.drain(..AT_ONCE).collect()
        } else {
            mem::take(&mut waiting.forget)
        };
        let mut save = Vec::new();
        while save.len() < AT_ONCE
            && let Some(id) = waiting.save.pop_first()
        {
            save.push(id);
        }
        waiting.busy = !(save.is_empty() && forget.is_empty());
        if !waiting.busy {
            self.none.notify_waiters();
        }
        (save, forget)
    }

    fn is_empty(&self) -> bool {
        let waiting = self.lock();
        !waiting.busy && waiting.save.is_empty() && waiting.forget.is_empty()
    }
}

impl Inner {
    /// Writes whatever comes, for ever.
    pub(super) async fn write(self: Arc<Self>) {
        loop {
            let (save, forget) = self.writing.take();
            if save.is_empty() && forget.is_empty() {
                self.writing.some.notified().await;
                continue;
            }
            let saves = join_all(save.into_iter().map(|id| self.save(id)));
            let forgets = join_all(forget.into_iter().map(|(id, stored)| self.forget(id, stored)));
            join(saves, forgets).await;
        }
    }

    /// Ready when nothing waits to be written, timers included that would have something written later.
    pub(super) async fn all_written(&self) {
        self.change(|registry, _, effects| registry.save_now(effects));
        loop {
            let none = self.writing.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            if self.writing.is_empty() {
                return;
            }
            none.await;
        }
    }

    /// Stores a session as it is now.
    async fn save(&self, id: SessionId) {
        let Ok(stored) = self.read().entry(id).map(|entry| entry.stored.clone()) else {
            return;
        };
        let mut revision = stored.lock().await;
        let record = match self.read().entry(id) {
            Ok(entry) if entry.record.node == self.node => entry.to_record(),
            _ => return,
        };
        let written = match *revision {
            Some(expected) => self.within(self.store.update(&record, expected)).await,
            None => self.within(self.store.create(&record)).await,
        };
        match written {
            Ok(written) => {
                *revision = Some(written);
                self.change(|registry, now_ms, _| registry.saved(now_ms, id, written));
            }
            Err(error @ (StoreError::Exists | StoreError::Conflict)) => {
                // Another node has it, or somebody deleted it; following the store tells which. An answer of ours that was
                // lost looks the same.
                tracing::debug!(session = %id, %error, "not stored");
                self.reconcile(id, &mut revision).await;
            }
            Err(error) => {
                let retry_ms = match error.retry() {
                    aetherflow_schema::documents::Retry::After(after) => after.as_millis() as u64,
                    aetherflow_schema::documents::Retry::Never => return,
                };
                // Whoever watches the store's health is told once; this would be said of every session.
                tracing::debug!(session = %id, %error, "a session was not stored; it is tried again");
                self.change(|registry, now_ms, _| registry.save_by(id, now_ms + retry_ms));
            }
        }
    }

    /// Learns what the store has of a session after all.
    async fn reconcile(&self, id: SessionId, revision: &mut Option<Revision>) {
        match self.within(self.store.read(id)).await {
            Ok(Some(copy)) if copy.record.node == self.node => {
                *revision = Some(copy.revision);
                self.change(|registry, now_ms, _| registry.save_by(id, now_ms));
            }
            Ok(Some(copy)) => self.change(|registry, now_ms, effects| {
                registry.on_stored(now_ms, copy.record, copy.revision, effects);
            }),
            // Deleted by somebody.
            Ok(None) => {
                let ended = self.change(|registry, _, effects| registry.delete(id, None, effects));
                debug_assert!(matches!(ended, Ok(()) | Err(SessionError::NotFound)));
            }
            Err(error) => {
                tracing::warn!(session = %id, %error, "a session was not stored; it is tried again");
                self.change(|registry, now_ms, _| registry.save_by(id, now_ms + 1000));
            }
        }
    }

    /// Deletes the stored copy of a session that is over, unless it goes on after all.
    async fn forget(&self, id: SessionId, stored: Stored) {
        let mut revision = stored.lock().await;
        let goes_on = self.read().entry(id).is_ok();
        let Some(expected) = revision.filter(|_| !goes_on) else {
            return;
        };
        match self.within(self.store.delete(id, expected)).await {
            Ok(()) => *revision = None,
            // Another node goes on with it.
            Err(StoreError::Conflict | StoreError::Exists) => {}
            // It will vanish by its lease, or be found and ended at the next start.
            Err(error) => tracing::warn!(session = %id, %error, "a session that is over was not deleted"),
        }
    }
}

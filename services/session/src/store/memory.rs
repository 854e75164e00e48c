//! Sessions in memory.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use aetherflow_schema::{documents::BoxFuture, id::SessionId, sessions::record::SessionRecord};
use tokio::sync::mpsc;

use super::{Revision, SessionStore, StoreError, StoreEvent, Versioned};

/// Stored sessions, and which copies of them there may be.
#[derive(Debug, Default)]
pub(super) struct Copies {
    sessions: BTreeMap<SessionId, Versioned>,
    newest: u64,
}

impl Copies {
    pub(super) fn put(&mut self, copy: Versioned) {
        self.newest = self.newest.max(copy.revision.0);
        self.sessions.insert(copy.record.id, copy);
    }

    pub(super) fn remove(&mut self, id: SessionId) {
        self.sessions.remove(&id);
    }

    pub(super) fn read(&self, id: SessionId) -> Option<&Versioned> {
        self.sessions.get(&id)
    }

    pub(super) fn all(&self) -> Vec<Versioned> {
        self.sessions.values().cloned().collect()
    }

    /// A revision greater than all.
    pub(super) fn next_revision(&mut self) -> Revision {
        self.newest += 1;
        Revision(self.newest)
    }
}

/// Whether a session may be stored or deleted, when `found` is there and `expected` is thought to be.
pub(super) fn check(found: Option<Revision>, expected: Option<Revision>) -> Result<(), StoreError> {
    match (found, expected) {
        (Some(_), None) => Err(StoreError::Exists),
        (found, expected) if found == expected => Ok(()),
        _ => Err(StoreError::Conflict),
    }
}

/// Tells a watcher what there is, and then nothing more.
pub(super) fn tell(copies: Vec<Versioned>) -> mpsc::Receiver<StoreEvent> {
    let (events, watcher) = mpsc::channel(64);
    tokio::spawn(async move {
        let all = copies.into_iter().map(|copy| StoreEvent::Put(Box::new(copy)));
        for event in all.chain([StoreEvent::Current]) {
            if events.send(event).await.is_err() {
                return;
            }
        }
        events.closed().await;
    });
    watcher
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct MemoryStore(RwLock<Copies>);

impl MemoryStore {
    fn copies(&self) -> RwLockReadGuard<'_, Copies> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn copies_mut(&self) -> RwLockWriteGuard<'_, Copies> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, record: &SessionRecord, expected: Option<Revision>) -> Result<Revision, StoreError> {
        let mut copies = self.copies_mut();
        check(copies.read(record.id).map(|copy| copy.revision), expected)?;
        let revision = copies.next_revision();
        copies.put(Versioned {
            record: record.clone(),
            revision,
        });
        Ok(revision)
    }

    fn remove(&self, id: SessionId, expected: Revision) -> Result<(), StoreError> {
        let mut copies = self.copies_mut();
        if let Some(copy) = copies.read(id) {
            check(Some(copy.revision), Some(expected))?;
            copies.remove(id);
        }
        Ok(())
    }
}

impl SessionStore for MemoryStore {
    fn create(&self, record: &SessionRecord) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let result = self.put(record, None);
        Box::pin(async move { result })
    }

    fn update(&self, record: &SessionRecord, expected: Revision) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let result = self.put(record, Some(expected));
        Box::pin(async move { result })
    }

    fn read(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Versioned>, StoreError>> {
        let found = self.copies().read(id).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn delete(&self, id: SessionId, expected: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        let result = self.remove(id, expected);
        Box::pin(async move { result })
    }

    fn watch(&self) -> BoxFuture<'_, Result<mpsc::Receiver<StoreEvent>, StoreError>> {
        Box::pin(async move { Ok(tell(self.copies().all())) })
    }

    fn lease(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[tokio::test]
    async fn it_is_a_store() {
        conformance::check(|| async { MemoryStore::default() }).await;
    }
}

//! Advisory locks on documents, in one process. In a cluster etcd keeps them, behind the same trait.
//!
//! Owns: who holds what until when, and how many edits are under way that passed under a lock. Invariants: those of
//! [`DocumentLocks`]; a lock that is free takes no memory once those edits are settled. Tokens come from one counter over all documents, which begins at the time: so they grow for each document, also when the process
//! starts again, and nothing is remembered of documents whose locks are free.

mod table;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aetherflow_schema::{
    access::Author,
    documents::BoxFuture,
    id::{DocumentId, SessionId},
    locks::{DocumentLocks, Fencing, LOCK_TTL_MAX, Lock, LockError, Pass},
};
use tokio::task::JoinHandle;

use self::table::Table;
use crate::{alarm::Alarm, clock::Clock, service::SessionCompanion};

/// Locks that expire before others get the table.
const SLICE: usize = 256;

/// See the [module](self).
pub struct LocalLocks {
    shared: Arc<Shared>,
    timers: JoinHandle<()>,
}

struct Shared {
    clock: Clock,
    table: Mutex<Table>,
    alarm: Alarm,
}

impl LocalLocks {
    /// Begins with no locks. Must be called within a runtime.
    pub fn start(clock: Clock) -> Self {
        let shared = Arc::new(Shared {
            clock,
            table: Mutex::new(Table::new(clock.now_ms())),
            alarm: Alarm::default(),
        });
        let timers = tokio::spawn(keep_time(shared.clone()));
        Self { shared, timers }
    }
}

impl Drop for LocalLocks {
    fn drop(&mut self) {
        self.timers.abort();
    }
}

async fn keep_time(shared: Arc<Shared>) {
    loop {
        shared.alarm.disarm();
        let next_ms = {
            let mut table = shared.lock();
            table.expire(shared.clock.now_ms(), SLICE);
            table.next_ms()
        };
        shared.alarm.wait(&shared.clock, next_ms).await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table, u64) -> T) -> T {
        let (result, next_ms) = {
            let mut table = self.lock();
            (change(&mut table, self.clock.now_ms()), table.next_ms())
        };
        self.alarm.sooner(next_ms);
        result
    }
}

/// An edit that passed; dropping it says that it is known what became of it.
struct Passing {
    shared: Arc<Shared>,
    document: DocumentId,
}

impl Pass for Passing {}

impl Drop for Passing {
    fn drop(&mut self) {
        self.shared.lock().settle(&self.document);
    }
}

/// Milliseconds.
fn check(ttl: Duration) -> Result<u64, LockError> {
    if ttl > LOCK_TTL_MAX || ttl.as_millis() == 0 {
        return Err(LockError::Ttl);
    }
    u64::try_from(ttl.as_millis()).map_err(|_| LockError::Ttl)
}

fn ready<'a, T: Send + 'a>(result: T) -> BoxFuture<'a, T> {
    Box::pin(async move { result })
}

impl DocumentLocks for LocalLocks {
    fn acquire(&self, document: &DocumentId, author: &Author, ttl: Duration) -> BoxFuture<'_, Result<Lock, LockError>> {
        ready(check(ttl).and_then(|ttl_ms| {
            self.shared
                .change(|table, now_ms| table.acquire(now_ms, document, author, ttl_ms))
        }))
    }

    fn renew(
        &self,
        document: &DocumentId,
        session: SessionId,
        fencing: Fencing,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Lock, LockError>> {
        ready(check(ttl).and_then(|ttl_ms| {
            self.shared
                .change(|table, now_ms| table.renew(now_ms, document, (session, fencing), ttl_ms))
        }))
    }

    fn release(
        &self,
        document: &DocumentId,
        session: SessionId,
        fencing: Fencing,
    ) -> BoxFuture<'_, Result<(), LockError>> {
        ready(
            self.shared
                .change(|table, now_ms| table.release(now_ms, document, (session, fencing))),
        )
    }

    fn release_all(&self, session: SessionId) -> BoxFuture<'_, Result<(), LockError>> {
        self.session_closed(session);
        ready(Ok(()))
    }

    fn pass(&self, document: &DocumentId, fencing: Fencing) -> Result<Box<dyn Pass>, LockError> {
        let now_ms = self.shared.clock.now_ms();
        self.shared.lock().pass(now_ms, document, fencing)?;
        Ok(Box::new(Passing {
            shared: self.shared.clone(),
            document: document.clone(),
        }))
    }

    fn of_session(&self, session: SessionId) -> BoxFuture<'_, Result<Vec<Lock>, LockError>> {
        let now_ms = self.shared.clock.now_ms();
        ready(Ok(self.shared.lock().of_session(now_ms, session)))
    }

    fn holder(&self, document: &DocumentId) -> BoxFuture<'_, Result<Option<Lock>, LockError>> {
        ready(Ok(self.shared.lock().holder(self.shared.clock.now_ms(), document)))
    }

    fn list(&self, after: Option<DocumentId>, limit: usize) -> BoxFuture<'_, Result<Vec<Lock>, LockError>> {
        let now_ms = self.shared.clock.now_ms();
        ready(Ok(self.shared.lock().list(now_ms, after.as_ref(), limit)))
    }
}

impl SessionCompanion for LocalLocks {
    fn session_closed(&self, session: SessionId) {
        self.shared.change(|table, _| table.release_all(session));
    }
}

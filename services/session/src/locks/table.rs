//! Who holds what until when. No I/O.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    ops::Bound,
};

use aetherflow_schema::{
    access::Author,
    id::{DocumentId, SessionId},
    locks::{Fencing, LOCKS_PAGE, LOCKS_PER_SESSION, Lock, LockError},
};

use crate::core::wheel::{TimerId, Wheel};

/// Bits of a token that count; those above are the milliseconds since 1970 at which the process started. A million changes
/// of hands for each millisecond, and the year 2527, are far away.
const COUNT_BITS: u32 = 20;

pub(super) struct Table {
    locks: BTreeMap<DocumentId, Held>,
    sessions: HashMap<SessionId, BTreeSet<DocumentId>>,
    timers: Wheel<DocumentId>,
    /// Edits under way that passed under a lock of the document, which may be free meanwhile.
    passing: HashMap<DocumentId, usize>,
    newest: u64,
}

struct Held {
    lock: Lock,
    timer: TimerId,
}

impl Table {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            locks: BTreeMap::new(),
            sessions: HashMap::new(),
            timers: Wheel::new(now_ms),
            passing: HashMap::new(),
            newest: now_ms << COUNT_BITS,
        }
    }

    pub(super) fn acquire(
        &mut self,
        now_ms: u64,
        document: &DocumentId,
        author: &Author,
        ttl_ms: u64,
    ) -> Result<Lock, LockError> {
        self.free_if_due(now_ms, document);
        if let Some(held) = self.locks.get(document) {
            let lock = &held.lock;
            if lock.session != author.session {
                return Err(LockError::Held(Box::new(lock.clone())));
            }
            return self.renew(now_ms, document, (lock.session, lock.fencing), ttl_ms);
        }
        if self.passing.contains_key(document) {
            return Err(LockError::Settling);
        }
        let mine = self.sessions.entry(author.session).or_default();
        if mine.len() >= LOCKS_PER_SESSION {
            return Err(LockError::TooMany);
        }
        mine.insert(document.clone());
        self.newest += 1;
        let lock = Lock {
            document: document.clone(),
            session: author.session,
            principal: author.principal.clone(),
            fencing: Fencing(self.newest),
            until_ms: now_ms + ttl_ms,
        };
        let held = Held {
            lock: lock.clone(),
            timer: self.timers.set(lock.until_ms, document.clone()),
        };
        self.locks.insert(document.clone(), held);
        Ok(lock)
    }

    pub(super) fn renew(
        &mut self,
        now_ms: u64,
        document: &DocumentId,
        holder: (SessionId, Fencing),
        ttl_ms: u64,
    ) -> Result<Lock, LockError> {
        self.check(now_ms, document, holder)?;
        let held = self.locks.get_mut(document).ok_or(LockError::NotHeld)?;
        held.lock.until_ms = now_ms + ttl_ms;
        self.timers.postpone(held.timer, held.lock.until_ms);
        Ok(held.lock.clone())
    }

    pub(super) fn release(
        &mut self,
        now_ms: u64,
        document: &DocumentId,
        holder: (SessionId, Fencing),
    ) -> Result<(), LockError> {
        self.check(now_ms, document, holder)?;
        self.free(document);
        Ok(())
    }

    pub(super) fn release_all(&mut self, session: SessionId) {
        for document in self.sessions.remove(&session).unwrap_or_default() {
            self.free(&document);
        }
    }

    /// Counts an edit that may pass, until [`Self::settle`].
    pub(super) fn pass(&mut self, now_ms: u64, document: &DocumentId, fencing: Fencing) -> Result<(), LockError> {
        self.holder(now_ms, document)
            .filter(|lock| lock.fencing == fencing)
            .ok_or(LockError::NotHeld)?;
        *self.passing.entry(document.clone()).or_default() += 1;
        Ok(())
    }

    /// It is known what became of an edit that passed.
    pub(super) fn settle(&mut self, document: &DocumentId) {
        if let Entry::Occupied(mut passing) = self.passing.entry(document.clone()) {
            *passing.get_mut() -= 1;
            if *passing.get() == 0 {
                passing.remove();
            }
        }
    }

    pub(super) fn of_session(&self, now_ms: u64, session: SessionId) -> Vec<Lock> {
        let documents = self.sessions.get(&session).into_iter().flatten();
        documents.filter_map(|document| self.holder(now_ms, document)).collect()
    }

    pub(super) fn holder(&self, now_ms: u64, document: &DocumentId) -> Option<Lock> {
        let lock = &self.locks.get(document)?.lock;
        (lock.until_ms > now_ms).then(|| lock.clone())
    }

    pub(super) fn list(&self, now_ms: u64, after: Option<&DocumentId>, limit: usize) -> Vec<Lock> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.locks
            .range::<DocumentId, _>((from, Bound::Unbounded))
            .map(|(_, held)| &held.lock)
            // One that is due is free, whether its timer was looked at or not.
            .filter(|lock| lock.until_ms > now_ms)
            .take(limit.clamp(1, LOCKS_PAGE))
            .cloned()
            .collect()
    }

    /// Frees what is due, in so many steps at most.
    pub(super) fn expire(&mut self, now_ms: u64, steps: usize) {
        let mut due = Vec::new();
        self.timers.expire(now_ms, steps, &mut due);
        due.iter().for_each(|document| self.free(document));
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.timers.next_ms()
    }

    fn check(&self, now_ms: u64, document: &DocumentId, holder: (SessionId, Fencing)) -> Result<(), LockError> {
        let lock = self.holder(now_ms, document).ok_or(LockError::NotHeld)?;
        if (lock.session, lock.fencing) == holder {
            Ok(())
        } else {
            Err(LockError::NotHeld)
        }
    }

    fn free_if_due(&mut self, now_ms: u64, document: &DocumentId) {
        if self.locks.contains_key(document) && self.holder(now_ms, document).is_none() {
            self.free(document);
        }
    }

    fn free(&mut self, document: &DocumentId) {
        let Some(held) = self.locks.remove(document) else {
            return;
        };
        self.timers.cancel(held.timer);
        let session = held.lock.session;
        if let Some(documents) = self.sessions.get_mut(&session) {
            documents.remove(document);
            if documents.is_empty() {
                self.sessions.remove(&session);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.locks.is_empty() && self.sessions.is_empty() && self.passing.is_empty() && self.timers.len() == 0
    }
}

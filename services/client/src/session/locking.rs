//! Locks on the connection: what guards want, what the server answers, and what a new connection means for them.

use std::time::{Duration, Instant};

use aetherflow_schema::{
    id::DocumentId,
    locks::Fencing,
    native::{
        AcquireLock, ClientFrame, ReleaseLock, RequestId,
        wire::{self, RejectCode},
    },
};

use super::{
    Event, Refusal, Session,
    io::{LockId, WantedLock},
    locks::{Ask, Locks, News, No},
    submit::RETRY,
};

/// How long the answer may take when a lock is asked for a last time.
const LAST_ANSWER: Duration = Duration::from_secs(1);

impl Session {
    pub(super) fn on_lock(&mut self, now: Instant, id: &DocumentId, wanted: WantedLock) {
        let WantedLock { lock, ttl, wait } = wanted;
        let give_up = now + (wait + LAST_ANSWER).max(self.tuning.patience);
        self.documents
            .entry(id.clone())
            .or_default()
            .locks
            .want(lock, ttl, now + wait, give_up);
        if self.link.is_online() && !self.link.has_locks() {
            self.with_locks(now, id, Locks::unsupported);
        }
        self.with_locks(now, id, |locks| locks.on_time(now));
    }

    pub(super) fn on_unlock(&mut self, now: Instant, id: &DocumentId, lock: LockId) {
        self.with(now, id, |document| document.locks.leave(lock));
    }

    /// The server has welcomed the client: in another session than before, or in the same.
    pub(super) fn relock(&mut self, now: Instant, is_new: bool) {
        let has_locks = self.link.has_locks();
        let ids: Vec<_> = self.documents.keys().cloned().collect();
        for id in ids {
            if is_new {
                self.with_locks(now, &id, Locks::session_over);
            }
            if !has_locks {
                self.with_locks(now, &id, Locks::unsupported);
            }
        }
    }

    /// Does something with a document's lock, and tells the guards what comes of it.
    pub(super) fn with_locks<N: IntoIterator<Item = News>>(
        &mut self,
        now: Instant,
        id: &DocumentId,
        change: impl FnOnce(&mut Locks) -> N,
    ) {
        let Some(document) = self.documents.get_mut(id) else {
            return;
        };
        for (lock, news) in change(&mut document.locks) {
            self.events.push_back(Event::Lock {
                document: id.clone(),
                lock,
                news,
            });
        }
        self.with(now, id, |_| {});
    }

    pub(super) fn poll_lock(&mut self, now: Instant, id: &DocumentId) -> Option<ClientFrame> {
        let request = RequestId(self.next_request);
        let document = self.documents.get_mut(id)?;
        let queue = &document.queue;
        let ask = document
            .locks
            .poll(now, request, |fencing| !queue.has_made_under(fencing))?;
        self.next_request += 1;
        self.lock_requests.insert(request, (id.clone(), now));
        let document = id.clone();
        Some(match ask {
            Ask::Acquire(ttl, fencing) => ClientFrame::AcquireLock(AcquireLock {
                request,
                document,
                ttl_ms: ttl.as_millis().try_into().unwrap_or(u32::MAX),
                fencing,
            }),
            Ask::Release(fencing) => ClientFrame::ReleaseLock(ReleaseLock {
                request,
                document,
                fencing,
            }),
        })
    }

    pub(super) fn on_lock_granted(&mut self, now: Instant, granted: &wire::LockGranted) {
        let request = RequestId(granted.request_id);
        let Some((id, _)) = self.lock_requests.remove(&request) else {
            return;
        };
        let fencing = granted.lock.as_ref().map(|lock| Fencing(lock.fencing));
        let Some(fencing) = fencing.filter(|fencing| fencing.0 != 0) else {
            return self.hang_up(now, "a lock was granted without a token");
        };
        let ttl = Duration::from_millis(granted.ttl_ms.into());
        self.with_locks(now, &id, |locks| locks.on_granted(request, fencing, ttl));
        self.with_locks(now, &id, |locks| locks.on_time(now));
    }

    pub(super) fn on_lock_released(&mut self, now: Instant, released: &wire::LockReleased) {
        let request = RequestId(released.request_id);
        if let Some((id, _)) = self.lock_requests.remove(&request) {
            self.with_locks(now, &id, |locks| locks.on_released(request));
        }
    }

    /// A Reject; `false` if it is about no lock.
    pub(super) fn on_lock_reject(&mut self, now: Instant, reject: &wire::Reject) -> bool {
        let request = RequestId(reject.request_id);
        let Some((id, _)) = self.lock_requests.remove(&request) else {
            return false;
        };
        let code = reject.code();
        let retry_after = match (code, reject.retry_after_ms) {
            (_, Some(ms)) => Some(Duration::from_millis(ms.into())),
            (RejectCode::Stopping, None) => Some(RETRY),
            (RejectCode::Unauthenticated, None) => Some(Duration::ZERO),
            (_, None) => None,
        };
        if code == RejectCode::Unauthenticated {
            self.on_unauthenticated(request, &reject.message);
        }
        let message = reject.message.clone();
        let refusal = Refusal { code, message };
        let no = No { refusal, retry_after };
        let backoff = self.tuning.backoff;
        if let Some(document) = self.documents.get_mut(&id) {
            let news = document.locks.on_reject(now, request, no, backoff, &mut self.rng);
            self.with_locks(now, &id, |_| news);
        }
        true
    }
}

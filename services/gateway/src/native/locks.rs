//! What is asked about locks on one connection.
//!
//! **Invariants**: a lock is for those who may write the document, and who holds it is told to those who may read it; a
//! session that is over holds none. **On failure**: the request is rejected.

use std::{future::Future, time::Duration};

use aetherflow_schema::{
    access::{Author, Denied, Operation},
    id::DocumentId,
    locks::{Lock, LockError},
    native::{AcquireLock, ListLocks, ReleaseLock, RequestId, wire},
    sessions::SessionError,
};
use tokio::time::timeout;

use super::voice::Voice;

/// What can be asked.
#[derive(Debug, PartialEq)]
pub(super) enum LockRequest {
    Acquire(AcquireLock),
    Release(ReleaseLock),
    List(ListLocks),
}

impl LockRequest {
    pub(super) fn id(&self) -> RequestId {
        match self {
            Self::Acquire(acquire) => acquire.request,
            Self::Release(release) => release.request,
            Self::List(list) => list.request,
        }
    }

    fn document(&self) -> Option<DocumentId> {
        match self {
            Self::Acquire(acquire) => Some(acquire.document.clone()),
            Self::Release(release) => Some(release.document.clone()),
            Self::List(list) => list.document.clone(),
        }
    }
}

/// Why there is no lock.
enum Failure {
    Denied(Denied),
    Lock(LockError),
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// Carries a request out and answers it.
pub(super) async fn answer(voice: &Voice, request: LockRequest) {
    let (id, document) = (request.id(), request.document());
    let answer: Result<wire::ServerFrame, Failure> = match request {
        LockRequest::Acquire(acquire) => hold(voice, acquire).await.map(wire::ServerFrame::from),
        LockRequest::Release(release) => free(voice, release).await.map(wire::ServerFrame::from),
        LockRequest::List(list) => find(voice, list).await.map(wire::ServerFrame::from),
    };
    match answer {
        Ok(frame) => {
            voice.say(document.as_ref(), frame);
        }
        Err(Failure::Denied(denied)) => {
            let reject = wire::Reject::never(id, wire::RejectCode::Forbidden, denied.reason);
            voice.reject(document.as_ref(), reject);
        }
        Err(Failure::Lock(error)) => voice.reject(document.as_ref(), wire::Reject::of_lock(id, &error)),
    }
}

async fn hold(voice: &Voice, acquire: AcquireLock) -> Result<wire::LockGranted, Failure> {
    let AcquireLock {
        request,
        document,
        ttl_ms,
        fencing,
    } = acquire;
    let grant = voice.grant(Operation::Write, &document)?;
    let author = grant.author();
    let (locks, ttl) = (&voice.shared.locks, Duration::from_millis(ttl_ms.into()));
    let lock = match fencing {
        Some(fencing) => within(voice, locks.renew(&document, author.session, fencing, ttl)).await?,
        None => within(voice, locks.acquire(&document, author, ttl)).await?,
    };
    unless_over(voice, author).await?;
    Ok(wire::LockGranted {
        request_id: request.0,
        lock: Some(wire::Lock::from(&lock)),
        ttl_ms,
    })
}

/// A session that ended while its lock was being taken gave back only what it held before.
async fn unless_over(voice: &Voice, author: &Author) -> Result<(), LockError> {
    if let Err(SessionError::NotFound) = voice.shared.sessions.find(author.session).await {
        within(voice, voice.shared.locks.release_all(author.session)).await?;
        return Err(LockError::NotHeld);
    }
    Ok(())
}

async fn free(voice: &Voice, release: ReleaseLock) -> Result<wire::LockReleased, Failure> {
    let session = voice.who.session();
    let locks = &voice.shared.locks;
    within(voice, locks.release(&release.document, session, release.fencing)).await?;
    let request_id = release.request.0;
    Ok(wire::LockReleased { request_id })
}

async fn find(voice: &Voice, list: ListLocks) -> Result<wire::Locks, Failure> {
    let locks = &voice.shared.locks;
    let found: Vec<Lock> = match &list.document {
        Some(document) => {
            voice.grant(Operation::Read, document)?;
            within(voice, locks.holder(document)).await?.into_iter().collect()
        }
        None => within(voice, locks.of_session(voice.who.session())).await?,
    };
    Ok(wire::Locks {
        request_id: list.request.0,
        locks: found.iter().map(wire::Lock::from).collect(),
    })
}

async fn within<T>(voice: &Voice, call: impl Future<Output = Result<T, LockError>>) -> Result<T, LockError> {
    let late = || Err(LockError::Unavailable("no answer in time".to_owned()));
    let limit = voice.shared.options.timeouts.request();
    timeout(limit, call).await.unwrap_or_else(|_| late())
}

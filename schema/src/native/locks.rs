//! What a client asks about locks, checked.

use bytes::Bytes;

use super::{FrameError, RequestId, wire};
use crate::{
    id::DocumentId,
    locks::{Fencing, LOCK_TTL_MAX},
};

/// A lock that is wanted, or wanted for longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcquireLock {
    /// To be repeated in the answer.
    pub request: RequestId,
    /// Of this document.
    pub document: DocumentId,
    /// For how long, 1 ms to [`LOCK_TTL_MAX`].
    pub ttl_ms: u32,
    /// Only if it is held with this token.
    pub fencing: Option<Fencing>,
}

/// A lock that is given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseLock {
    /// To be repeated in the answer.
    pub request: RequestId,
    /// Of this document.
    pub document: DocumentId,
    /// Its token.
    pub fencing: Fencing,
}

/// A question about locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListLocks {
    /// To be repeated in the answer.
    pub request: RequestId,
    /// That of this document; those of the session when there is none.
    pub document: Option<DocumentId>,
}

impl TryFrom<wire::AcquireLock> for AcquireLock {
    type Error = FrameError;

    fn try_from(acquire: wire::AcquireLock) -> Result<Self, FrameError> {
        if acquire.ttl_ms == 0 || u128::from(acquire.ttl_ms) > LOCK_TTL_MAX.as_millis() {
            let expected = "1 to 3600000";
            let field = "AcquireLock.ttl_ms";
            return Err(FrameError::Value { field, expected });
        }
        Ok(Self {
            request: RequestId(acquire.request_id),
            document: DocumentId::from_bytes(&acquire.document)?,
            ttl_ms: acquire.ttl_ms,
            fencing: fencing(acquire.fencing),
        })
    }
}

impl From<AcquireLock> for wire::AcquireLock {
    fn from(acquire: AcquireLock) -> Self {
        Self {
            request_id: acquire.request.0,
            document: bytes(&acquire.document),
            ttl_ms: acquire.ttl_ms,
            fencing: acquire.fencing.map_or(0, |fencing| fencing.0),
        }
    }
}

impl TryFrom<wire::ReleaseLock> for ReleaseLock {
    type Error = FrameError;

    fn try_from(release: wire::ReleaseLock) -> Result<Self, FrameError> {
        Ok(Self {
            request: RequestId(release.request_id),
            document: DocumentId::from_bytes(&release.document)?,
            fencing: Fencing(release.fencing),
        })
    }
}

impl From<ReleaseLock> for wire::ReleaseLock {
    fn from(release: ReleaseLock) -> Self {
        Self {
            request_id: release.request.0,
            document: bytes(&release.document),
            fencing: release.fencing.0,
        }
    }
}

impl TryFrom<wire::ListLocks> for ListLocks {
    type Error = FrameError;

    fn try_from(list: wire::ListLocks) -> Result<Self, FrameError> {
        let document = match list.document.is_empty() {
            true => None,
            false => Some(DocumentId::from_bytes(&list.document)?),
        };
        let request = RequestId(list.request_id);
        Ok(Self { request, document })
    }
}

impl From<ListLocks> for wire::ListLocks {
    fn from(list: ListLocks) -> Self {
        Self {
            request_id: list.request.0,
            document: list.document.as_ref().map(bytes).unwrap_or_default(),
        }
    }
}

fn bytes(document: &DocumentId) -> Bytes {
    Bytes::copy_from_slice(document.as_bytes())
}

/// Zero stands for none.
pub(super) fn fencing(token: u64) -> Option<Fencing> {
    (token != 0).then_some(Fencing(token))
}

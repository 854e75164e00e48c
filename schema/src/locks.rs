//! Advisory locks on documents: who says that they are working on what.
//!
//! A lock keeps nobody from editing; it tells applications whose turn it is. Whoever acts on the strength of a lock passes its
//! [`Fencing`] token on, so that one who held it earlier, and does not know that it expired, is told apart: edits that carry a
//! token are placed in the log only while the lock is held with it, which a [`Fence`] says to whoever places them. The rules
//! that every implementation of [`DocumentLocks`] keeps:
//!
//! * at any time one session at most holds a document's lock;
//! * the tokens of a document grow with every change of hands, whatever happens to the process;
//! * a lock that is not renewed in time is free;
//! * a token is given out only when no edit is under way that passed under an earlier one of the document.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    access::{Author, Principal},
    documents::{BoxFuture, Retry},
    id::{DocumentId, SessionId},
};

/// The longest time for which a lock holds without being renewed: an hour.
pub const LOCK_TTL_MAX: Duration = Duration::from_secs(3600);

/// Locks that one session may hold.
pub const LOCKS_PER_SESSION: usize = 256;

/// After so long it is worth asking again for a lock under which edits are being stored: a few commits.
const SETTLING: Duration = Duration::from_millis(20);

/// Locks in one page of a list.
pub const LOCKS_PAGE: usize = 1000;

/// Tells holders of the same lock apart: later ones have greater tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fencing(pub u64);

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// On which document.
    pub document: DocumentId,
    /// By which session.
    pub session: SessionId,
    /// Who that is.
    pub principal: Principal,
    /// Its token.
    pub fencing: Fencing,
    /// When it will be free unless it is renewed, milliseconds since 1970.
    pub until_ms: u64,
}

/// Why a lock was not taken, renewed or released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("{} holds the lock until {} ms", .0.principal, .0.until_ms)]
    Held(Box<Lock>),
    /// It expired, was released, or belongs to another session.
    #[error("the lock is not held, or not with this token")]
    NotHeld,
    /// Nobody holds it, and edits that were made under it are still being stored.
    #[error("edits that were made under the lock are still being stored")]
    Settling,
    /// For no time, or too long a time.
    #[error("a lock is held for 1 ms to an hour")]
    Ttl,
    /// As many as one session may hold.
    #[error("a session holds at most {LOCKS_PER_SESSION} locks")]
    TooMany,
    /// Whoever keeps the locks cannot be reached; it is not known whether anything was done.
    #[error("locks cannot be reached: {0}")]
    Unavailable(String),
}

impl LockError {
    /// When trying again makes sense.
    pub fn retry(&self) -> Retry {
        match self {
            Self::NotHeld | Self::Ttl | Self::TooMany => Retry::Never,
            Self::Held(_) | Self::Unavailable(_) => Retry::After(Duration::from_secs(1)),
            Self::Settling => Retry::After(SETTLING),
        }
    }
}

/// An edit that may be placed, as to the lock under which it was made. Held until it is known what became of the edit: until
/// then nobody else is given the lock.
pub trait Pass: Send + Sync {}

/// The lock under which an edit was made, for whoever places it in the log. Cheap to clone.
#[derive(Clone)]
pub struct Fence {
    document: DocumentId,
    fencing: Fencing,
    locks: Arc<dyn DocumentLocks>,
}

impl Fence {
    /// The lock of a document with this token.
    pub fn new(locks: Arc<dyn DocumentLocks>, document: DocumentId, fencing: Fencing) -> Self {
        Self {
            document,
            fencing,
            locks,
        }
    }

    /// To be asked directly before the edit is placed. Never blocks.
    ///
    /// # Errors
    /// When the lock is not held with this token, or that cannot be found out.
    pub fn pass(&self) -> Result<Box<dyn Pass>, LockError> {
        self.locks.pass(&self.document, self.fencing)
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence({} of {})", self.fencing.0, self.document)
    }
}

impl PartialEq for Fence {
    fn eq(&self, other: &Self) -> bool {
        (&self.document, self.fencing) == (&other.document, other.fencing)
    }
}

impl Eq for Fence {}

/// The locks of all documents. Nothing waits for a lock to become free.
pub trait DocumentLocks: Send + Sync + 'static {
    /// Takes a document's lock. One who holds it already renews it, and keeps the token.
    fn acquire(&self, document: &DocumentId, author: &Author, ttl: Duration) -> BoxFuture<'_, Result<Lock, LockError>>;

    /// Holds it for so long from now on.
    fn renew(
        &self,
        document: &DocumentId,
        session: SessionId,
        fencing: Fencing,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Lock, LockError>>;

    /// Gives it back.
    fn release(
        &self,
        document: &DocumentId,
        session: SessionId,
        fencing: Fencing,
    ) -> BoxFuture<'_, Result<(), LockError>>;

    /// Gives back all that a session holds: it is over.
    fn release_all(&self, session: SessionId) -> BoxFuture<'_, Result<(), LockError>>;

    /// Lets an edit pass that was made under this token, whoever sends it: [`LockError::NotHeld`] unless the lock is held with
    /// it at this moment. Never blocks: an implementation whose locks are kept elsewhere knows what it gave out.
    fn pass(&self, document: &DocumentId, fencing: Fencing) -> Result<Box<dyn Pass>, LockError>;

    /// The locks of a session, in the order of the documents' ids.
    fn of_session(&self, session: SessionId) -> BoxFuture<'_, Result<Vec<Lock>, LockError>>;

    /// Who holds a document's lock.
    fn holder(&self, document: &DocumentId) -> BoxFuture<'_, Result<Option<Lock>, LockError>>;

    /// Up to `limit` locks (at most [`LOCKS_PAGE`]) on documents with ids greater than `after`, in the order of the ids.
    fn list(&self, after: Option<DocumentId>, limit: usize) -> BoxFuture<'_, Result<Vec<Lock>, LockError>>;
}

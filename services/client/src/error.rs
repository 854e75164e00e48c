//! What can go wrong, one enum for each thing that can be asked for.

use std::{io, path::PathBuf};

use aetherflow_schema::id::{ChangeHash, DocumentIdError};

use crate::{address::AddressError, session::Refusal};

/// Whether asking again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It will fail again.
    Never,
    /// The same may succeed later.
    Same,
    /// It may succeed after what the error names was put right: another token, a repaired file, smaller edits, an edit made
    /// anew on what is there now.
    AfterRefresh,
}

/// Why there is no client. A server that cannot be reached is no reason: see [`Status`](crate::Status).
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not one.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A name or token is longer than the protocol allows, the name is empty, a limit makes no sense, or the fallback is none.
    #[error("{field} must be {expected}")]
    Option {
        /// Which.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The certificates given cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The offline store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ConnectError {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Address(_) | Self::Option { .. } => Retry::Never,
            Self::Tls(_) => Retry::AfterRefresh,
            Self::Store(error) => error.retry(),
        }
    }
}

/// Why the offline store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another client, of this process or another, has it open.
    #[error("{} is used by another client", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is another file, or of a later version.
    #[error("{} is not an offline store of a version known here", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Something that was safely on disk is not what it was. What a crash leaves behind is not reported but cut off.
    #[error("{} is damaged at byte {at}: {what}. Open it with `salvage` to go on without what is lost", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// How that was found.
        what: String,
    },
}

impl StoreError {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Io { .. } | Self::InUse { .. } => Retry::Same,
            Self::Foreign { .. } => Retry::Never,
            Self::Damaged { .. } => Retry::AfterRefresh,
        }
    }
}

/// Why a document was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its id is not one.
    #[error(transparent)]
    Id(#[from] DocumentIdError),
    /// What the offline store has of it cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the offline store has of it is no automerge document.
    #[error("what the offline store has of the document cannot be loaded: {0}")]
    Content(String),
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

impl OpenError {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Id(_) | Self::Content(_) | Self::Closed => Retry::Never,
            Self::Store(error) => error.retry(),
        }
    }
}

/// Why the state of a document did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The server does not let it be followed.
    #[error("the server refuses: {0}")]
    Refused(Refusal),
    /// There was no answer in time.
    #[error("nothing came from the server in time")]
    Late,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

impl LoadError {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Refused(refusal) => refusal.retry(),
            Self::Late => Retry::Same,
            Self::Closed => Retry::Never,
        }
    }
}

/// Why an edit was not made. The document is as before.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError<E> {
    /// The edit itself failed.
    #[error(transparent)]
    Edit(E),
    /// There are as many edits without a receipt as there may be, and that did not change in time.
    #[error("too many edits wait for their receipts")]
    Full,
    /// It was to be made under a lock that is lost.
    #[error("the lock is not held any more")]
    LockLost,
    /// The document or the client is closed.
    #[error("the document is closed")]
    Closed,
}

impl<E> ChangeError<E> {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Edit(_) | Self::Closed => Retry::Never,
            Self::Full => Retry::Same,
            Self::LockLost => Retry::AfterRefresh,
        }
    }
}

/// Why a document's lock was not had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Somebody else had it all the time: who, in words.
    #[error("the lock was not free in time: {0}")]
    Held(String),
    /// The server did not answer in time, [`Timeouts::answer`](crate::Timeouts::answer) at least.
    #[error("the server did not answer in time")]
    Late,
    /// The server refuses.
    #[error("the server refuses: {0}")]
    Refused(Refusal),
    /// The server knows no locks.
    #[error("the server knows no locks")]
    Unsupported,
    /// It is to hold for some time.
    #[error("a lock holds for at least a second and at most an hour")]
    Ttl,
    /// The document or the client is closed.
    #[error("the document is closed")]
    Closed,
}

impl LockError {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Held(_) | Self::Late => Retry::Same,
            Self::Refused(refusal) => refusal.retry(),
            Self::Unsupported | Self::Ttl | Self::Closed => Retry::Never,
        }
    }
}

/// Why a lock is not held any more. What was changed under it and is not stored by now will be refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockLost {
    /// It could not be renewed in time.
    #[error("the lock was not renewed in time")]
    Expired,
    /// The connection broke, and the server did not go on with the session that held the lock.
    #[error("the session that held the lock is over")]
    Session,
    /// The server says so: it expired there, or the server was started again.
    #[error("the lock is not held any more")]
    NotHeld,
    /// The server does not renew it.
    #[error("the server refuses: {0}")]
    Refused(Refusal),
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

impl LockLost {
    /// Whether taking the lock again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Expired | Self::Session | Self::NotHeld => Retry::AfterRefresh,
            Self::Refused(refusal) => refusal.retry(),
            Self::Closed => Retry::Never,
        }
    }
}

/// Why an edit is not stored, or not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The server does not take it, now or ever. It was taken out of the document.
    #[error("the server refuses: {0}")]
    Refused(Refusal),
    /// It was made on top of a change that the server does not take. It was taken out of the document.
    #[error("it depends on change {0}, which the server refuses")]
    Dependent(ChangeHash),
    /// The client was closed before. With an offline store it will be submitted by the next client that uses the store;
    /// whether it is stored already is not known.
    #[error("the client was closed before the receipt came")]
    Closed,
}

impl SubmitError {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Refused(refusal) => refusal.retry(),
            Self::Dependent(_) => Retry::AfterRefresh,
            Self::Closed => Retry::Same,
        }
    }
}

/// Why an edit is not on this machine's disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// The client has no offline store.
    #[error("there is no offline store")]
    NoStore,
    /// The store failed.
    #[error("the offline store failed: {0}")]
    Failed(String),
    /// The client was closed before.
    #[error("the client was closed")]
    Closed,
}

impl KeepError {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::NoStore | Self::Closed => Retry::Never,
            Self::Failed(_) => Retry::AfterRefresh,
        }
    }
}

/// Why presence was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// The state is too long.
    #[error("a presence state has {found} bytes; {limit} are allowed")]
    TooLong {
        /// Its bytes.
        found: usize,
        /// What is allowed.
        limit: usize,
    },
    /// It must hold for some time.
    #[error("a presence holds for at least a second and at most an hour")]
    Ttl,
    /// The document or the client is closed.
    #[error("the document is closed")]
    Closed,
}

impl PresenceError {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::TooLong { .. } | Self::Ttl | Self::Closed => Retry::Never,
        }
    }
}

/// Why closing was not perfect. The client is closed all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// Edits had no receipt by the deadline. They are kept in the offline store.
    #[error("{0} edits had no receipt in time; they are in the offline store")]
    Kept(usize),
    /// Edits had no receipt by the deadline, and there is no offline store: unless the server has them they are lost.
    #[error("{0} edits had no receipt in time, and there is no offline store")]
    Lost(usize),
    /// The offline store failed.
    #[error("the offline store failed: {0}")]
    Store(String),
    /// The client had ended before, by a defect: what became of the last edits is not known. An offline store has those that
    /// were kept.
    #[error("the client had ended before it was closed")]
    Ended,
}

impl CloseError {
    /// Whether asking again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Kept(_) | Self::Lost(_) | Self::Store(_) | Self::Ended => Retry::Never,
        }
    }
}

//! Where sessions are kept for when their clients come back.
//!
//! | module | what |
//! | --- | --- |
//! | [`memory`] | in memory: for tests, and where nothing is to survive the process |
//! | [`embedded`] | in memory and in a small RocksDB, with group commit |
//! | [`nats`] | in a JetStream key-value bucket, for all nodes of a cluster |
//! | [`conformance`] | what every one of them must do |

pub mod conformance;
pub mod embedded;
pub mod memory;
pub mod nats;

use std::time::Duration;

use aetherflow_schema::{
    documents::{BoxFuture, Retry},
    id::SessionId,
    sessions::{SessionError, record::SessionRecord},
};
use tokio::sync::mpsc;

/// Which copy of a session it is. Later copies of the same session have greater ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A stored session.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned {
    /// The session.
    pub record: SessionRecord,
    /// Which copy.
    pub revision: Revision,
}

/// What somebody did to a store.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreEvent {
    /// Stored a session.
    Put(Box<Versioned>),
    /// Deleted one; what was stored before has a lesser revision.
    Deleted(SessionId, Revision),
    /// All that there was when the watch began has been told.
    Current,
}

/// Why a store did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is such a session already.
    #[error("the session is stored already")]
    Exists,
    /// It is not stored at the expected revision, or not any more.
    #[error("the session was stored or deleted by somebody else meanwhile")]
    Conflict,
    /// It cannot be reached, or did not answer in time: it is not known whether anything was done.
    #[error("the store of sessions cannot be reached: {0}")]
    Unreachable(String),
    /// A write failed: nothing is written any more until the process starts again; reads go on.
    #[error("the store of sessions takes no writes: {0}")]
    Failsafe(String),
    /// What is stored is not what was written.
    #[error("what is stored of session {0} cannot be read: {1}")]
    Damaged(SessionId, String),
}

impl StoreError {
    /// When trying again makes sense.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Exists | Self::Conflict | Self::Damaged(..) => Retry::Never,
            Self::Unreachable(_) => Retry::After(Duration::from_secs(1)),
            Self::Failsafe(_) => Retry::After(Duration::from_secs(30)),
        }
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Exists => Self::Exists,
            StoreError::Conflict => Self::Conflict,
            error @ (StoreError::Unreachable(_) | StoreError::Failsafe(_) | StoreError::Damaged(..)) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

/// Keeps sessions. An `Ok` of a call that writes means that it is durable.
pub trait SessionStore: Send + Sync + 'static {
    /// Stores a session that is not there.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when it is.
    fn create(&self, record: &SessionRecord) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// Stores a newer copy of a session.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the stored copy is not the one that was expected.
    fn update(&self, record: &SessionRecord, expected: Revision) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// The stored copy.
    fn read(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Versioned>, StoreError>>;

    /// Deletes a session, if the stored copy is the expected one. One that is not there is deleted already.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is another copy.
    fn delete(&self, id: SessionId, expected: Revision) -> BoxFuture<'_, Result<(), StoreError>>;

    /// All sessions, then [`StoreEvent::Current`]; and after that what anybody does, where [`Self::lease`] says that others
    /// do something, until the receiver is dropped. What cannot be read is passed over with a warning. When the stream ends
    /// by itself, something may have been missed: watch again.
    fn watch(&self) -> BoxFuture<'_, Result<mpsc::Receiver<StoreEvent>, StoreError>>;

    /// When other nodes use the same store: a session that is not stored again within this time vanishes from it.
    fn lease(&self) -> Option<Duration>;
}

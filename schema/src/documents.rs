//! What a gateway asks of whoever materializes documents, and what it hears back.
//!
//! Statesync implements [`Documents`] in the same process; in a cluster a proxy to the owner of the document does. The
//! rules that every implementation keeps:
//!
//! * nothing is sent to a [`PeerSink`] that is not committed, and no frame advertises heads that are not;
//! * frames of one session are handled in the order in which they were handed over;
//! * an `Ok` from a call that writes means that the edit is durable.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    access::{Author, AuthorizedEdit, Grant},
    id::{ChangeHash, DocumentId, Offset, StorageId},
    locks::Fence,
};

/// A future that can be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One frame of an automerge sync session.
#[derive(Debug, Clone)]
pub struct SyncFrame {
    /// The peer asked for a document it does not have (`request`), rather than offering its state (`sync`).
    pub request: bool,
    /// The automerge sync message.
    pub message: Bytes,
}

/// What a document tells one of its peers.
#[derive(Debug, Clone)]
pub enum PeerFrame {
    /// An automerge sync message.
    Sync {
        /// Of this document.
        document: DocumentId,
        /// The message, ready to be sent; peers that are told the same share the bytes.
        message: Bytes,
    },
    /// Nobody has the document at present. It may still appear later.
    Unavailable {
        /// This document.
        document: DocumentId,
    },
    /// A storage is known to hold these heads.
    RemoteHeads {
        /// Of this document.
        document: DocumentId,
        /// Whose storage.
        storage: StorageId,
        /// What it holds.
        heads: Arc<[ChangeHash]>,
        /// When that was learned, milliseconds since 1970.
        timestamp_ms: u64,
    },
    /// The peer's edits of this document were refused and are not saved; the connection stays.
    Refused {
        /// Of this document.
        document: DocumentId,
        /// Why, in words.
        reason: String,
    },
    /// The document was closed here after a failure, and the peer hears no more of it: close the connection, so that it
    /// connects and opens the document again.
    Lost {
        /// This document.
        document: DocumentId,
        /// Why, in words.
        reason: String,
    },
    /// The peer sent what no correct client sends: close the connection.
    Malformed {
        /// Of this document.
        document: DocumentId,
        /// What was wrong.
        reason: String,
    },
}

/// Where a document's frames for one connection go. Calls never block.
pub trait PeerSink: Send + Sync + 'static {
    /// Queues a frame; `false` when the connection is gone or was dropped for reading too slowly.
    fn deliver(&self, frame: PeerFrame) -> bool;

    /// Whether the connection still exists.
    fn is_open(&self) -> bool;

    /// Whether the peer wants to hear what this storage holds. Asked before [`PeerFrame::RemoteHeads`] is made.
    fn wants_heads_of(&self, storage: &StorageId) -> bool;
}

/// One peer of a document.
#[derive(Clone)]
pub struct Peer {
    /// Where its frames go.
    pub sink: Arc<dyn PeerSink>,
    /// Its durable storage, when it has one and is not ephemeral.
    pub storage: Option<StorageId>,
    /// The peer may be told what the document contains.
    pub grant: Grant,
}

/// One connection's session with one document. Dropping it ends it.
pub trait SyncSession: Send + Sync {
    /// Hands over the peer's next frame; waits while the document's queue is full.
    fn receive(&self, edit: AuthorizedEdit<SyncFrame>) -> BoxFuture<'_, Result<(), DocumentError>>;

    /// The same for a peer that may only read: changes in the frame are refused and never reach the log, and what else it
    /// says is heard.
    fn listen(&self, grant: Grant, frame: SyncFrame) -> BoxFuture<'_, Result<(), DocumentError>>;

    /// The peer subscribed to what these storages hold: tell it what is known.
    fn announce(&self, storages: Vec<StorageId>) -> BoxFuture<'_, Result<(), DocumentError>>;
}

/// A place in a document's history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum At {
    /// The newest committed state.
    #[default]
    Now,
    /// After the first so many changes, in the order of [`HistoryPage`].
    Change(u64),
    /// Where exactly these changes and all they depend on are applied.
    Heads(Vec<ChangeHash>),
}

/// The state of a document as JSON.
#[derive(Debug, Clone)]
pub struct DocumentJson {
    /// The heads of that state.
    pub heads: Vec<ChangeHash>,
    /// Changes in that state.
    pub changes: u64,
    /// The content; the root is an object.
    pub content: serde_json::Value,
}

/// A document that was written to.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its heads afterwards.
    pub heads: Vec<ChangeHash>,
    /// Where the newest entry of the document stands in its partition's log.
    pub offset: Offset,
}

/// One change in a document's history.
#[derive(Debug, Clone)]
pub struct HistoryChange {
    /// Its place, from 1.
    pub index: u64,
    /// Its hash.
    pub hash: ChangeHash,
    /// The author's automerge actor id, in hexadecimal.
    pub actor: String,
    /// The actor's sequence number.
    pub seq: u64,
    /// The author's clock, milliseconds since 1970; 0 when not given.
    pub time_ms: i64,
    /// The author's commit message.
    pub message: Option<String>,
    /// Operations in the change.
    pub operations: u64,
    /// Where it stands in the partition's log, when it has an entry of its own there.
    pub offset: Option<Offset>,
    /// When it was committed, milliseconds since 1970, when it has an entry of its own.
    pub committed_ms: Option<u64>,
    /// Whose entry that is, and in which session it was written.
    pub author: Option<Author>,
}

/// A stretch of a document's history.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// Changes in all.
    pub total: u64,
    /// This stretch, in an order in which every change stands after those it depends on.
    pub changes: Vec<HistoryChange>,
    /// The index to ask for next, if there is more.
    pub next: Option<u64>,
}

/// A document that cannot be served whole because applying an entry failed.
#[derive(Debug, Clone)]
pub struct QuarantinedDocument {
    /// Which.
    pub document: DocumentId,
    /// The entry at fault; the document is served up to the one before it.
    pub offset: Offset,
    /// What happened.
    pub reason: String,
    /// When, milliseconds since 1970.
    pub since_ms: u64,
}

/// Why a call on a document failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// No such document.
    #[error("there is no such document")]
    NotFound,
    /// The history does not contain the place asked for.
    #[error("the document's history has no such place: {0}")]
    NoSuchPlace(String),
    /// The submitted bytes are not what they should be.
    #[error("not acceptable: {0}")]
    Invalid(String),
    /// The document is quarantined and cannot be written.
    #[error("the document is quarantined: {0}")]
    Quarantined(String),
    /// The lock under which the edit was made is not held any more; nothing was done.
    #[error("the edit was made under a lock that is not held any more")]
    Fenced,
    /// Too much is waiting; nothing was done.
    #[error("too much is waiting; try again")]
    Overloaded,
    /// The log takes no writes at present; nothing was done.
    #[error("the log is read-only: {0}")]
    ReadOnly(String),
    /// It is not known whether the edit was stored; sending it again is safe.
    #[error("it is not known whether the edit was stored; send it again: {0}")]
    Unknown(String),
    /// The log cannot be read where this document is kept.
    #[error("the document cannot be read: {0}")]
    Unreadable(String),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// When trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will fail again.
    Never,
    /// The same request after about this long.
    After(Duration),
}

impl DocumentError {
    /// When trying again makes sense.
    pub fn retry(&self) -> Retry {
        match self {
            Self::NotFound | Self::NoSuchPlace(_) | Self::Invalid(_) | Self::Quarantined(_) | Self::Fenced => {
                Retry::Never
            }
            Self::Overloaded | Self::Unknown(_) | Self::Stopping => Retry::After(Duration::from_secs(1)),
            Self::ReadOnly(_) | Self::Unreadable(_) => Retry::After(Duration::from_secs(30)),
        }
    }
}

/// Everything that can be asked about documents.
pub trait Documents: Send + Sync + 'static {
    /// Opens a sync session between a peer and a document, which need not exist.
    fn open(&self, peer: Peer) -> BoxFuture<'_, Result<Arc<dyn SyncSession>, DocumentError>>;

    /// Creates a document with this content (a JSON object, or nothing).
    fn create(
        &self,
        edit: AuthorizedEdit<DocumentId>,
        content: Option<serde_json::Value>,
    ) -> BoxFuture<'_, Result<Written, DocumentError>>;

    /// Merges an automerge file into a document, creating it when it does not exist; only while the lock is held, if it was
    /// made under one.
    fn import(
        &self,
        edit: AuthorizedEdit<DocumentId>,
        file: Bytes,
        fence: Option<Fence>,
    ) -> BoxFuture<'_, Result<Written, DocumentError>>;

    /// The document as JSON.
    fn read(&self, grant: Grant, at: At) -> BoxFuture<'_, Result<DocumentJson, DocumentError>>;

    /// A page of its history: up to `limit` changes after the one with index `after`.
    fn history(&self, grant: Grant, after: u64, limit: usize) -> BoxFuture<'_, Result<HistoryPage, DocumentError>>;

    /// The document as an automerge file.
    fn export(&self, grant: Grant, at: At) -> BoxFuture<'_, Result<Bytes, DocumentError>>;

    /// Up to `limit` ids of documents that exist, in an order that stays the same, after `after`.
    fn list(&self, after: Option<DocumentId>, limit: usize) -> BoxFuture<'_, Result<Vec<DocumentId>, DocumentError>>;

    /// The quarantined documents.
    fn quarantined(&self) -> BoxFuture<'_, Vec<QuarantinedDocument>>;

    /// Tries a quarantined document again.
    fn release(&self, document: DocumentId) -> BoxFuture<'_, Result<(), DocumentError>>;
}

//! What the log asks of a durable store.

use std::sync::Arc;

use aetherflow_schema::{
    history::{AuthoredPage, AuthoredQuery},
    id::{ChangeHash, DocumentId, Offset, OpId, PartitionId},
    record::{Entry, Frame},
};
use bytes::Bytes;

use crate::tail::{Damage, PartitionState};

/// Why a store could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// A write or an fsync failed, now or earlier: the store takes no writes until it is resumed. Whether what was being
    /// written is durable is not known.
    #[error("the store is read-only since a write failed: {0}")]
    Failsafe(Arc<str>),
    /// The partition was found damaged and serves nothing beyond the damage.
    #[error("partition {0} is quarantined: {1}")]
    Quarantined(PartitionId, Damage),
    /// Reading failed, or what was read is not what was written.
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
}

/// A materialized document, kept so that loading it does not need the whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry of the document that is in it.
    pub offset: Offset,
    /// Its heads, so that they are known without materializing it.
    pub heads: Vec<ChangeHash>,
    /// Changes in it.
    pub changes: u64,
    /// The document, in automerge's file format; opaque to the log.
    pub document: Bytes,
}

/// An operation to look for.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    /// The partition of its document.
    pub partition: PartitionId,
    /// The document it belongs to.
    pub document: &'a DocumentId,
    /// Its identity in that document.
    pub op: OpId,
}

/// What a full check of the log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Frames read.
    pub frames: u64,
    /// Entries read.
    pub entries: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What was wrong, by partition.
    pub damage: Vec<(PartitionId, Damage)>,
}

/// A durable store of frames with the indexes that belong to them.
///
/// # What every implementation guarantees
/// * [`write`](Self::write) is atomic and durable: when it returns `Ok`, all frames of the batch, with their entries in the
///   indexes by op id, document and principal, survive the loss of power; after a crash a batch is there whole or not at all.
/// * Nothing of a batch can be read before it is durable.
/// * A failed write puts the store in failsafe: all later writes fail with [`StorageError::Failsafe`], reads go on.
/// * What is read is what was written: a checksum that does not match is [`StorageError::Unreadable`], never data.
/// * Opening finds out by the chain and the witness whether committed entries are missing, and quarantines those partitions;
///   a batch that was never acknowledged may be missing without damage.
pub trait Storage: Send + Sync + 'static {
    /// How many partitions there are. Fixed when the store is created.
    fn partitions(&self) -> u16;

    /// The state in which a partition was found at opening (or at the last [`resume`](Self::resume)).
    fn state(&self, partition: PartitionId) -> PartitionState;

    /// For each operation, in order, the offset at which it already stands in the log.
    fn lookup(&self, operations: &[Operation<'_>]) -> Result<Vec<Option<Offset>>, StorageError>;

    /// Writes frames (of any partitions, each continuing its partition's tail) in one atomic, durable batch.
    fn write(&self, frames: &[Frame]) -> Result<(), StorageError>;

    /// Frames of a partition in order, beginning with the one that contains `from`, up to about `max_bytes` (one at
    /// least, if there is any). Each is checked against the one before it.
    fn frames(&self, partition: PartitionId, from: Offset, max_bytes: usize) -> Result<Vec<Frame>, StorageError>;

    /// Entries of a document in order, after `after`, up to about `max_bytes` of payload (one at least, if any).
    fn document_entries(
        &self,
        document: &DocumentId,
        after: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StorageError>;

    /// The offset of the document's newest entry; `None` when it has none.
    fn document_tail(&self, document: &DocumentId) -> Result<Option<Offset>, StorageError>;

    /// Up to `limit` documents that have entries, in a fixed order, after `after`.
    fn documents(&self, after: Option<&DocumentId>, limit: usize) -> Result<Vec<DocumentId>, StorageError>;

    /// A page of what a principal wrote, of partitions that are sound; the others are named. Of the partition of a document
    /// that is asked for, [`StorageError::Quarantined`]. One page costs a bounded amount of work.
    fn authored(&self, query: &AuthoredQuery) -> Result<AuthoredPage, StorageError>;

    /// Keeps a snapshot and drops the older ones of the document but the newest of them. A snapshot is a cache: losing it
    /// costs time only.
    fn put_snapshot(&self, document: &DocumentId, snapshot: &Snapshot) -> Result<(), StorageError>;

    /// The newest snapshot of a document that can be read; a damaged one is passed over.
    fn snapshot(&self, document: &DocumentId) -> Result<Option<Snapshot>, StorageError>;

    /// Why the store takes no writes; `None` when it does.
    fn failsafe(&self) -> Option<Arc<str>>;

    /// Leaves failsafe: opens the store anew and judges every partition again. The operator calls for it once the cause is
    /// gone; fails when the store still cannot be written.
    fn resume(&self) -> Result<(), StorageError>;

    /// Reads the whole log and checks every frame, every chain value and that each entry is in the indexes.
    /// `progress` is told the entries read so far now and then.
    fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Verified, StorageError>;

    /// Notes outside the store how far the log has been committed, so that a lost tail is noticed at the next opening.
    /// Called within 100 ms of every commit, and at shutdown.
    fn witness(&self) -> Result<(), StorageError>;
}

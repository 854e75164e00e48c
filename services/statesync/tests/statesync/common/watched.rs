//! A store whose reading of documents is counted, and can be made to fail or to wait, and whose writing can be held back.

use std::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use aetherflow_log_core::{
    PartitionState, Storage, StorageError,
    memory::MemoryStorage,
    storage::{Operation, Snapshot, Verified},
};
use aetherflow_schema::{
    history::{AuthoredPage, AuthoredQuery},
    id::{DocumentId, Offset, PartitionId},
    record::{Entry, Frame},
};

#[derive(Default)]
pub(crate) struct Reading {
    reads: AtomicUsize,
    fails: AtomicBool,
    stopped: Mutex<bool>,
    goes_on: Condvar,
}

/// Writes are let through one by one, or all.
#[derive(Default)]
pub(crate) struct Writing {
    held: Mutex<Held>,
    goes_on: Condvar,
}

#[derive(Default)]
struct Held {
    /// So many more may go on; all when there is no number.
    left: Option<usize>,
    waiting: bool,
}

pub(crate) struct Watched {
    pub(crate) inner: Arc<MemoryStorage>,
    pub(crate) reading: Reading,
    pub(crate) writing: Writing,
}

impl Watched {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::new(MemoryStorage::new(4)),
            reading: Reading::default(),
            writing: Writing::default(),
        })
    }
}

impl Reading {
    /// How often entries of documents were read.
    pub(crate) fn count(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Whether reading fails from now on.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// Whether reading waits from now on.
    pub(crate) fn stop(&self, stopped: bool) {
        *self.stopped.lock().unwrap() = stopped;
        self.goes_on.notify_all();
    }

    fn read(&self) -> Result<(), StorageError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let stopped = self.stopped.lock().unwrap();
        drop(self.goes_on.wait_while(stopped, |stopped| *stopped).unwrap());
        if self.fails.load(Ordering::SeqCst) {
            return Err(StorageError::Unreadable("the disk does not answer".to_owned()));
        }
        Ok(())
    }
}

impl Writing {
    /// So many more writes go on from now on; all when there is no number.
    pub(crate) fn allow(&self, left: Option<usize>) {
        self.held.lock().unwrap().left = left;
        self.goes_on.notify_all();
    }

    /// Whether a write is being held back.
    pub(crate) fn waits(&self) -> bool {
        self.held.lock().unwrap().waiting
    }

    fn write(&self) {
        let mut held = self.held.lock().unwrap();
        held.waiting = true;
        held = self.goes_on.wait_while(held, |held| held.left == Some(0)).unwrap();
        held.waiting = false;
        held.left = held.left.map(|left| left - 1);
    }
}

impl Storage for Watched {
    fn document_entries(
        &self,
        document: &DocumentId,
        after: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        self.reading.read()?;
        self.inner.document_entries(document, after, max_bytes)
    }

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    fn state(&self, partition: PartitionId) -> PartitionState {
        self.inner.state(partition)
    }

    fn lookup(&self, operations: &[Operation<'_>]) -> Result<Vec<Option<Offset>>, StorageError> {
        self.inner.lookup(operations)
    }

    fn write(&self, frames: &[Frame]) -> Result<(), StorageError> {
        self.writing.write();
        self.inner.write(frames)
    }

    fn frames(&self, partition: PartitionId, from: Offset, max_bytes: usize) -> Result<Vec<Frame>, StorageError> {
        self.inner.frames(partition, from, max_bytes)
    }

    fn document_tail(&self, document: &DocumentId) -> Result<Option<Offset>, StorageError> {
        self.inner.document_tail(document)
    }

    fn documents(&self, after: Option<&DocumentId>, limit: usize) -> Result<Vec<DocumentId>, StorageError> {
        self.inner.documents(after, limit)
    }

    fn authored(&self, query: &AuthoredQuery) -> Result<AuthoredPage, StorageError> {
        self.inner.authored(query)
    }

    fn put_snapshot(&self, document: &DocumentId, snapshot: &Snapshot) -> Result<(), StorageError> {
        self.inner.put_snapshot(document, snapshot)
    }

    fn snapshot(&self, document: &DocumentId) -> Result<Option<Snapshot>, StorageError> {
        self.inner.snapshot(document)
    }

    fn failsafe(&self) -> Option<Arc<str>> {
        self.inner.failsafe()
    }

    fn resume(&self) -> Result<(), StorageError> {
        self.inner.resume()
    }

    fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Verified, StorageError> {
        self.inner.verify(progress)
    }

    fn witness(&self) -> Result<(), StorageError> {
        self.inner.witness()
    }
}

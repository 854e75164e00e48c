//! The store: RocksDB, the witness, and the two together behind the [`Storage`] trait.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use aetherflow_log_core::{
    Damage, PartitionState, Storage, StorageError, Tail,
    storage::{Operation, Snapshot, Verified},
};
use aetherflow_schema::{
    history::{AuthoredPage, AuthoredQuery},
    id::{DocumentId, Offset, PartitionId},
    record::{Entry, Frame},
};
use rocksdb::{ColumnFamily, DB, ErrorKind, WriteBatch, WriteOptions};
use uuid::Uuid;

use crate::{
    by_doc, by_principal,
    database::{Database, Indexed},
    entry,
    failsafe::Failsafe,
    keys::{Family, OpKey},
    op_id,
    options::StoreOptions,
    recovery::{self, Opened},
    snapshot, verify,
    witness::Witness,
};

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0} is in use by another process: {1}")]
    InUse(PathBuf, String),
    /// The directory or a file in it cannot be used.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// What holds the whole store together is damaged, beyond a partition.
    #[error("the store is damaged and was left as it is; restore it from a backup or a replica: {0}")]
    Corrupt(String),
    /// It cannot be written.
    #[error("the store cannot be written: {0}")]
    Write(String),
    /// It was made by a newer program.
    #[error("the store has format {0}, which this program does not know; use a newer one")]
    Format(u32),
    /// It was made by an older program, before the first release.
    #[error(
        "the store has format {0}, which is read no more; export its documents with the program that made it, and begin with an empty directory"
    )]
    OldFormat(u32),
    /// The witness belongs to another store.
    #[error("the file {0} belongs to another store: {1}, while this one is {2}; was a directory mixed up?")]
    ForeignWitness(PathBuf, Uuid, Uuid),
}

/// Why reading failed.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// Something committed is missing or is not what was written.
    Damaged {
        partition: PartitionId,
        offset: Offset,
        reason: String,
    },
    /// It could not be read at all.
    Failed(String),
}

impl ReadError {
    /// What an error of the database says of the entries from `offset` on: nothing, when it is the disk or the system that fails.
    pub(crate) fn of_database(error: &rocksdb::Error, partition: PartitionId, offset: Offset) -> Self {
        let reason = error.to_string();
        match error.kind() {
            ErrorKind::IOError | ErrorKind::Busy | ErrorKind::TimedOut | ErrorKind::ShutdownInProgress => {
                Self::Failed(reason)
            }
            _ => Self::Damaged {
                partition,
                offset,
                reason,
            },
        }
    }
}

/// The handle of a key family. All of them are made when the database is opened.
///
/// # Panics
/// Never, for an open store.
pub(crate) fn family(db: &DB, family: Family) -> &ColumnFamily {
    match db.cf_handle(family.name()) {
        Some(handle) => handle,
        None => panic!("the column family {} is created at opening", family.name()),
    }
}

/// An open store. See [`Storage`] for what it guarantees.
pub struct RocksStore {
    options: StoreOptions,
    id: Uuid,
    partitions: u16,
    /// `None` only while the store is being opened anew, and after that failed.
    database: RwLock<Option<Indexed>>,
    judged: RwLock<Vec<PartitionState>>,
    committed: Mutex<Vec<Tail>>,
    witness: Mutex<Witness>,
    failsafe: Arc<Failsafe>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RocksStore {
    /// Opens the store in a directory, or makes a new one there, and judges every partition.
    pub fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let opened = recovery::open(&options)?;
        let failsafe = Arc::new(Failsafe::default());
        let database = Indexed::start(opened.database, options.clone(), failsafe.clone())
            .map_err(|error| OpenError::Io(options.dir.clone(), error))?;
        Ok(Self {
            options,
            id: opened.meta.id,
            partitions: opened.meta.partitions,
            database: RwLock::new(Some(database)),
            judged: RwLock::new(opened.states),
            committed: Mutex::new(opened.tails),
            witness: Mutex::new(opened.witness),
            failsafe,
        })
    }

    /// The store's identity, made when the store was and never changed.
    pub fn id(&self) -> Uuid {
        self.id
    }

    fn read<T>(&self, read: impl FnOnce(&Database) -> Result<T, ReadError>) -> Result<T, StorageError> {
        let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let result = match open.as_ref() {
            Some(open) => read(open.database()),
            None => Err(ReadError::Failed("the store is closed".to_owned())),
        };
        drop(open);
        result.map_err(|error| self.read_failed(error))
    }

    /// Damage that is met while reading quarantines the partition at once.
    fn read_failed(&self, error: ReadError) -> StorageError {
        match error {
            ReadError::Failed(reason) => StorageError::Unreadable(reason),
            ReadError::Damaged {
                partition,
                offset,
                reason,
            } => {
                let damage = Damage { offset, reason };
                tracing::error!(%partition, %damage, "the partition is quarantined");
                let mut judged = self.judged.write().unwrap_or_else(PoisonError::into_inner);
                judged[usize::from(partition.0)] = PartitionState::Quarantined(damage.clone());
                StorageError::Quarantined(partition, damage)
            }
        }
    }

    fn check_sound(&self, partition: PartitionId) -> Result<(), StorageError> {
        match &self.judged()[usize::from(partition.0)] {
            PartitionState::Sound(_) => Ok(()),
            PartitionState::Quarantined(damage) => Err(StorageError::Quarantined(partition, damage.clone())),
        }
    }

    fn judged(&self) -> RwLockReadGuard<'_, Vec<PartitionState>> {
        self.judged.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition of a document, when it may be read.
    fn partition_of(&self, document: &DocumentId) -> Result<PartitionId, StorageError> {
        let partition = document.partition(self.partitions);
        self.check_sound(partition)?;
        Ok(partition)
    }

    /// Any failure here is a failed write.
    fn write_with<T>(&self, write: impl FnOnce(&Database) -> Result<T, String>) -> Result<T, StorageError> {
        let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let result = match open.as_ref() {
            Some(open) => write(open.database()),
            None => Err("the store is closed".to_owned()),
        };
        result.map_err(|reason| self.failsafe.enter(reason))
    }

    fn write_options(&self, sync: bool) -> WriteOptions {
        let mut options = WriteOptions::default();
        // Not a later flush_wal: with that, readers see data before it is durable.
        options.set_sync(sync && self.options.fsync);
        options
    }
}

impl Storage for RocksStore {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    fn state(&self, partition: PartitionId) -> PartitionState {
        match &self.judged()[usize::from(partition.0)] {
            PartitionState::Sound(_) => PartitionState::Sound(lock(&self.committed)[usize::from(partition.0)]),
            quarantined => quarantined.clone(),
        }
    }

    fn lookup(&self, operations: &[Operation<'_>]) -> Result<Vec<Option<Offset>>, StorageError> {
        for operation in operations {
            self.check_sound(operation.partition)?;
        }
        let keys: Vec<OpKey> = operations
            .iter()
            .map(|wanted| OpKey::new(wanted.partition, wanted.document.as_bytes(), wanted.op))
            .collect();
        self.read(|database| op_id::lookup(database, &keys))
    }

    fn write(&self, frames: &[Frame]) -> Result<(), StorageError> {
        for frame in frames {
            self.check_sound(frame.header().partition)?;
        }
        self.failsafe.check()?;
        self.write_with(|Database { db, pending }| {
            pending.wait_for_room()?;
            let bytes: usize = frames.iter().map(|frame| frame.bytes().len()).sum();
            let mut batch = WriteBatch::with_capacity_bytes(bytes + 32 * (frames.len() + 1));
            frames.iter().for_each(|frame| entry::put(db, &mut batch, frame));
            db.write_opt(batch, &self.write_options(true))
                .map_err(|error| error.to_string())?;
            pending.add(frames).map_err(|error| error.to_string())
        })?;
        let mut committed = lock(&self.committed);
        for frame in frames {
            let header = frame.header();
            committed[usize::from(header.partition.0)] = Tail {
                offset: header.last(),
                chain: header.chain_after,
                epoch: header.epoch,
            };
        }
        Ok(())
    }

    fn frames(&self, partition: PartitionId, from: Offset, max_bytes: usize) -> Result<Vec<Frame>, StorageError> {
        self.check_sound(partition)?;
        self.read(|database| {
            let mut frames = Vec::new();
            let mut bytes = 0;
            for frame in entry::from(&database.db, partition, from)? {
                let frame = frame?;
                if frame.header().last() < from {
                    continue;
                }
                bytes += frame.bytes().len();
                frames.push(frame);
                if bytes >= max_bytes {
                    break;
                }
            }
            Ok(frames)
        })
    }

    fn document_entries(
        &self,
        document: &DocumentId,
        after: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        let partition = self.partition_of(document)?;
        self.read(|database| by_doc::entries(database, partition, document, after, max_bytes))
    }

    fn document_tail(&self, document: &DocumentId) -> Result<Option<Offset>, StorageError> {
        let partition = self.partition_of(document)?;
        self.read(|database| by_doc::tail(database, partition, document))
    }

    fn documents(&self, after: Option<&DocumentId>, limit: usize) -> Result<Vec<DocumentId>, StorageError> {
        self.read(|database| by_doc::documents(database, self.partitions, after, limit))
    }

    fn authored(&self, query: &AuthoredQuery) -> Result<AuthoredPage, StorageError> {
        if let Some(document) = &query.document {
            self.partition_of(document)?;
        }
        let sound = |partition| self.check_sound(partition).is_ok();
        self.read(|database| by_principal::authored(database, self.partitions, sound, query))
    }

    fn put_snapshot(&self, document: &DocumentId, snapshot: &Snapshot) -> Result<(), StorageError> {
        let partition = self.partition_of(document)?;
        self.failsafe.check()?;
        self.write_with(|Database { db, .. }| {
            let mut batch = WriteBatch::default();
            snapshot::put(db, &mut batch, partition, document, snapshot);
            db.write_opt(batch, &self.write_options(false))
                .map_err(|error| error.to_string())
        })
    }

    fn snapshot(&self, document: &DocumentId) -> Result<Option<Snapshot>, StorageError> {
        let partition = self.partition_of(document)?;
        self.read(|database| snapshot::newest(database, partition, document))
    }

    fn failsafe(&self) -> Option<Arc<str>> {
        self.failsafe.reason()
    }

    fn resume(&self) -> Result<(), StorageError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // RocksDB's lock on the directory has to be given up first.
        *database = None;
        let failed = |error: OpenError| self.failsafe.stay(error.to_string());
        let Opened {
            database: reopened,
            states,
            tails,
            witness,
            ..
        } = recovery::open(&self.options).map_err(failed)?;
        *self.judged.write().unwrap_or_else(PoisonError::into_inner) = states;
        *lock(&self.committed) = tails;
        *lock(&self.witness) = witness;
        self.failsafe.leave();
        let reopened = Indexed::start(reopened, self.options.clone(), self.failsafe.clone())
            .map_err(|error| failed(OpenError::Io(self.options.dir.clone(), error)))?;
        *database = Some(reopened);
        Ok(())
    }

    fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Verified, StorageError> {
        let mut verified = Verified::default();
        for partition in (0..self.partitions).map(PartitionId) {
            let tail = lock(&self.committed)[usize::from(partition.0)];
            let checked =
                self.read(|database| Ok(verify::partition(database, partition, tail, &mut verified, progress)))?;
            let known = match &self.judged()[usize::from(partition.0)] {
                PartitionState::Sound(_) => None,
                PartitionState::Quarantined(damage) => Some(damage.clone()),
            };
            if let Some(damage) = known.or(checked.err()) {
                verified.damage.push((partition, damage));
            }
        }
        Ok(verified)
    }

    fn witness(&self) -> Result<(), StorageError> {
        let tails = lock(&self.committed).clone();
        lock(&self.witness)
            .note(&tails)
            .map_err(|error| self.failsafe.enter(format!("the witness cannot be written: {error}")))
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        if let Err(error) = self.witness() {
            tracing::error!(%error, "the witness could not be brought up to date at the end");
        }
    }
}

//! The tables of all partitions, kept level with the log.
//!
//! **Owns** a table for each partition, the task that follows its log, and who wants to hear of changes. **Inputs**:
//! committed entries. **Effects**: those who watch are told which documents' permissions are others.
//! **Invariants**: whoever applies an entry has those who watch told of it, in a task that nobody gives up. A partition is
//! readable from when its table is as far as a log that is sound, and only the task that follows it says so.
//! **On failure** to read a partition it is readable no longer, and is tried again until its log was resumed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aetherflow_oplog::{Damage, LogHandle, StorageError, Tail};
use aetherflow_schema::{
    access::{AccessWatcher, Principal},
    id::{DocumentId, PartitionId},
    record::{Frame, RecordError},
};
use tokio::{runtime::Handle, sync, task, time::sleep};

use crate::table::{Effect, Table};

/// Bytes of the log that are read at once.
const READ_BYTES: usize = 1 << 20;

/// Between two attempts to read a partition that cannot be read.
const RETRY: Duration = Duration::from_millis(250);

/// Why a table is not level with the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// The partition's log is not to be trusted.
    #[error("it is quarantined: {0}")]
    Quarantined(Damage),
    /// The log.
    #[error(transparent)]
    Log(#[from] StorageError),
    /// An entry of it.
    #[error(transparent)]
    Entry(#[from] RecordError),
    /// What is committed is not there.
    #[error("the log has a gap")]
    Gap,
    /// It could not be when it was tried last.
    #[error("its permissions cannot be read at present")]
    Closed,
    /// The task that read it.
    #[error(transparent)]
    Task(#[from] task::JoinError),
}

struct Partition {
    table: RwLock<Table>,
    /// Nothing in it is allowed unless this is set.
    readable: AtomicBool,
    /// Held by whoever changes permissions in it.
    turn: Arc<sync::Mutex<()>>,
}

/// See the [module](self).
pub(crate) struct Tables {
    log: LogHandle,
    partitions: Box<[Partition]>,
    /// How many documents each principal made.
    founded: Mutex<HashMap<Principal, u64>>,
    watchers: RwLock<Vec<Arc<dyn AccessWatcher>>>,
    runtime: Handle,
}

impl Tables {
    /// Reads the whole log, and goes on reading it. Must be called within a runtime.
    pub(crate) async fn start(log: LogHandle) -> Arc<Self> {
        let partitions = (0..log.partitions()).map(|_| Partition {
            table: RwLock::default(),
            readable: AtomicBool::new(false),
            turn: Arc::default(),
        });
        let this = Arc::new(Self {
            partitions: partitions.collect(),
            founded: Mutex::default(),
            watchers: RwLock::default(),
            runtime: Handle::current(),
            log,
        });
        for id in (0..this.log.partitions()).map(PartitionId) {
            let tables = this.clone();
            let read = task::spawn_blocking(move || tables.open(id)).await;
            if let Err(error) = read.map_err(TableError::from).flatten() {
                // The task that follows finds the same, and says so.
                tracing::debug!(partition = %id, %error, "permissions were not read");
            }
            task::spawn(follow(Arc::downgrade(&this), id));
        }
        this
    }

    pub(crate) fn log(&self) -> &LogHandle {
        &self.log
    }

    pub(crate) fn partition_of(&self, document: &DocumentId) -> PartitionId {
        self.log.partition_of(document)
    }

    /// Documents in all tables.
    pub(crate) fn documents(&self) -> usize {
        (0..self.log.partitions())
            .map(|id| self.table(PartitionId(id)).len())
            .sum()
    }

    /// How many documents this principal made.
    pub(crate) fn founded_by(&self, principal: &Principal) -> u64 {
        let founded = self.founded.lock().unwrap_or_else(PoisonError::into_inner);
        founded.get(principal).copied().unwrap_or(0)
    }

    /// From now on tells `watcher` which documents' permissions are others.
    pub(crate) fn watch(&self, watcher: Arc<dyn AccessWatcher>) {
        let mut watchers = self.watchers.write().unwrap_or_else(PoisonError::into_inner);
        watchers.push(watcher);
    }

    /// Tells those who watch.
    pub(crate) fn tell(&self, changed: &[DocumentId]) {
        let watchers = self.watchers.read().unwrap_or_else(PoisonError::into_inner);
        for document in changed {
            watchers.iter().for_each(|watcher| watcher.document_changed(document));
        }
    }

    /// Whether anything in a partition may be decided.
    pub(crate) fn is_readable(&self, id: PartitionId) -> bool {
        self.partition(id).readable.load(Ordering::Acquire)
    }

    /// A partition's table, as far as it was read.
    pub(crate) fn table(&self, id: PartitionId) -> RwLockReadGuard<'_, Table> {
        let table = &self.partition(id).table;
        table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else changes permissions in a partition, and then keeps others from it.
    pub(crate) async fn turn(&self, id: PartitionId) -> sync::OwnedMutexGuard<()> {
        self.partition(id).turn.clone().lock_owned().await
    }

    /// Applies what is committed by now and not in the table yet. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be read: then the table is not level with the log.
    pub(crate) fn catch_up(self: &Arc<Self>, id: PartitionId) -> Result<(), TableError> {
        let committed = self.log.committed(id);
        loop {
            let position = self.table(id).position;
            if position >= committed {
                return Ok(());
            }
            let frames = self.log.frames(id, position.next(), READ_BYTES)?;
            if frames.is_empty() {
                return Err(TableError::Gap);
            }
            self.apply(id, &frames)?;
        }
    }

    /// The same, waiting.
    ///
    /// # Errors
    /// When it cannot be read, or could not be when it was tried last.
    pub(crate) async fn level(self: &Arc<Self>, id: PartitionId) -> Result<(), TableError> {
        if !self.is_readable(id) {
            return Err(TableError::Closed);
        }
        let tables = self.clone();
        task::spawn_blocking(move || tables.catch_up(id)).await?
    }

    fn partition(&self, id: PartitionId) -> &Partition {
        &self.partitions[usize::from(id.0)]
    }

    /// From now on nothing is allowed in a partition: whether it was until now.
    fn close(&self, id: PartitionId) -> bool {
        self.partition(id).readable.swap(false, Ordering::AcqRel)
    }

    /// The end of a partition's log, as far as it is stored.
    fn tail(&self, id: PartitionId) -> Result<Tail, TableError> {
        let status = self.log.status().into_iter().find(|status| status.partition == id);
        status.ok_or(TableError::Closed)?.state.map_err(TableError::Quarantined)
    }

    /// Applies what is committed, if the log is sound, and lets the table count if that is all there is. Blocks on the
    /// disk.
    fn open(self: &Arc<Self>, id: PartitionId) -> Result<(), TableError> {
        let tail = self.tail(id)?;
        self.catch_up(id)?;
        self.reached(id, tail);
        Ok(())
    }

    /// Lets a table count that is as far as this. The commit watermark alone would not do: for a partition that was
    /// quarantined it is behind until the log has told of what was found sound again, and all documents would be new.
    fn reached(&self, id: PartitionId, tail: Tail) -> bool {
        let reached = self.table(id).position >= tail.offset;
        if reached && !self.partition(id).readable.swap(true, Ordering::AcqRel) {
            tracing::debug!(partition = %id, position = %tail.offset, "permissions are read");
        }
        reached
    }

    /// Applies frames, and has those who watch told.
    fn apply(self: &Arc<Self>, id: PartitionId, frames: &[Frame]) -> Result<(), TableError> {
        let mut changed = Vec::new();
        let applied = self.enter(id, frames, &mut changed);
        if !changed.is_empty() {
            // Whoever asks may hold what those who are told need.
            let tables = self.clone();
            self.runtime.spawn(async move { tables.tell(&changed) });
        }
        applied
    }

    fn enter(&self, id: PartitionId, frames: &[Frame], changed: &mut Vec<DocumentId>) -> Result<(), TableError> {
        let mut table = self.partition(id).table.write().unwrap_or_else(PoisonError::into_inner);
        for frame in frames {
            if frame.header().last() <= table.position {
                continue;
            }
            for entry in frame.entries() {
                let entry = entry?;
                match table.apply(&entry) {
                    Effect::None => {}
                    Effect::Founded(founder) => self.count(founder),
                    Effect::Permissions => changed.push(entry.draft.document),
                    Effect::Unreadable(reason) => {
                        let document = &entry.draft.document;
                        tracing::error!(doc = %document, offset = %entry.offset, reason, "closed to everybody");
                        changed.push(entry.draft.document);
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&self, founder: Option<Principal>) {
        if let Some(founder) = founder {
            let mut founded = self.founded.lock().unwrap_or_else(PoisonError::into_inner);
            *founded.entry(founder).or_default() += 1;
        }
    }
}

/// Keeps a table level with the log, for as long as somebody holds it, and takes it up again after a failure.
async fn follow(tables: Weak<Tables>, id: PartitionId) {
    let mut told = false;
    while let Err(error) = read_on(&tables, id).await {
        let Some(tables) = tables.upgrade() else { return };
        if tables.close(id) || !told {
            told = true;
            tracing::error!(partition = %id, %error, "permissions cannot be read, so nothing is allowed there");
        }
        drop(tables);
        sleep(RETRY).await;
    }
}

/// Applies what is committed as it comes, until the log has ended or nobody holds the tables.
async fn read_on(tables: &Weak<Tables>, id: PartitionId) -> Result<(), TableError> {
    let (tail, mut reader) = match tables.upgrade() {
        Some(tables) => (tables.tail(id)?, tables.log.tail(id, tables.table(id).position.next())),
        None => return Ok(()),
    };
    let mut readable = false;
    loop {
        match tables.upgrade() {
            Some(tables) if !readable => readable = tables.reached(id, tail),
            Some(_) => {}
            None => return Ok(()),
        }
        let Some(frame) = reader.next().await? else {
            return Ok(());
        };
        match tables.upgrade() {
            Some(tables) => tables.apply(id, &[frame])?,
            None => return Ok(()),
        }
    }
}

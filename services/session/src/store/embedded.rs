//! Sessions in memory, and in a RocksDB of their own for when the process comes back.
//!
//! Owns: the database, and the one thread that writes to it. Invariants: a write is answered, and can be read, after its
//! fsync; all that has queued while one group was being written goes with the next, and shares its fsync; what can be read
//! is what is stored. On failure: nothing is written any more, reads go on.
//!
//! A row's key is the session's id; its value is the revision, 8 bytes big-endian, and the record.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard},
    thread::{self, JoinHandle},
    time::Duration,
};

use aetherflow_schema::{documents::BoxFuture, id::SessionId, sessions::record::SessionRecord};
use rocksdb::{DB, DBRecoveryMode, IteratorMode, Options, WriteBatch, WriteOptions};
use tokio::sync::{mpsc, oneshot};

use super::{
    Revision, SessionStore, StoreError, StoreEvent, Versioned,
    memory::{Copies, check, tell},
};

const MIB: usize = 1 << 20;

/// Writes that may wait; whoever wants another one waits until there is room.
const WAITING: usize = 4096;

/// Writes that share an fsync at most: about a megabyte as a rule.
const GROUP: usize = 1024;

/// What the operator may choose.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The directory of the database. It is made when it does not exist.
    pub dir: PathBuf,
    /// `false` answers before writes are on disk: sessions are lost when the power fails. For tests and measurements.
    pub fsync: bool,
}

/// Why the database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// RocksDB's reason.
    #[error("the database of sessions cannot be opened: {0}")]
    Database(#[from] rocksdb::Error),
    /// There is no thread to write with.
    #[error("no thread to write sessions with: {0}")]
    Thread(#[from] io::Error),
}

/// See the [module](self).
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    writes: Option<mpsc::Sender<Write>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    copies: RwLock<Copies>,
    failsafe: Mutex<Option<String>>,
}

/// A write on its way.
struct Write {
    id: SessionId,
    /// `None` deletes.
    record: Option<SessionRecord>,
    expected: Option<Revision>,
    answer: oneshot::Sender<Result<Revision, StoreError>>,
}

impl EmbeddedStore {
    /// Opens the database and reads all sessions, at about a microsecond each.
    ///
    /// # Errors
    /// When that fails. A session that cannot be read is passed over with a warning: its client gets a new one.
    pub fn open(options: EmbeddedOptions) -> Result<Self, OpenError> {
        let db = open_db(&options)?;
        let mut copies = Copies::default();
        for row in db.iterator(IteratorMode::Start) {
            let (key, value) = row?;
            match decode(&value) {
                Ok(copy) => copies.put(copy),
                Err(reason) => tracing::warn!(key = ?key, %reason, "a stored session cannot be read"),
            }
        }
        let shared = Arc::new(Shared {
            copies: RwLock::new(copies),
            failsafe: Mutex::default(),
        });
        let (writes, queue) = mpsc::channel(WAITING);
        let writer = Writer {
            db,
            shared: shared.clone(),
            fsync: options.fsync,
        };
        let writer = thread::Builder::new()
            .name("session-disk".to_owned())
            .spawn(move || writer.run(queue))?;
        Ok(Self {
            shared,
            writes: Some(writes),
            writer: Some(writer),
        })
    }

    /// Why nothing is written; `None` while it is.
    pub fn failsafe(&self) -> Option<String> {
        self.shared.failsafe()
    }

    fn write(
        &self,
        id: SessionId,
        record: Option<SessionRecord>,
        expected: Option<Revision>,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            let ended = || StoreError::Unreachable("the thread that writes sessions has ended".to_owned());
            let (answer, answered) = oneshot::channel();
            let write = Write {
                id,
                record,
                expected,
                answer,
            };
            let writes = self.writes.as_ref().ok_or_else(ended)?;
            writes.send(write).await.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())?
        })
    }
}

/// What is queued is still written.
impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.writes = None;
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes sessions panicked");
        }
    }
}

impl SessionStore for EmbeddedStore {
    fn create(&self, record: &SessionRecord) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.write(record.id, Some(record.clone()), None)
    }

    fn update(&self, record: &SessionRecord, expected: Revision) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.write(record.id, Some(record.clone()), Some(expected))
    }

    fn read(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Versioned>, StoreError>> {
        let found = self.shared.read(id);
        Box::pin(async move { Ok(found) })
    }

    fn delete(&self, id: SessionId, expected: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.write(id, None, Some(expected)).await.map(drop) })
    }

    fn watch(&self) -> BoxFuture<'_, Result<mpsc::Receiver<StoreEvent>, StoreError>> {
        Box::pin(async move {
            let copies = self.shared.copies.read().unwrap_or_else(PoisonError::into_inner).all();
            Ok(tell(copies))
        })
    }

    fn lease(&self) -> Option<Duration> {
        None
    }
}

impl Shared {
    fn read(&self, id: SessionId) -> Option<Versioned> {
        let copies = self.copies.read().unwrap_or_else(PoisonError::into_inner);
        copies.read(id).cloned()
    }

    fn failsafe(&self) -> Option<String> {
        self.failsafe.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, reason: String) {
        tracing::error!(%reason, "a write failed: sessions are not stored until the server starts again");
        *self.failsafe.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

/// The thread that writes.
struct Writer {
    db: DB,
    shared: Arc<Shared>,
    fsync: bool,
}

/// Sessions as a group leaves them; `None` when they are deleted.
type Changes = HashMap<SessionId, Option<Versioned>>;

impl Writer {
    fn run(&self, mut queue: mpsc::Receiver<Write>) {
        let mut group = Vec::with_capacity(GROUP);
        while queue.blocking_recv_many(&mut group, GROUP) > 0 {
            self.write(&mut group);
        }
    }

    /// Writes a group with one fsync, and answers.
    fn write(&self, group: &mut Vec<Write>) {
        if let Some(reason) = self.shared.failsafe() {
            answer_all(group, &StoreError::Failsafe(reason));
            return;
        }
        let mut changes = Changes::with_capacity(group.len());
        let mut batch = WriteBatch::default();
        let mut copies = self.copies();
        let results: Vec<_> = group
            .iter_mut()
            .map(|write| place(write, &mut copies, &mut changes, &mut batch))
            .collect();
        drop(copies);
        if !batch.is_empty() {
            let mut options = WriteOptions::default();
            options.set_sync(self.fsync);
            if let Err(error) = self.db.write_opt(batch, &options) {
                self.shared.fail(error.to_string());
                answer_all(group, &StoreError::Failsafe(error.to_string()));
                return;
            }
        }
        let mut copies = self.copies();
        for (id, change) in changes {
            match change {
                Some(copy) => copies.put(copy),
                None => copies.remove(id),
            }
        }
        drop(copies);
        for (write, result) in group.drain(..).zip(results) {
            // Whoever asked may have gone away; what was written stays written.
            let _ = write.answer.send(result);
        }
    }

    fn copies(&self) -> RwLockWriteGuard<'_, Copies> {
        self.shared.copies.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decides about a write, after those before it in the group.
fn place(
    write: &mut Write,
    copies: &mut Copies,
    changes: &mut Changes,
    batch: &mut WriteBatch,
) -> Result<Revision, StoreError> {
    let key = write.id.0.as_bytes();
    let found = match changes.get(&write.id) {
        Some(change) => change.as_ref().map(|copy| copy.revision),
        None => copies.read(write.id).map(|copy| copy.revision),
    };
    let Some(record) = write.record.take() else {
        if found.is_some() {
            check(found, write.expected)?;
            batch.delete(key);
            changes.insert(write.id, None);
        }
        return Ok(Revision(0));
    };
    check(found, write.expected)?;
    let revision = copies.next_revision();
    batch.put(key, [&revision.0.to_be_bytes(), &record.encode()[..]].concat());
    changes.insert(write.id, Some(Versioned { record, revision }));
    Ok(revision)
}

fn answer_all(group: &mut Vec<Write>, error: &StoreError) {
    for write in group.drain(..) {
        // Whoever asked may have gone away.
        let _ = write.answer.send(Err(error.clone()));
    }
}

fn decode(value: &[u8]) -> Result<Versioned, String> {
    let (revision, record) = value.split_first_chunk().ok_or("it is too short")?;
    Ok(Versioned {
        revision: Revision(u64::from_be_bytes(*revision)),
        record: SessionRecord::decode(record).map_err(|error| error.to_string())?,
    })
}

fn open_db(options: &EmbeddedOptions) -> Result<DB, rocksdb::Error> {
    let mut db = Options::default();
    db.create_if_missing(true);
    // As the log's: the other modes refuse to open after an ordinary kill, or open with gaps.
    db.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    db.set_recycle_log_file_num(0);
    db.set_paranoid_checks(true);
    db.set_write_buffer_size(8 * MIB);
    db.set_max_total_wal_size(32 * MIB as u64);
    db.set_max_background_jobs(1);
    db.set_keep_log_file_num(4);
    db.set_max_log_file_size(MIB);
    db.set_stats_dump_period_sec(0);
    // There is one writer; what makes concurrent ones safe only costs.
    db.set_allow_concurrent_memtable_write(false);
    db.set_enable_write_thread_adaptive_yield(false);
    DB::open(&db, &options.dir)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::conformance::{self, record};

    fn open(dir: &TempDir) -> EmbeddedStore {
        let options = EmbeddedOptions {
            dir: dir.path().to_owned(),
            fsync: true,
        };
        EmbeddedStore::open(options).unwrap()
    }

    #[tokio::test]
    async fn it_is_a_store() {
        let dirs = Mutex::new(Vec::new());
        conformance::check(|| async {
            let dir = TempDir::new().unwrap();
            let store = open(&dir);
            dirs.lock().unwrap().push(dir);
            store
        })
        .await;
    }

    #[tokio::test]
    async fn sessions_outlive_the_process() {
        let dir = TempDir::new().unwrap();
        let store = open(&dir);
        let first = store.create(&record(1)).await.unwrap();
        let second = store.update(&record(1), first).await.unwrap();
        let deleted = store.create(&record(2)).await.unwrap();
        store.delete(record(2).id, deleted).await.unwrap();
        drop(store);
        let store = open(&dir);
        let found = store.read(record(1).id).await.unwrap().unwrap();
        assert_eq!((found.record, found.revision), (record(1), second));
        assert_eq!(store.read(record(2).id).await, Ok(None));
        assert!(store.update(&record(1), second).await.unwrap() > second);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_passed_over() {
        let dir = TempDir::new().unwrap();
        let store = open(&dir);
        store.create(&record(1)).await.unwrap();
        drop(store);
        let options = EmbeddedOptions {
            dir: dir.path().to_owned(),
            fsync: true,
        };
        let db = open_db(&options).unwrap();
        db.put(b"0123456789abcdef", b"no record at all").unwrap();
        db.put(b"0123456789abcdeg", b"short").unwrap();
        drop(db);
        let store = open(&dir);
        assert!(store.read(record(1).id).await.unwrap().is_some());
        store.create(&record(2)).await.unwrap();
    }

    #[tokio::test]
    async fn writes_of_one_session_in_one_group_follow_one_another() {
        let dir = TempDir::new().unwrap();
        let store = open(&dir);
        let first = store.create(&record(1)).await.unwrap();
        // Asked for at once, in this order.
        let record = record(1);
        let (gone, again, late) = tokio::join!(
            store.delete(record.id, first),
            store.create(&record),
            store.update(&record, first)
        );
        assert_eq!(gone, Ok(()));
        assert!(again.unwrap() > first);
        assert_eq!(late, Err(StoreError::Conflict));
    }
}

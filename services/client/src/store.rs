//! The offline store: documents and edits without a receipt, on this machine's disk.
//!
//! A thread owns the file ([`file`]) and takes what is to be written from a bounded queue, many records with one sync.
//! Documents are kept as they come: entries from the server with the cursor after them, local changes, and what became of
//! those. Only local changes and refusals are synced at once; the rest can be had from the server again.
//!
//! On failure the store stops writing and says so: edits go on to the server, and [`Receipt::kept`](crate::Receipt::kept)
//! fails.

mod disk;
mod file;
#[cfg(test)]
mod fuzz;
mod leftover;
mod pending;
mod record;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use aetherflow_schema::id::{DocumentId, Offset};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

#[cfg(not(test))]
use self::file::StoreFile;
#[cfg(test)]
pub(crate) use self::{file::StoreFile, leftover::take as leftover};
pub(crate) use self::{
    file::Stored,
    record::{Record, What},
};
use crate::{
    error::{KeepError, StoreError},
    session::NewChange,
};

/// Commands that wait for the thread.
const QUEUE: usize = 1024;

/// Tells whether a record is on disk.
pub(crate) type Kept = oneshot::Sender<Result<(), KeepError>>;

enum Command {
    Append(Vec<Record>, Option<Kept>),
    Load(DocumentId, oneshot::Sender<Result<Stored, StoreError>>),
    Compact(Vec<Record>),
    Close(oneshot::Sender<Option<String>>),
}

/// The store, as others use it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    commands: mpsc::Sender<Command>,
    wants_compaction: Arc<AtomicBool>,
}

/// Hears, once, why the store has failed.
pub(crate) type OnFailure = Box<dyn FnOnce(&str) + Send>;

/// Local changes that an earlier run has left.
pub(crate) type Leftover = Vec<(DocumentId, Vec<NewChange>)>;

/// What to append when the server's state was merged. What the server lacks comes first: it is to be submitted however early
/// the client ends.
pub(crate) fn merged(document: &DocumentId, cursor: Offset, bytes: Bytes, lacking: &[NewChange]) -> Vec<Record> {
    let lacking = lacking.iter().map(What::local);
    let all = lacking.chain([What::Merged { cursor, bytes }]);
    let document = || document.clone();
    all.map(|what| Record {
        document: document(),
        what,
    })
    .collect()
}

impl What {
    /// A change made here that the server has to get.
    pub(crate) fn local(change: &NewChange) -> Self {
        Self::Local {
            hash: change.hash,
            bytes: change.bytes.clone(),
            fencing: change.fencing,
        }
    }
}

impl Store {
    /// Opens it. Blocks while the file is read.
    pub(crate) fn open(path: &Path, salvage: bool, on_failure: OnFailure) -> Result<(Self, Leftover), StoreError> {
        let mut file = StoreFile::open(path, salvage)?;
        let leftover = leftover::take(&mut file, path, salvage)?;
        let store = Self::on(file, on_failure).map_err(|source| StoreError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok((store, leftover))
    }

    fn on(file: StoreFile, on_failure: OnFailure) -> io::Result<Self> {
        let wants_compaction = Arc::new(AtomicBool::new(file.wants_compaction()));
        let wants = wants_compaction.clone();
        let (commands, queue) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("aetherflow-store".to_owned())
            .spawn(move || run(file, queue, &wants, on_failure))?;
        Ok(Self {
            commands,
            wants_compaction,
        })
    }

    /// Writes records, in order; waits while the queue is full.
    pub(crate) async fn append(&self, records: Vec<Record>, kept: Option<Kept>) {
        // When the thread is gone, `kept` is dropped, which says so.
        let _ = self.commands.send(Command::Append(records, kept)).await;
    }

    /// Puts a document together, with everything that was appended before.
    pub(crate) async fn load(&self, document: DocumentId) -> Option<Result<Stored, StoreError>> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Load(document, reply)).await.ok()?;
        answer.await.ok()
    }

    /// Whether [`Self::compact`] is worth while.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.wants_compaction.load(Ordering::Relaxed)
    }

    /// Writes the file anew, with these documents as they are now.
    pub(crate) async fn compact(&self, bases: Vec<Record>) {
        self.wants_compaction.store(false, Ordering::Relaxed);
        let _ = self.commands.send(Command::Compact(bases)).await;
    }

    /// Writes everything and gives the file back; returns how it failed, if it did.
    pub(crate) async fn close(&self) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Close(reply)).await;
        answer.await.unwrap_or(Some("the store's thread has ended".to_owned()))
    }
}

fn run(mut file: StoreFile, mut queue: mpsc::Receiver<Command>, wants_compaction: &AtomicBool, on_failure: OnFailure) {
    let mut batch = Vec::new();
    let mut on_failure = Some(on_failure);
    while queue.blocking_recv_many(&mut batch, QUEUE) > 0 {
        let mut waiting = Vec::new();
        let mut sync = false;
        for command in batch.drain(..) {
            match command {
                Command::Append(records, kept) => {
                    sync |= records
                        .iter()
                        .any(|record| matches!(record.what, What::Local { .. } | What::Refused(_)));
                    report(&file.append(records));
                    waiting.extend(kept);
                }
                Command::Load(document, reply) => {
                    let _ = reply.send(file.load(&document));
                }
                Command::Compact(bases) => {
                    if let Err(error) = file.compact(bases) {
                        tracing::warn!(%error, "the offline store could not be written anew");
                    }
                }
                Command::Close(reply) => {
                    report(&file.sync());
                    tell(&file, &mut waiting);
                    let failed = file.failed().map(str::to_owned);
                    drop(file);
                    let _ = reply.send(failed);
                    return;
                }
            }
        }
        if sync {
            report(&file.sync());
        }
        tell(&file, &mut waiting);
        if let Some(error) = file.failed()
            && let Some(on_failure) = on_failure.take()
        {
            on_failure(error);
        }
        if file.wants_compaction() {
            wants_compaction.store(true, Ordering::Relaxed);
        }
    }
    report(&file.sync());
}

fn tell(file: &StoreFile, waiting: &mut Vec<Kept>) {
    let result = match file.failed() {
        None => Ok(()),
        Some(error) => Err(KeepError::Failed(error.to_owned())),
    };
    for kept in waiting.drain(..) {
        let _ = kept.send(result.clone());
    }
}

fn report(result: &io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "the offline store cannot be written");
    }
}

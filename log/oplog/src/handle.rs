//! The handle through which services use the log.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    thread::JoinHandle,
    time::Duration,
};

use aetherflow_log_core::{
    AppendError, Appended, Damage, PartitionState, Storage, StorageError, Tail,
    storage::{Operation, Snapshot, Verified},
};
use aetherflow_schema::{
    history::{Authored, AuthoredPage, AuthoredQuery, Position},
    id::{DocumentId, Offset, OpId, PartitionId},
    record::{EncodedEntry, Entry, Frame},
};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time,
};

use crate::{
    completions::Completions,
    queue::{Queue, Request, Signal},
    tail::TailReader,
    witness,
    writer::Writer,
};

/// What an append takes of the queue at least, whatever its size: this bounds the number of appends that wait.
const LEAST_ROOM: usize = 4 << 10;

/// How the log is run.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Bytes of appends that may wait for the writer, each counted as 4 KiB at least. This much memory is the worst case.
    pub queue_bytes: usize,
    /// How long an append may wait for room in the queue before it fails as overloaded.
    pub queue_wait: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            queue_bytes: 8 << 20,
            queue_wait: Duration::from_secs(5),
        }
    }
}

/// The state of one partition, for health reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Which.
    pub partition: PartitionId,
    /// Its committed tail, or what is wrong with it.
    pub state: Result<Tail, Damage>,
}

struct Inner {
    storage: Arc<dyn Storage>,
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
    options: LogOptions,
    watermarks: Arc<[watch::Sender<Offset>]>,
    committed: Arc<Signal>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A handle to the log. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle(Arc<Inner>);

/// An append that was queued; resolves when it is committed.
#[derive(Debug)]
pub struct PendingAppend(oneshot::Receiver<Result<Appended, AppendError>>);

impl Future for PendingAppend {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| Err(AppendError::Unknown("the log's writer has ended".to_owned()))))
    }
}

impl LogHandle {
    /// Starts the log's threads over an open store, and a task in the current tokio runtime that answers appenders.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(storage: Arc<dyn Storage>, options: LogOptions) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let committed = Arc::new(Signal::default());
        let watermarks: Arc<[watch::Sender<Offset>]> = (0..storage.partitions())
            .map(PartitionId)
            .map(|partition| match storage.state(partition) {
                PartitionState::Sound(tail) => watch::Sender::new(tail.offset),
                PartitionState::Quarantined(_) => watch::Sender::new(Offset::ZERO),
            })
            .collect();
        let completions = Arc::new(Completions::default());
        let answering = completions.clone();
        tokio::spawn(async move { answering.answer().await });
        let writer = Writer {
            completions,
            storage: storage.clone(),
            queue: queue.clone(),
            committed: committed.clone(),
            watermarks: watermarks.clone(),
        };
        let threads = vec![writer.start()?, witness::start(storage.clone(), committed.clone())?];
        Ok(Self(Arc::new(Inner {
            storage,
            queue,
            room: Arc::new(Semaphore::new(options.queue_bytes)),
            options,
            watermarks,
            committed,
            threads: Mutex::new(threads),
        })))
    }

    /// Queues entries of one document, waiting for room if need be. Entries that are queued one after the other by the
    /// same task are placed in that order.
    pub async fn submit(&self, entries: Vec<EncodedEntry>) -> Result<PendingAppend, AppendError> {
        let Some(first) = entries.first() else {
            return Err(AppendError::Invalid("there is nothing to append".to_owned()));
        };
        let partition = self.partition_of(first.document());
        let bytes: usize = entries.iter().map(EncodedEntry::len).sum();
        let room = bytes.clamp(LEAST_ROOM, self.0.options.queue_bytes) as u32;
        let room = match self.0.room.clone().try_acquire_many_owned(room) {
            Ok(room) => room,
            Err(_) => {
                let wait = time::timeout(self.0.options.queue_wait, self.0.room.clone().acquire_many_owned(room));
                match wait.await {
                    Ok(Ok(room)) => room,
                    Ok(Err(_)) | Err(_) => return Err(AppendError::Overloaded),
                }
            }
        };
        let (answer, pending) = oneshot::channel();
        let request = Request {
            partition,
            entries,
            ticket: (answer, room),
        };
        match self.0.queue.push(request) {
            Ok(()) => Ok(PendingAppend(pending)),
            Err(_) => Err(AppendError::ReadOnly("the server is stopping".to_owned())),
        }
    }

    /// Appends entries of one document and waits until they are committed.
    pub async fn append(&self, entries: Vec<EncodedEntry>) -> Result<Appended, AppendError> {
        self.submit(entries).await?.await
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u16 {
        self.0.storage.partitions()
    }

    /// The partition of a document.
    pub fn partition_of(&self, document: &DocumentId) -> PartitionId {
        document.partition(self.partitions())
    }

    /// The commit watermark of a partition.
    ///
    /// # Panics
    /// When there is no such partition.
    pub fn committed(&self, partition: PartitionId) -> Offset {
        *self.0.watermarks[usize::from(partition.0)].borrow()
    }

    /// Follows the committed entries of a partition from an offset on.
    ///
    /// # Panics
    /// When there is no such partition.
    pub fn tail(&self, partition: PartitionId, from: Offset) -> TailReader {
        let watermark = self.0.watermarks[usize::from(partition.0)].subscribe();
        TailReader::new(self.clone(), partition, from, watermark)
    }

    /// Committed frames from the one that contains `from`. Blocks on the disk.
    pub fn frames(&self, partition: PartitionId, from: Offset, max_bytes: usize) -> Result<Vec<Frame>, StorageError> {
        let committed = self.committed(partition);
        let mut frames = self.0.storage.frames(partition, from, max_bytes)?;
        frames.retain(|frame| frame.header().last() <= committed);
        Ok(frames)
    }

    /// Committed entries of a document after `after`. Blocks on the disk.
    pub fn document_entries(
        &self,
        document: &DocumentId,
        after: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        let committed = self.committed(self.partition_of(document));
        let mut entries = self.0.storage.document_entries(document, after, max_bytes)?;
        entries.retain(|entry| entry.offset <= committed);
        Ok(entries)
    }

    /// The newest entry of a document. Blocks on the disk.
    pub fn document_tail(&self, document: &DocumentId) -> Result<Option<Offset>, StorageError> {
        self.0.storage.document_tail(document)
    }

    /// Where operations of a document stand. Blocks on the disk.
    pub fn lookup(&self, document: &DocumentId, ops: &[OpId]) -> Result<Vec<Option<Offset>>, StorageError> {
        let partition = self.partition_of(document);
        let operations: Vec<_> = ops
            .iter()
            .map(|op| Operation {
                partition,
                document,
                op: *op,
            })
            .collect();
        self.0.storage.lookup(&operations)
    }

    /// Documents that exist, in pages. Blocks on the disk.
    pub fn documents(&self, after: Option<&DocumentId>, limit: usize) -> Result<Vec<DocumentId>, StorageError> {
        self.0.storage.documents(after, limit)
    }

    /// A page of what a principal wrote and what is committed. Blocks on the disk.
    pub fn authored(&self, query: &AuthoredQuery) -> Result<AuthoredPage, StorageError> {
        let committed: Vec<Offset> = (0..self.partitions())
            .map(|partition| self.committed(PartitionId(partition)))
            .collect();
        let mut page = self.0.storage.authored(query)?;
        let is_committed = |entry: &Authored| {
            let Position { partition, offset, .. } = entry.position;
            committed
                .get(usize::from(partition.0))
                .is_some_and(|end| offset <= *end)
        };
        // What is not committed yet is the end: whoever goes on later finds it then.
        if let Some(end) = page.entries.iter().position(|entry| !is_committed(entry)) {
            page.entries.truncate(end);
            page.next = None;
        }
        Ok(page)
    }

    /// The newest snapshot of a document. Blocks on the disk.
    pub fn snapshot(&self, document: &DocumentId) -> Result<Option<Snapshot>, StorageError> {
        self.0.storage.snapshot(document)
    }

    /// Keeps a snapshot. Blocks on the disk.
    pub fn put_snapshot(&self, document: &DocumentId, snapshot: &Snapshot) -> Result<(), StorageError> {
        self.0.storage.put_snapshot(document, snapshot)
    }

    /// Why the log takes no writes; `None` when it does.
    pub fn failsafe(&self) -> Option<Arc<str>> {
        self.0.storage.failsafe()
    }

    /// The state of every partition.
    pub fn status(&self) -> Vec<PartitionStatus> {
        (0..self.partitions())
            .map(PartitionId)
            .map(|partition| PartitionStatus {
                partition,
                state: match self.0.storage.state(partition) {
                    PartitionState::Sound(tail) => Ok(tail),
                    PartitionState::Quarantined(damage) => Err(damage),
                },
            })
            .collect()
    }

    /// Leaves failsafe after its cause is gone: the store is opened anew and every partition judged again.
    pub async fn resume(&self) -> Result<(), StorageError> {
        let (answer, done) = oneshot::channel();
        if self.0.queue.resume(answer).is_err() {
            let reason = "the server is stopping, or the store is being opened anew already";
            return Err(StorageError::Unreadable(reason.to_owned()));
        }
        done.await
            .unwrap_or_else(|_| Err(StorageError::Unreadable("the log's writer has ended".to_owned())))
    }

    /// Reads the whole log and checks it. Blocks on the disk, long.
    pub fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Verified, StorageError> {
        self.0.storage.verify(progress)
    }

    /// Writes what is queued, notes the tails, and ends the threads. Later appends fail. Blocks.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inner {
    fn close(&self) {
        self.queue.stop();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // The writer first: the witness notes what it wrote last.
        for thread in threads.drain(..) {
            if thread.thread().name() == Some("log-witness") {
                self.committed.stop();
            }
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

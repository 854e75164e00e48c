//! Telling followers what is new.
//!
//! **Owns** who follows which document, and for each partition that has followers a task that reads its committed frames,
//! each once, however many documents and followers it has.
//! **Invariants**: nothing waits for a follower. Its entries come in the order of their offsets, and none at or below the
//! one up to which it is covered. What is kept for one that still reads history is bounded; beyond that it reads more of
//! history instead.
//! **On failure** to read a partition its followers are told so, and are none any more.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use aetherflow_oplog::LogHandle;
use aetherflow_schema::{
    document_log::{FollowSink, Offered, Ops, Told},
    documents::DocumentError,
    id::{DocumentId, Offset, PartitionId},
    record::{Entry, Frame, RecordError},
};
use tokio::task;

use super::catch_up;

/// Bytes that are kept for a follower while it reads history, about.
const KEPT_BYTES: usize = 1 << 20;

/// What an entry costs beside its payload.
const ENTRY_OVERHEAD: usize = 256;

/// Somebody who follows a document.
pub(crate) struct Subscriber {
    key: u64,
    document: DocumentId,
    partition: PartitionId,
    sink: Arc<dyn FollowSink>,
    ended: AtomicBool,
}

impl Subscriber {
    pub(super) fn document(&self) -> &DocumentId {
        &self.document
    }

    pub(super) fn partition(&self) -> PartitionId {
        self.partition
    }

    pub(super) fn sink(&self) -> &dyn FollowSink {
        &*self.sink
    }

    /// Nothing is to be told any more.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// It cannot follow, or no longer.
    pub(super) fn fail(&self, error: DocumentError) {
        if !self.has_ended() {
            self.end();
            self.sink.offer(Told::Failed(error));
        }
    }
}

/// The followers of all partitions.
pub(crate) struct Hub {
    log: LogHandle,
    partitions: Vec<Mutex<Partition>>,
    keys: AtomicU64,
}

/// The followers of one partition.
#[derive(Default)]
struct Partition {
    /// A task reads its frames.
    tailing: bool,
    /// Up to where that task has told what there is.
    position: Offset,
    documents: HashMap<DocumentId, Vec<Member>>,
}

struct Member {
    subscriber: Arc<Subscriber>,
    /// Nothing up to here is to be told any more.
    covered: Offset,
    /// What is new, while it reads history; `None` when it has come to the present.
    kept: Option<Kept>,
}

#[derive(Default)]
struct Kept {
    ops: Vec<Arc<Ops>>,
    bytes: usize,
    /// More came than is kept.
    overflowed: bool,
}

/// What became of a follower that has read history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// It is told what is new from now on.
    Live,
    /// It has to read more of history, from there on.
    Behind(Offset),
    /// It is none any more.
    Over,
}

/// Whether a follower stays one.
enum Verdict {
    Stays,
    Behind,
    Over,
}

impl Hub {
    pub(crate) fn new(log: LogHandle) -> Self {
        Self {
            partitions: (0..log.partitions()).map(|_| Mutex::default()).collect(),
            keys: AtomicU64::new(0),
            log,
        }
    }

    pub(super) fn log(&self) -> &LogHandle {
        &self.log
    }

    pub(super) fn subscriber(&self, document: DocumentId, sink: Arc<dyn FollowSink>) -> Arc<Subscriber> {
        Arc::new(Subscriber {
            key: self.keys.fetch_add(1, Ordering::Relaxed),
            partition: self.log.partition_of(&document),
            document,
            sink,
            ended: AtomicBool::new(false),
        })
    }

    /// Followers at present, whether they have come to the present or not.
    pub(crate) fn members(&self) -> usize {
        self.partitions
            .iter()
            .map(|partition| {
                let partition = lock(partition);
                partition.documents.values().map(Vec::len).sum::<usize>()
            })
            .sum()
    }

    /// Keeps what is new for a follower from now on: after the offset returned. `None` when it has ended.
    pub(super) fn join(self: &Arc<Self>, subscriber: &Arc<Subscriber>) -> Option<Offset> {
        let mut partition = self.partition(subscriber.partition);
        if subscriber.has_ended() {
            return None;
        }
        if !partition.tailing {
            partition.tailing = true;
            partition.position = self.log.committed(subscriber.partition);
            let (hub, id, from) = (self.clone(), subscriber.partition, partition.position.next());
            task::spawn(async move { hub.tail(id, from).await });
        }
        let position = partition.position;
        let member = Member {
            subscriber: subscriber.clone(),
            covered: position,
            kept: Some(Kept::default()),
        };
        let members = partition.documents.entry(subscriber.document.clone());
        members.or_default().push(member);
        Some(position)
    }

    /// A follower that joined was told everything up to `covered`: it is told what was kept, and what comes.
    pub(super) fn settle(&self, subscriber: &Subscriber, covered: Offset) -> Settled {
        let mut partition = self.partition(subscriber.partition);
        let Some(member) = partition.member(subscriber) else {
            return Settled::Over;
        };
        let kept = member.kept.take().unwrap_or_default();
        member.covered = covered;
        let mut verdict = if kept.overflowed {
            Verdict::Behind
        } else {
            Verdict::Stays
        };
        for ops in kept.ops {
            if matches!(verdict, Verdict::Stays) {
                verdict = member.tell(&ops);
            }
        }
        let covered = member.covered;
        match verdict {
            Verdict::Stays => Settled::Live,
            Verdict::Behind => {
                partition.remove(subscriber);
                Settled::Behind(covered)
            }
            Verdict::Over => {
                partition.remove(subscriber);
                Settled::Over
            }
        }
    }

    /// A follower is none any more.
    pub(super) fn leave(&self, subscriber: &Subscriber) {
        self.partition(subscriber.partition).remove(subscriber);
    }

    /// Tells what is new in a partition, for as long as it has followers.
    async fn tail(self: Arc<Self>, id: PartitionId, from: Offset) {
        let mut reader = self.log.tail(id, from);
        loop {
            let distributed = match reader.next().await {
                Ok(Some(frame)) => self.distribute(id, &frame).map_err(|error| error.to_string()),
                Ok(None) => Err("the log has ended".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            match distributed {
                Ok(true) => {}
                Ok(false) => return,
                Err(reason) => {
                    tracing::error!(partition = %id, reason, "followers cannot be told what is new");
                    return self.fail(id, &DocumentError::Unreadable(reason));
                }
            }
        }
    }

    /// Tells what is in a frame; `false` when nobody is left to be told.
    fn distribute(self: &Arc<Self>, id: PartitionId, frame: &Frame) -> Result<bool, RecordError> {
        let mut partition = self.partition(id);
        partition.position = frame.header().last();
        if partition.documents.is_empty() {
            partition.tailing = false;
            return Ok(false);
        }
        for (document, entries) in partition.followed(frame)? {
            let Some(ops) = Ops::new(document, entries).map(Arc::new) else {
                continue;
            };
            let Some(members) = partition.documents.get_mut(ops.document()) else {
                continue;
            };
            members.retain_mut(|member| match member.hear(&ops) {
                Verdict::Stays => true,
                Verdict::Behind => {
                    let (subscriber, covered) = (member.subscriber.clone(), member.covered);
                    task::spawn(Box::pin(catch_up(self.clone(), subscriber, covered)));
                    false
                }
                Verdict::Over => false,
            });
            if members.is_empty() {
                partition.documents.remove(ops.document());
            }
        }
        Ok(true)
    }

    fn fail(&self, id: PartitionId, error: &DocumentError) {
        let documents = {
            let mut partition = self.partition(id);
            partition.tailing = false;
            std::mem::take(&mut partition.documents)
        };
        for member in documents.into_values().flatten() {
            member.subscriber.fail(error.clone());
        }
    }

    fn partition(&self, id: PartitionId) -> MutexGuard<'_, Partition> {
        lock(&self.partitions[usize::from(id.0)])
    }
}

impl Partition {
    fn member(&mut self, subscriber: &Subscriber) -> Option<&mut Member> {
        let members = self.documents.get_mut(&subscriber.document)?;
        members
            .iter_mut()
            .find(|member| member.subscriber.key == subscriber.key)
    }

    fn remove(&mut self, subscriber: &Subscriber) {
        if let Some(members) = self.documents.get_mut(&subscriber.document) {
            members.retain(|member| member.subscriber.key != subscriber.key);
            if members.is_empty() {
                self.documents.remove(&subscriber.document);
            }
        }
    }

    /// The entries of a frame that somebody follows. A frame in which there are none is not decoded.
    fn followed(&self, frame: &Frame) -> Result<BTreeMap<DocumentId, Vec<Entry>>, RecordError> {
        let mut followed: BTreeMap<DocumentId, Vec<Entry>> = BTreeMap::new();
        let mut any = false;
        for ids in frame.ids() {
            any |= self.documents.contains_key(ids?.0);
        }
        if any {
            for entry in frame.entries() {
                let entry = entry?;
                if self.documents.contains_key(entry.draft.document.as_bytes()) {
                    followed.entry(entry.draft.document.clone()).or_default().push(entry);
                }
            }
        }
        Ok(followed)
    }
}

impl Member {
    /// Something is new.
    fn hear(&mut self, ops: &Arc<Ops>) -> Verdict {
        match &mut self.kept {
            None => self.tell(ops),
            Some(kept) => {
                kept.bytes += ops.payload_bytes() + ops.entries().len() * ENTRY_OVERHEAD;
                kept.overflowed |= kept.bytes > KEPT_BYTES;
                if kept.overflowed {
                    kept.ops = Vec::new();
                } else {
                    kept.ops.push(ops.clone());
                }
                Verdict::Stays
            }
        }
    }

    fn tell(&mut self, ops: &Arc<Ops>) -> Verdict {
        let (Some(ops), Some(last)) = (ops.after(self.covered), ops.entries().last()) else {
            return Verdict::Stays;
        };
        match self.subscriber.sink.offer(Told::Ops(ops)) {
            Offered::Taken => {
                self.covered = last.offset;
                Verdict::Stays
            }
            Offered::Full => Verdict::Behind,
            Offered::Gone => Verdict::Over,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

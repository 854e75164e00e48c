//! What a document does when it is left alone: takes a snapshot, gives memory back, ends.

use std::{sync::atomic::Ordering, time::Duration};

use aetherflow_log_core::{StorageError, storage::Snapshot};
use tokio::{task, time::Instant};

use super::{Actor, flatten, lost::Lost};
use crate::{content::Content, load, service::StatesyncOptions, to_schema};

/// How long a document must be left alone before a snapshot is taken of it.
const QUIET: Duration = Duration::from_millis(500);

/// Materializing a document of more changes than this is noticed, about 20 ms: it is not closed with changes behind its
/// newest snapshot, for which whoever opens it next would wait.
const NOTICED_CHANGES: u64 = 4096;

impl Actor {
    /// When it will have been left alone for long enough to do something about it.
    pub(super) fn rest_at(&self) -> Instant {
        let idle = self.shared.idle_after();
        self.last_use + if self.wants_snapshot() { QUIET.min(idle) } else { idle }
    }

    /// Left alone: takes a snapshot, then gives memory back, then ends. `true` when the actor is to end.
    pub(super) async fn rest(&mut self) -> bool {
        if !self.in_flight.is_empty() {
            self.last_use = Instant::now();
            return false;
        }
        if self.wants_snapshot() {
            self.save_snapshot().await;
            if self.last_use.elapsed() < self.shared.idle_after() {
                return false;
            }
        }
        if self.last_use.elapsed() >= self.shared.idle_after() {
            self.peers.prune();
            if self.peers.is_empty() && self.shared.forget_if_idle(&self.document, &mut self.inbox) {
                if self.wants_snapshot() || self.wants_last_snapshot() {
                    self.take_snapshot().await;
                }
                return true;
            }
            self.cool().await;
            self.last_use = Instant::now();
        }
        false
    }

    /// A snapshot pays when loading without it would take noticeably longer.
    pub(super) fn wants_snapshot(&self) -> bool {
        let changes = match &self.content {
            Content::Live(live) => live.changes,
            Content::Cold(cold) => cold.changes,
            Content::Absent | Content::Away => 0,
        };
        self.may_be_saved() && self.unsaved >= 64.max(changes / 16)
    }

    /// One pays, too, when a large document is closed in which something was edited.
    fn wants_last_snapshot(&self) -> bool {
        let is_large = matches!(&self.content, Content::Live(live) if live.changes > NOTICED_CHANGES);
        self.may_be_saved() && is_large && self.unsaved > 0
    }

    /// Without what was set aside a snapshot would hide that it ever was, and what is uncertain may be missing in it.
    fn may_be_saved(&self) -> bool {
        self.set_aside.is_empty() && !self.uncertain
    }

    /// Takes a snapshot if it pays.
    pub(super) async fn save_snapshot(&mut self) {
        if self.wants_snapshot() {
            self.take_snapshot().await;
        }
    }

    /// Takes a snapshot of what is committed and applied; not while something is on its way, nor while there may be more
    /// in the log than was applied. One that is not taken costs time at the next load, nothing else, and is not tried
    /// again at once.
    async fn take_snapshot(&mut self) {
        if !self.in_flight.is_empty() || self.uncertain {
            return;
        }
        if let Err(error) = self.put_snapshot().await {
            tracing::warn!(doc = %self.document, %error, "no snapshot was taken");
        }
        self.unsaved = 0;
    }

    async fn put_snapshot(&mut self) -> Result<(), Lost> {
        self.materialize().await?;
        // Only now is it known of a document that was cold whether all of its entries can be applied.
        if !self.set_aside.is_empty() {
            return Ok(());
        }
        let Content::Live(live) = &mut self.content else {
            return Ok(());
        };
        let document = live.saved();
        let snapshot = Snapshot {
            offset: self.offset,
            heads: live.doc.get_heads().iter().map(to_schema).collect(),
            changes: live.changes,
            document,
        };
        let (log, id) = (self.log.clone(), self.document.clone());
        let put = move || {
            load::check_saved(&snapshot.document)
                .map_err(|reason| StorageError::Unreadable(format!("it would not load: {reason}")))?;
            log.put_snapshot(&id, &snapshot)
        };
        Ok(flatten(task::spawn_blocking(put).await)?)
    }

    /// Gives the materialized document's memory back and keeps bytes and heads, which must say all there is to say:
    /// neither changes that wait for others nor entries that were set aside are in them.
    async fn cool(&mut self) {
        let is_live = matches!(self.content, Content::Live(_));
        if !is_live || self.content.has_waiting() || !self.set_aside.is_empty() {
            return;
        }
        if self.unsaved > 0 {
            self.take_snapshot().await;
        }
        self.content.cool();
        self.count_memory();
    }

    pub(super) fn count_memory(&mut self) {
        let memory = self.content.memory();
        if memory != self.counted {
            self.shared.memory.fetch_add(memory, Ordering::Relaxed);
            self.shared.memory.fetch_sub(self.counted, Ordering::Relaxed);
            self.counted = memory;
        }
    }

    pub(super) fn uncount_memory(&mut self) {
        self.shared.memory.fetch_sub(self.counted, Ordering::Relaxed);
        self.counted = 0;
    }
}

impl StatesyncOptions {
    /// How long a document may be left alone before its memory is given back: less when memory is short.
    pub(crate) fn idle_after(&self, memory: u64) -> Duration {
        if memory > self.memory_bytes { QUIET } else { self.idle }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aetherflow_log_core::memory::MemoryStorage;
    use aetherflow_oplog::{LogHandle, LogOptions};
    use aetherflow_schema::{
        access::{Author, Principal},
        id::{DocumentId, SessionId, StorageId},
    };
    use automerge::{AutoCommit, ROOT, transaction::Transactable};
    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{content::Cold, intake, service::Shared};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_found_set_aside_on_the_way_to_a_snapshot_is_not_hidden_by_it() {
        let log = LogHandle::start(Arc::new(MemoryStorage::new(1)), LogOptions::default()).unwrap();
        let document = DocumentId::from_bytes(&[1; 16]).unwrap();
        let author = Author {
            principal: Principal::anonymous(),
            session: SessionId(Default::default()),
        };
        let mut doc = AutoCommit::new();
        for n in 0..70 {
            doc.put(ROOT, format!("{n}"), n).unwrap();
            doc.commit();
        }
        let mut forged = AutoCommit::new().with_actor(doc.get_actor().clone());
        forged.put(ROOT, "forged", true).unwrap();
        let changes = [doc.get_changes(&[]), forged.get_changes(&[])].concat();
        let changes: Vec<_> = changes
            .iter()
            .map(|change| Bytes::copy_from_slice(change.raw_bytes()))
            .collect();
        let weighed = intake::weigh_changes(changes.clone()).unwrap();
        let (_, entries) = intake::take_changes(&document, &author, weighed).unwrap();
        let offset = log.append(entries).await.unwrap().last();

        let (_inputs, inbox) = mpsc::channel(1);
        let shared = Arc::new(Shared::new(StatesyncOptions::new(StorageId("the-server".into()))));
        let mut actor = Actor::new(document.clone(), log.clone(), shared, inbox);
        // As if nothing had been noticed when it was opened.
        actor.content = Content::Cold(Cold {
            heads: [doc.get_heads(), forged.get_heads()].concat(),
            changes: 71,
            whole: changes.concat().into(),
            checked: false,
        });
        (actor.offset, actor.unsaved) = (offset, 71);
        actor.save_snapshot().await;
        assert!(log.snapshot(&document).unwrap().is_none());
        let set_aside: Vec<_> = actor.set_aside.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(set_aside, [offset]);
        assert_eq!(actor.content.heads(), doc.get_heads());
        assert!(!actor.wants_snapshot(), "nor is it tried again and again");
    }
}

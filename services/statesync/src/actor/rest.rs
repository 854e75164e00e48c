//! What a document does when it is left alone: takes a snapshot, gives memory back, ends.

use std::{sync::atomic::Ordering, time::Duration};

use aetherflow_log_core::{StorageError, storage::Snapshot};
use tokio::{task, time::Instant};

use super::{Actor, flatten, lost::Lost};
use crate::{content::Content, load, service::StatesyncOptions, to_schema};

/// How long a document must be left alone before a snapshot is taken of it.
const QUIET: Duration = Duration::from_millis(500);

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
                self.save_snapshot().await;
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
        // Without what was set aside the snapshot would hide that it ever was, and what is uncertain may be missing in it.
        self.set_aside.is_empty() && !self.uncertain && self.unsaved >= 64.max(changes / 16)
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

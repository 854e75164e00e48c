//! Guards of locks: who wants one, and hears what becomes of it.

use std::{collections::HashMap, sync::Weak, time::Duration};

use aetherflow_schema::id::DocumentId;
use tokio::sync::watch;

use super::Driver;
use crate::{
    guard::{LockState, Wish},
    session::{Input, LockId, LockNews, WantedLock},
};

/// See the [module](self).
#[derive(Default)]
pub(super) struct Guards {
    pub(super) all: HashMap<LockId, Guard>,
    next: u64,
}

pub(super) struct Guard {
    document: DocumentId,
    /// Nobody wants it any more when this is gone.
    wish: Weak<Wish>,
    /// The session knows that.
    left: bool,
    state: watch::Sender<LockState>,
}

impl Driver {
    /// Somebody wants a document's lock.
    pub(super) async fn lock(
        &mut self,
        document: DocumentId,
        ttl: Duration,
        wait: Duration,
        (wish, state): (Weak<Wish>, watch::Sender<LockState>),
    ) {
        if !self.documents.contains_key(&document) {
            // It was closed meanwhile, which dropping `state` says.
            return;
        }
        if wish.strong_count() == 0 {
            // It was cancelled meanwhile, and that may have been heard before this.
            return;
        }
        self.guards.next += 1;
        let lock = LockId(self.guards.next);
        let guard = Guard {
            document: document.clone(),
            wish,
            left: false,
            state,
        };
        self.guards.all.insert(lock, guard);
        let wanted = WantedLock { lock, ttl, wait };
        self.tell(Input::Lock { document, wanted }).await;
    }

    /// Those whose guards are gone are given back; what was changed under them is known to the session by then. Of one that was
    /// never held nothing more is told.
    pub(super) async fn unlock_dropped(&mut self) {
        let gone = |guard: &Guard| !guard.left && guard.wish.strong_count() == 0;
        if !self.guards.all.values().any(gone) {
            return;
        }
        self.take_edits().await;
        let mut left = Vec::new();
        self.guards.all.retain(|lock, guard| {
            if !gone(guard) {
                return true;
            }
            guard.left = true;
            left.push((guard.document.clone(), *lock));
            *guard.state.borrow() != LockState::Asked
        });
        for (document, lock) in left {
            self.tell(Input::Unlock { document, lock }).await;
        }
    }

    pub(super) fn on_lock_news(&mut self, lock: LockId, news: LockNews) {
        let state = match news {
            LockNews::Granted(fencing, until) => {
                if let Some(guard) = self.guards.all.get(&lock) {
                    guard.state.send_replace(LockState::Held {
                        fencing,
                        until: until.into(),
                    });
                }
                return;
            }
            LockNews::Renewed(until) => {
                let renewed = until.into();
                if let Some(guard) = self.guards.all.get(&lock) {
                    guard.state.send_if_modified(|state| match state {
                        LockState::Held { until, .. } => std::mem::replace(until, renewed) != renewed,
                        _ => false,
                    });
                }
                return;
            }
            LockNews::Failed(error) => LockState::Failed(error),
            LockNews::Over(result) => LockState::Over(result),
        };
        if let Some(guard) = self.guards.all.remove(&lock) {
            guard.state.send_replace(state);
        }
    }
}

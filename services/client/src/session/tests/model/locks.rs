//! Locks, as an application holds them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aetherflow_schema::{id::DocumentId, locks::Fencing};

use super::{
    super::super::{Input, LockId, LockNews, NewChange, WantedLock},
    client::Client,
};

impl Client {
    /// Somebody wants a document's lock.
    pub(in crate::session::tests) fn want_lock(&mut self, now: Instant, id: &DocumentId) {
        self.locks_wanted += 1;
        let lock = LockId(self.locks_wanted);
        self.wanted.push((id.clone(), lock));
        let wanted = WantedLock {
            lock,
            ttl: Duration::from_secs(5),
            wait: Duration::from_secs(1),
        };
        let document = id.clone();
        self.tell(now, Input::Lock { document, wanted });
    }

    /// All who want it do so no longer.
    pub(in crate::session::tests) fn leave_lock(&mut self, now: Instant, id: &DocumentId) {
        // What was changed under it is known to the session by then, as the driver sees to.
        while !self.under_way.is_empty() {
            self.hand_over(now);
        }
        let (left, rest) = std::mem::take(&mut self.wanted)
            .into_iter()
            .partition(|(of, _)| of == id);
        self.wanted = rest;
        let left: Vec<(DocumentId, LockId)> = left;
        for (document, lock) in left {
            self.tell(now, Input::Unlock { document, lock });
        }
    }

    /// Renewals are of no interest here.
    pub(super) fn on_lock_news(&mut self, document: DocumentId, lock: LockId, news: LockNews) {
        if let LockNews::Granted(fencing, _) = news {
            let before = self.tokens.insert(document, fencing);
            assert!(
                before.is_none_or(|before| before < fencing),
                "each turn has its own token"
            );
        }
        if !matches!(news, LockNews::Renewed(_)) {
            self.lock_news.push((lock, news));
        }
    }

    /// The process has died.
    pub(super) fn forget_locks(&mut self) {
        self.wanted.clear();
        self.lock_news.clear();
    }

    /// Who holds it, with which token.
    pub(in crate::session::tests) fn held(&self, id: &DocumentId) -> Option<(LockId, Fencing)> {
        let wanted = self.wanted.iter().filter(|(of, _)| of == id);
        wanted.rev().find_map(|(_, lock)| match self.news_of(*lock)[..] {
            [LockNews::Granted(fencing, _)] => Some((*lock, *fencing)),
            _ => None,
        })
    }

    /// An edit under the lock with this token.
    pub(in crate::session::tests) fn edit_under(&mut self, id: &DocumentId, fencing: Fencing) -> Input {
        let (hash, input) = self.edit(id);
        let Input::Edit { document, change, left } = input else {
            panic!("no edit");
        };
        self.made_under.insert(hash);
        let change = NewChange {
            fencing: Some(fencing),
            ..change
        };
        Input::Edit { document, change, left }
    }

    fn news_of(&self, lock: LockId) -> Vec<&LockNews> {
        let news = self.lock_news.iter().filter(|(of, _)| *of == lock);
        news.map(|(_, news)| news).collect()
    }

    /// Each guard hears of one beginning at most and of one end, and one at a time holds a lock.
    pub(in crate::session::tests) fn check_locks(&self) {
        let locks: BTreeMap<u64, LockId> = self.lock_news.iter().map(|(lock, _)| (lock.0, *lock)).collect();
        for lock in locks.into_values() {
            let news = self.news_of(lock);
            assert!(
                matches!(
                    news[..],
                    [LockNews::Failed(_)] | [LockNews::Granted(..), LockNews::Over(_)]
                ),
                "{news:?}"
            );
        }
    }
}

//! Somebody who hears of presence on a document at a pace of their own.
//!
//! Invariants: what waits is the newest of each session, so that who reads slowly is told less often, and never wrongly; of
//! who came and left unseen nothing is told; what waits is bounded by the sessions there are, and by [`WAITING`].
//! On failure: one who may be told no longer, or for whom too much waits, is told nothing more.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aetherflow_schema::{
    access::{Caller, Operation},
    id::{ConnectionId, DocumentId, SessionId},
    presence::{PresenceChange, PresenceEvent, PresenceWatcher},
};
use tokio::sync::Notify;

use crate::{audience::Reviewed, caller::now_s, lock, shared::Shared};

/// Sessions of which something may wait to be told: at worst a gigabyte of states, which others hold as well.
const WAITING: usize = 65_536;

/// What is to be told of a session.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) event: Arc<PresenceEvent>,
    /// The reader was told before that it is present.
    pub(super) known: bool,
}

/// See the [module](self). Dropping it ends it.
pub(super) struct Ear(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    caller: Caller,
    connection: ConnectionId,
    document: DocumentId,
    waiting: Mutex<Waiting>,
    some: Notify,
}

/// What waits.
#[derive(Debug, Default)]
struct Waiting {
    news: BTreeMap<SessionId, Heard>,
    over: bool,
}

impl Waiting {
    fn add(&mut self, event: Arc<PresenceEvent>) {
        if self.over {
            return;
        }
        let session = event.session;
        let known = match self.news.get(&session) {
            Some(before) => before.known,
            None => event.change != PresenceChange::Joined,
        };
        if event.change == PresenceChange::Left && !known {
            self.news.remove(&session);
        } else {
            self.news.insert(session, Heard { event, known });
            self.over = self.news.len() > WAITING;
        }
    }

    fn take(&mut self, most: usize) -> Vec<Heard> {
        let taken = std::iter::from_fn(|| self.news.pop_first());
        taken.take(most).map(|(_, heard)| heard).collect()
    }
}

impl Ear {
    /// Hears of everybody on a document from now on.
    pub(super) fn new(shared: Arc<Shared>, caller: Caller, document: DocumentId) -> Self {
        let inner = Arc::new(Inner {
            connection: shared.next_connection(),
            shared,
            caller,
            document,
            waiting: Mutex::default(),
            some: Notify::new(),
        });
        let shared = &inner.shared;
        shared.followers.join(&inner.document, inner.connection, inner.clone());
        shared.presence.watch(&inner.document, inner.clone());
        Self(inner)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.0.caller
    }

    pub(super) fn document(&self) -> &DocumentId {
        &self.0.document
    }

    /// Whether its reader may be told more.
    pub(super) fn is_allowed(&self) -> bool {
        !lock(&self.0.waiting).over && self.0.may_hear()
    }

    /// Waits until something is to be told, or nothing more will be.
    pub(super) async fn some(&self) {
        self.0.some.notified().await;
    }

    /// What is to be told, so much of it at most. [`Self::some`] is ready again when there is more.
    pub(super) fn take(&self, most: usize) -> Vec<Heard> {
        let mut waiting = lock(&self.0.waiting);
        let taken = waiting.take(most);
        if !waiting.news.is_empty() {
            self.0.some.notify_one();
        }
        taken
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let Inner {
            shared,
            document,
            connection,
            ..
        } = &*self.0;
        shared.presence.unwatch(document, *connection);
        shared.followers.leave(document, *connection);
    }
}

impl Inner {
    fn may_hear(&self) -> bool {
        let identity = &self.caller.identity;
        let expired = identity.expires_at.is_some_and(|end| end <= now_s());
        let access = &self.shared.access;
        !expired
            && self.shared.authenticator.is_current(identity)
            && access.allows(identity, Operation::Presence, &self.document).is_ok()
    }
}

impl PresenceWatcher for Inner {
    fn connection(&self) -> ConnectionId {
        self.connection
    }

    fn session(&self) -> SessionId {
        self.caller.session
    }

    fn hear(&self, event: &Arc<PresenceEvent>) {
        lock(&self.waiting).add(event.clone());
        self.some.notify_one();
    }
}

impl Reviewed for Inner {
    fn review(&self) {
        if !self.may_hear() {
            let mut waiting = lock(&self.waiting);
            waiting.over = true;
            waiting.news.clear();
            drop(waiting);
            self.some.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use aetherflow_schema::access::Principal;
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    use PresenceChange::{Joined, Left, Updated};

    fn told(changes: &[(u8, PresenceChange, &'static str)], waiting: &mut Waiting) -> Vec<(u8, bool, bool, Bytes)> {
        let document = DocumentId::from_bytes(&[1; 16]).unwrap();
        for (n, change, state) in changes {
            let who = (SessionId(Uuid::from_u128((*n).into())), &Principal::anonymous());
            let event = PresenceEvent::present(&document, who, *change, Bytes::from_static(state.as_bytes()), 1);
            waiting.add(Arc::new(event));
        }
        let taken = waiting.take(10).into_iter();
        taken
            .map(|heard| {
                let event = heard.event;
                (
                    event.session.0.as_bytes()[15],
                    event.change == Left,
                    heard.known,
                    event.state.clone(),
                )
            })
            .collect()
    }

    #[test]
    fn the_newest_of_each_is_told_and_nothing_of_who_came_and_left_unseen() {
        let mut waiting = Waiting::default();
        let found = told(
            &[
                (2, Joined, "a"),
                (1, Joined, "b"),
                (2, Updated, "c"),
                (3, Joined, ""),
                (3, Left, ""),
            ],
            &mut waiting,
        );
        assert_eq!(found, [(1, false, false, "b".into()), (2, false, false, "c".into())]);
        // From here on those two are known.
        let found = told(
            &[(1, Left, ""), (1, Joined, "d"), (2, Updated, "e"), (2, Left, "")],
            &mut waiting,
        );
        assert_eq!(found, [(1, false, true, "d".into()), (2, true, true, "".into())]);
        assert_eq!(told(&[], &mut waiting), []);
    }
}

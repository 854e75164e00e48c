//! Sessions of other nodes, as the store tells of them.
//!
//! Invariant: of a session the newest revision counts, in whatever order they are heard of. A session that goes on at
//! another node has left this one; one that its node does not store again within the lease is forgotten here too.

use aetherflow_schema::{
    id::SessionId,
    sessions::{EndReason, record::SessionRecord},
};

use super::{
    effects::{Effects, SessionChange},
    entry::Entry,
    registry::Registry,
};
use crate::store::Revision;

impl Registry {
    /// The store has this copy of a session.
    pub(crate) fn on_stored(&mut self, now_ms: u64, record: SessionRecord, revision: Revision, effects: &mut Effects) {
        let id = record.id;
        if record.node == self.node {
            // This node wrote it and knows better.
            return;
        }
        let Some(lease) = self.times.lease else { return };
        let before = match self.sessions.get(&id) {
            Some(entry) if entry.revision >= Some(revision) => return,
            Some(_) => self.take(id),
            None => None,
        };
        let change = match &before {
            Some(_) => SessionChange::Updated,
            None => SessionChange::Created,
        };
        let mut entry = Entry::new(record, None, Some(revision));
        if let Some(before) = before {
            entry.version = before.version + 1;
            if before.record.node == self.node {
                self.counts.traffic += before.traffic();
                effects.closed.push(id);
            }
            if let Some(sink) = before.live.and_then(|live| live.sink.clone()) {
                effects.told.push((sink, EndReason::TakenOver));
            }
        }
        self.put(entry, now_ms + lease);
        self.tell(id, change, effects);
    }

    /// The store has no copy of a session any more, since this revision.
    pub(crate) fn on_forgotten(&mut self, id: SessionId, revision: Revision, effects: &mut Effects) {
        let deleted = self
            .sessions
            .get(&id)
            .is_some_and(|entry| entry.revision.is_some_and(|known| known < revision));
        if deleted {
            self.close(id, EndReason::Deleted, effects);
            // There is nothing left to delete.
            effects.forget.retain(|(forgotten, _)| *forgotten != id);
        }
    }

    /// Nothing was heard of it from its node.
    pub(super) fn drop_remote(&mut self, id: SessionId, effects: &mut Effects) {
        self.close(id, EndReason::Expired, effects);
        effects.forget.retain(|(forgotten, _)| *forgotten != id);
        effects.closed.retain(|closed| *closed != id);
    }
}

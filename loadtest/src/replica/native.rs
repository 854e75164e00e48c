//! A replica of a client that speaks the native protocol.
//!
//! A change is stored when a receipt names it, or when the server brings it: that is only done with what is committed. It
//! is acknowledged when all that it depends on is stored, too: only then does it have to be in the document. Invariant:
//! what a subscription brings comes in order and once; anything else is an error.

use std::collections::{HashSet, VecDeque};

use aetherflow_schema::{
    id::{self, Offset},
    native::{
        Start,
        wire::{Entry, EntryKind},
    },
};
use automerge::{Automerge, Change, ChangeHash};

use super::{Replica, ReplicaError};

/// Changes in one submission.
const SUBMIT_CHANGES: usize = 512;

/// Where a replica stands on its connection.
#[derive(Default)]
pub(super) struct Place {
    /// Everything up to there is here; `None` when that is not known.
    cursor: Option<Offset>,
    /// What was looked through for changes to be submitted on this connection; `None` when nothing was.
    looked_through: Option<Vec<ChangeHash>>,
    /// Changes to be submitted.
    waiting: VecDeque<Change>,
    /// Changes that are stored and not yet acknowledged.
    stored: HashSet<ChangeHash>,
}

impl Replica {
    /// A new connection, in the native protocol. What was not acknowledged on the old one is to be submitted again.
    pub fn become_native(&mut self) {
        let place = self.place.get_or_insert_default();
        place.looked_through = None;
        place.waiting.clear();
    }

    /// From where to follow the document.
    pub fn place(&mut self) -> Start {
        match self.place.as_ref().and_then(|place| place.cursor) {
            Some(cursor) => Start::After(cursor),
            None => {
                let heads = self.heads();
                if heads.is_empty() {
                    Start::Snapshot
                } else {
                    Start::AfterHeads(heads.iter().map(|hash| id::ChangeHash(hash.0)).collect())
                }
            }
        }
    }

    /// The server does not know the place: this replica has to begin with its heads.
    pub fn forget_place(&mut self) {
        if let Some(cursor) = self.place.as_mut().and_then(|place| place.cursor.take()) {
            self.places.forgot(cursor);
        }
    }

    /// The next changes to be submitted, each once on a connection.
    pub fn unsaid(&mut self) -> Vec<Change> {
        let heads = self.document.get_heads();
        let Some(place) = &mut self.place else {
            return Vec::new();
        };
        let before = place.looked_through.replace(heads).unwrap_or_default();
        let new = self.document.get_changes(&before).into_iter();
        let (acknowledged, stored) = (&self.acknowledged, &place.stored);
        let missing = |change: &Change| !acknowledged.contains(&change.hash()) && !stored.contains(&change.hash());
        place.waiting.extend(new.filter(missing));
        let most = place.waiting.len().min(SUBMIT_CHANGES);
        place.waiting.drain(..most).collect()
    }

    /// These changes are committed, there.
    pub fn hear_receipt(&mut self, stored: &[(ChangeHash, Offset)]) {
        for (hash, offset) in stored {
            self.places.hear(*hash, *offset);
        }
        self.store(stored.iter().map(|(hash, _)| *hash));
    }

    fn store(&mut self, changes: impl IntoIterator<Item = ChangeHash>) {
        let place = self.place.get_or_insert_default();
        place.stored.extend(changes);
        let document = self.document.document();
        loop {
            let acknowledged = &self.acknowledged;
            let stands = |hash: &ChangeHash| {
                let change = document.get_change_meta_by_hash(hash);
                change.is_some_and(|change| change.deps.iter().all(|dep| acknowledged.contains(dep)))
            };
            let standing: Vec<_> = place.stored.iter().copied().filter(stands).collect();
            if standing.is_empty() {
                return;
            }
            standing.iter().for_each(|hash| {
                place.stored.remove(hash);
            });
            self.acknowledged.extend(standing);
        }
    }

    /// The state from which the subscription goes on.
    ///
    /// # Errors
    /// When it is not one.
    pub fn hear_snapshot(&mut self, offset: Offset, bytes: &[u8], heads: &[u8]) -> Result<(), ReplicaError> {
        self.document.load_incremental(bytes)?;
        let (heads, _) = heads.as_chunks();
        let heads: Vec<_> = heads.iter().map(|hash| ChangeHash(*hash)).collect();
        self.acknowledge(&heads);
        self.place.get_or_insert_default().cursor = Some(offset);
        self.store([]);
        Ok(())
    }

    /// The next entries.
    ///
    /// # Errors
    /// When they are not what comes next, or cannot be applied.
    pub fn hear_entries(&mut self, entries: &[Entry]) -> Result<(), ReplicaError> {
        for entry in entries {
            let place = self.place.get_or_insert_default();
            let offset = Offset(entry.offset);
            if place.cursor.is_some_and(|cursor| offset <= cursor) {
                return Err(ReplicaError::Order(offset, place.cursor.unwrap_or_default()));
            }
            place.cursor = Some(offset);
            match entry.kind() {
                EntryKind::Change => {
                    let change = Change::from_bytes(entry.payload.to_vec())
                        .map_err(|error| ReplicaError::Entry(offset, error.to_string()))?;
                    let hash = change.hash();
                    self.document.apply_changes([change])?;
                    self.places.hear(hash, offset);
                    self.store([hash]);
                }
                EntryKind::Document => {
                    let changes = Automerge::load(&entry.payload)?.get_changes(&[]);
                    let hashes: Vec<_> = changes.iter().map(Change::hash).collect();
                    self.document.apply_changes(changes)?;
                    hashes.iter().for_each(|hash| self.places.hear_again(*hash, offset));
                    self.store(hashes);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use automerge::{AutoCommit, ROOT, transaction::Transactable};

    use super::*;

    fn put(replica: &mut Replica, key: &str) -> ChangeHash {
        replica.edit(|document| document.put(ROOT, key, 1).unwrap());
        replica.heads()[0]
    }

    fn entry(offset: u64, change: &Change) -> Entry {
        Entry {
            offset,
            kind: EntryKind::Change.into(),
            payload: change.raw_bytes().to_vec().into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_acknowledged_is_submitted_once_on_each_connection() {
        let mut replica = Replica::new(AutoCommit::new());
        let first = put(&mut replica, "a");
        replica.become_native();
        assert!(matches!(replica.place(), Start::AfterHeads(_)));
        assert_eq!(replica.unsaid().len(), 1);
        let second = put(&mut replica, "b");
        let said: Vec<_> = replica.unsaid().iter().map(Change::hash).collect();
        assert_eq!(said, [second]);
        assert!(replica.unsaid().is_empty());
        replica.hear_receipt(&[(second, Offset(4))]);
        assert!(replica.acknowledged().is_empty(), "what it stands on is not stored");
        replica.become_native();
        assert_eq!(replica.unsaid().len(), 1, "the first again");
        replica.hear_receipt(&[(first, Offset(7))]);
        assert!(replica.is_saved() && replica.is_in_sync());
    }

    #[test]
    fn entries_out_of_order_or_twice_are_errors() {
        let mut author = Replica::new(AutoCommit::new());
        author.become_native();
        put(&mut author, "a");
        put(&mut author, "b");
        let changes = author.unsaid();
        let mut reader = Replica::new(AutoCommit::new());
        reader.become_native();
        assert_eq!(reader.place(), Start::Snapshot);
        reader.hear_snapshot(Offset(4), b"", b"").unwrap();
        assert!(reader.hear_entries(&[entry(4, &changes[0])]).is_err());
        reader
            .hear_entries(&[entry(5, &changes[0]), entry(9, &changes[1])])
            .unwrap();
        assert_eq!(reader.place(), Start::After(Offset(9)));
        assert!(reader.hear_entries(&[entry(9, &changes[1])]).is_err());
        assert!(reader.is_in_sync() && reader.unsaid().is_empty());
        assert_eq!(reader.heads(), author.heads());
    }
}

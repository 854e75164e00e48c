//! One document as this client has it. No I/O.
//!
//! Owns: the automerge document, and how often something had to be taken out of it.
//! Invariants: nothing is in it but what the application changed, what the server sent and what the store had; an actor id is
//! never used again after a change of it was taken out.

use std::collections::HashSet;

use aetherflow_schema::{
    id::ChangeHash,
    native::wire::{Entry, EntryKind},
};
use automerge::{
    ActorId, Automerge, AutomergeError, Change, ReadDoc, SaveOptions,
    transaction::{CommitOptions, Transaction},
};
use bytes::Bytes;

use crate::session::NewChange;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Replica {
    document: Automerge,
    generation: u64,
}

/// Why the server's state was not merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    /// Automerge does not take it.
    #[error(transparent)]
    Content(#[from] AutomergeError),
    /// Automerge passes over chunks that it does not understand.
    #[error("its head {0} did not come with it")]
    Incomplete(ChangeHash),
}

/// What an edit came to.
#[derive(Debug)]
pub(crate) struct Edited<T> {
    pub(crate) value: T,
    /// `None` when nothing changed.
    pub(crate) change: Option<NewChange>,
    pub(crate) generation: u64,
}

impl Replica {
    pub(crate) fn new(document: Automerge) -> Self {
        Self {
            document,
            generation: 0,
        }
    }

    /// Puts together what was stored, without what was refused since.
    ///
    /// # Errors
    /// A chunk is not what automerge understands.
    pub(crate) fn restore(chunks: &[Bytes], refused: &[ChangeHash], generation: u64) -> Result<Self, AutomergeError> {
        let mut document = Automerge::new();
        for chunk in chunks {
            load(&mut document, chunk)?;
        }
        let mut replica = Self::new(document);
        replica.revert(refused, generation);
        Ok(replica)
    }

    pub(crate) fn document(&self) -> &Automerge {
        &self.document
    }

    /// Changes the document: all of it, or nothing if it fails.
    pub(crate) fn edit<T, E>(
        &mut self,
        time: i64,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<Edited<T>, E> {
        let options = |_: &T| CommitOptions::default().with_time(time);
        let success = self
            .document
            .transact_with(options, edit)
            .map_err(|failure| failure.error)?;
        let change = success.hash.and_then(|_| self.document.get_last_local_change());
        Ok(Edited {
            value: success.result,
            change: change.as_ref().map(new_change),
            generation: self.generation,
        })
    }

    /// Takes in what the server sent; returns the chunks that are now in the document, one after the other. An entry that
    /// automerge refuses is passed over, as the server did.
    pub(crate) fn apply(&mut self, entries: &[Entry]) -> Vec<u8> {
        let mut chunks = Vec::new();
        let mut changes = Vec::new();
        for entry in entries {
            match entry.kind() {
                EntryKind::Change => match Change::from_bytes(entry.payload.to_vec()) {
                    Ok(change) => changes.push((entry, change)),
                    Err(error) => passed_over(entry, &error.to_string()),
                },
                EntryKind::Document => {
                    self.apply_changes(&mut chunks, std::mem::take(&mut changes));
                    match load(&mut self.document, &entry.payload) {
                        Ok(()) => chunks.extend_from_slice(&entry.payload),
                        Err(error) => passed_over(entry, &error.to_string()),
                    }
                }
                _ => {}
            }
        }
        self.apply_changes(&mut chunks, changes);
        chunks
    }

    fn apply_changes(&mut self, chunks: &mut Vec<u8>, changes: Vec<(&Entry, Change)>) {
        let known = |change: &Change, document: &Automerge| document.get_change_meta_by_hash(&change.hash()).is_some();
        let new: Vec<_> = changes
            .into_iter()
            .filter(|(_, change)| !known(change, &self.document))
            .collect();
        let all = new.iter().map(|(_, change)| change.clone());
        if self.document.apply_changes(all).is_ok() {
            new.iter()
                .for_each(|(entry, _)| chunks.extend_from_slice(&entry.payload));
            return;
        }
        for (entry, change) in new {
            match self.document.apply_changes([change]) {
                Ok(()) => chunks.extend_from_slice(&entry.payload),
                Err(error) => passed_over(entry, &error.to_string()),
            }
        }
    }

    /// Merges the server's state, of these heads; returns what the server lacks.
    ///
    /// # Errors
    /// See [`MergeError`].
    pub(crate) fn merge(&mut self, bytes: &Bytes, heads: &[ChangeHash]) -> Result<Vec<NewChange>, MergeError> {
        load(&mut self.document, bytes)?;
        let heads: Vec<_> = heads.iter().map(|hash| automerge::ChangeHash(hash.0)).collect();
        let missing = |hash: &&automerge::ChangeHash| self.document.get_change_meta_by_hash(hash).is_none();
        match heads.iter().find(missing) {
            Some(head) => Err(MergeError::Incomplete(ChangeHash(head.0))),
            None => Ok(self.document.get_changes(&heads).iter().map(new_change).collect()),
        }
    }

    /// Takes out these changes and what depends on them, if they are here.
    pub(crate) fn revert(&mut self, hashes: &[ChangeHash], generation: u64) {
        self.generation = generation;
        let mut gone: HashSet<_> = hashes.iter().map(|hash| automerge::ChangeHash(hash.0)).collect();
        let all = self.document.get_changes(&[]);
        let before = all.len();
        // Each stands after what it depends on.
        let kept: Vec<Change> = all
            .into_iter()
            .filter(|change| {
                let stays = !gone.contains(&change.hash()) && !change.deps().iter().any(|dep| gone.contains(dep));
                if !stays {
                    gone.insert(change.hash());
                }
                stays
            })
            .collect();
        if kept.len() == before {
            return;
        }
        let mut document = Automerge::new_with_encoding(self.document.text_encoding());
        document.set_actor(ActorId::random());
        let waiting = waiting(&self.document);
        match document
            .apply_changes(kept)
            .and_then(|()| load(&mut document, &waiting))
        {
            Ok(()) => self.document = document,
            Err(error) => tracing::error!(%error, "what was refused cannot be taken out of a document"),
        }
    }

    pub(crate) fn heads(&self) -> Vec<ChangeHash> {
        self.document
            .get_heads()
            .iter()
            .map(|hash| ChangeHash(hash.0))
            .collect()
    }

    /// The whole document, to be loaded again.
    pub(crate) fn save(&self) -> Vec<u8> {
        self.document.save()
    }
}

/// The chunks of the changes that came before what they depend on: automerge tells of them in saved documents only, at the
/// end.
fn waiting(document: &Automerge) -> Vec<u8> {
    if document.get_missing_deps(&[]).is_empty() {
        return Vec::new();
    }
    let without = SaveOptions {
        retain_orphans: false,
        ..SaveOptions::default()
    };
    document.save().split_off(document.save_with_options(without).len())
}

/// Adds chunks. Changes may come before those that they depend on: into an empty document automerge takes such only behind
/// another document.
fn load(document: &mut Automerge, chunks: &[u8]) -> Result<(), AutomergeError> {
    if chunks.is_empty() {
        return Ok(());
    }
    if document.is_empty() {
        let chunks = [&Automerge::new().save()[..], chunks].concat();
        document.load_incremental(&chunks)?;
    } else {
        document.load_incremental(chunks)?;
    }
    Ok(())
}

fn passed_over(entry: &Entry, error: &str) {
    tracing::warn!(
        offset = entry.offset,
        error,
        "an entry that cannot be applied is passed over"
    );
}

/// A change as it is sent.
pub(crate) fn new_change(change: &Change) -> NewChange {
    NewChange {
        hash: ChangeHash(change.hash().0),
        deps: change.deps().iter().map(|hash| ChangeHash(hash.0)).collect(),
        bytes: Bytes::copy_from_slice(change.raw_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use automerge::{ROOT, transaction::Transactable};

    use super::*;

    fn put(replica: &mut Replica, key: &str) -> NewChange {
        let edited = replica.edit(0, |tx| tx.put(ROOT, key, 1)).unwrap();
        edited.change.unwrap()
    }

    fn keys(replica: &Replica) -> Vec<String> {
        replica.document().keys(ROOT).collect()
    }

    fn entry(offset: u64, payload: Bytes) -> Entry {
        Entry {
            offset,
            kind: EntryKind::Change.into(),
            payload,
            ..Entry::default()
        }
    }

    #[test]
    fn an_edit_that_fails_or_does_nothing_leaves_nothing() {
        let mut replica = Replica::new(Automerge::new());
        let failed = replica.edit(0, |tx| {
            tx.put(ROOT, "a", 1)?;
            tx.put(&automerge::ObjId::Root, 7, 1)
        });
        assert!(failed.is_err());
        assert!(replica.edit(0, |_| Ok::<_, ()>(7)).unwrap().change.is_none());
        assert_eq!(keys(&replica), Vec::<String>::new());
    }

    #[test]
    fn what_is_refused_is_taken_out_with_what_was_made_on_top_and_the_rest_stays() {
        let mut other = Replica::new(Automerge::new());
        let theirs = put(&mut other, "theirs");
        let mut replica = Replica::new(Automerge::new());
        put(&mut replica, "a");
        let actor = replica.document().get_actor().clone();
        let refused = put(&mut replica, "b");
        replica.apply(&[entry(1, theirs.bytes)]);
        put(&mut replica, "c");
        replica.revert(&[refused.hash], 1);
        assert_eq!(keys(&replica), ["a", "theirs"]);
        assert_ne!(*replica.document().get_actor(), actor);
        put(&mut replica, "d");
        assert_eq!(keys(&replica), ["a", "d", "theirs"]);
    }

    #[test]
    fn what_waits_for_others_still_does_when_something_is_taken_out() {
        let mut other = Replica::new(Automerge::new());
        let (a, b) = (put(&mut other, "a"), put(&mut other, "b"));
        let mut replica = Replica::new(Automerge::new());
        let refused = put(&mut replica, "refused");
        replica.apply(&[entry(1, b.bytes)]);
        replica.revert(&[refused.hash], 1);
        replica.apply(&[entry(2, a.bytes)]);
        assert_eq!(keys(&replica), ["a", "b"]);
    }

    #[test]
    fn one_bad_entry_does_not_keep_out_the_others() {
        let mut other = Replica::new(Automerge::new());
        let (a, b) = (put(&mut other, "a"), put(&mut other, "b"));
        let mut replica = Replica::new(Automerge::new());
        let nonsense = entry(2, Bytes::from_static(b"nonsense"));
        let chunks = replica.apply(&[entry(1, a.bytes), nonsense, entry(3, b.bytes)]);
        assert_eq!(replica.heads(), other.heads());
        let mut again = Automerge::new();
        again.load_incremental(&chunks).unwrap();
        assert_eq!(again.get_heads(), other.document().get_heads());
    }

    #[test]
    fn merging_tells_what_the_server_lacks() {
        let mut server = Replica::new(Automerge::new());
        let common = put(&mut server, "common");
        let mut replica = Replica::new(Automerge::new());
        replica.apply(&[entry(1, common.bytes)]);
        let mine = put(&mut replica, "mine");
        put(&mut server, "theirs");
        let lacking = replica.merge(&server.save().into(), &server.heads()).unwrap();
        assert_eq!(lacking, [mine]);
        assert_eq!(keys(&replica), ["common", "mine", "theirs"]);
        put(&mut server, "more");
        let merged = replica.merge(&Bytes::from_static(b"nonsense"), &server.heads());
        assert!(matches!(merged, Err(MergeError::Incomplete(_))), "{merged:?}");
    }

    #[test]
    fn what_came_before_what_it_depends_on_is_stored_and_restored() {
        let mut other = Replica::new(Automerge::new());
        let (a, b) = (put(&mut other, "a"), put(&mut other, "b"));
        let mut replica = Replica::new(Automerge::new());
        let early = replica.apply(&[entry(1, b.bytes)]);
        assert_eq!(keys(&replica), Vec::<String>::new());
        let mut restored = Replica::restore(&[early.into()], &[], 0).unwrap();
        for replica in [&mut replica, &mut restored] {
            replica.apply(&[entry(2, a.bytes.clone())]);
            assert_eq!(keys(replica), ["a", "b"]);
        }
    }
}

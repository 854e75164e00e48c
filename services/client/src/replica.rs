//! One document as this client has it. No I/O.
//!
//! Owns: the automerge document.
//! Invariants: nothing is in it but what the application changed, what the server sent and what the store had; an actor id is
//! never used again after a change of it was taken out.
//! On failure: what automerge panics on is passed over, as the server did, and the document is put together again without
//! it. Where that is impossible the error says so, and the document is of no use any more.

mod rebuild;
mod search;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use aetherflow_schema::{
    id::{ChangeHash, Offset},
    native::wire::{Entry, EntryKind},
};
use automerge::{
    Automerge, AutomergeError, Change,
    transaction::{CommitOptions, Transaction},
};
use bytes::Bytes;

pub(crate) use self::search::search;
use crate::session::NewChange;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Replica {
    document: Automerge,
    /// Changes on which automerge panics, as far as tests are concerned.
    #[cfg(test)]
    pub(crate) poison: HashSet<ChangeHash>,
}

/// A document as it was stored: what happened to it, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    /// Automerge chunks came in.
    Chunks(Bytes),
    /// A change was taken out, and what depends on it.
    Refused(ChangeHash),
}

/// Why something was not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicaError {
    /// Automerge does not take it.
    #[error(transparent)]
    Content(#[from] AutomergeError),
    /// These bytes are no change.
    #[error("this is no automerge change: {0}")]
    NoChange(String),
    /// Automerge passes over chunks that it does not understand.
    #[error("its head {0} did not come with it")]
    Incomplete(ChangeHash),
    /// Automerge is not prepared for it.
    #[error("automerge panicked: {0}")]
    Panicked(String),
}

/// What an edit came to.
#[derive(Debug)]
pub(crate) struct Edited<T> {
    pub(crate) value: T,
    /// `None` when nothing changed.
    pub(crate) change: Option<NewChange>,
}

/// What entries of the server came to.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// The chunks that are now in the document, one after the other.
    pub(crate) chunks: Vec<u8>,
    /// The changes that the server has, and where.
    pub(crate) stored: Vec<(ChangeHash, Offset)>,
}

/// What the server's state came to.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// Changes that the server lacks.
    pub(crate) lacking: Vec<NewChange>,
    /// Of those that were asked about, the ones that it has.
    pub(crate) held: Vec<ChangeHash>,
}

impl Replica {
    pub(crate) fn new(document: Automerge) -> Self {
        Self {
            document,
            #[cfg(test)]
            poison: HashSet::new(),
        }
    }

    /// Puts together what was stored: what was refused and came again later is there. Tells which changes were taken out.
    ///
    /// # Errors
    /// A chunk is not what automerge understands.
    pub(crate) fn restore(parts: &[Part]) -> Result<(Self, Vec<ChangeHash>), ReplicaError> {
        contained(|| {
            let mut replica = Self::new(Automerge::new());
            let (mut refused, mut all) = (Vec::new(), Vec::new());
            for part in parts {
                match part {
                    Part::Chunks(chunks) => {
                        replica.revert(&std::mem::take(&mut refused))?;
                        load(&mut replica.document, chunks)?;
                    }
                    Part::Refused(hash) => {
                        refused.push(*hash);
                        all.push(*hash);
                    }
                }
            }
            replica.revert(&refused)?;
            all.retain(|hash| !replica.has(hash));
            Ok((replica, all))
        })
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
        })
    }

    /// Takes in what the server sent. An entry that automerge refuses is passed over, as the server did.
    ///
    /// # Errors
    /// The document is of no use any more.
    pub(crate) fn apply(&mut self, entries: &[Entry]) -> Result<Applied, ReplicaError> {
        let mut applied = Applied::default();
        let mut changes = Vec::new();
        for entry in entries {
            match entry.kind() {
                EntryKind::Change => match parse(&entry.payload) {
                    Ok(change) => {
                        applied.stored.push((ChangeHash(change.hash().0), Offset(entry.offset)));
                        changes.push((entry, change));
                    }
                    Err(error) => passed_over(entry, &error.to_string()),
                },
                EntryKind::Document => {
                    self.apply_changes(&mut applied.chunks, std::mem::take(&mut changes))?;
                    match self.load(&entry.payload)? {
                        Ok(()) => applied.chunks.extend_from_slice(&entry.payload),
                        Err(error) => passed_over(entry, &error.to_string()),
                    }
                }
                _ => {}
            }
        }
        self.apply_changes(&mut applied.chunks, changes)?;
        Ok(applied)
    }

    fn apply_changes(&mut self, chunks: &mut Vec<u8>, changes: Vec<(&Entry, Change)>) -> Result<(), ReplicaError> {
        let new: Vec<_> = changes
            .into_iter()
            .filter(|(_, change)| !self.has(&ChangeHash(change.hash().0)))
            .collect();
        let all = new.iter().map(|(_, change)| change.clone()).collect();
        if self.attempt(all)?.is_ok() {
            new.iter()
                .for_each(|(entry, _)| chunks.extend_from_slice(&entry.payload));
            return Ok(());
        }
        for (entry, change) in new {
            match self.attempt(vec![change])? {
                Ok(()) => chunks.extend_from_slice(&entry.payload),
                Err(error) => passed_over(entry, &error.to_string()),
            }
        }
        Ok(())
    }

    /// Applies changes, if automerge takes them.
    ///
    /// # Errors
    /// The document is of no use any more.
    fn attempt(&mut self, changes: Vec<Change>) -> Result<Result<(), ReplicaError>, ReplicaError> {
        let hashes: Vec<_> = changes.iter().map(|change| ChangeHash(change.hash().0)).collect();
        let applied = contained(|| {
            #[cfg(test)]
            assert!(!hashes.iter().any(|hash| self.poison.contains(hash)), "poison");
            Ok(self.document.apply_changes(changes)?)
        });
        if let Err(ReplicaError::Panicked(_)) = &applied {
            self.rebuild(&hashes)?;
        }
        Ok(applied)
    }

    /// The same with chunks.
    ///
    /// # Errors
    /// The document is of no use any more.
    fn load(&mut self, chunks: &[u8]) -> Result<Result<(), ReplicaError>, ReplicaError> {
        let loaded = contained(|| Ok(load(&mut self.document, chunks)?));
        if let Err(ReplicaError::Panicked(_)) = &loaded {
            self.rebuild(&[])?;
        }
        Ok(loaded)
    }

    /// Merges the server's state, of these heads, and finds out which of the changes asked about it has.
    ///
    /// # Errors
    /// See [`ReplicaError`].
    pub(crate) fn merge(
        &mut self,
        bytes: &Bytes,
        heads: &[ChangeHash],
        asked: &[ChangeHash],
    ) -> Result<Merged, ReplicaError> {
        self.load(bytes)??;
        if let Some(head) = heads.iter().find(|head| !self.has(head)) {
            return Err(ReplicaError::Incomplete(*head));
        }
        let heads: Vec<_> = heads.iter().map(to_automerge).collect();
        let lacking: Vec<_> = self.document.get_changes(&heads).iter().map(new_change).collect();
        let lacks: HashSet<_> = lacking.iter().map(|change| change.hash).collect();
        let held = asked.iter().filter(|hash| !lacks.contains(hash) && self.has(hash));
        let held = held.copied().collect();
        Ok(Merged { lacking, held })
    }

    fn has(&self, hash: &ChangeHash) -> bool {
        self.document.get_change_meta_by_hash(&to_automerge(hash)).is_some()
    }

    pub(crate) fn heads(&self) -> Vec<ChangeHash> {
        self.document
            .get_heads()
            .iter()
            .map(|hash| ChangeHash(hash.0))
            .collect()
    }

    /// The whole document, to be loaded again.
    ///
    /// # Errors
    /// Automerge cannot.
    pub(crate) fn save(&self) -> Result<Vec<u8>, ReplicaError> {
        contained(|| Ok(self.document.save()))
    }
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

/// One change from its bytes.
///
/// # Errors
/// They are none.
pub(crate) fn parse(bytes: &Bytes) -> Result<Change, ReplicaError> {
    contained(|| Change::from_bytes(bytes.to_vec()).map_err(|error| ReplicaError::NoChange(error.to_string())))
}

/// A change as it is sent.
pub(crate) fn new_change(change: &Change) -> NewChange {
    NewChange {
        hash: ChangeHash(change.hash().0),
        deps: change.deps().iter().map(|hash| ChangeHash(hash.0)).collect(),
        bytes: Bytes::copy_from_slice(change.raw_bytes()),
        fencing: None,
    }
}

fn to_automerge(hash: &ChangeHash) -> automerge::ChangeHash {
    automerge::ChangeHash(hash.0)
}

/// Turns a panic into an error: automerge may panic on what others have made.
fn contained<T>(work: impl FnOnce() -> Result<T, ReplicaError>) -> Result<T, ReplicaError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(ReplicaError::Panicked(message.unwrap_or("no message").to_owned()))
    })
}

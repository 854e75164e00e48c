//! From a snapshot and the log's tail to a document.
//!
//! A document is read cold first: the snapshot's bytes with the changes after it, and their heads. That is what a peer
//! needs that has nothing yet, and costs a fraction of materializing it. Whether the changes after the snapshot can be
//! applied is not known then: where there are some, the document is materialized before it is given to anybody as a whole.

use std::collections::BTreeSet;

use aetherflow_log_core::{StorageError, storage::Snapshot};
use aetherflow_oplog::LogHandle;
use aetherflow_schema::{
    id::{DocumentId, Offset},
    record::{Entry, EntryKind},
};
use automerge::{Automerge, AutomergeError, Change, ChangeHash, LoadOptions, OnPartialLoad, ReadDoc, VerificationMode};
use bytes::{Bytes, BytesMut};

use crate::{
    contained,
    content::{Cold, Content, Live, Loaded, SetAside},
    guard, to_automerge,
};

/// Payload bytes of the tail that are read at once.
const READ_BYTES: usize = 4 << 20;

/// What the log has of a document.
struct Stored {
    snapshot: Option<Snapshot>,
    tail: Vec<Entry>,
}

impl Stored {
    /// The newest snapshot, if there is one, and what came after it.
    fn read(log: &LogHandle, document: &DocumentId) -> Result<Self, StorageError> {
        let snapshot = log.snapshot(document)?;
        Self::after(snapshot, log, document)
    }

    fn after(snapshot: Option<Snapshot>, log: &LogHandle, document: &DocumentId) -> Result<Self, StorageError> {
        let mut tail: Vec<Entry> = Vec::new();
        loop {
            let after = tail.last().map_or_else(
                || snapshot.as_ref().map_or(Offset::ZERO, |snapshot| snapshot.offset),
                |entry| entry.offset,
            );
            let page = log.document_entries(document, after, READ_BYTES)?;
            if page.is_empty() {
                return Ok(Self { snapshot, tail });
            }
            tail.extend(page);
        }
    }

    fn offset(&self) -> Offset {
        let snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.offset);
        self.tail
            .last()
            .map(|entry| entry.offset)
            .or(snapshot)
            .unwrap_or_default()
    }

    fn loaded(&self, doc: Automerge, set_aside: Vec<SetAside>) -> Loaded {
        Loaded {
            content: live(doc),
            offset: self.offset(),
            unsaved: self.changes().count() as u64,
            set_aside,
        }
    }

    fn changes(&self) -> impl Iterator<Item = &Entry> {
        self.tail
            .iter()
            .filter(|entry| matches!(entry.draft.kind, EntryKind::Change | EntryKind::Document))
    }

    /// The cold form, when it can be told without materializing: the tail has single changes only, and each builds on what
    /// is known to be there.
    fn cold(&self) -> Option<Cold> {
        let mut heads: BTreeSet<ChangeHash> = BTreeSet::new();
        let mut known: BTreeSet<ChangeHash> = BTreeSet::new();
        let mut whole = BytesMut::new();
        let mut changes = 0;
        if let Some(snapshot) = &self.snapshot {
            // Beside the document there may be changes that wait for others, which the tail may bring.
            if guard::chunks(&snapshot.document).ok()?.len() > 1 {
                return None;
            }
            heads.extend(snapshot.heads.iter().map(to_automerge));
            known.extend(heads.iter());
            whole.extend_from_slice(&snapshot.document);
            changes = snapshot.changes;
        }
        for entry in self.changes() {
            if entry.draft.kind != EntryKind::Change {
                return None;
            }
            let change = contained(|| Change::from_bytes(entry.draft.payload.to_vec()))
                .ok()?
                .ok()?;
            if !change.deps().iter().all(|dep| known.contains(dep)) {
                return None;
            }
            change.deps().iter().for_each(|dep| {
                heads.remove(dep);
            });
            heads.insert(change.hash());
            known.insert(change.hash());
            whole.extend_from_slice(&entry.draft.payload);
            changes += 1;
        }
        Some(Cold {
            heads: heads.into_iter().collect(),
            changes,
            whole: whole.freeze(),
            checked: self.changes().next().is_none(),
        })
    }

    /// All of it in one piece: fast, and all or nothing.
    fn whole(&self) -> Result<Automerge, String> {
        let mut bytes = BytesMut::new();
        if let Some(snapshot) = &self.snapshot {
            bytes.extend_from_slice(&snapshot.document);
        }
        self.changes()
            .for_each(|entry| bytes.extend_from_slice(&entry.draft.payload));
        load_whole(&bytes)
    }

    /// What the entries are applied to.
    fn base(&self) -> Result<Automerge, String> {
        match &self.snapshot {
            Some(snapshot) => load_whole(&snapshot.document),
            None => Ok(Automerge::new()),
        }
    }

    /// Applies the entries to `base` one after the other, but for those given up, and sets those aside that cannot be
    /// applied: the rest of the document is served.
    fn one_by_one(
        &self,
        base: Automerge,
        given_up: &BTreeSet<Offset>,
    ) -> Result<(Automerge, Vec<SetAside>), StorageError> {
        let mut set_aside = Vec::new();
        // Where to go back to, and what was applied since: a change that fails may leave the document in between.
        let mut sound = base.clone();
        let mut doc = base;
        let mut since: Vec<&Entry> = Vec::new();
        for entry in self.changes() {
            if given_up.contains(&entry.offset) {
                set_aside.push((entry.offset, "applying it took too long".to_owned()));
                continue;
            }
            let Err(reason) = apply(&mut doc, entry) else {
                since.push(entry);
                continue;
            };
            set_aside.push((entry.offset, reason));
            doc = sound;
            for entry in since.drain(..) {
                // It was applied before, to the same document.
                apply(&mut doc, entry).map_err(|reason| {
                    let offset = entry.offset;
                    StorageError::Unreadable(format!(
                        "the entry at {offset} can be applied once and not again: {reason}"
                    ))
                })?;
            }
            sound = doc.clone();
        }
        Ok((doc, set_aside))
    }
}

/// Builds the document. A snapshot that does not load is one that is not there: the log has everything.
fn build(
    mut stored: Stored,
    log: &LogHandle,
    document: &DocumentId,
    given_up: &BTreeSet<Offset>,
) -> Result<Loaded, StorageError> {
    loop {
        if given_up.is_empty() {
            match stored.whole() {
                Ok(doc) => return Ok(stored.loaded(doc, Vec::new())),
                Err(reason) => {
                    tracing::warn!(doc = %document, reason, "it does not load in one piece; its entries are applied one by one");
                }
            }
        }
        match stored.base() {
            Ok(base) => {
                let (doc, set_aside) = stored.one_by_one(base, given_up)?;
                return Ok(stored.loaded(doc, set_aside));
            }
            Err(reason) => {
                tracing::error!(doc = %document, reason, "a snapshot does not load; the document is built from the log alone");
                stored = Stored::after(None, log, document)?;
            }
        }
    }
}

fn apply(doc: &mut Automerge, entry: &Entry) -> Result<(), String> {
    let payload = &entry.draft.payload;
    let applied = contained(|| match entry.draft.kind {
        EntryKind::Change => {
            let change = Change::from_bytes(payload.to_vec()).map_err(|error| error.to_string())?;
            doc.apply_changes([change]).map_err(|error| error.to_string())
        }
        _ => doc
            .load_incremental(payload)
            .map(|_| ())
            .map_err(|error| error.to_string()),
    });
    applied.and_then(|applied| applied)
}

fn live(doc: Automerge) -> Content {
    let changes = count(&doc);
    Content::Live(Box::new(Live::new(doc, changes)))
}

/// How many changes a document has.
pub(crate) fn count(doc: &Automerge) -> u64 {
    doc.stats().num_changes
}

/// Loads chunks strictly. The hashes are not checked again: what comes from the log was checked when it came in, and is
/// under a checksum.
pub(crate) fn load_whole(bytes: &[u8]) -> Result<Automerge, String> {
    if bytes.is_empty() {
        return Ok(Automerge::new());
    }
    let options = || {
        LoadOptions::new()
            .on_partial_load(OnPartialLoad::Error)
            .verification_mode(VerificationMode::DontCheck)
    };
    let load = |bytes: &[u8]| contained(|| Automerge::load_with_options(bytes, options()));
    let loaded = match load(bytes)? {
        // Changes that wait for others are accepted behind a document only; it may be an empty one.
        Err(AutomergeError::MissingDeps) => load(&[&Automerge::new().save()[..], bytes].concat())?,
        loaded => loaded,
    };
    loaded.map_err(|error| error.to_string())
}

/// Whether a saved document loads, with every hash as it was: of what is in it, changes were made by others.
pub(crate) fn check_saved(bytes: &[u8]) -> Result<(), String> {
    contained(|| Automerge::load(bytes))?.map_err(|error| error.to_string())?;
    Ok(())
}

/// Reads a document, as cold as can be. Blocks on the disk.
pub(crate) fn load(log: &LogHandle, document: &DocumentId) -> Result<Loaded, StorageError> {
    let stored = Stored::read(log, document)?;
    let content = match stored.cold() {
        Some(cold) if cold.heads.is_empty() => Content::Absent,
        Some(cold) => Content::Cold(cold),
        None => return build(stored, log, document, &BTreeSet::new()),
    };
    Ok(Loaded {
        content,
        offset: stored.offset(),
        unsaved: stored.changes().count() as u64,
        set_aside: Vec::new(),
    })
}

/// Materializes what was read cold; goes back to the log when its bytes do not load in one piece. Blocks.
pub(crate) fn materialize(log: &LogHandle, document: &DocumentId, cold: &Bytes) -> Result<Loaded, StorageError> {
    match load_whole(cold) {
        Ok(doc) => Ok(Loaded {
            content: live(doc),
            offset: Offset::ZERO,
            unsaved: 0,
            set_aside: Vec::new(),
        }),
        Err(_) => reload(log, document, &BTreeSet::new()),
    }
}

/// Materializes a document from the log alone, without the entries that were given up. Blocks.
pub(crate) fn reload(
    log: &LogHandle,
    document: &DocumentId,
    given_up: &BTreeSet<Offset>,
) -> Result<Loaded, StorageError> {
    build(Stored::read(log, document)?, log, document, given_up)
}

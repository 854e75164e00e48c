//! Putting a document together again without some of its changes.

use std::collections::HashSet;

use aetherflow_schema::id::ChangeHash;
use automerge::{ActorId, Automerge, Change, ReadDoc, SaveOptions};

use super::{Replica, ReplicaError, contained, load, to_automerge};

impl Replica {
    /// Takes out these changes and what depends on them, if they are here.
    ///
    /// # Errors
    /// That is impossible; the document is as before.
    pub(crate) fn revert(&mut self, hashes: &[ChangeHash]) -> Result<(), ReplicaError> {
        if hashes.is_empty() {
            return Ok(());
        }
        if let Some(document) = contained(|| without(&self.document, hashes))? {
            self.document = document;
        }
        Ok(())
    }

    /// Puts the document together again, without these changes: after a panic nobody knows what it has come to.
    ///
    /// # Errors
    /// That is impossible; the document is of no use any more.
    pub(super) fn rebuild(&mut self, hashes: &[ChangeHash]) -> Result<(), ReplicaError> {
        self.document = contained(|| anew(&self.document, hashes))?;
        Ok(())
    }
}

/// The document without these changes and those that depend on them; `None` if there are none.
fn without(document: &Automerge, hashes: &[ChangeHash]) -> Result<Option<Automerge>, ReplicaError> {
    let mut gone: HashSet<_> = hashes.iter().map(to_automerge).collect();
    let mut stays = |change: &Change| {
        let stays = !gone.contains(&change.hash()) && !change.deps().iter().any(|dep| gone.contains(dep));
        if !stays {
            gone.insert(change.hash());
        }
        stays
    };
    let all = document.get_changes(&[]);
    let before = all.len();
    // Each stands after what it depends on.
    let kept: Vec<_> = all.into_iter().filter(&mut stays).collect();
    let waiting = waiting(document);
    let waits = chunks(&waiting)
        .into_iter()
        .filter(|chunk| is_change(chunk, &mut stays));
    let waits = waits.collect::<Vec<_>>().concat();
    if kept.len() == before && waits.len() == waiting.len() {
        return Ok(None);
    }
    assemble(document, kept, &waits).map(Some)
}

/// The document anew, without these changes. Those that depend on them wait for them.
fn anew(document: &Automerge, hashes: &[ChangeHash]) -> Result<Automerge, ReplicaError> {
    let gone: HashSet<_> = hashes.iter().map(to_automerge).collect();
    let mut late = HashSet::new();
    let (mut kept, mut waits) = (Vec::new(), Vec::new());
    for change in document.get_changes(&[]) {
        if gone.contains(&change.hash()) {
            continue;
        }
        if change.deps().iter().any(|dep| gone.contains(dep) || late.contains(dep)) {
            late.insert(change.hash());
            waits.extend_from_slice(change.raw_bytes());
        } else {
            kept.push(change);
        }
    }
    for chunk in chunks(&waiting(document)) {
        if is_change(chunk, |change| !gone.contains(&change.hash())) {
            waits.extend_from_slice(chunk);
        }
    }
    assemble(document, kept, &waits)
}

/// A document of these changes, as empty as the other one was in the beginning.
fn assemble(like: &Automerge, changes: Vec<Change>, waiting: &[u8]) -> Result<Automerge, ReplicaError> {
    let mut document = Automerge::new_with_encoding(like.text_encoding());
    document.set_actor(ActorId::random());
    document.apply_changes(changes)?;
    load(&mut document, waiting)?;
    Ok(document)
}

/// Whether a chunk is such a change. What is none was not put there by automerge, and stays.
fn is_change(chunk: &[u8], mut such: impl FnMut(&Change) -> bool) -> bool {
    Change::from_bytes(chunk.to_vec()).map_or(true, |change| such(&change))
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

/// Splits what automerge saved: each chunk is magic bytes and a checksum of four bytes each, a kind, a length in LEB128, and so
/// many bytes. What makes no sense comes last, as it is.
fn chunks(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    while !bytes.is_empty() {
        let length = chunk_length(bytes).filter(|length| *length <= bytes.len());
        let (chunk, rest) = bytes.split_at(length.unwrap_or(bytes.len()));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks
}

fn chunk_length(bytes: &[u8]) -> Option<usize> {
    const BEFORE_LENGTH: usize = 9;
    let mut length = 0_usize;
    for (place, byte) in bytes.get(BEFORE_LENGTH..)?.iter().take(9).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return length.checked_add(BEFORE_LENGTH + place + 1);
        }
    }
    None
}

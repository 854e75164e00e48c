//! Looking for changes in a document's history, without the document.

use std::collections::HashSet;

use aetherflow_schema::{
    id::{ChangeHash, Offset},
    native::wire::{Entry, EntryKind},
};
use automerge::Automerge;

use super::{contained, load, parse, passed_over};

/// Which of these changes the entries have, and where. An entry that automerge does not understand has none.
pub(crate) fn search(entries: &[Entry], asked: &[ChangeHash]) -> Vec<(ChangeHash, Offset)> {
    let asked: HashSet<_> = asked.iter().copied().collect();
    let mut stored = Vec::new();
    for entry in entries {
        let changes = match entry.kind() {
            EntryKind::Change => parse(&entry.payload).map(|change| vec![ChangeHash(change.hash().0)]),
            EntryKind::Document => contained(|| {
                let mut document = Automerge::new();
                load(&mut document, &entry.payload)?;
                let changes = document.get_changes(&[]);
                Ok(changes.iter().map(|change| ChangeHash(change.hash().0)).collect())
            }),
            _ => Ok(Vec::new()),
        };
        match changes {
            Ok(changes) => {
                let found = changes.into_iter().filter(|hash| asked.contains(hash));
                stored.extend(found.map(|hash| (hash, Offset(entry.offset))));
            }
            Err(error) => passed_over(entry, &error.to_string()),
        }
    }
    stored
}

#[cfg(test)]
mod tests {
    use automerge::{ROOT, transaction::Transactable};
    use bytes::Bytes;

    use super::*;

    #[test]
    fn changes_are_found_alone_and_in_whole_documents() {
        let mut document = Automerge::new();
        let put = |key: &str, document: &mut Automerge| document.transact(|tx| tx.put(ROOT, key, 1)).unwrap().hash;
        for key in ["a", "b", "c"] {
            put(key, &mut document);
        }
        let changes = document.get_changes(&[]);
        let hashes: Vec<_> = changes.iter().map(|change| ChangeHash(change.hash().0)).collect();
        let entry = |offset, kind: EntryKind, payload: &[u8]| Entry {
            offset,
            kind: kind.into(),
            payload: Bytes::copy_from_slice(payload),
            ..Entry::default()
        };
        let entries = [
            entry(3, EntryKind::Created, b""),
            entry(4, EntryKind::Change, changes[0].raw_bytes()),
            entry(6, EntryKind::Change, b"nonsense"),
            entry(7, EntryKind::Document, b"nonsense"),
            entry(9, EntryKind::Document, &document.save()),
        ];
        let found = search(&entries, &hashes[1..]);
        assert_eq!(found, [(hashes[1], Offset(9)), (hashes[2], Offset(9))]);
        assert_eq!(search(&entries[..2], &hashes), [(hashes[0], Offset(4))]);
    }
}

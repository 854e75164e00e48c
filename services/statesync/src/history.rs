//! Any earlier state of a document, and the list of its changes.

use std::collections::{BTreeSet, HashMap};

use aetherflow_oplog::{LogHandle, StorageError};
use aetherflow_schema::{
    access::Author,
    documents::{At, DocumentError, DocumentJson, HistoryChange, HistoryPage},
    id::{DocumentId, Offset, OpId},
};
use automerge::{Automerge, ChangeHash};
use bytes::Bytes;

use crate::{json, load::count, to_automerge, to_schema};

/// Bytes of log read to date one page of history.
const DATING_BYTES: usize = 8 << 20;

/// The heads of a place in the history; `None` for the newest state.
fn heads_at(doc: &Automerge, at: &At) -> Result<Option<Vec<ChangeHash>>, DocumentError> {
    match at {
        At::Now => Ok(None),
        At::Heads(heads) => {
            let heads: Vec<ChangeHash> = heads.iter().map(to_automerge).collect();
            match heads.iter().find(|hash| doc.get_change_meta_by_hash(hash).is_none()) {
                Some(unknown) => Err(DocumentError::NoSuchPlace(format!("there is no change {unknown}"))),
                None => Ok(Some(heads)),
            }
        }
        At::Change(index) => {
            let changes = doc.get_changes_meta(&[]);
            let first = usize::try_from(*index)
                .ok()
                .and_then(|index| changes.get(..index))
                .ok_or_else(|| DocumentError::NoSuchPlace(format!("it has {} changes", changes.len())))?;
            let mut heads = BTreeSet::new();
            for change in first {
                change.deps.iter().for_each(|dep| {
                    heads.remove(dep);
                });
                heads.insert(change.hash);
            }
            Ok(Some(heads.into_iter().collect()))
        }
    }
}

/// The content at a place, as JSON.
pub(crate) fn read(doc: &Automerge, at: &At) -> Result<DocumentJson, DocumentError> {
    let heads = heads_at(doc, at)?;
    // Automerge takes "no heads" for "now", but the state before the first change is empty.
    let content = match &heads {
        Some(heads) if heads.is_empty() => serde_json::Value::Object(Default::default()),
        heads => {
            let content = json::from_automerge(doc, heads.as_deref());
            content.map_err(|error| DocumentError::Invalid(format!("the document: {error}")))?
        }
    };
    let changes = match (at, &heads) {
        (At::Change(index), _) => *index,
        (_, None) => count(doc),
        (_, Some(heads)) => count(doc) - doc.get_changes_meta(heads).len() as u64,
    };
    Ok(DocumentJson {
        heads: heads.unwrap_or_else(|| doc.get_heads()).iter().map(to_schema).collect(),
        changes,
        content,
    })
}

/// The document at a place, as a file.
pub(crate) fn export(doc: &Automerge, at: &At) -> Result<Bytes, DocumentError> {
    match heads_at(doc, at)? {
        None => Ok(Bytes::from(doc.save())),
        Some(heads) => {
            let fork = doc
                .fork_at(&heads)
                .map_err(|error| DocumentError::NoSuchPlace(error.to_string()))?;
            Ok(Bytes::from(fork.save()))
        }
    }
}

/// A page of the list of changes, each with its place in the log where it has one of its own. Blocks on the disk.
pub(crate) fn page(
    doc: &Automerge,
    log: &LogHandle,
    document: &DocumentId,
    after: u64,
    limit: usize,
) -> Result<HistoryPage, StorageError> {
    let changes = doc.get_changes_meta(&[]);
    let total = changes.len() as u64;
    let start = usize::try_from(after).unwrap_or(usize::MAX).min(changes.len());
    let page = &changes[start..changes.len().min(start.saturating_add(limit))];
    let ops: Vec<OpId> = page.iter().map(|change| OpId(change.hash.0)).collect();
    let offsets = log.lookup(document, &ops)?;
    let written = written(log, document, &offsets)?;
    let changes: Vec<HistoryChange> = page
        .iter()
        .zip(offsets)
        .zip(after.saturating_add(1)..)
        .map(|((change, offset), index)| HistoryChange {
            index,
            hash: to_schema(&change.hash),
            actor: change.actor.to_hex_string(),
            seq: change.seq,
            time_ms: change.timestamp.saturating_mul(1000),
            message: change.message.as_deref().map(str::to_owned),
            operations: (change.max_op + 1).saturating_sub(change.start_op),
            offset,
            committed_ms: offset.and_then(|offset| Some(written.get(&offset)?.0)),
            author: offset.and_then(|offset| Some(written.get(&offset)?.1.clone())),
        })
        .collect();
    let end = after.saturating_add(changes.len() as u64);
    Ok(HistoryPage {
        total,
        changes,
        next: (end < total).then_some(end),
    })
}

/// When the entries at these offsets were committed, and by whom they are.
fn written(
    log: &LogHandle,
    document: &DocumentId,
    offsets: &[Option<Offset>],
) -> Result<HashMap<Offset, (u64, Author)>, StorageError> {
    let wanted = offsets.iter().flatten();
    let (Some(first), Some(last)) = (wanted.clone().min(), wanted.max()) else {
        return Ok(HashMap::new());
    };
    let before_first = Offset(first.0 - 1);
    let entries = log.document_entries(document, before_first, DATING_BYTES)?;
    Ok(entries
        .into_iter()
        .take_while(|entry| entry.offset <= *last)
        .map(|entry| (entry.offset, (entry.committed_us / 1000, entry.draft.author)))
        .collect())
}

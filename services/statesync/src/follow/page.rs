//! Reading a stretch of a document's history in pages.

use aetherflow_oplog::{LogHandle, StorageError};
use aetherflow_schema::{
    document_log::{EntryPage, Stretch},
    documents::DocumentError,
};

/// A page of a document's history. Blocks on the disk.
pub(crate) fn page(log: &LogHandle, stretch: &Stretch) -> Result<EntryPage, DocumentError> {
    let document = stretch.grant.document();
    let committed = log.committed(log.partition_of(document));
    let newest = log.document_tail(document).map_err(unreadable)?;
    let newest = newest.ok_or(DocumentError::NotFound)?;
    if stretch.after > committed {
        let detail = format!("the newest offset of its partition is {committed}");
        return Err(DocumentError::NoSuchPlace(detail));
    }
    let until = stretch.until.unwrap_or(committed.next()).min(committed.next());
    let mut entries = log
        .document_entries(document, stretch.after, stretch.bytes)
        .map_err(unreadable)?;
    let next = entries
        .last()
        .map(|last| last.offset)
        .filter(|last| last.next() < until && *last < newest);
    entries.retain(|entry| entry.offset < until);
    Ok(EntryPage { entries, next, until })
}

fn unreadable(error: StorageError) -> DocumentError {
    DocumentError::Unreadable(error.to_string())
}

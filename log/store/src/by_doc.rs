//! Where a document's entries stand: for each frame that has any, their places in it.

use std::collections::BTreeMap;

use aetherflow_schema::{
    id::{DocumentId, Offset, PartitionId},
    record::{Entry, Frame, RecordError},
};
use rocksdb::{DB, Direction, IteratorMode, ReadOptions, WriteBatch};

use crate::{
    entry,
    keys::{self, Family},
    store::{ReadError, family},
};

pub(crate) fn put(db: &DB, batch: &mut WriteBatch, frame: &Frame) -> Result<(), RecordError> {
    let family = family(db, Family::ByDoc);
    for (document, places) in places(frame)? {
        let key = keys::document_at(frame.header().partition, document, frame.header().base);
        batch.put_cf(family, key, places);
    }
    Ok(())
}

/// The documents of a frame with the places of their entries, as stored.
pub(crate) fn places(frame: &Frame) -> Result<BTreeMap<&[u8], Vec<u8>>, RecordError> {
    let mut places: BTreeMap<&[u8], Vec<u8>> = BTreeMap::new();
    for (place, ids) in (0u16..).zip(frame.ids()) {
        places
            .entry(ids?.0)
            .or_default()
            .extend_from_slice(&place.to_be_bytes());
    }
    Ok(places)
}

/// Entries of a document after `after`, up to about `max_bytes` of payload, one at least if there is any.
pub(crate) fn entries(
    db: &DB,
    partition: PartitionId,
    document: &DocumentId,
    after: Offset,
    max_bytes: usize,
) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    // The frame that contains `after` may begin before it.
    let start = entry::containing(db, partition, after.next())?.unwrap_or(Offset::ZERO);
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(keys::document_at(partition, document.as_bytes(), Offset(u64::MAX)));
    let key = keys::document_at(partition, document.as_bytes(), start);
    let frames = db.iterator_cf_opt(
        family(db, Family::ByDoc),
        options,
        IteratorMode::From(&key, Direction::Forward),
    );
    for item in frames {
        let damaged = |offset, reason: String| ReadError::Damaged {
            partition,
            offset,
            reason,
        };
        let (key, places) = item.map_err(|error| damaged(after.next(), error.to_string()))?;
        let (_, base) = keys::split_document_at(&key)
            .ok_or_else(|| damaged(after.next(), "a key of the document index is malformed".to_owned()))?;
        let frame = entry::at(db, partition, base)?;
        let mut places = places
            .chunks_exact(2)
            .map(|place| u64::from(u16::from_be_bytes([place[0], place[1]])));
        let mut wanted = places.next();
        for entry in frame.entries() {
            let entry = entry.map_err(|error| damaged(base, error.to_string()))?;
            if wanted != Some(entry.offset.0 - base.0) {
                continue;
            }
            wanted = places.next();
            if entry.draft.document != *document {
                return Err(damaged(
                    entry.offset,
                    "the document index names another document's entry".to_owned(),
                ));
            }
            if entry.offset <= after {
                continue;
            }
            if bytes >= max_bytes.max(1) {
                return Ok(entries);
            }
            bytes += entry.draft.payload.len().max(1);
            entries.push(entry);
        }
        if wanted.is_some() {
            return Err(damaged(
                base,
                "the document index names entries that are not there".to_owned(),
            ));
        }
    }
    Ok(entries)
}

/// The offset of the newest entry of a document.
pub(crate) fn tail(db: &DB, partition: PartitionId, document: &DocumentId) -> Result<Option<Offset>, ReadError> {
    let damaged = |reason: String| ReadError::Damaged {
        partition,
        offset: Offset(1),
        reason,
    };
    let mut iterator = db.raw_iterator_cf(family(db, Family::ByDoc));
    iterator.seek_for_prev(keys::document_at(partition, document.as_bytes(), Offset(u64::MAX)));
    iterator.status().map_err(|error| damaged(error.to_string()))?;
    let Some((key, places)) = iterator.item() else {
        return Ok(None);
    };
    match keys::split_document_at(key) {
        Some((found, base)) if found == *document && key.starts_with(&partition.0.to_be_bytes()) => {
            let place = places
                .last_chunk()
                .ok_or_else(|| damaged("the document index has an empty value".to_owned()))?;
            Ok(Some(Offset(base.0 + u64::from(u16::from_be_bytes(*place)))))
        }
        _ => Ok(None),
    }
}

/// Documents that have entries, after `after`, in the order of their keys.
pub(crate) fn documents(
    db: &DB,
    partitions: u16,
    after: Option<&DocumentId>,
    limit: usize,
) -> Result<Vec<DocumentId>, ReadError> {
    let mut documents = Vec::new();
    let mut iterator = db.raw_iterator_cf(family(db, Family::ByDoc));
    match after {
        Some(after) => iterator.seek(past(after.partition(partitions), after)),
        None => iterator.seek_to_first(),
    }
    while documents.len() < limit {
        let Some(key) = iterator.key() else { break };
        let Some((document, _)) = keys::split_document_at(key) else {
            return Err(ReadError::Failed("a key of the document index is malformed".to_owned()));
        };
        iterator.seek(past(document.partition(partitions), &document));
        documents.push(document);
    }
    iterator
        .status()
        .map_err(|error| ReadError::Failed(error.to_string()))?;
    Ok(documents)
}

/// A key after all keys of a document and before those of the next one.
fn past(partition: PartitionId, document: &DocumentId) -> Vec<u8> {
    let mut key = keys::document_at(partition, document.as_bytes(), Offset(u64::MAX));
    key.push(0);
    key
}

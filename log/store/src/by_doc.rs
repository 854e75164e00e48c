//! Where a document's entries stand: for each frame that has any, their places in it.
//!
//! Reading looks into memory first and into the tables afterwards, so that what moves from one to the other meanwhile is
//! seen twice rather than not at all. What is in memory of a document is never older than what is in tables only.

use aetherflow_schema::{
    id::{DocumentId, Offset, PartitionId},
    record::{Entry, Frame},
};
use rocksdb::{DB, Direction, IteratorMode, ReadOptions, SstFileWriter};

use crate::{
    database::Database,
    entry,
    generation::{Generation, Place},
    keys::{self, Family},
    store::{ReadError, family},
};

/// Adds the rows of a generation to a table.
pub(crate) fn write(table: &mut SstFileWriter<'_>, generation: &Generation) -> Result<(), rocksdb::Error> {
    for (document, places) in generation.all_places() {
        for (base, places) in rows(places) {
            table.put([document, &base.0.to_be_bytes()].concat(), places)?;
        }
    }
    Ok(())
}

/// Ascending places as rows: the first offset of each frame, and the places in it as stored.
fn rows(places: &[Place]) -> impl Iterator<Item = (Offset, Vec<u8>)> {
    places.chunk_by(|one, next| one.base == next.base).map(|frame| {
        let places = frame.iter().flat_map(|place| place.place.to_be_bytes()).collect();
        (frame[0].base, places)
    })
}

/// Entries of a document after `after`, up to about `max_bytes` of payload, one at least if there is any.
pub(crate) fn entries(
    Database { db, pending }: &Database,
    partition: PartitionId,
    document: &DocumentId,
    after: Offset,
    max_bytes: usize,
) -> Result<Vec<Entry>, ReadError> {
    // The frame that contains `after` may begin before it.
    let start = entry::containing(db, partition, after.next())?.unwrap_or(Offset::ZERO);
    let newest = Offset(u64::MAX);
    let in_memory = pending.places(&keys::document(partition, document.as_bytes()), start..newest);
    let end = in_memory.first().map_or(newest, |place| place.base);
    let mut page = Page {
        document,
        after,
        max_bytes,
        bytes: 0,
        entries: Vec::new(),
    };
    for row in in_tables(db, partition, document, start, end).chain(rows(&in_memory).map(Ok)) {
        let (base, places) = row?;
        let frame = entry::at(db, partition, base)?;
        page.add(&frame, &places)
            .map_err(|(offset, reason)| ReadError::Damaged {
                partition,
                offset,
                reason,
            })?;
        if page.is_full() {
            break;
        }
    }
    Ok(page.entries)
}

/// Rows of a document in the tables, of frames from `start` on and before `end`.
fn in_tables<'a>(
    db: &'a DB,
    partition: PartitionId,
    document: &DocumentId,
    start: Offset,
    end: Offset,
) -> impl Iterator<Item = Result<(Offset, Vec<u8>), ReadError>> + 'a {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(keys::document_at(partition, document.as_bytes(), end));
    let key = keys::document_at(partition, document.as_bytes(), start);
    let rows = db.iterator_cf_opt(
        family(db, Family::ByDoc),
        options,
        IteratorMode::From(&key, Direction::Forward),
    );
    rows.map(move |row| {
        let damaged = |reason: String| ReadError::Damaged {
            partition,
            offset: start.max(Offset(1)),
            reason,
        };
        let (key, places) = row.map_err(|error| ReadError::of_database(&error, partition, start.max(Offset(1))))?;
        let (_, base) = keys::split_document_at(&key)
            .ok_or_else(|| damaged("a key of the document index is malformed".to_owned()))?;
        Ok((base, places.into_vec()))
    })
}

/// Entries of a document that are being collected.
struct Page<'a> {
    document: &'a DocumentId,
    after: Offset,
    max_bytes: usize,
    bytes: usize,
    entries: Vec<Entry>,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.bytes >= self.max_bytes.max(1)
    }

    /// Takes the entries at these places of a frame, until it is full; says where and how the index is wrong.
    fn add(&mut self, frame: &Frame, places: &[u8]) -> Result<(), (Offset, String)> {
        let base = frame.header().base;
        let mut places = places
            .chunks_exact(2)
            .map(|place| u64::from(u16::from_be_bytes([place[0], place[1]])));
        let mut wanted = places.next();
        for entry in frame.entries() {
            let entry = entry.map_err(|error| (base, error.to_string()))?;
            if wanted != Some(entry.offset.0 - base.0) {
                continue;
            }
            wanted = places.next();
            if entry.draft.document != *self.document {
                let reason = "the document index names another document's entry";
                return Err((entry.offset, reason.to_owned()));
            }
            if entry.offset <= self.after {
                continue;
            }
            if self.is_full() {
                return Ok(());
            }
            self.bytes += entry.draft.payload.len().max(1);
            self.entries.push(entry);
        }
        match wanted {
            Some(_) => Err((base, "the document index names entries that are not there".to_owned())),
            None => Ok(()),
        }
    }
}

/// The offset of the newest entry of a document.
pub(crate) fn tail(
    Database { db, pending }: &Database,
    partition: PartitionId,
    document: &DocumentId,
) -> Result<Option<Offset>, ReadError> {
    if let Some(tail) = pending.tail(&keys::document(partition, document.as_bytes())) {
        return Ok(Some(tail));
    }
    let damaged = |reason: String| ReadError::Damaged {
        partition,
        offset: Offset(1),
        reason,
    };
    let mut iterator = db.raw_iterator_cf(family(db, Family::ByDoc));
    iterator.seek_for_prev(keys::document_at(partition, document.as_bytes(), Offset(u64::MAX)));
    iterator
        .status()
        .map_err(|error| ReadError::of_database(&error, partition, Offset(1)))?;
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
    Database { db, pending }: &Database,
    partitions: u16,
    after: Option<&DocumentId>,
    limit: usize,
) -> Result<Vec<DocumentId>, ReadError> {
    let after = after.map(|after| keys::document(after.partition(partitions), after.as_bytes()));
    let mut documents = pending.documents(after.as_deref(), limit);
    let mut iterator = db.raw_iterator_cf(family(db, Family::ByDoc));
    match after {
        Some(after) => iterator.seek(past(&after)),
        None => iterator.seek_to_first(),
    }
    for _ in 0..limit {
        let Some(key) = iterator.key().filter(|key| *key != keys::INDEXED) else {
            break;
        };
        let document = keys::document_of(key).ok_or_else(malformed)?;
        let document = keys::document(document.partition(partitions), document.as_bytes());
        iterator.seek(past(&document));
        documents.push(document);
    }
    iterator
        .status()
        .map_err(|error| ReadError::Failed(error.to_string()))?;
    documents.sort_unstable();
    documents.dedup();
    documents
        .iter()
        .take(limit)
        .map(|key| keys::document_of(key).ok_or_else(malformed))
        .collect()
}

fn malformed() -> ReadError {
    ReadError::Failed("a key of the document index is malformed".to_owned())
}

/// A key after all keys of a document and before those of the next one.
fn past(document: &[u8]) -> Vec<u8> {
    [document, &[0xff; 9]].concat()
}

/// Whether the index has exactly these places of a document's entries in the frame that begins at `base`.
pub(crate) fn has(
    Database { db, pending }: &Database,
    document: &[u8],
    base: Offset,
    places: &[Place],
) -> Result<bool, String> {
    let in_memory = pending.places(document, base..base.next());
    if !in_memory.is_empty() {
        return Ok(in_memory == places);
    }
    let found = db
        .get_pinned_cf(family(db, Family::ByDoc), [document, &base.0.to_be_bytes()].concat())
        .map_err(|error| error.to_string())?;
    Ok(rows(places).any(|(_, row)| found.as_deref() == Some(row.as_slice())))
}

//! Materialized documents. A cache: damaged or missing ones cost time, never data.
//!
//! ```text
//! 0  format version = 1  u8    5  changes u64   15  heads, 32 bytes each
//! 1  CRC32C of the rest u32   13  heads   u16       then the document
//! ```

use aetherflow_log_core::storage::Snapshot;
use aetherflow_schema::id::{ChangeHash, DocumentId, Offset, PartitionId};
use bytes::Bytes;
use rocksdb::{DB, Direction, IteratorMode, WriteBatch};

use crate::{
    by_doc,
    database::Database,
    keys::{self, Family},
    store::{ReadError, family},
};

const VERSION: u8 = 1;
const CRC_END: usize = 5;
const FIXED: usize = 15;

/// Adds it to a batch, and drops all older ones but the newest of them.
pub(crate) fn put(db: &DB, batch: &mut WriteBatch, partition: PartitionId, document: &DocumentId, snapshot: &Snapshot) {
    let column = family(db, Family::Snapshot);
    let key = keys::document_at(partition, document.as_bytes(), snapshot.offset);
    for old in keys_newest_first(db, partition, document)
        .filter(|old| **old != *key)
        .skip(1)
    {
        batch.delete_cf(column, old);
    }
    batch.put_cf(column, key, encode(snapshot));
}

/// The newest one that is undamaged and not ahead of the log.
pub(crate) fn newest(
    database: &Database,
    partition: PartitionId,
    document: &DocumentId,
) -> Result<Option<Snapshot>, ReadError> {
    let Some(tail) = by_doc::tail(database, partition, document)? else {
        return Ok(None);
    };
    let db = &database.db;
    for key in keys_newest_first(db, partition, document) {
        let snapshot = keys::split_document_at(&key)
            .filter(|(_, offset)| *offset <= tail)
            .and_then(|(_, offset)| decode(offset, db.get_cf(family(db, Family::Snapshot), &key).ok().flatten()?));
        if snapshot.is_some() {
            return Ok(snapshot);
        }
        tracing::warn!(doc = %document, "a snapshot is damaged or ahead of the log and was passed over");
    }
    Ok(None)
}

fn keys_newest_first<'a>(
    db: &'a DB,
    partition: PartitionId,
    document: &DocumentId,
) -> impl Iterator<Item = Box<[u8]>> + 'a {
    let prefix = keys::document(partition, document.as_bytes());
    let start = keys::document_at(partition, document.as_bytes(), Offset(u64::MAX));
    db.iterator_cf(
        family(db, Family::Snapshot),
        IteratorMode::From(&start, Direction::Reverse),
    )
    .map_while(move |item| item.ok().map(|(key, _)| key).filter(|key| key.starts_with(&prefix)))
}

pub(crate) fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut value = Vec::with_capacity(FIXED + 32 * snapshot.heads.len() + snapshot.document.len());
    value.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    value.extend_from_slice(&snapshot.changes.to_be_bytes());
    value.extend_from_slice(&(snapshot.heads.len() as u16).to_be_bytes());
    snapshot.heads.iter().for_each(|head| value.extend_from_slice(&head.0));
    value.extend_from_slice(&snapshot.document);
    let crc = crc32c::crc32c(&value[CRC_END..]);
    value[1..CRC_END].copy_from_slice(&crc.to_be_bytes());
    value
}

pub(crate) fn decode(offset: Offset, value: Vec<u8>) -> Option<Snapshot> {
    let crc = u32::from_be_bytes(value.get(1..CRC_END)?.try_into().ok()?);
    if value[0] != VERSION || crc32c::crc32c(&value[CRC_END..]) != crc {
        return None;
    }
    let changes = u64::from_be_bytes(value.get(CRC_END..13)?.try_into().ok()?);
    let heads = usize::from(u16::from_be_bytes(value.get(13..FIXED)?.try_into().ok()?));
    let document_at = FIXED + 32 * heads;
    let heads = value
        .get(FIXED..document_at)?
        .chunks_exact(32)
        .map(|head| head.try_into().map(ChangeHash))
        .collect::<Result<_, _>>()
        .ok()?;
    Some(Snapshot {
        offset,
        heads,
        changes,
        document: Bytes::from(value).slice(document_at..),
    })
}

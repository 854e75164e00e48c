//! Materialized documents. A cache: damaged or missing ones cost time, never data.
//!
//! ```text
//! 0  format version = 2  u8    5  changes u64   21  heads, 32 bytes each
//! 1  CRC32C of the rest u32   13  heads   u64       then the document
//! ```
//!
//! Version 1 counts the heads in a u16. It is still read.

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

const VERSION: u8 = 2;
const VERSION_FEW_HEADS: u8 = 1;
const CRC_END: usize = 5;
const COUNT_AT: usize = 13;
const FIXED: usize = 21;
/// In the version with few heads.
const FIXED_FEW_HEADS: usize = 15;

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
    value.extend_from_slice(&(snapshot.heads.len() as u64).to_be_bytes());
    snapshot.heads.iter().for_each(|head| value.extend_from_slice(&head.0));
    value.extend_from_slice(&snapshot.document);
    let crc = crc32c::crc32c(&value[CRC_END..]);
    value[1..CRC_END].copy_from_slice(&crc.to_be_bytes());
    value
}

pub(crate) fn decode(offset: Offset, value: Vec<u8>) -> Option<Snapshot> {
    let crc = u32::from_be_bytes(value.get(1..CRC_END)?.try_into().ok()?);
    if crc32c::crc32c(&value[CRC_END..]) != crc {
        return None;
    }
    let changes = u64::from_be_bytes(value.get(CRC_END..COUNT_AT)?.try_into().ok()?);
    let count = value.get(COUNT_AT..)?;
    let (heads, heads_at) = match value[0] {
        VERSION => (u64::from_be_bytes(*count.first_chunk()?), FIXED),
        VERSION_FEW_HEADS => (u16::from_be_bytes(*count.first_chunk()?).into(), FIXED_FEW_HEADS),
        _ => return None,
    };
    let document_at = usize::try_from(heads).ok()?.checked_mul(32)?.checked_add(heads_at)?;
    let heads = value
        .get(heads_at..document_at)?
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

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(heads: u32) -> Snapshot {
        let head = |n: u32| ChangeHash(std::array::from_fn(|at| n.to_be_bytes()[at % 4]));
        Snapshot {
            offset: Offset(7),
            heads: (0..heads).map(head).collect(),
            changes: u64::from(heads) + 3,
            document: Bytes::from_static(b"a document"),
        }
    }

    #[test]
    fn any_number_of_heads_survives() {
        for heads in [0, 1, 2, 65_535, 65_536, 70_000] {
            let snapshot = snapshot(heads);
            assert_eq!(decode(snapshot.offset, encode(&snapshot)), Some(snapshot));
        }
    }

    #[test]
    fn what_was_kept_with_a_small_count_is_still_read() {
        let snapshot = snapshot(300);
        let mut value = encode(&snapshot);
        value.drain(COUNT_AT..COUNT_AT + FIXED - FIXED_FEW_HEADS);
        value[0] = VERSION_FEW_HEADS;
        let crc = crc32c::crc32c(&value[CRC_END..]);
        value[1..CRC_END].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(decode(snapshot.offset, value), Some(snapshot));
    }

    #[test]
    fn what_is_damaged_or_of_another_version_is_none() {
        let good = encode(&snapshot(3));
        for length in 0..good.len() {
            assert_eq!(decode(Offset(7), good[..length].to_vec()), None);
        }
        let mut newer = good.clone();
        newer[0] = VERSION + 1;
        assert_eq!(decode(Offset(7), newer), None);
        for at in 1..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(Offset(7), damaged), None);
        }
    }
}

//! The log itself: frames by the offset of their first entry.

use aetherflow_schema::{
    id::{Offset, PartitionId},
    record::Frame,
};
use bytes::Bytes;
use rocksdb::{DB, Direction, IteratorMode, ReadOptions, WriteBatch};

use crate::{
    keys::{self, Family},
    store::{ReadError, family},
};

pub(crate) fn put(db: &DB, batch: &mut WriteBatch, frame: &Frame) {
    let header = frame.header();
    batch.put_cf(
        family(db, Family::Entry),
        keys::entry(header.partition, header.base),
        frame.bytes(),
    );
}

/// The frame that begins at `base`.
pub(crate) fn at(db: &DB, partition: PartitionId, base: Offset) -> Result<Frame, ReadError> {
    let damaged = |reason: String| ReadError::Damaged {
        partition,
        offset: base,
        reason,
    };
    let value = db
        .get_pinned_cf(family(db, Family::Entry), keys::entry(partition, base))
        .map_err(|error| ReadError::of_database(&error, partition, base))?
        .ok_or_else(|| damaged("the frame is missing".to_owned()))?;
    let frame = Frame::decode(Bytes::copy_from_slice(&value)).map_err(|error| damaged(error.to_string()))?;
    check_place(&frame, partition, base)?;
    Ok(frame)
}

/// Frames in order from the one that contains `from`; stops at the first error.
pub(crate) fn from(
    db: &DB,
    partition: PartitionId,
    from: Offset,
) -> Result<impl Iterator<Item = Result<Frame, ReadError>> + '_, ReadError> {
    let start = containing(db, partition, from)?.unwrap_or(from);
    let mut upper = ReadOptions::default();
    if let Some(next) = partition.0.checked_add(1) {
        upper.set_iterate_upper_bound(next.to_be_bytes());
    }
    upper.set_verify_checksums(true);
    let key = keys::entry(partition, start);
    let iterator = db.iterator_cf_opt(
        family(db, Family::Entry),
        upper,
        IteratorMode::From(&key, Direction::Forward),
    );
    let mut expected: Option<(Offset, aetherflow_schema::id::ChainHash)> = None;
    Ok(iterator.map(move |item| {
        let offset = expected.map_or(start, |(offset, _)| offset);
        let damaged = |reason: String| ReadError::Damaged {
            partition,
            offset,
            reason,
        };
        let (key, value) = item.map_err(|error| ReadError::of_database(&error, partition, offset))?;
        let base = base_of(&key).ok_or_else(|| damaged("a key is malformed".to_owned()))?;
        let frame = Frame::decode(Bytes::from(value)).map_err(|error| damaged(error.to_string()))?;
        check_place(&frame, partition, base)?;
        if let Some((next, chain)) = expected {
            if base != next {
                return Err(damaged(format!("the entries before {base} are missing")));
            }
            if frame.header().chain_before != chain {
                return Err(damaged("the frame does not continue the chain".to_owned()));
            }
        }
        expected = Some((frame.header().last().next(), frame.header().chain_after));
        Ok(frame)
    }))
}

/// The newest frame of a partition.
pub(crate) fn last(db: &DB, partition: PartitionId) -> Result<Option<Frame>, ReadError> {
    match containing(db, partition, Offset(u64::MAX))? {
        Some(base) => at(db, partition, base).map(Some),
        None => Ok(None),
    }
}

/// Where the newest frame begins that begins at or before `offset`.
pub(crate) fn containing(db: &DB, partition: PartitionId, offset: Offset) -> Result<Option<Offset>, ReadError> {
    let mut iterator = db.raw_iterator_cf(family(db, Family::Entry));
    iterator.seek_for_prev(keys::entry(partition, offset));
    iterator
        .status()
        .map_err(|error| ReadError::of_database(&error, partition, offset))?;
    Ok(iterator
        .key()
        .filter(|key| key.starts_with(&partition.0.to_be_bytes()))
        .and_then(base_of))
}

fn base_of(key: &[u8]) -> Option<Offset> {
    let base: [u8; 8] = key.get(2..)?.try_into().ok()?;
    Some(Offset(u64::from_be_bytes(base)))
}

fn check_place(frame: &Frame, partition: PartitionId, base: Offset) -> Result<(), ReadError> {
    let header = frame.header();
    if (header.partition, header.base) == (partition, base) {
        return Ok(());
    }
    Err(ReadError::Damaged {
        partition,
        offset: base,
        reason: format!(
            "the frame of partition {}, offset {} stands here",
            header.partition, header.base
        ),
    })
}

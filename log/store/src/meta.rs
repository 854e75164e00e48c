//! What the store says about itself: written once, when it is made.

use rocksdb::{DB, WriteBatch, WriteOptions};
use uuid::Uuid;

use crate::{
    keys::Family,
    store::{OpenError, family},
};

/// 1 had index rows without marks, and chain values over whole entries.
const FORMAT: u32 = 2;

/// The store's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Made at random when the store was; it is what clients see as the server's storage id.
    pub(crate) id: Uuid,
    pub(crate) partitions: u16,
}

/// Reads it, or writes it into an empty store. `id` is the identity that a new store gets.
pub(crate) fn load_or_create(db: &DB, id: Uuid, partitions: u16) -> Result<Meta, OpenError> {
    let read = |key: &str| {
        db.get_cf(family(db, Family::Meta), key)
            .map_err(|error| OpenError::Corrupt(error.to_string()))
    };
    let malformed = |what: &str| OpenError::Corrupt(format!("the store's own description is malformed: {what}"));
    let Some(format) = read("format")? else {
        let mut batch = WriteBatch::default();
        let meta = family(db, Family::Meta);
        batch.put_cf(meta, "format", FORMAT.to_be_bytes());
        batch.put_cf(meta, "id", id.as_bytes());
        batch.put_cf(meta, "partitions", partitions.to_be_bytes());
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        db.write_opt(batch, &sync)
            .map_err(|error| OpenError::Write(error.to_string()))?;
        return Ok(Meta { id, partitions });
    };
    let format = u32::from_be_bytes(format.try_into().map_err(|_| malformed("format"))?);
    if format < FORMAT {
        return Err(OpenError::OldFormat(format));
    }
    if format > FORMAT {
        return Err(OpenError::Format(format));
    }
    let id = read("id")?.and_then(|id| Uuid::from_slice(&id).ok());
    let partitions = read("partitions")?
        .and_then(|p| p.try_into().ok())
        .map(u16::from_be_bytes);
    Ok(Meta {
        id: id.ok_or_else(|| malformed("id"))?,
        partitions: partitions.filter(|p| *p > 0).ok_or_else(|| malformed("partitions"))?,
    })
}

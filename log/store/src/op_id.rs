//! Which operations a document has, and where: the index that makes retries harmless.

use aetherflow_schema::id::Offset;
use rocksdb::SstFileWriter;

use crate::{
    database::Database,
    generation::Generation,
    keys::{Family, OpKey},
    store::{ReadError, family},
};

/// Adds the rows of a generation to a table.
pub(crate) fn write(table: &mut SstFileWriter<'_>, generation: &Generation) -> Result<(), rocksdb::Error> {
    generation
        .operations()
        .try_for_each(|(document, op, offset)| table.put(OpKey::of(document, op), offset.0.to_be_bytes()))
}

/// Where operations stand. Memory first, then the tables: what moves meanwhile is found in one of them.
pub(crate) fn lookup(
    Database { db, pending }: &Database,
    operations: &[OpKey],
) -> Result<Vec<Option<Offset>>, ReadError> {
    let mut found = pending.lookup(operations);
    let missing = || operations.iter().zip(&found).filter(|(_, found)| found.is_none());
    let values = db.batched_multi_get_cf(family(db, Family::OpId), missing().map(|(key, _)| key), false);
    let unknown = found.iter_mut().filter(|found| found.is_none());
    for (found, value) in unknown.zip(values) {
        let value = value.map_err(|error| ReadError::Failed(error.to_string()))?;
        *found = match value.as_deref().map(<[u8; 8]>::try_from) {
            None => None,
            Some(Ok(offset)) => Some(Offset(u64::from_be_bytes(offset))),
            Some(Err(_)) => return Err(ReadError::Failed("a value of the op-id index is malformed".to_owned())),
        };
    }
    Ok(found)
}

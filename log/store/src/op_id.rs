//! Which operations a document has, and where: the index that makes retries harmless.

use aetherflow_schema::{
    id::{DocumentId, Offset, OpId, PartitionId},
    record::{Frame, RecordError},
};
use rocksdb::{DB, WriteBatch};

use crate::{
    keys::{self, Family},
    store::{ReadError, family},
};

pub(crate) fn put(db: &DB, batch: &mut WriteBatch, frame: &Frame) -> Result<(), RecordError> {
    let header = frame.header();
    let family = family(db, Family::OpId);
    let mut key = Vec::new();
    for (ids, offset) in frame.ids().zip(header.base.0..) {
        let (document, op) = ids?;
        keys::write_op_id(&mut key, header.partition, document, op);
        batch.put_cf(family, &key, offset.to_be_bytes());
    }
    Ok(())
}

pub(crate) fn lookup(
    db: &DB,
    partition: PartitionId,
    document: &DocumentId,
    ops: &[OpId],
) -> Result<Vec<Option<Offset>>, ReadError> {
    let family = family(db, Family::OpId);
    let mut key = Vec::new();
    ops.iter()
        .map(|op| {
            keys::write_op_id(&mut key, partition, document.as_bytes(), *op);
            let found = db
                .get_pinned_cf(family, &key)
                .map_err(|error| ReadError::Failed(error.to_string()))?;
            let Some(value) = found else { return Ok(None) };
            let offset: [u8; 8] = value
                .as_ref()
                .try_into()
                .map_err(|_| ReadError::Failed("a value of the op-id index is malformed".to_owned()))?;
            Ok(Some(Offset(u64::from_be_bytes(offset))))
        })
        .collect()
}

//! The check of the whole log.

use aetherflow_log_core::{Damage, Tail, storage::Verified};
use aetherflow_schema::{
    id::{ChainHash, DocumentId, Offset, PartitionId},
    record::Frame,
};
use rocksdb::DB;

use crate::{
    by_doc, entry,
    keys::{self, Family},
    op_id,
    store::{ReadError, family},
};

/// Reads a partition from its first entry to `tail`, recomputes every chain value and looks every entry up in the indexes.
pub(crate) fn partition(
    db: &DB,
    partition: PartitionId,
    tail: Tail,
    verified: &mut Verified,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Damage> {
    let at = |offset: Offset| move |reason: String| Damage { offset, reason };
    let damage = |error: ReadError| match error {
        ReadError::Damaged { offset, reason, .. } => Damage { offset, reason },
        ReadError::Failed(reason) => at(Offset(1))(reason),
    };
    let mut next = Offset(1);
    let mut chain = ChainHash::default();
    for frame in entry::from(db, partition, Offset(1)).map_err(damage)? {
        let frame = frame.map_err(damage)?;
        let header = frame.header();
        if next > tail.offset {
            break;
        }
        if header.base != next || header.chain_before != chain {
            return Err(at(next)(format!("the log goes on at {} instead", header.base)));
        }
        frame.verify_chain().map_err(|error| at(next)(error.to_string()))?;
        indexes(db, &frame).map_err(at(next))?;
        next = header.last().next();
        chain = header.chain_after;
        verified.frames += 1;
        verified.entries += u64::from(header.count);
        verified.bytes += frame.bytes().len() as u64;
        progress(verified.entries);
    }
    if next != tail.offset.next() {
        return Err(at(next)(format!("the entries up to {} are missing", tail.offset)));
    }
    if chain != tail.chain {
        return Err(at(tail.offset)(format!(
            "the chain ends in {chain} instead of {}",
            tail.chain
        )));
    }
    Ok(())
}

fn indexes(db: &DB, frame: &Frame) -> Result<(), String> {
    let header = frame.header();
    for (document, places) in by_doc::places(frame).map_err(|error| error.to_string())? {
        let key = keys::document_at(header.partition, document, header.base);
        let found = db
            .get_pinned_cf(family(db, Family::ByDoc), key)
            .map_err(|error| error.to_string())?;
        if found.as_deref() != Some(places.as_slice()) {
            return Err("the document index does not match the entries".to_owned());
        }
    }
    for (ids, offset) in frame.ids().zip(header.base.0..) {
        let (document, op) = ids.map_err(|error| error.to_string())?;
        let document = DocumentId::from_bytes(document).map_err(|error| error.to_string())?;
        let found = op_id::lookup(db, header.partition, &document, &[op]).map_err(|error| match error {
            ReadError::Failed(reason) | ReadError::Damaged { reason, .. } => reason,
        })?;
        if found != [Some(Offset(offset))] {
            return Err(format!("the op-id index does not have the entry at {offset}"));
        }
    }
    Ok(())
}
